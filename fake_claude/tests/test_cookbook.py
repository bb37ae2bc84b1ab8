"""Every script and command of docs/fake-claude.md, run as it stands there."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from fake_claude.tests.conftest import PATIENCE, Fake

PAGE = Path(__file__).parents[2] / "docs" / "fake-claude.md"


@dataclass(frozen=True)
class Recipe:
    """A script, if there is one, and the commands with what they print."""

    title: str
    script: str
    commands: list[tuple[str, str]]


def recipes(text: str) -> list[Recipe]:
    """Read the page: a console block belongs to the script before it, under the same heading."""
    found: list[Recipe] = []
    title = script = ""
    for heading, language, block in re.findall(
        r"^#+ ([^\n]+)$|^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    ):
        if heading:
            title, script = heading, ""
        elif language == "toml":
            script = block
        elif language == "console":
            parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
            commands = [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts]
            found.append(Recipe(title, script, commands))
    return found


RECIPES = recipes(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title.replace(" ", "-"))
async def test_recipe_does_what_the_page_says(fake: Fake, recipe: Recipe) -> None:
    if recipe.script:
        fake.script(recipe.script.replace("version = 1\n", ""))
    path = f"{fake.launcher.parent}:{Path(sys.executable).parent}:/usr/bin:/bin"
    for command, printed in recipe.commands:
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", command, cwd=fake.cwd, env=fake.env(PATH=path), stdin=subprocess.DEVNULL, stdout=-1
        )
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate()

        assert out.decode() == printed


def test_the_page_has_a_recipe_for_every_kind_of_step() -> None:
    from fake_claude.script.steps import KINDS

    text = PAGE.read_text(encoding="utf-8")
    unnamed = {kind for kind in KINDS if not re.search(rf"\b{kind} = ", text)}
    assert unnamed == {"pieces"}
