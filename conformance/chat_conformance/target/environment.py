"""What a target gets of our environment: little, so that a verdict does not depend on who runs the suite."""

from __future__ import annotations

from collections.abc import Collection, Mapping

NAMES = frozenset(
    (
        *("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "USER", "LOGNAME", "SHELL"),
        *("LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        # Where interpreters and their packages are, as far as HOME does not say it.
        *("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYENV_ROOT", "PYENV_VERSION", "VIRTUAL_ENV"),
        *(
            "NODE_PATH",
            "NVM_DIR",
            "GEM_HOME",
            "GEM_PATH",
            "JAVA_HOME",
            "GOPATH",
            "GOROOT",
            "CARGO_HOME",
            "RUSTUP_HOME",
        ),
        "CHATGATE_PATIENCE",
    )
)


def small(ours: Mapping[str, str], more: Collection[str] = ()) -> dict[str, str]:
    """The variables that a target gets: those in `NAMES`, the locale's, and those that its file names."""
    return {
        name: text for name, text in ours.items() if name in NAMES or name in more or name.startswith("LC_")
    }
