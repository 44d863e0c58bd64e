"""The examples run, and their types are right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "hand_built_lenet": "20 of 20 right",
    "build_save_load": "16 (16, 10)",
    "edit_parsed_model": "digit 2 with probability 1.000",
    "streams": "320 images",
    "own_memory": "after close: 0 bytes",
}
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))


def test_every_example_is_expected_and_listed():
    assert {path.stem for path in PROGRAMS} == set(EXPECTED)
    listed = (ROOT / "examples" / "README.md").read_text()
    assert all(f"`{path.name}`" in listed for path in PROGRAMS)


@pytest.mark.parametrize("name", EXPECTED)
def test_example(name, tmp_path_factory):
    cache = tmp_path_factory.getbasetemp().parent / "examples"  # One for all: each builds the same network.
    command = [sys.executable, "-W", "error", ROOT / "examples" / f"{name}.py"]
    environment = {"XDG_CACHE_HOME": str(cache), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert EXPECTED[name] in done.stdout


def test_the_types_of_the_examples_are_right():
    demo = [ROOT / "demo" / name for name in ("demo.py", "classify.py")]
    command = [sys.executable, "-m", "mypy", "--strict", *PROGRAMS, *demo]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
