"""The JSON Schema (2020-12) of chat-stream-v1, and its AsyncAPI 3 document, from the types."""

from __future__ import annotations

from typing import Any

import msgspec

from chat_conformance.protocol.documents import DOCUMENTS
from chat_conformance.protocol.messages import CLIENT, SERVER, Message

NAME = "chat-stream-v1"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of every message and document; any text frame is held to its root.

    A message of an unknown type is valid, and so are members that are not named (MSG-1).
    """
    definitions = _definitions("#/$defs/{name}", (*CLIENT, *SERVER, *DOCUMENTS))
    return {
        "$schema": DIALECT,
        "$id": f"urn:{NAME}",
        "title": NAME,
        "description": "Messages: ClientMessage and ServerMessage. HTTP documents: the others. Made from the types of"
        " chat_conformance.protocol; docs/protocol.md has the rules.",
        "anyOf": [
            {"$ref": f"#/$defs/{name}"} for name in ("ClientMessage", "ServerMessage", "UnknownMessage")
        ],
        "$defs": {
            "ClientMessage": {
                "description": "A text frame from the client.",
                "anyOf": [_ref(each) for each in CLIENT],
            },
            "ServerMessage": {
                "description": "A text frame from the server.",
                "anyOf": [_ref(each) for each in SERVER],
            },
            "UnknownMessage": {
                "description": "A message of a type that came later; clients ignore it (MSG-1).",
                "type": "object",
                "properties": {
                    "type": {"type": "string", "not": {"enum": [word(each) for each in (*CLIENT, *SERVER)]}}
                },
                "required": ["type"],
            },
            **definitions,
        },
    }


def asyncapi() -> dict[str, Any]:
    """The socket as an AsyncAPI document, from the server's side: it receives client messages and sends the others."""
    messages = {
        each.__name__: {
            "name": word(each),
            "title": each.__name__,
            "summary": _sentence(each),
            "payload": {"$ref": f"#/components/schemas/{each.__name__}"},
        }
        for each in (*CLIENT, *SERVER)
    }
    channel = {"$ref": "#/channels/chat"}

    def operation(action: str, kinds: tuple[type[Message], ...], summary: str) -> dict[str, Any]:
        refs = [{"$ref": f"#/channels/chat/messages/{each.__name__}"} for each in kinds]
        return {"action": action, "channel": channel, "summary": summary, "messages": refs}

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": NAME,
            "version": "1",
            "description": "A chat that streams Claude's answers. Each text frame carries one message."
            " Receivers ignore members that they do not know, clients ignore types that they do not know.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "chat": {
                "address": "/chat/ws",
                "title": "The WebSocket",
                "description": f"Subprotocol {NAME} (HAND-2).",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {
                    "ws": {
                        "method": "GET",
                        "headers": {
                            "type": "object",
                            "properties": {"Sec-WebSocket-Protocol": {"type": "string", "const": NAME}},
                        },
                        "bindingVersion": "0.1.0",
                    }
                },
            }
        },
        "operations": {
            "receive": operation("receive", CLIENT, "What a client may send."),
            "send": operation("send", SERVER, "What answers it, and the events of turns."),
        },
        "components": {
            "messages": messages,
            "schemas": _definitions("#/components/schemas/{name}", (*CLIENT, *SERVER)),
        },
    }


def word(message: type[Message]) -> str:
    """The ``type`` of a message."""
    return str(message.__struct_config__.tag)


def _definitions(template: str, kinds: tuple[type[msgspec.Struct], ...]) -> dict[str, Any]:
    _, found = msgspec.json.schema_components(kinds, ref_template=template)
    return {name: _plain(each) for name, each in sorted(found.items())}


def _plain(schema: Any) -> Any:
    """A schema without ``discriminator``, which is OpenAPI's and not JSON Schema's."""
    if isinstance(schema, dict):
        return {name: _plain(each) for name, each in schema.items() if name != "discriminator"}
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema


def _ref(message: type[Message]) -> dict[str, str]:
    return {"$ref": f"#/$defs/{message.__name__}"}


def _sentence(message: type[Message]) -> str:
    return (message.__doc__ or "").strip()
