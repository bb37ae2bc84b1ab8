from __future__ import annotations

from chat_conformance.suite.clauses import clauses, parse


def test_clause_text_is_joined_to_one_line() -> None:
    assert parse("## 1. X\n\n- **HAND-1** First\n  second.\n- **HAND-2** Third.\n\nOther.\n") == {
        "HAND-1": "First second.",
        "HAND-2": "Third.",
    }


def test_the_protocol_page_is_found_and_read() -> None:
    assert clauses()["PROC-5"].startswith("After a kill of the server")
