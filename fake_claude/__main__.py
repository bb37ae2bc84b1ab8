"""``fake-claude``: its tools by name, or else the stand-in CLI itself."""

from __future__ import annotations

import sys

from fake_claude.command_names import COMMANDS


def main() -> None:
    """Run the tool that the first argument names, or be the CLI."""
    # Only as the first word: `fake-claude -p install` is a prompt, and the CLI's own.
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        from fake_claude.commands.commands import run_command  # argparse and friends are slow to import
        from fake_claude.terminal import print_leniently

        print_leniently()
        sys.exit(run_command(sys.argv[1], sys.argv[2:]))
    from fake_claude.cli import main as cli

    cli()


if __name__ == "__main__":
    main()
