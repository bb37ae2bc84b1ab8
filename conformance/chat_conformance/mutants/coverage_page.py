"""Known failure modes, the cases that cover them, and the mutants that prove the cases: ``docs/coverage.md``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from chat_conformance.mutants.expectations import REFERENCE, SMALL
from chat_conformance.results import Case
from chat_conformance.suite.case import all_cases
from e2e.mutants import MUTANTS as PAGE

FINDINGS = {
    "R1-1": "The server takes every message for a heartbeat: Claude is never asked, and no answer comes.",
    "R1-2": "The head of the upgrade is read a second time, though it has been taken: the 101 never comes.",
    "R1-3": "The socket is written to by means that it does not have: the first ping, or the clean-up, kills it.",
    "R1-4": "What one read returns is taken for whole frames: whatever the network cuts is misread.",
    "R1-5": "One queue per user, replaced on reconnect and never removed: text is lost, or goes into another answer.",
    "R1-6": "The close carries a code that no close may carry: browsers report a broken connection.",
    "R1-7": "Close and pong are written and not flushed: they may be lost with the socket.",
    "R2-1": "Waiting for Claude stops the pings: a proxy cuts the chat while Claude thinks.",
    "R2-2": "What comes by WebSocket is in no history, and under no limit and no quota.",
    "R2-3": "An answer that stands in an unexpected place is shown, and stored, as empty.",
    "M-1": "Server and page disagree on what a token looks like: not one is shown.",
    "M-2": "One open chat locks all others out, health checks included.",
    "M-3": "Any web page can use the chat as the user who visits it.",
    "M-4": "The CLI is given ids and options that it refuses: every message fails.",
    "M-5": "Only one of the forms in which the CLI prints an answer is read: answers are empty.",
    "M-6": "The end of one tab makes the user's other tab go dead.",
    "M-7": "Each message begins a session of its own: Claude forgets what was just said.",
    "M-8": "A stale cookie hides the valid one of the same name: people who are logged in are locked out.",
    "M-9": "The page starts over when the first conversation is made: the first message disappears.",
    "M-10": "An answer that is over continues to take what comes: the next one is written into it.",
    "M-11": "Claude's stderr is not read: it fills, and the turn hangs for ever.",
    "M-12": "Fragments, and pings between them, are not understood, and one frame may ask for any memory.",
    "M-13": "A handshake without a key ends in a traceback, and not in an answer.",
    "M-14": "Claude outlives those who asked, and a turn that failed leaves history without a word of it.",
}
"""What reviews of real servers have found, by the id that cases and mutants cite."""

PAINS = {
    "A quiet turn is cut by an idle limit before its first word": ["keepalive/silent-turn"],
    "… in the middle of the answer": ["keepalive/silent-middle"],
    "… on its way back from a POST": ["keepalive/silent-post"],
    "A pong that comes late ends the chat": ["keepalive/late-pong", "keepalive/lumps"],
    "A peer that is dead is never noticed": ["keepalive/dead-peer", "following/half-open"],
    "Words are lost where the line was cut": [
        "following/every-cut",
        "following/torn-frame",
        "following/replays",
    ],
    "The turn ended while its reader was away, who never learns it": ["following/ended-away"],
    "Quick reconnects deliver everything twice": ["following/quick-reconnects", "queues/reconnect"],
    "A cursor that is too old is answered with silence": ["following/stale-cursor"],
    "… one beyond the end": ["following/future-cursor"],
    "… one from before a restart": ["following/cursor-before-restart"],
    "A tab that is restored hours later runs everything again, or shows nothing": [
        "following/sent-again-late"
    ],
    "A reader who stalls delays all others, or fills the memory": [
        "robustness/stalled-reader",
        "robustness/stalled-memory",
    ],
    "… or goes away, and the answer waits for ever": ["robustness/stalled-and-gone"],
    "Claude lives on when all readers have left": ["processes/everyone-left"],
    "… when the conversation is deleted": ["processes/deleted"],
    "What Claude had started lives on after a stop": ["processes/stopped-family"],
    "… after an error": ["processes/held-stdout"],
    "… after a timeout": ["processes/timeout-family"],
    "A server that gets SIGTERM waits for ever for a running answer": ["processes/stopped-running"],
    "A server that is killed leaves processes behind": ["processes/orphans", "processes/killed-family"],
    "… a turn that runs for ever, a port that is taken, a history with holes": ["processes/killed"],
    "Stop does not stop what streams or is silent, from this tab or another": ["stopping/cancel"],
    "… what is in the middle of a tool": ["stopping/in-a-tool"],
    "… a Claude that ignores the interrupt": ["stopping/deaf-to-interrupt"],
    "… a Claude that ignores all but KILL": ["stopping/deaf-to-all"],
    "After a stop the conversation is poisoned": ["stopping/goes-on"],
    "The late result of a stopped turn ends the next one": ["stopping/late-result"],
    "A stop throws away the text that had arrived": ["stopping/cancel"],
    "A Claude that has gone silent is waited for without end": ["robustness/silence"],
    "… and one that is slow is taken for silent": ["robustness/slow"],
    "The result is there, but stdout stays open, and the turn too": ["processes/result-ends"],
    "Lines of 64 KiB end the turn": ["shapes/line-lengths"],
    "… of 1 MiB": ["shapes/one-mib"],
    "… of 16 MiB take the server down": ["shapes/sixteen-mib"],
    "Characters are broken where a pipe cuts them": ["shapes/dribble"],
    "Bytes that are no UTF-8 end the turn": ["shapes/not-utf8"],
    "Half of an emoji ends the turn, or the connection": ["shapes/surrogate", "messages/half-a-character"],
    "Unknown events, blank lines, CRLF, noise or arrays between tokens end the turn": ["shapes/strangers"],
    "Text that is printed in deltas and as a full block is shown twice": [
        "turns/streams",
        "shapes/three-times",
    ],
    "Of two identical answers one is swallowed": ["shapes/same-again"],
    "Usage that is printed per event, or cached tokens, are charged again": ["quotas/tokens"],
    "A turn without a result is not charged": ["quotas/killed", "quotas/stopped"],
    "Limits hold on one route only": ["limits/both-doors", "quotas/post"],
    "Two messages at once pass where there is room for one": ["limits/at-once"],
    "The day, or the hour, ends at another time than was reported": [
        "quotas/day-passes",
        "limits/hour-passes",
        "limits/day-passes",
    ],
    "A restart forgets what was used": ["limits/restart"],
    "Clients that bypass the proxy can claim any user name": ["identity/no-proxy"],
    "Every account at the forge may chat": ["identity/stranger"],
    "A name that is empty, doubled or a placeholder is a user": ["identity/no-name"],
    "A foreign page is let in": ["handshake/foreign-origin", "http/foreign-origin"],
    "Chats of others can be read, stopped, or distinguished from absent ones": ["identity/others"],
    "A stream that broke is shown twice": ["shapes/told-again", "shapes/told-otherwise"],
    "Nothing shows after a reload that Claude ran a command": ["history/steps"],
    "A path in a prompt is read with the server's rights, a command in it is run": [
        "processes/prompt-is-data"
    ],
    "The operator's own notes and settings of Claude are part of users' conversations": [
        "processes/operators-own"
    ],
    "Claude forgets the conversation, and no message says so": ["turns/forgets-aloud"],
    "A child that clears its environment is never found": ["processes/shed-mark"],
    "A stop of the whole service looks like a failure of Claude": ["processes/stopped-as-a-group"],
    "Another account that has taken a name sees the chats of the first": ["identity/same-name-other-id"],
    "People are logged in as the user before them": ["identity/forges-cookie"],
    "The default port makes the chat's own page foreign": ["handshake/default-port"],
    "A foreign name that leads to this machine uses the chat": ["identity/rebinding"],
    "A message that is sent twice runs twice": ["turns/sent-twice", "following/accepted-lost"],
    "… from two tabs at once": ["following/two-tabs-at-once"],
    "A prompt that begins with a dash is taken for an option": ["processes/dash"],
    "A prompt of 1 MiB is refused": ["messages/one-mib"],
    "Frames that a client must mask are taken bare": ["framing/unmasked"],
    "Version and key of a handshake are not looked at": ["handshake/faulty", "handshake/wrong-version"],
    "A length is misread, or taken in a form that is forbidden": [
        "framing/lengths",
        "framing/long-length",
        "framing/highest-bit",
    ],
    "Reserved bits and opcodes are taken for legal": ["framing/illegal"],
    "Codes that may not be on the wire are sent, or passed on": ["closing/code", "closing/bad-code"],
    "A close that the server begins never ends": ["closing/begun-by-server", "closing/unanswered"],
    "Frames that come glued to the handshake are lost": ["handshake/early-frame"],
}
"""What people who run such chats complain of, and the cases that look for it."""

HEAD = """\
# Known failure modes and the cases that cover them

Every case of the suite is proven twice: the reference passes it, and a server that is broken on purpose, a *mutant*,
fails it for the cause that was meant (`chat-conformance mutants`; those named `page/…` are judged by the browser
tests, with `--e2e`). This page says which is which. It is made from the cases and the kill table, and a test holds it
to them.
"""


def page() -> str:
    """The page, in Markdown."""
    cases = {each.id: each for each in all_cases()}
    made_for = mutants()
    parts = [HEAD, "## What reviews found\n", *_table("finding", _findings(cases.values()))]
    parts += ["\n## What people complain of\n", *_table("pain", PAINS.items())]
    listed = {
        name
        for names in [*PAINS.values(), *(some for _, some in _findings(cases.values()))]
        for name in names
    }
    # What neither list names is proven all the same: it is shown by its own words, so that no case is missing
    # here.
    besides = {
        each.means: [each.id] for each in cases.values() if each.id in made_for and each.id not in listed
    }
    besides |= {_sentence(each.about): [name] for name, each in PAGE.items() if name not in listed}
    parts += ["\n## And besides\n", *_table("what a failure means", besides.items())]
    return "\n".join(parts) + "\n"


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def mutants() -> dict[str, list[str]]:
    """The mutants that were made for each case, by its id."""
    made_for = defaultdict(list)
    for name, (_, kill) in SMALL.items():
        made_for[kill.case_id].append(name)
    for name, kill in REFERENCE.items():
        made_for[kill.case_id].append(name)
    return dict(made_for)


def of_the_page(finding: str) -> list[str]:
    """The mutants of the page that were made for a finding."""
    return [name for name, each in PAGE.items() if each.finding == finding]


def _findings(cases: Iterable[Case]) -> list[tuple[str, list[str]]]:
    # Read once, since the rows go over it for each finding, and an iterator would be empty from the second
    # on.
    known = list(cases)
    return [
        (f"{name}: {words}", [each.id for each in known if each.finding == name] + of_the_page(name))
        for name, words in FINDINGS.items()
    ]


def _table(what: str, rows: Iterable[tuple[str, list[str]]]) -> Iterator[str]:
    made_for = mutants()
    yield f"| {what} | case | mutants |"
    yield "|---|---|---|"
    for words, names in rows:
        for place, name in enumerate(names):
            # A fault of the page shows in a browser only: a test of e2e proves it, and the row is named after
            # the mutant itself.
            if name in PAGE:
                file, _, test = PAGE[name].test.partition("::")
                case, proof = f"`{test}` in `e2e/tests/{file}`", [name]
            else:
                case, proof = f"`{name}`", made_for.get(name, [])
            yield f"| {words if place == 0 else ''} | {case} | {', '.join(f'`{each}`' for each in proof)} |"
