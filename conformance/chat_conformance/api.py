"""What a case of one's own imports (docs/write-a-case.md); these names stay."""

from chat_conformance.errors import CouldNotTest, Failure, NotOffered
from chat_conformance.results import Severity
from chat_conformance.suite.case import case
from chat_conformance.suite.context import CaseContext
from chat_conformance.suite.expect import expect, expect_equal

__all__ = [
    "CaseContext",
    "CouldNotTest",
    "Failure",
    "NotOffered",
    "Severity",
    "case",
    "expect",
    "expect_equal",
]
