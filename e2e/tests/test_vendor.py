"""Code from elsewhere is what it says it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = [ROOT / "impl/chat_server/static/vendor", ROOT / "e2e/vendor"]


@pytest.mark.parametrize("folder", FOLDERS, ids=["page", "tests"])
def test_vendored_files_are_the_recorded_ones(folder: Path) -> None:
    recorded = {
        name: each["sha256"] for name, each in json.loads((folder / "vendor.json").read_text()).items()
    }
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.js")}

    assert found == recorded


@pytest.mark.parametrize("folder", FOLDERS, ids=["page", "tests"])
def test_each_vendored_file_has_its_origin_and_licence(folder: Path) -> None:
    for name, each in json.loads((folder / "vendor.json").read_text()).items():
        assert each.keys() == {"package", "version", "file", "licence", "sha256"}
        assert (folder / name).with_suffix(".LICENSE").stat().st_size > 500
