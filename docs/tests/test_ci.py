"""What .ci/ does before tox does the rest."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_tox() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_tox", ROOT / ".ci/run_tox.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_uv_looks_where_pip_does(run_tox: ModuleType) -> None:
    listed = """:env:.disable-pip-version-check='1'
global.extra-index-url='https://one.example/simple https://two.example/simple'
global.index-url='https://mirror.example/simple/?a=b'
install.find-links='\\n/opt/wheels\\n/more'
"""

    assert run_tox.uv_settings(listed) == {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_DEFAULT_INDEX": "https://mirror.example/simple/?a=b",
        "UV_FIND_LINKS": "/opt/wheels /more",
    }


def test_own_settings_of_uv_stay(run_tox: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "manual")
    monkeypatch.setenv("UV_INDEX_STRATEGY", "first-index")
    for name in run_tox.UV.values():
        monkeypatch.setenv(name, "mine")

    run_tox.follow_pip()

    assert run_tox.os.environ["UV_PYTHON_DOWNLOADS"] == "manual"
    assert run_tox.os.environ["UV_DEFAULT_INDEX"] == "mine"


def test_machine_without_uv_has_pip_do_it(
    run_tox: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run_tox.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(run_tox, "follow_pip", lambda: None)

    assert run_tox.uv_works() == 1
