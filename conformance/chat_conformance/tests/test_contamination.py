"""What a case does to a server is reported of that case, and of no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat_conformance.report import document
from chat_conformance.results import CaseResult, Verdict
from chat_conformance.tests.test_main import run

# A small server that does something after it has refused a frame with 1009, as it should.
SPITEFUL = """
import asyncio, os, signal, sys, time
from chat_conformance.mutants.small import RawChat, serving

how = sys.argv[2]
lock = asyncio.Lock()
if how == "is moody":
    with open(sys.argv[0] + ".starts", "ab") as file:
        file.write(b".")
    moody = os.path.getsize(sys.argv[0] + ".starts") % 2

def stop(seconds):
    asyncio.get_running_loop().call_later(0.02, time.sleep, seconds)

class Spiteful(RawChat):
    async def serve(self, reader, writer):
        if how == "one at a time":
            async with lock:
                await super().serve(reader, writer)
        else:
            await super().serve(reader, writer)

    def close_code(self, frame):
        return 768 if how == "is moody" and moody else super().close_code(frame)

    async def close(self, error, reader, writer):
        await super().close(error, reader, writer)
        if error.code == 1009 and how == "dies":
            os._exit(1)
        if error.code == 1009 and how == "dies soon":
            asyncio.get_running_loop().call_later(0.02, os._exit, 1)
        if error.code == 1009 and how == "hangs":
            stop(600)
        if error.code == 1009 and how == "is slow":
            stop(2.0)

async def main():
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with serving(Spiteful(), port=int(sys.argv[1])):
        print("listening", flush=True)
        await over.wait()

asyncio.run(main())
"""
TOO_BIG = "framing/too-big"
OTHERS = ["closing/code", "framing/masks", "framing/glued"]


def target(folder: Path, how: str) -> str:
    (folder / "server.py").write_text(SPITEFUL, encoding="utf-8")
    place = folder / "spiteful.toml"
    place.write_text(
        f"""name = "spiteful"
url = "http://127.0.0.1:{{port}}"
start = ["{{python}}", "{folder}/server.py", "{{port}}", "{how}"]
ready_line = "listening"
within = 1
stop_within = 1
""",
        encoding="utf-8",
    )
    return str(place)


def played(folder: Path, how: str, *words: str, cases: list[str]) -> dict[str, CaseResult]:
    """What each case came to, with what is said of it."""
    report = folder / "run.json"
    selected = [word for each in cases for word in ("--select", each)]
    run("run", "--target", target(folder, how), "--report", f"json={report}", *selected, *words)
    return {each.case.id: each for each in document.read(str(report)).results}


def checked(folder: Path, how: str, *cases: str) -> tuple[int, str]:
    words = [word for each in cases for word in ("--select", each)]
    done = run("selfcheck", "--target", target(folder, how), "--seed", "1", "--orders", "1", *words)
    return done.returncode, done.stdout


def test_selfcheck_finds_steady_verdicts(tmp_path: Path) -> None:
    status, shown = checked(tmp_path, "dies", TOO_BIG, "closing/code")

    assert (status, shown.splitlines()[-1]) == (
        0,
        "the same verdicts and sentences: 2 cases alone, in 2 orders and two at a time, seed 1",
    )


def test_selfcheck_says_what_differs(tmp_path: Path) -> None:
    status, shown = checked(tmp_path, "is moody", "closing/code", "framing/glued")

    assert status == 1
    assert "DIFFERS" in shown
    assert "closing/code" in shown
    assert "CLOSE 768" in shown


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("dies", "the server ended with exit status 1"),
        ("dies soon", "the server ended with exit status 1"),
        ("hangs", "the server hangs: it does not answer a request that comes after"),
        ("is slow", "the server is slow: it took more than"),
    ],
)
@pytest.mark.parametrize("words", [["--seed", "1"], ["--shuffle", "--seed", "2"], ["-n", "2", "--seed", "3"]])
def test_what_follows_a_passed_case_is_its_own(tmp_path: Path, how: str, said: str, words: list[str]) -> None:
    found = played(tmp_path, how, *words, cases=[TOO_BIG, *OTHERS])

    (fallen,) = [each for each in found.values() if each.verdict is Verdict.FAILED]
    assert fallen.case.id == f"survives/{TOO_BIG}"
    assert said in fallen.happened
    assert f"--select {TOO_BIG}" in fallen.replay
    assert {each: found[each].verdict for each in OTHERS} == dict.fromkeys(OTHERS, Verdict.PASSED)
