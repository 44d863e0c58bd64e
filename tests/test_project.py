"""The repository agrees with itself and names nothing of the machine it was written on."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import tensorwright

ROOT = Path(__file__).parents[1]
DEVICES = ("cpu", "cuda", "null")
NOT_OURS = {".git", "build", "dist", "__pycache__"}
PATHS_OF_ONE_MACHINE = re.compile(
    rb"/(?:work/(?:main|shared|brief)|root/|home/[a-z]|Users/[a-z]|opt/(?:wheels|pypi))|\.\./shared"
)


def repository_files() -> list[Path]:
    def ours(path: Path) -> bool:
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") for part in parts[:-1]) and parts[0] != ".ci"
        return path.is_file() and not hidden and not NOT_OURS.intersection(parts)

    return [path for path in ROOT.rglob("*") if ours(path)]


def test_the_version_is_the_same_everywhere():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert tensorwright.__version__ == declared
    assert importlib.metadata.version("tensorwright") == declared
    assert f"## [{declared}]" in (ROOT / "CHANGELOG.md").read_text()


def test_no_file_names_a_path_of_one_machine():
    files = [path for path in repository_files() if path != Path(__file__)]
    assert ROOT / "pyproject.toml" in files
    found = {
        str(path.relative_to(ROOT)): match.group().decode()
        for path in files
        if (match := PATHS_OF_ONE_MACHINE.search(path.read_bytes()))
    }
    assert not found


def test_the_package_ships_its_types():
    assert (Path(tensorwright.__file__).parent / "py.typed").is_file()


def test_every_neutral_module_is_held_to_name_no_device() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    held = {
        name for one in contracts if one["name"] == "Neutral floors name no device" for name in one["source_modules"]
    }
    package = Path(tensorwright.__file__).parent
    divided = [floor for floor in package.iterdir() if (floor / "cpu").is_dir() or (floor / "cpu.py").is_file()]
    parts = [
        part
        for floor in divided
        for part in floor.iterdir()
        if part.suffix == ".py" or (part / "__init__.py").is_file()
    ]
    neutral = {
        f"tensorwright.{part.parent.name}.{part.stem}" for part in parts if part.stem not in {*DEVICES, "__init__"}
    }
    assert len(divided) == 6
    assert neutral <= held
