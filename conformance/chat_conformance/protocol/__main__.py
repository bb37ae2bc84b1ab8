"""``python -m chat_conformance.protocol FOLDER``: write the schemas and the TypeScript types."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from chat_conformance.protocol.schema import NAME, asyncapi, json_schema
from chat_conformance.protocol.typescript import typescript


def files() -> dict[str, str]:
    """The published files, by name."""
    schema = json_schema()
    return {
        f"{NAME}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        f"{NAME}.asyncapi.json": json.dumps(asyncapi(), indent=2, ensure_ascii=False) + "\n",
        f"{NAME}.d.ts": typescript(schema),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/protocol")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)
