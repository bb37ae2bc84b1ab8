"""Which case was made for which mutant, by what it shows, and what else a mutant breaks by its nature."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kill:
    """What is expected of a mutant.

    Attributes:
        case_id: The case that catches it.
        cause: Words of what happened, by which it must be caught.
        also: Beginnings of the ids of cases that the same fault must fail, too.
    """

    case_id: str
    cause: str
    also: tuple[str, ...] = ()


LONG_MESSAGES = (
    "messages/too-long",
    "messages/one-mib",
    "framing/two-mib",
)  # no pong comes while one is sent
SECOND_TURNS = ("turns/", "following/", "stopping/", "history/", "limits/", "quotas/", "shapes/")
EVERYTHING = ("",)  # no case that has an answer can pass

SMALL: dict[str, tuple[str, Kill]] = {
    "R1-1": ("Deaf", Kill("turns/answered", "not within")),
    "R1-2": ("ReadsTheHeadTwice", Kill("handshake/completes", "not within")),
    "R1-3": ("DiesAtThePing", Kill("keepalive/first-ping", "the connection ended")),
    "R1-4": ("ReadsWhatComes", Kill("framing/cut-anywhere", "not within")),
    "R1-5-reconnect": ("OneQueuePerUser", Kill("queues/reconnect", "there came")),
    "R1-5-post": ("OneQueuePerUser", Kill("queues/post", "there came")),
    "R1-6": ("ClosesWith768", Kill("closing/code", "CLOSE 768")),
    "R1-7": ("ForgetsToSend", Kill("closing/before-tcp", "the connection ended")),
    "R2-1": ("SilentWithClaude", Kill("keepalive/silent-turn", "the connection ended: reset")),
    "R2-1-middle": ("SilentWithClaude", Kill("keepalive/silent-middle", "the connection ended: reset")),
    "R2-2-history": ("KeepsNothing", Kill("history/socket-turn", "it is []")),
    "M-1": ("BareText", Kill("turns/streams", "not JSON")),
    "M-2": ("OneForAll", Kill("turns/nobody-waits", "not within")),
    "M-12-fragments": ("TakesFragmentsForMessages", Kill("framing/fragments", "the connection ended")),
    "one-mask-for-all": ("KeepsTheFirstMask", Kill("framing/masks", "its payload is")),
    "lengths-of-15-bits": ("ReadsLengthsOf15Bits", Kill("framing/lengths", "not within")),
    "drops-what-is-glued": ("DropsWhatIsGlued", Kill("handshake/early-frame", "not within")),
    "takes-any-frame": ("TakesAnyFrame", Kill("framing/illegal", "taken for legal")),
    "takes-bare-frames": ("TakesAnyFrame", Kill("framing/unmasked", "taken for legal")),
    "takes-long-lengths": ("TakesAnyFrame", Kill("framing/long-length", "taken for legal")),
    "upgrades-by-any-method": ("UpgradesByAnyMethod", Kill("handshake/no-get", "it is 101")),
    "passes-codes-on": ("TakesAnyFrame", Kill("closing/bad-code", "the close frame is CLOSE")),
    "passes-reasons-on": ("TakesAnyFrame", Kill("closing/reason", "the close frame is CLOSE 1000")),
    "breaks-at-a-goodbye": (
        "TakesFragmentsForMessages",
        Kill("closing/inside-message", "the connection ended"),
    ),
    "reads-one-frame": ("ReadsOneFrame", Kill("framing/glued", "not within")),
    "hangs-up-on-pongs": ("HangsUpOnPongs", Kill("framing/unsolicited-pong", "the connection ended")),
    "waits-for-negative-bytes": ("WaitsForNegativeBytes", Kill("framing/highest-bit", "not within")),
    "takes-any-text": ("TakesAnyText", Kill("framing/bad-utf8", "taken for legal")),
    "waits-for-the-close": ("WaitsForTheClose", Kill("closing/unanswered", "not within")),
    "compresses-unasked": ("CompressesUnasked", Kill("framing/deflate", "was not offered")),
    "wants-the-latest-pong": ("WantsTheLatestPong", Kill("keepalive/lumps", "the connection ended")),
    "TURN-5": ("AllAtTheEnd", Kill("turns/streams", "not within")),
}
"""Mutants of the two small servers, by class."""

REFERENCE: dict[str, Kill] = {
    "R2-2": Kill("limits/hour", "complete", ("limits/", "quotas/")),
    "R2-3": Kill("shapes/result-only", "it is ''"),
    "M-3": Kill("handshake/foreign-origin", "it is 101", ("http/foreign-origin",)),
    "M-4": Kill("turns/answered", "given the prompt 0 times", EVERYTHING),
    "M-4-resume": Kill("processes/options", "claude_failed", SECOND_TURNS),
    "whole-messages-are-not-read": Kill("shapes/whole-around-a-tool", "it is ('', ", ("shapes/",)),
    "M-5": Kill("shapes/whole", "it is ''", ("shapes/",)),
    "M-6": Kill(
        "queues/second-tab",
        "not within",
        ("closing/turn-goes-on", "following/quick-reconnects", "identity/others"),
    ),
    "M-7": Kill("turns/remembers", "turn 1", ("turns/remembers",)),
    "M-8": Kill("identity/stale-cookie", "it is 401"),
    "M-11": Kill("processes/stderr", "not within"),
    "M-12": Kill("framing/too-big", "the connection ended"),
    "M-13": Kill("handshake/faulty", "it is 50"),
    "M-14": Kill("turns/claude-fails", "'running'", ("processes/held-stdout", "robustness/silence")),
    "stop-does-nothing": Kill("stopping/cancel", "not within", ("stopping/", "processes/", "quotas/stopped")),
    "partial-text-thrown-away": Kill("stopping/cancel", "''", ("stopping/", "processes/stopped-family")),
    "leaving-stops": Kill("closing/turn-goes-on", "it is", ("following/", "queues/reconnect")),
    "silent-about-cursors": Kill("following/future-cursor", "not within", ("following/",)),
    "resume-doubles": Kill("following/replays", "'seq': 1", ("following/",)),
    "long-lines": Kill("shapes/line-lengths", "error", ("shapes/", "robustness/stalled-reader")),
    "noise-ends-the-turn": Kill("shapes/strangers", "it", ("shapes/line-lengths", "shapes/not-utf8")),
    "result-is-for-who-said-nothing": Kill("shapes/end-in-the-result", "it is ('Let me look.', ''"),
    "told-again-is-told-twice": Kill("shapes/told-again", r"Hello \n\nHello", ("shapes/told-",)),
    "told-otherwise-stays": Kill("shapes/told-otherwise", "Hell or", ("shapes/told-",)),
    "subagents-are-heard": Kill("shapes/subagent", "wrong"),
    "told-twice": Kill("turns/streams", r"t6 \n\nt1", EVERYTHING),
    "no-watchdog": Kill("robustness/silence", "not within"),
    "no-guardian": Kill("processes/killed-family", "alive"),
    "nervous-heartbeat": Kill("keepalive/late-pong", "the connection ended", LONG_MESSAGES),
    "dead-peers-stay": Kill("keepalive/dead-peer", "not within"),
    "login-never-ends": Kill("identity/login-ends", "not within"),
    "any-login": Kill("identity/foreign-login", "it is 303"),
    "anybody-is-the-proxy": Kill("identity/no-proxy", "200"),
    "any-name": Kill("identity/no-name", "200"),
    "others-are-told-apart": Kill("identity/others", "forbidden"),
    "wrong-retry-after": Kill("limits/hour-slides", "retry_after is 60", ("limits/", "quotas/")),
    "retry-after-rounded-down": Kill("limits/retry-after", "it is '"),
    "usage-that-stands-still": Kill("limits/usage", "it is (0, 4)"),
    "deleted-is-given-back": Kill("limits/deletion", "complete"),
    "counted-twice": Kill("quotas/tokens", "quota_exceeded"),
    "stopped-is-free": Kill("quotas/stopped", "complete", ("quotas/killed",)),
    "no-replay": Kill(
        "following/replays", "not within", ("following/", "closing/turn-goes-on", "queues/", "limits/free")
    ),
    "silent-about-the-end": Kill("following/ended-away", "not within", ("following/", "limits/free")),
    "told-as-often-as-followed": Kill("following/quick-reconnects", "it is", ("following/",)),
    "written-is-read": Kill("following/torn-frame", "it is [1, ", ("following/ended-away",)),
    "begun-twice": Kill("following/accepted-lost", "it is 2"),
    "given-up-stops": Kill("following/half-open", "it is"),
    "heads-in-one-piece": Kill("framing/byte-by-byte", "the connection ended"),
    "gap-is-lost": Kill("following/every-cut", "it is", ("following/",)),
    "forgotten-is-not-found": Kill("following/stale-cursor", "not_found"),
    "silent-after-a-restart": Kill("following/cursor-before-restart", "not within"),
    "replays-and-stops": Kill(
        "following/goes-live", "not within", ("following/", "closing/turn-goes-on", "queues/reconnect")
    ),
    "deletion-spares-the-family": Kill("processes/deleted", "alive"),
    "timeout-spares-the-family": Kill("processes/timeout-family", "alive"),
    "hears-only-the-end-of-stdout": Kill("processes/held-stdout", "not within"),
    "asks-once": Kill("stopping/deaf-to-interrupt", "not within"),
    "goes-without-a-word": Kill("processes/clean-stop", "the connection ended"),
    "missing-is-failed": Kill("turns/claude-missing", "claude_failed"),
    "sessions-in-memory": Kill("turns/remembers-after-restart", "turn 1"),
    "no-guardian-of-claude": Kill("processes/orphans", "there is"),
    "lines-of-half-a-mib": Kill("shapes/one-mib", "error"),
    "dies-of-a-long-line": Kill("shapes/sixteen-mib", "the connection ended"),
    "half-a-pair-ends-the-turn": Kill("shapes/surrogate", "error"),
    "half-a-pair-ends-the-message": Kill("messages/half-a-character", "unavailable"),
    "failed-is-free": Kill("quotas/killed", "complete"),
    "at-once-is-two": Kill("following/two-tabs-at-once", "'type': 'error'", ("limits/at-once",)),
    "posts-from-anywhere": Kill("http/foreign-origin", "it is 20"),
    "own-page-is-foreign": Kill("handshake/own-origin", "403"),
    "selects-nothing": Kill("handshake/subprotocol-selected", "None"),
    "short-pongs": Kill("framing/ping", "its payload is"),
    "masks-its-frames": Kill("framing/server-frames", "mask", EVERYTHING),
    "ends-twice": Kill("turns/order", "the events are", ("following/", "stopping/", "limits/free")),
    "seq-of-the-connection": Kill(
        "turns/seq", "it is [", ("turns/sent-twice", "following/", "stopping/too-late")
    ),
    "posts-without-names": Kill("http/post", "status 200", ("history/post-turn",)),
    "no-name-is-good": Kill("identity/named", "401", ("identity/", "limits/", "quotas/", "robustness/")),
    "nobody-may-log-in": Kill("identity/login", "status 403", ("identity/",)),
    "everybody-may-log-in": Kill("identity/stranger", "it is 303"),
    "selects-what-nobody-offered": Kill("handshake/subprotocol-not-invented", "was not offered"),
    "one-spelling": Kill("handshake/spellings", "it is 400"),
    "any-fault-is-400": Kill("handshake/wrong-version", "it is 400"),
    "frames-of-one-mib": Kill("framing/two-mib", "the connection ended", LONG_MESSAGES),
    "pongs-wait-for-turns": Kill("framing/ping-during-turn", "the connection ended", ("queues/", "closing/")),
    "talks-after-the-close": Kill("closing/nothing-after", "came after it"),
    "obeys-after-the-close": Kill("closing/nothing-obeyed", "it is 1"),
    "strict-about-members": Kill("messages/unknown-members", "bad_request"),
    "ids-are-wanted": Kill("messages/id-chosen", "bad_request", ("limits/free",)),
    "hangs-up-on-nonsense": Kill("messages/malformed", "the connection ended", ("messages/", "framing/")),
    "hangs-up-on-bytes": Kill("messages/binary", "the connection ended"),
    "nonsense-stops-turns": Kill("messages/error-is-local", "it is 't1 t2 '"),
    "space-is-a-message": Kill(
        "messages/empty", "it is {'type': 'accepted'", ("limits/free", "messages/error-is-local")
    ),
    "any-length": Kill("messages/too-long", "it is {'type': 'accepted'", ("http/post-errors",)),
    "nowhere-is-new": Kill(
        "messages/unknown-conversation", "accepted", ("identity/others", "history/deleted", "limits/free")
    ),
    "misshapen-is-new": Kill("messages/misshapen-conversation", "accepted"),
    "any-id": Kill("messages/id-misshapen", "accepted", ("http/",)),
    "waits-where-it-is-busy": Kill("turns/busy", "the connection ended"),
    "ids-are-for-all": Kill("identity/same-message-id", "('hers', 'hers')", ("identity/others",)),
    "tokens-of-no-conversation": Kill("turns/named", "None"),
    "named-after-the-latest": Kill("turns/side-by-side", "it is"),
    "later-turns-are-not-told": Kill("following/running-turn", "not within"),
    "over-is-forgotten": Kill("following/finished", "reset", ("following/", "limits/free")),
    "two-followers": Kill(
        "following/everyone", "not within", ("following/goes-live", "following/quick-reconnects")
    ),
    "too-late-is-unknown": Kill("stopping/too-late", "not_found"),
    "nothing-to-stop": Kill("stopping/unknown", "not within", ("identity/others", "history/deleted")),
    "posts-are-forgotten": Kill("history/post-turn", "it is []"),
    "kept-when-it-is-over": Kill("history/before-claude", "it is []", ("following/ended-away",)),
    "tabs-are-spaces": Kill("turns/same-as-history", "code    tab"),
    "prompts-name-files": Kill("processes/prompt-is-data", "the model was sent ["),
    "prompts-are-commands": Kill("processes/prompt-is-data", "it wrote [{"),
    "forgets-in-silence": Kill("turns/forgets-aloud", "the turn's statuses are []"),
    "steps-are-not-saved": Kill("history/steps", "after the turn they are []"),
    "steps-are-lost-at-a-restart": Kill("history/steps", "after a restart they are []"),
    "oldest-first": Kill("history/listed", "it is ["),
    "untitled": Kill("history/shape", "it is ''"),
    "retold-without-words": Kill("following/sent-again-late", "it is ('', "),
    "stops-when-all-is-said": Kill("processes/stopped-running", "it is None"),
    "deleted-is-told": Kill("history/deleted", "complete"),
    "deleted-is-there": Kill("history/deleted", "it is 200"),
    "new-is-nothing-new": Kill("history/new", "it is 200"),
    "times-of-no-zone": Kill("history/times", "it is '20"),
    "days-are-free": Kill("limits/day", "complete", ("limits/usage",)),
    "one-limit-for-all": Kill("limits/others", "rate_limited", ("limits/", "quotas/")),
    "refusal-stops-turns": Kill("limits/running-turn", "it is 't1 t2 '"),
    "asking-counts": Kill("limits/free", "it is 429", ("limits/",)),
    "posts-spend-nothing": Kill("quotas/post", "complete", ("limits/both-doors", "limits/free")),
    "turns-of-24-hours": Kill("limits/day-passes", "rate_limited"),
    "never-healthy": Kill("http/health", "it is 500", ("turns/nobody-waits", "handshake/")),
    "failure-is-an-answer": Kill("http/post-errors", "status 200"),
    "forms-are-whole": Kill("http/broken-forms", "it is 50"),
    "loads-elsewhere": Kill("http/page", "it loads"),
    "posts-wait-for-all": Kill(
        "http/while-others-chat", "not within", ("turns/nobody-waits", "turns/busy", "identity/others")
    ),
    "stopped-in-name": Kill("processes/cancelled", "was told nothing", ("stopping/", "quotas/stopped")),
    "result-told-too": Kill("shapes/pieces-only", "it is"),
    "told-twice-over": Kill("shapes/three-times", r"only once\n\nonly once", EVERYTHING),
    "stop-poisons": Kill("stopping/goes-on", "it is", ("stopping/", "quotas/stopped")),
    "late-result": Kill("stopping/late-result", "it", ("stopping/", "quotas/stopped")),
    "tools-go-on": Kill("stopping/in-a-tool", "not within"),
    "no-kill": Kill("stopping/deaf-to-all", "not within", ("stopping/", "processes/")),
    "families-live-on": Kill("processes/stopped-family", "alive", ("processes/",)),
    "idle-for-ever": Kill("processes/everyone-left", "alive"),
    "deleted-goes-on": Kill("processes/result-ends", "alive"),
    "waits-for-the-end-of-stdout": Kill("processes/result-ends", "not within", ("turns/", "processes/")),
    "anybody-may-own-the-data": Kill("processes/one-owner", "it is 'interrupted'"),
    "gives-up-on-a-locked-database": Kill("robustness/database-locked", "it is 'error'"),
    "interrupted-runs-on": Kill("processes/killed", "'running'"),
    "dashes-are-options": Kill("processes/dash", "unknown option"),
    "characters-break": Kill("shapes/dribble", "\N{REPLACEMENT CHARACTER}"),
    "bytes-must-be-text": Kill("shapes/not-utf8", "claude_failed"),
    "says-nothing-twice": Kill("shapes/same-again", "''"),
    "cache-is-charged": Kill("quotas/tokens", "12015"),
    "posts-are-free": Kill("limits/both-doors", "complete", ("quotas/post", "limits/free")),
    "one-too-many": Kill("limits/at-once", "it is", ("following/two-tabs-at-once",)),
    "counts-in-memory": Kill("limits/restart", "complete"),
    "day-of-24-hours": Kill("quotas/day-passes", "quota_exceeded"),
    "hour-is-longer": Kill("limits/hour-passes", "rate_limited"),
    "twice-is-two": Kill(
        "turns/sent-twice",
        "busy",
        ("http/post", "limits/free", "following/two-tabs-at-once", "following/accepted-lost"),
    ),
    "half-a-mib": Kill("messages/one-mib", "too_large"),
    "silent-post": Kill("keepalive/silent-post", "Connection reset"),
    "slow-is-silent": Kill("robustness/slow", "it was ended"),
    "who-is-gone-is-waited-for": Kill("robustness/stalled-and-gone", "alive"),
    "one-stalls-all": Kill("robustness/stalled-reader", "not within", ("",)),  # whoever is answered meanwhile
    "a-queue-for-each": Kill("robustness/stalled-memory", "has grown by"),
    "silent-connections-stay": Kill("robustness/silent-connection", "not within"),
    "each-byte-gains-time": Kill("robustness/half-header", "not within"),
    "any-file-is-served": Kill("http/traversal", "it is b'root:"),
    "no-policy": Kill("http/page-headers", "None", ("http/no-store",)),
    "history-may-be-kept": Kill("http/no-store", "it is 'no-cache'"),
    "errors-are-spelled-out": Kill("http/errors-tell-nothing", "/nonexistent"),
    "odd-names-are-failures": Kill("http/strangers-mistakes", "it is 503"),
    "requests-are-logged-raw": Kill("robustness/log", "it has ["),
}
"""Mutants of the reference server, by what breaks it."""
