from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chat_conformance.__main__ import main
from chat_conformance.errors import UsageError
from chat_conformance.target.dialect import Dialect
from chat_conformance.target.file import load
from chat_conformance.tests.test_main import run

RENAMED = str(Path(__file__).with_name("renamed.toml"))
AREAS = (
    "turns",
    "messages",
    "following",
    "stopping",
    "history",
    *(f"http/{each}" for each in ("health", "post", "broken-forms", "foreign-origin", "no-store", "get-")),
    "queues",
)
FLAT = Dialect(
    types={"token": "delta"}, members={"seq": "n", "message_id": "turn"}, words={"cancelled": "stopped"}
)
NESTED = Dialect(
    types={"token": "delta"},
    members={"seq": "n"},
    frames={
        "*": {"type": "event", "*": "data.*"},
        "token": {"token": "data.says.text", "message_id": "turn"},
    },
)
ARRAY = Dialect(frames={"*": {"type": "2", "message_id": "0", "*": "3.*"}})
TOKEN = {"type": "token", "token": "hi", "seq": 3, "message_id": "m"}


@pytest.mark.parametrize(
    ("dialect", "theirs"),
    [
        (Dialect(), TOKEN),
        (FLAT, {"type": "delta", "token": "hi", "n": 3, "turn": "m"}),
        (NESTED, {"event": "delta", "data": {"says": {"text": "hi"}, "n": 3}, "turn": "m"}),
        (ARRAY, ["m", None, "token", {"token": "hi", "seq": 3}]),
    ],
)
def test_frames_go_both_ways(dialect: Dialect, theirs: Any) -> None:
    assert dialect.frame(TOKEN) == theirs
    assert {name: value for name, value in dialect.event(theirs).items() if name != "1"} == TOKEN


def test_a_word_that_the_server_has_another_for_is_not_taken_for_it() -> None:
    assert FLAT.event({"type": "token", "token": "a"})["type"] == "token (not in the dialect)"
    assert FLAT.event({"type": "complete", "stop_reason": "stopped"})["stop_reason"] == "cancelled"
    assert FLAT.event({"type": "complete", "seq": 1}) == {"type": "complete"}


@pytest.mark.parametrize("frame", [[], {}, "a", 7, None, {"type": 7}, {"event": ["x"]}, [1, 2, 3, 4]])
@pytest.mark.parametrize("dialect", [FLAT, NESTED, ARRAY])
def test_what_is_no_frame_breaks_nothing(dialect: Dialect, frame: Any) -> None:
    event = dialect.event(frame)

    assert not isinstance(event, dict) or not isinstance(event.get("type"), str)


def test_documents_are_read_as_deep_as_they_go() -> None:
    dialect = Dialect(
        members={"content": "text", "messages": "lines"},
        documents={"conversation": {"messages": "data.lines"}, "error": {"error.code": "reason"}},
        words={"complete": "done", "not_found": "absent"},
    )

    assert dialect.document("conversation", {"data": {"lines": [{"text": "a", "status": "done"}]}}) == {
        "messages": [{"content": "a", "status": "complete"}]
    }
    assert dialect.document("post", {"reason": "absent"}) == {"error": {"code": "not_found"}}


def test_document_may_be_the_array_itself() -> None:
    dialect = Dialect(members={"role": "who"}, documents={"conversation": {"messages": "*"}})

    assert dialect.document("conversation", [{"who": "user"}]) == {"messages": [{"role": "user"}]}
    assert dialect.document("list", [1]) == [1]
    assert (dialect.whole("conversation"), dialect.whole("list")) == ("messages", "")


@pytest.mark.parametrize(
    ("table", "shown"),
    [
        ('[dialect.types]\ntokn = "a"', "dialect.types.tokn is no name of the protocol"),
        ('[dialect.frames.delta]\ntoken = "a"', "dialect.frames.delta is no name of the protocol"),
        ('[dialect]\nname = "a"', "unknown field 'name' in dialect; did you mean"),
        ('[paths]\nconversation = "/one"', "it must have {id}"),
    ],
)
def test_slip_in_the_dialect_is_named(tmp_path: Path, table: str, shown: str) -> None:
    place = tmp_path / "t.toml"
    place.write_text(f'name = "t"\nurl = "http://127.0.0.1:1"\n{table}\n', encoding="utf-8")

    with pytest.raises(UsageError, match=shown.replace("{", r"\{")):
        load(str(place))


def test_a_server_that_differs_in_naming_only_is_judged() -> None:
    words = [word for area in AREAS for word in ("--select", area)]
    done = run("run", "--target", RENAMED, "--quick", "-n", "4", "--seed", "1", *words)

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("] ok ") > 40


def test_the_same_server_fails_without_its_dialect(tmp_path: Path) -> None:
    text = Path(RENAMED).read_text(encoding="utf-8")
    place = tmp_path / "plain.toml"
    place.write_text(
        text.replace('complete = "done"', "").replace("[env]", "within = 1\n[env]"), encoding="utf-8"
    )

    assert main(["run", "--target", str(place), "--select", "turns/answered"]) == 1
