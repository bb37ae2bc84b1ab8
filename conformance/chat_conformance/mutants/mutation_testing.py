"""Mutation testing of the reference server with the suite as judge: ``tox -e mutation``.

cosmic-ray changes one operator, number or branch of a copy of ``impl/`` at a time; the cases that are about the changed
module must notice. What survives is a hole in the suite, or a change that nobody outside can see: docs/mutation.md.
"""

# ruff: noqa: T201 - it is a command

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
# The module, and the cases that are about it: all others cost time and would notice nothing more.
MODULES: dict[str, tuple[str, ...]] = {
    "limits": ("limits", "quotas", "http/post"),
    "protocol": ("messages", "turns", "following", "framing/ping"),
    "turns/event_log": (
        "turns",
        "following",
        "queues",
        "stopping/cancel",
        "shapes/three-times",
        "robustness/stalled",
    ),
    "web/responses": (
        "http",
        "history",
        "messages/unknown-conversation",
        "limits/retry-after",
        "turns/claude-fails",
        "shapes/same-again",
    ),
    "login/identity": ("identity", "handshake", "http"),
    "claude/parser": ("turns", "shapes", "quotas", "stopping/cancel", "stopping/in-a-tool"),
    "turns/turn": ("turns", "stopping", "history", "shapes", "processes"),
    "turns/saving": ("history", "turns", "processes", "robustness/database-locked"),
    "claude/answer": ("shapes", "turns"),
    "turns/manager": (
        "turns",
        "following",
        "messages",
        "stopping",
        "history",
        "processes",
        "limits/retry-after",
        "limits/deletion",
    ),
    "web/connection": (
        "messages",
        "turns",
        "following",
        "framing",
        "closing",
        "keepalive",
        "queues",
        "robustness",
        "stopping",
        "identity/login",
    ),
    "claude/session": ("turns", "stopping", "shapes", "processes", "robustness"),
}
# One change of each kind is enough: what notices `-` for `+` notices `*`, too. `|` stands in annotations only.
LEFT_OUT = (
    r"core/ReplaceBinaryOperator_(?!Add_Sub|Sub_Add|Mul_Div|Div_Mul|Mod_Add|FloorDiv_Mul)",
    r"core/ReplaceComparisonOperator_(?!Eq_NotEq|NotEq_Eq|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_\w+|Is\w+|\w*In_)",
    r"core/ReplaceUnaryOperator_(?!Not_Delete|USub_UAdd)",
    r"core/(Variable\w+|RemoveDecorator)",
)
SECONDS = 120.0  # that a judgement may take; a server that hangs is noticed by that


def main(argv: Sequence[str] | None = None) -> int:
    """Mutate the named modules, all of `MODULES` without names, and print what survived; 0 whatever it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("modules", nargs="*", choices=[[], *MODULES], metavar="MODULE", default=[])
    modules = parser.parse_args(argv).modules or list(MODULES)
    killed = survived = 0
    with tempfile.TemporaryDirectory(prefix="chatgate-") as folder:
        # A copy, since cosmic-ray writes each change into the file itself.
        copy = Path(folder) / "tree"
        ignored = shutil.ignore_patterns("__pycache__", "tests", ".*")
        for package in ("impl/chat_server", "conformance/chat_conformance", "fake_claude", "docs"):
            shutil.copytree(ROOT / package, copy / Path(package).name, ignore=ignored)
        for module in modules:
            rows = list(_mutate(module, copy))
            left = [row for row in rows if row["outcome"] == "survived"]
            killed, survived = killed + len(rows) - len(left), survived + len(left)
            print(f"{module}: {len(rows) - len(left)} of {len(rows)} noticed", flush=True)
            for row in left:
                print(f"  chat_server/{module}.py:{row['line']} {row['operator']}\n{row['diff']}", flush=True)
    print(f"score: {killed} of {killed + survived} ({killed / max(1, killed + survived):.0%})")
    return 0


def _mutate(module: str, copy: Path) -> Iterator[dict[str, Any]]:
    """One row for each change of a module."""
    words = [f"--select {each}" for each in MODULES[module]]
    # What cosmic-ray kills has no time to end its servers: it gets SIGTERM before that.
    judge = f"timeout {SECONDS / 2:g} {sys.executable} -m chat_conformance"
    run = f"{judge} run --target targets/reference.toml --seed 1 -n 4 -x --fail-on low"
    name = module.replace("/", "-")
    config = copy / f"{name}.toml"
    lines = [
        "[cosmic-ray]",
        f'module-path = "chat_server/{module}.py"',
        f"timeout = {SECONDS}",
        f"test-command = {json.dumps(' '.join([run, *words]))}",
        "excluded-modules = []",
        'distributor.name = "local"',
        f"filters.operators-filter.exclude-operators = {json.dumps(LEFT_OUT)}",
    ]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    session = f"{name}.sqlite"
    bin_folder = Path(sys.executable).parent
    # The order counts: the unchanged server has to pass, else everything looks noticed; the filter marks what
    # `init` has listed, before `exec` plays it.
    for tool in (
        ["cosmic-ray", "baseline", config.name],
        ["cosmic-ray", "init", config.name, session],
        ["cr-filter-operators", session, config.name],
        ["cosmic-ray", "exec", config.name, session],
    ):
        subprocess.run([bin_folder / tool[0], *tool[1:]], cwd=copy, check=True)
    dump = subprocess.run(
        [bin_folder / "cosmic-ray", "dump", session], cwd=copy, check=True, capture_output=True, text=True
    )
    for line in dump.stdout.splitlines():
        item, result = json.loads(line)
        if result is None or result["worker_outcome"] == "skipped":
            continue
        (change,) = item["mutations"]
        yield {
            "outcome": result["test_outcome"],
            "line": change["start_pos"][0],
            "operator": change["operator_name"],
            "diff": result["diff"],
        }


if __name__ == "__main__":
    sys.exit(main())
