"""The protocol for machines: what is published is what the types say, and both validators agree."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import jsonschema
import msgspec
import pytest

import chat_server.protocol
from chat_conformance.errors import SuiteError
from chat_conformance.protocol import documents, messages
from chat_conformance.protocol.__main__ import files
from chat_conformance.protocol.schema import asyncapi, json_schema, word
from chat_conformance.protocol.typescript import typescript
from chat_conformance.protocol.validity import wrong_in_document, wrong_in_event, wrong_in_request
from chat_conformance.results import CaseResult, Verdict
from chat_conformance.suite.case import SCHEMA, all_cases
from chat_conformance.suite.http import document_kind
from chat_conformance.suite.plugin import CasePlugin
from chat_conformance.target.dialect import Dialect
from chat_conformance.target.file import Paths, Target
from chat_conformance.target.server import Server
from chat_conformance.wire import contract

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = ROOT / "docs/protocol"
IDS = {"message_id": "m-1", "conversation_id": "0123456789ab"}
EVENT = {**IDS, "seq": 1}
SENT: list[dict[str, Any]] = [
    {"type": "accepted", **IDS},
    {"type": "token", "token": "", **EVENT},
    {"type": "thinking", "thinking": "hm", **EVENT},
    {"type": "tool", "id": "t", "name": "Bash", "state": "started", "detail": "ls", **EVENT},
    {"type": "status", "status": "waiting", "detail": None, **EVENT},
    {"type": "rewind", "to": 0, **EVENT},
    {
        "type": "complete",
        "usage": {"input_tokens": 1, "output_tokens": 2, "cached": 3},
        "stop_reason": "end_turn",
        **EVENT,
    },
    {"type": "error", "code": "of_the_future", "message": "no", "retry_after": 0.5},
    {"type": "error", "code": "timeout", "message": "silence", **EVENT, "extra": [{}]},
    {"type": "of_the_future", "seq": "x"},
]
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"type": "accepted", "message_id": "m-1"}, "missing required field `conversation_id`"),
    ({"type": "accepted", **IDS, "conversation_id": "0123456789AB"}, "`$.conversation_id`"),
    ({"type": "token", "token": None, **EVENT}, "`$.token`"),
    ({"type": "token", "token": "a", **EVENT, "seq": 0}, "`$.seq`"),
    ({"type": "token", "token": "a", **EVENT, "seq": 1.5}, "`$.seq`"),
    ({"type": "token", "token": "a", **EVENT, "seq": True}, "`$.seq`"),
    ({"type": "tool", "id": "t", "name": "B", "state": "done", "detail": "", **EVENT}, "`$.state`"),
    (
        {"type": "complete", "usage": {"input_tokens": 1}, "stop_reason": "x", **EVENT},
        "`output_tokens` - at `$.usage`",
    ),
    ({"type": "error", "code": "", "message": "x"}, "`$.code`"),
    ({"type": "error", "code": "busy", "message": "x", "retry_after": "1"}, "`$.retry_after`"),
]
REQUESTS: list[tuple[dict[str, Any], bool]] = [
    ({"type": "chat_request", "message": "a"}, True),
    ({"type": "chat_request", "message": " \n"}, False),
    ({"type": "chat_request", "message": "a", "message_id": "a b"}, False),
    ({"type": "chat_request", "message": "a", "message_id": None}, False),
    ({"type": "subscribe", "conversation_id": "0" * 12, "after": 3}, True),
    ({"type": "subscribe", "conversation_id": "0" * 12, "after": -1}, False),
    ({"type": "cancel", "message_id": "x"}, True),
    ({"type": "cancel"}, False),
]
WHEN = "2026-01-31T12:00:00.5Z"
CONVERSATION: dict[str, Any] = {
    "id": "0" * 12,
    "title": "t",
    "created_at": WHEN,
    "updated_at": WHEN,
    "messages": [
        {"role": "user", "content": "q", "message_id": "m", "status": "complete", "created_at": WHEN},
        {
            "role": "assistant",
            "content": "a",
            "message_id": "m",
            "status": "failed",
            "created_at": WHEN,
            "error": {"code": "timeout", "message": "x"},
            "steps": [{"type": "thinking", "at": 0, "thinking": "hm"}],
        },
    ],
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


@pytest.mark.parametrize("name", files())
def test_published_file_is_up_to_date(name: str) -> None:
    assert (PUBLISHED / name).read_text(encoding="utf-8") == files()[name], (
        "run: python -m chat_conformance.protocol"
    )


def test_schemas_are_valid_by_their_own(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    rules = json.loads((Path(__file__).parent / "schemas/asyncapi-3.0.0.json").read_text())
    validator = jsonschema.Draft7Validator(rules)

    assert [each.message for each in validator.iter_errors(asyncapi())] == []
    assert not validator.is_valid({**asyncapi(), "operations": {"send": {"action": "shout"}}})


def test_references_of_the_asyncapi_document_lead_somewhere() -> None:
    document = asyncapi()

    def references(value: Any) -> list[str]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        own = [value["$ref"]] if isinstance(value, dict) and "$ref" in value else []
        return [*own, *(each for one in inner for each in references(one))]

    for reference in references(document):
        place: Any = document
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


@pytest.mark.parametrize("sent", SENT, ids=str)
def test_valid_message_is_valid_to_both(sent: dict[str, Any], schema: dict[str, Any]) -> None:
    assert wrong_in_event(sent) is None
    jsonschema.Draft202012Validator(schema).validate(sent)


@pytest.mark.parametrize(("sent", "where"), BROKEN, ids=str)
def test_invalid_message_is_invalid_to_both(sent: dict[str, Any], where: str, schema: dict[str, Any]) -> None:
    wrong = wrong_in_event(sent)

    assert wrong is not None
    assert where in wrong
    assert not jsonschema.Draft202012Validator(schema).is_valid(sent)


@pytest.mark.parametrize(("sent", "good"), REQUESTS, ids=str)
def test_request_is_judged_by_both_alike(
    sent: dict[str, Any],
    good: bool,  # noqa: FBT001 - a parameter of the table
    schema: dict[str, Any],
) -> None:
    assert (wrong_in_request(sent) is None) is good
    assert jsonschema.Draft202012Validator(schema).is_valid(sent) is good


def test_fault_deep_in_a_document_is_found(schema: dict[str, Any]) -> None:
    of_conversation = {"$ref": "#/$defs/Conversation", "$defs": schema["$defs"]}
    validator = jsonschema.Draft202012Validator(of_conversation)
    assert wrong_in_document("conversation", CONVERSATION) is None
    assert validator.is_valid(CONVERSATION)

    broken = json.loads(json.dumps(CONVERSATION))
    broken["messages"][1]["steps"][0]["at"] = "0"

    assert "`$.messages[1].steps[0].at`" in (wrong_in_document("conversation", broken) or "")
    assert not validator.is_valid(broken)


def test_turn_by_post_that_failed_late_is_a_refusal() -> None:
    assert wrong_in_document("post", {"error": {"code": "timeout", "message": "x"}, **IDS}) is None
    assert wrong_in_document("post", {"error": "timeout", **IDS}) is not None
    assert wrong_in_document("post", {"response": 1, **IDS}) is not None


def test_types_of_the_server_have_the_same_members() -> None:
    def by_word(module: Any) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for kind in vars(module).values():
            tag = isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.tag
            if tag:  # the server has two types of errors
                found.setdefault(str(tag), set()).update(
                    each.encode_name for each in msgspec.structs.fields(kind)
                )
        return found

    ours, theirs = by_word(messages), by_word(chat_server.protocol)

    assert {word: theirs[word] for word in ours} == ours


def test_every_known_type_has_a_class() -> None:
    assert set(get_args(messages.ServerMessage)) == set(messages.SERVER)
    assert set(get_args(messages.ClientMessage)) == set(messages.CLIENT)
    assert len({word(each) for each in (*messages.CLIENT, *messages.SERVER)}) == 11


def test_codes_are_those_of_the_page() -> None:
    page = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    table = page.partition("| code | meaning | HTTP |")[2].partition("\n\n")[0]
    codes = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]

    assert codes == list(messages.CODES)


def test_typescript_refuses_what_it_cannot_say() -> None:
    with pytest.raises(ValueError, match="no TypeScript"):
        typescript({"$defs": {"A": {"description": "x", "type": "object", "properties": {"a": {"not": {}}}}}})


def test_document_of_an_answer_is_known_by_its_path() -> None:
    paths = Paths(usage="/chat/usage")
    known = {
        ("POST", "/chat", 200): "post",
        ("POST", "/chat", 429): "error",
        ("GET", "/chat/history", 200): "list",
        ("GET", "/chat/history/0123456789ab", 200): "conversation",
        ("DELETE", "/chat/history/0123456789ab", 404): "error",
        ("DELETE", "/chat/history/0123456789ab", 204): "",
        ("GET", "/chat/usage", 200): "usage",
        ("GET", "/health", 500): "",
        ("GET", "/chat/", 404): "",
    }

    assert {asked: document_kind(paths, *asked) for asked in known} == known
    assert document_kind(Paths(), "GET", "", 200) == ""


def test_no_history_means_no_conversations() -> None:
    paths = Paths(history="", usage="/chat/usage")

    assert document_kind(paths, "GET", "/health", 200) == ""
    assert document_kind(paths, "GET", "/chat/usage", 200) == "usage"
    named = msgspec.structs.replace(paths, conversation="/conversations/{id}")
    assert document_kind(named, "GET", "/conversations/0123456789ab", 200) == "conversation"


TARGET = Target(name="t", url="http://127.0.0.1:1")


def test_repeated_fault_is_reported_once() -> None:
    notes = contract.Contract()
    for case_id in ("a/first", "a/second"):
        with contract.holding(notes, case_id):
            for seq in range(1, 4):
                contract.look_at_event({"type": "token", "token": 7, **IDS, "seq": seq}, TARGET)
            assert len(contract.current_breaches()) == 1
    contract.look_at_event({"type": "token"}, TARGET)  # outside of cases

    with contract.holding(notes, "a/third"):
        for broken in ([7], ["", 7]):
            contract.look_at_document(
                "list", {"conversations": [*map(str, broken)], "next": None}, TARGET, "GET /x"
            )

    assert len(notes.breaches) == 2
    assert notes.summary.count("Expected `str`, got `int` - at `$.token`") == 1
    assert notes.summary.endswith("in a/third)")  # of the first kind
    assert notes.looked_at == {"token": 6, "GET /x": 2}


def test_target_is_held_to_what_it_claims_only() -> None:
    lacks = msgspec.structs.replace(TARGET, lacks=["seq"])
    own = msgspec.structs.replace(TARGET, messages={"chat_request": "{prompt}"})
    notes = contract.Contract()
    with contract.holding(notes, "a/b"):
        contract.look_at_event({"type": "token", "token": "a", **IDS}, lacks)
        contract.look_at_event({"type": "token", "token": 7, **EVENT}, own)
        contract.look_at_no_message("not JSON", "x", own)
        assert notes.summary == ""
        contract.look_at_event({"type": "token", "token": 7, **EVENT}, lacks)

    assert "`$.token`" in notes.summary


def test_document_that_is_an_array_lacks_nothing_beside() -> None:
    arrays = {"conversation": {"messages": "*"}}
    target = msgspec.structs.replace(TARGET, dialect=Dialect(documents=arrays))
    notes = contract.Contract()
    with contract.holding(notes, "a/b"):
        messages = CONVERSATION["messages"]
        contract.look_at_document("conversation", {"messages": messages}, target, "GET /x")
        assert notes.summary == ""
        contract.look_at_document("conversation", {"messages": [*messages, {}]}, target, "GET /x")

    assert "`$.messages[…]`" in notes.summary


def test_documents_are_all_in_the_schema(schema: dict[str, Any]) -> None:
    assert {each.__name__ for each in documents.DOCUMENTS} <= schema["$defs"].keys()


def test_illegal_message_of_ours_blames_the_suite() -> None:
    notes = contract.Contract()
    wrong = {"type": "cancel"}
    for case_id in ("turns/text", "messages/malformed"):
        with contract.holding(notes, case_id):
            if case_id in contract.ODD:
                contract.check_request(wrong, TARGET)
            else:
                contract.check_request({"type": "cancel", "message_id": "m"}, TARGET)
                with pytest.raises(SuiteError, match="message_id"):
                    contract.check_request(wrong, TARGET)


def test_odd_cases_exist() -> None:
    assert {each.id for each in all_cases()} >= contract.ODD


@pytest.mark.parametrize(
    ("said", "shown"),
    [(Verdict.FAILED, []), (Verdict.PASSED, ["traffic/schema"]), (None, ["traffic/schema"])],
)
def test_traffic_is_reported_unless_its_case_is(
    said: Verdict | None, shown: list[str], tmp_path: Path
) -> None:
    server = Server(TARGET, tmp_path)
    keep: Callable[[CaseResult], CaseResult] = lambda result: result  # noqa: E731
    with asyncio.Runner() as loop:
        plugin = CasePlugin(
            loop,
            server,
            tmp_path,
            (),
            seed=1,
            side_by_side=1,
            stop_early=False,
            again_alone=False,
            replay=lambda case: case.id,
            on_result=keep,
        )
        case = next(each for each in all_cases() if each.id == SCHEMA)
        if said is not None:
            plugin.results.append(CaseResult(case=case, verdict=said))
        plugin.note_traffic()
        assert [each.case.id for each in plugin.results[said is not None :]] == []

        with contract.holding(plugin.contract, "a/b"):
            contract.look_at_no_message("not JSON", "x", TARGET)
        plugin.note_traffic()

        assert [each.case.id for each in plugin.results[said is not None :]] == shown
