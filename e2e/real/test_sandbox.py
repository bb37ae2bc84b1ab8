"""The real CLI with tools, inside the bubblewrap recipe: commands reach nothing of the server and of other users."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from e2e.process import running
from fake_claude.real_cli import VARIABLE

WRAPPER = Path(__file__).resolve().parents[2] / "deploy/claude-sandbox"
SECRET = "secret-of-this-test"
TURN = """
[[turn]]
match = '^run {name}$'
steps = [{{ tool = "Bash", input = {{ command = {command} }} }}, {{ text = "Done." }}]
"""


@asynccontextmanager
async def chat(folder: Path, commands: dict[str, str], wrapper: str) -> AsyncIterator[str]:
    """The address of a server whose model runs the command of the name that a prompt says."""
    claude = os.environ.get(VARIABLE)
    assert claude, f"{VARIABLE} is not set: run `tox -e real`"
    assert shutil.which("bwrap"), "bubblewrap is not installed: run `tox -e real`, which installs it"
    turns = [TURN.format(name=name, command=json.dumps(command)) for name, command in commands.items()]
    script = folder / "script.toml"
    script.write_text("version = 1\n" + "".join(turns))
    api = [sys.executable, "-m", "fake_claude", "api", "--port", "0", "--script", str(script)]
    async with running("fake-claude api", api, env=os.environ, ready="listening on") as program:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ANTHROPIC_API_KEY": "sk-dummy",
            "ANTHROPIC_BASE_URL": program.ready_line.rpartition(" ")[2],
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CHAT_CLAUDE": claude,
            "CHAT_CLAUDE_TOOLS": "Bash",
            "CHAT_CLAUDE_ARGS": "--allowedTools Bash",
            "CHAT_CLAUDE_WRAPPER": wrapper,
            "CHAT_IDENTITY": "proxy",
            "CHAT_PROXY_SECRET": SECRET,
        }
        argv = [sys.executable, "-m", "chat_server", "--port", "0", "--data", str(folder / "data")]
        async with running("chat-server", argv, env=env, ready="Chat ready at ") as server:
            yield server.ready_line.rpartition(" ")[2].removesuffix("/chat/")


async def run(url: str, user: str, name: str) -> str:
    """What the command of this name wrote, as history has it, in a new conversation of the user."""
    headers = {"X-Chat-User": user, "X-Chat-Secret": SECRET}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        async with session.post("/chat", data={"message": f"run {name}"}) as response:
            answer = await response.json()
            assert response.status == 200, answer
        async with session.get(f"/chat/history/{answer['conversation_id']}") as response:
            document = await response.json()
    (step,) = [step for step in document["messages"][-1]["steps"] if step["type"] == "tool"]
    return str(step["result"])


NESTED = "unshare --user --map-root-user --mount"


def commands(data: Path) -> dict[str, str]:
    return {
        "mine": "echo MINE > note.txt && cat note.txt && pwd",
        "environments": "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c secret-of || true",
        "processes": "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'm imp[l]' || true",
        "database": f"ls {data} {data}/chat.sqlite3 2>&1 || true",
        "programs": "; ".join(
            f"{by} mount -o remount,rw,bind /usr 2>&1 && echo GOT-IN" for by in ("", NESTED)
        ),
        "kernel": "cat {0} > v && cat v > {0} && echo GOT-IN".format("/proc/sys/kernel/printk_ratelimit"),
        "others": f"cat {data}/workspaces/folders/*/work/note.txt 2>&1 || true",
    }


async def test_sandbox_hides_the_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    wrapper = f"{WRAPPER} {{home}} {{work}} {{tmp}}"
    async with chat(tmp_path, commands(data), wrapper) as url:
        mine = await run(url, "ada", "mine")
        found = {name: await run(url, "mallory", name) for name in commands(data) if name != "mine"}

    assert mine.startswith("MINE\n")
    assert mine.rstrip().endswith("/work")
    assert (found["environments"].strip(), found["processes"].strip()) == ("0", "0")
    assert "chat.sqlite3" not in found["database"].replace(f"{data}/chat.sqlite3", "")
    assert "No such file" in found["database"]
    assert "MINE" not in found["others"]
    assert "GOT-IN" not in found["programs"] + found["kernel"]
    assert "mount" in found["programs"]  # it was tried, and refused


async def test_tools_without_sandbox_reach_the_database(tmp_path: Path) -> None:
    """This is why the server warns; it proves, too, that the commands above would find something."""
    data = tmp_path / "data"
    async with chat(tmp_path, commands(data), "") as url:
        await run(url, "ada", "mine")
        database, others = await run(url, "mallory", "database"), await run(url, "mallory", "others")

    assert "chat.sqlite3-wal" in database
    assert "MINE" in others
