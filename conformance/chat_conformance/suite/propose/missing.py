"""What to say of a recording that has no prompt, or no answer, by what it does have."""

from __future__ import annotations

from chat_conformance.suite.propose.leaves import leaves
from chat_conformance.suite.propose.recording import Exchange, Recording, path_of

BY_HAND = "record with Chromium or Playwright, or write the session by hand (docs/judge-your-server.md)"
SHOWN = 5


def nothing_sent(recording: Recording, prompt: str) -> str:
    """Why no message, and no request with a streamed answer, is recognised as a prompt."""
    frames = [each for socket in recording.sockets for each in socket.frames]
    if recording.sockets and not frames:
        return (
            f"the WebSocket {path_of(recording.sockets[0].url)} is recorded without its messages: {BY_HAND}"
        )
    if prompt:
        bodies = [frame.value for frame in frames if frame.sent]
        bodies += [each.value for each in recording.exchanges if each.body]
        known = [each for body in bodies for _, each in leaves(body) if isinstance(each, str) and each]
        if prompt not in known:
            texts = ", ".join(repr(each[:40]) for each in dict.fromkeys(known[-SHOWN:]))
            return f"{prompt!r} is sent nowhere in the recording; the last texts sent are {texts or 'none'}"
    streams = [each for each in recording.exchanges if each.streams]
    if streams:
        path = f"{streams[0].method} {streams[0].path.partition('?')[0]}"
        return (
            f"{path} streams, but no prompt is recognised in its body; if prompts are sent by another request,"
            f" describe both by hand: stream.send and stream.open; if not, say what was typed with --prompt"
        )
    if (
        frames
        and not any(each.sent for each in frames if not each.text.startswith("4"))
        and (posts := [each for each in recording.exchanges if each.method == "POST" and each.body])
    ):
        return (
            f"answers come over a WebSocket, and prompts, it seems, by {posts[-1].method} {posts[-1].path}:"
            " such a mixture cannot be described"
        )
    if not frames:
        requests = len(recording.exchanges)
        return f"no WebSocket and no streamed answer is in the recording (requests: {requests}): {BY_HAND}"
    return (
        "no prompt is recognised in the recording; say what was typed with --prompt,"
        " and record until the answer is over"
    )


def without_content(exchange: Exchange) -> str:
    """What to do about an answer that is recorded without its text."""
    return (
        f"the answer of {exchange.method} {exchange.path} is recorded without its content; export with content,"
        ' in Playwright with record_har_content="embed", or write the session by hand'
    )
