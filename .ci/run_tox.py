"""Run tox so that TERM and HUP end it as Ctrl-C does; by itself it would die of them and leave its commands running."""

import os
import signal
import subprocess

from tox.run import run


def main() -> None:
    """Run tox with the arguments of the command line."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a script starts with & ignores it
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            # Raised anew, not as KeyboardInterrupt: while it ends its commands, tox ignores SIGINT, and so all three.
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    # Known failures are judged on the day of the commit: what stands still turns red on no day of its own.
    day = subprocess.run(["git", "log", "-1", "--format=%cs"], capture_output=True, text=True, check=False)
    if day.returncode == 0:
        os.environ.setdefault("CHATGATE_TODAY", day.stdout.strip())
    run()


if __name__ == "__main__":
    main()
