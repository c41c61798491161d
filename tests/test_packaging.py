"""What a stranger gets: the wheel's names, the layers, the two commands named first."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    from hatchling.builders.wheel import WheelBuilder

    builder = WheelBuilder(str(ROOT))
    (wheel,) = builder.build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_four_rooms_and_nothing_else(wheel_names: set[str]) -> None:
    top = {name.split("/")[0] for name in wheel_names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "agent",
        "runbooks",
        "tools",
        "tui",
    }


@pytest.mark.parametrize(
    "name",
    [
        "agent/prompts/diagnose.txt",
        "runbooks/library/wna16-no-kernel.md",
        "tools/simulator/scenarios/int4-kernel-l4.yaml",
        "tools/google/names.toml",
        "tui/app.tcss",
    ],
)
def test_the_wheel_holds_the_data_files(wheel_names: set[str], name: str) -> None:
    assert name in wheel_names


def test_imports_go_only_to_the_right() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_textual_is_locked_exactly() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    versions = [p["version"] for p in lock["package"] if p["name"] == "textual"]
    assert versions == ["8.2.8"]


def test_no_module_is_longer_than_it_may_be() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for room in ("agent", "runbooks", "tools", "tui")
        for path in (ROOT / room).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long
