r"""The types of chat-stream-v1 in TypeScript, from its JSON Schema.

Example: ``{"type": "object", "properties": {"to": {"type": "integer"}}, "required": ["to"]}`` is
``{\n  to: number;\n}``.
"""

from __future__ import annotations

import json
from typing import Any

HEAD = """// The messages and documents of chat-stream-v1 (docs/protocol.md).
// Made by python -m chat_conformance.protocol.
// Further members and further types of messages may come; ignore what you do not know (MSG-1).
"""
PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def typescript(schema: dict[str, Any]) -> str:
    """The declarations of all definitions of a schema.

    Raises:
        ValueError: It has what this cannot say.
    """
    return HEAD + "".join(
        f"\n/** {definition['description']} */\nexport {_declared(name, definition)}\n"
        for name, definition in schema["$defs"].items()
    )


def _declared(name: str, definition: dict[str, Any]) -> str:
    if definition.get("type") == "object":
        return f"interface {name} {_members(definition)}"
    return f"type {name} = {_type(definition)};"


def _members(definition: dict[str, Any]) -> str:
    required = definition.get("required", [])
    lines = []
    for name, each in definition["properties"].items():
        said = f"  /** {each['description']} */\n" if "description" in each else ""
        lines.append(f"{said}  {name}{'' if name in required else '?'}: {_type(each)};\n")
    return "{\n" + "".join(lines) + "}"


def _type(schema: dict[str, Any]) -> str:
    match schema:
        case {"$ref": str(path)}:
            return path.rpartition("/")[2]
        case {"enum": [*words]}:
            # A JSON string is a string literal of TypeScript.
            return " | ".join(map(json.dumps, words))
        case {"anyOf": [*choices]}:
            return " | ".join(map(_type, choices))
        case {"type": "array", "items": inner}:
            # In TypeScript, `A | B[]` is A or a list of B.
            return f"({_type(inner)})[]" if "anyOf" in inner else f"{_type(inner)}[]"
        case {"type": str(kind)} if kind in PLAIN:
            return PLAIN[kind]
        case _:
            # Not `any`: a new kind of schema must stop the making of the file, or else the published types say
            # less than the schema.
            raise ValueError(f"no TypeScript for {schema}")
