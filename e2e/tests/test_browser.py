"""Which Chromium is chosen, in which order."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.browser import INSTALL, NoBrowserError, find, find_or_install


def on_path(*programs: str) -> Callable[[str], str | None]:
    """A ``which`` that knows these, and files that exist when named by path."""

    def which(name: str) -> str | None:
        if "/" in name:
            return name if Path(name).is_file() else None
        return f"/usr/bin/{name}" if name in programs else None

    return which


def downloaded(folder: Path, revision: str, inner: str = "chrome-linux") -> Path:
    chrome = folder / f"chromium-{revision}" / inner / "chrome"
    chrome.parent.mkdir(parents=True)
    chrome.touch(mode=0o755)
    return chrome


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own-chromium"
    path.touch(mode=0o755)
    return path


def test_named_one_wins(tmp_path: Path, own: Path) -> None:
    downloaded(tmp_path, "1100")
    env = {"CHATGATE_CHROMIUM": str(own), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}

    assert find(env, on_path("chromium")) == own


def test_named_one_that_is_missing_is_refused(tmp_path: Path) -> None:
    env = {"CHATGATE_CHROMIUM": str(tmp_path / "nowhere")}

    with pytest.raises(NoBrowserError, match=r"CHATGATE_CHROMIUM is '.*nowhere'"):
        find(env, on_path("chromium"))


def test_newest_download_comes_before_the_system(tmp_path: Path) -> None:
    downloaded(tmp_path, "999")
    newest = downloaded(tmp_path, "1100", "chrome-linux64")
    downloaded(tmp_path, "tip-of-tree")

    assert find({"PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}, on_path("chromium")) == newest


def test_downloads_are_looked_for_in_the_cache(tmp_path: Path) -> None:
    chrome = downloaded(tmp_path / ".cache" / "ms-playwright", "1100")

    assert find({"HOME": str(tmp_path)}, on_path()) == chrome


def test_download_that_cannot_be_run_is_passed_over(tmp_path: Path) -> None:
    downloaded(tmp_path, "1100").chmod(0o644)

    assert find({"PLAYWRIGHT_BROWSERS_PATH": str(tmp_path)}, on_path("chromium")) == Path("/usr/bin/chromium")


@pytest.mark.parametrize(
    ("programs", "chosen"),
    [
        (("google-chrome", "chromium-browser", "chromium"), "chromium"),
        (("google-chrome", "chromium-browser"), "chromium-browser"),
        (("google-chrome",), "google-chrome"),
    ],
)
def test_system_names_have_an_order(tmp_path: Path, programs: tuple[str, ...], chosen: str) -> None:
    assert find({"HOME": str(tmp_path)}, on_path(*programs)) == Path("/usr/bin") / chosen


def test_none_is_found_where_none_is(tmp_path: Path) -> None:
    assert find({"HOME": str(tmp_path)}, on_path("firefox")) is None


def test_root_on_debian_installs_it_and_says_so(tmp_path: Path) -> None:
    ran: list[tuple[str, ...]] = []
    said: list[str] = []

    def which(name: str) -> str | None:
        return on_path("apt-get", *(["chromium"] if len(ran) == len(INSTALL) else []))(name)

    found = find_or_install(
        {"HOME": str(tmp_path)}, which=which, is_root=True, run=ran.append, say=said.append
    )

    assert found == Path("/usr/bin/chromium")
    assert ran == [*INSTALL]
    assert "installing it with apt-get" in said[0]


@pytest.mark.parametrize(
    ("is_root", "programs"), [(False, ("apt-get",)), (True, ("dnf",))], ids=["not-root", "not-debian"]
)
def test_missing_browser_names_the_package(
    tmp_path: Path, *, is_root: bool, programs: tuple[str, ...]
) -> None:
    ran: list[tuple[str, ...]] = []

    with pytest.raises(NoBrowserError, match="sudo apt-get install chromium") as caught:
        find_or_install({"HOME": str(tmp_path)}, which=on_path(*programs), is_root=is_root, run=ran.append)

    assert ran == []
    assert len(str(caught.value).splitlines()) == 1


def test_failed_installation_names_its_command(tmp_path: Path) -> None:
    def run(command: tuple[str, ...]) -> None:
        raise subprocess.CalledProcessError(100, command)

    with pytest.raises(NoBrowserError, match=r"`apt-get update`.*status 100"):
        find_or_install(
            {"HOME": str(tmp_path)}, which=on_path("apt-get"), is_root=True, run=run, say=lambda _: None
        )


def test_one_that_is_there_is_not_installed_again(tmp_path: Path) -> None:
    ran: list[tuple[str, ...]] = []

    found = find_or_install({"HOME": str(tmp_path)}, which=on_path("chromium"), is_root=True, run=ran.append)

    assert (found, ran) == (Path("/usr/bin/chromium"), [])
