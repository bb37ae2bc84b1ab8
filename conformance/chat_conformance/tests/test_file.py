from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from chat_conformance.errors import UsageError
from chat_conformance.target.file import Target, fill, load

GOOD = 'name = "mine"\nurl = "http://127.0.0.1:8000"\n'


def written(folder: Path, text: str) -> str:
    """The path of a target file with this text."""
    place = folder / "mine.toml"
    place.write_text(text, encoding="utf-8")
    return str(place)


def test_a_url_is_enough(tmp_path: Path) -> None:
    target = load(written(tmp_path, GOOD))

    assert (target.name, target.starts, target.paths.socket) == ("mine", False, "/chat/ws")
    assert [user.name for user in target.users] == ["user"]


def test_the_shipped_target_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert load("targets/reference.toml").starts


def test_a_file_here_comes_before_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "reference.toml").write_text(GOOD, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert load("targets/reference.toml").name == "mine"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + 'strat = ["x"]', "unknown field 'strat'; did you mean 'start'?"),
        (GOOD + '[paths]\nsockt = "/ws"', "unknown field 'sockt' in paths; did you mean 'socket'?"),
        (
            GOOD + '[[users]]\nname = "a"\nheader = {}',
            "unknown field 'header' in users[0]; did you mean 'headers'?",
        ),
        ('name = "x"', "missing required field `url`"),
        (GOOD + 'within = "long"', "Expected `float`, got `str` - at `$.within`"),
        (GOOD + "within = 0", "within is 0.0; it must be more than 0"),
        (GOOD + "users = []", "users is empty"),
        (GOOD + 'secrets = ["A"]', "secrets has 'A', which is not in env"),
        (
            GOOD + 'env = { A = "{prot}" }',
            "A: unknown placeholder {prot}; known are {python}, {port}, {data}, {claude}",
        ),
        ('name = "x"\nurl = "ftp://a"', "url is 'ftp://a'; it must be like http://127.0.0.1:{port}"),
        ('name = "x"\nurl = "http://127.0.0.1:{port}"', "there is no start command to give it to"),
        ("name = ", "Invalid value"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path_and_reason(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, text)

    with pytest.raises(UsageError) as caught:
        load(path)

    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)


def test_a_missing_file_names_the_shipped_ones() -> None:
    with pytest.raises(
        UsageError, match=r"no target file nowhere\.toml; shipped with the suite: targets/reference\.toml"
    ):
        load("nowhere.toml")


def test_placeholders_are_filled() -> None:
    assert fill("--port={port} {data}/x", {"port": "1", "data": "/d"}, "start") == "--port=1 /d/x"


def test_every_field_is_described() -> None:
    described = inspect.cleandoc(Target.__doc__ or "")

    assert [field for field in Target.__struct_fields__ if f"\n    {field}: " not in described] == []
