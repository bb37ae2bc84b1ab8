"""``chat-server``: say what is missing, or run the server."""

from __future__ import annotations

import sys
from collections.abc import Sequence

EXTRA = {"idna", "prometheus_client", "sqlalchemy", "uvloop"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; exit status 2 without the libraries of the extra ``server``."""
    try:
        from chat_server.command import main as run  # noqa: PLC0415 - it imports the libraries of the extra
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        print(
            f"chat-server needs: pip install 'chatgate[server]' (there is no {error.name})", file=sys.stderr
        )
        return 2
    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
