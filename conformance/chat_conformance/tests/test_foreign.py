"""Servers with protocols of their own are judged by a target file alone, and what is said of them is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chat_conformance.__main__ import main
from chat_conformance.report.document import read
from chat_conformance.results import Verdict

FOREIGN = Path(__file__).parent / "foreign"
OWN_WORDS = Path(__file__).parents[3] / "examples" / "own_words"
TARGETS = {
    "own_words": OWN_WORDS / "chat.toml",
    "forwarder": FOREIGN / "forwarder.toml",
    "text_only": FOREIGN / "text_only.toml",
}
CASES = ("turns/", "framing/fragments", "processes/prompt-is-data", "shapes/told-again")
TRUE = {
    # It adds what is said again, answers no ping while a turn runs, and lets prompts name files.
    "own_words": {"shapes/told-again", "processes/prompt-is-data"},
    # Where its program dies it closes the connection, and says nothing.
    "forwarder": {"processes/prompt-is-data", "turns/claude-fails"},
    "text_only": {"shapes/told-again"},
}
"""What fails, and why that is so."""
PLAYED = {
    "own_words": {"turns/answered", "turns/streams", "turns/order", "turns/remembers", "turns/claude-fails"},
    "forwarder": {"turns/answered", "turns/streams", "turns/remembers", "turns/same-as-history"},
    "text_only": {"turns/answered", "turns/text", "turns/streams", "turns/same-as-history"},
}
"""Some that must be among those that pass."""


@pytest.mark.parametrize("name", TRUE)
def test_server_is_judged_by_its_target_file_alone(name: str, tmp_path: Path) -> None:
    words = [word for each in CASES for word in ("--select", each)]
    report = tmp_path / "report.json"
    target = str(TARGETS[name])
    main(
        ["run", "--target", target, "--quick", "-n", "4", "--seed", "1", *words, "--report", f"json={report}"]
    )

    run = read(str(report))
    assert {each.case.id for each in run.of(Verdict.FAILED)} == TRUE[name]
    assert {each.case.id for each in run.of(Verdict.PASSED)} >= {
        *PLAYED[name],
        "framing/fragments",
    }
    assert run.of(Verdict.COULD_NOT_TEST) == ()
    assert run.trouble == ()


def test_answer_that_loses_words_fails_on_any_protocol(tmp_path: Path) -> None:
    """A case for text must be able to fail where only the text is known."""
    server = (FOREIGN / "text_only.py").read_text(encoding="utf-8")
    broken = server.replace('event["delta"]["text"]', 'event["delta"]["text"].replace("t2 ", "")')
    (tmp_path / "text_only.py").write_text(broken, encoding="utf-8")
    place = tmp_path / "target.toml"
    place.write_text(
        (FOREIGN / "text_only.toml").read_text(encoding="utf-8").replace("\n[paths]", "within = 1\n[paths]")
    )
    report = tmp_path / "report.json"
    main(
        [
            "run",
            "--target",
            str(place),
            "--select",
            "turns/streams",
            "--seed",
            "1",
            "--report",
            f"json={report}",
        ]
    )

    assert [each.case.id for each in read(str(report)).of(Verdict.FAILED)] == ["turns/streams"]


def test_session_recorded_by_chromium_gives_a_working_target_file(tmp_path: Path) -> None:
    """The HAR is of two prompts typed into the page of own_words, as Playwright writes it."""
    place = tmp_path / "proposed.toml"
    assert main(["init", "--from", str(OWN_WORDS / "session.har"), str(place)]) == 0

    text = place.read_text(encoding="utf-8")
    start = f'start = ["{{python}}", "{OWN_WORDS / "server.py"}", "{{port}}", "{{claude}}"]'
    text = re.sub(
        r"^url = .*\n# start = \[\]$", f'url = "http://127.0.0.1:{{port}}"\n{start}', text, flags=re.MULTILINE
    )
    place.write_text(text, encoding="utf-8")
    report = tmp_path / "report.json"
    words = ["--select", "turns/answered", "--select", "turns/text", "--select", "turns/streams"]
    main(["run", "--target", str(place), *words, "--seed", "1", "--report", f"json={report}"])

    assert len(read(str(report)).of(Verdict.PASSED)) == 3


@pytest.mark.parametrize(
    ("right", "wrong", "shown"),
    [
        ('kind = "piece"', 'kind = "pece"', "FAIL  token    the answer is ''; messages that no event"),
        ('kind = "welcome"', 'kind = "welcme"', "FAIL  socket   expected the message .*welcme.* that opens"),
        (
            "status = [201]",
            "status = [200]",
            "FAIL  socket   .*POST /api/sessions to be let through; status 201",
        ),
        (
            'token = "session.token"',
            'token = "tokn"',
            "FAIL  socket   .* to give token at 'tokn'",
        ),
    ],
)
def test_doctor_names_what_the_description_lacks(
    right: str, wrong: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TARGETS["own_words"].read_text(encoding="utf-8").replace("{here}", str(OWN_WORDS))
    place = tmp_path / "target.toml"
    place.write_text(
        text.replace(right, wrong).replace("keepalive", "within = 1\nkeepalive"), encoding="utf-8"
    )

    assert main(["doctor", "--target", str(place)]) == 3
    assert re.search(shown, capsys.readouterr().out)
