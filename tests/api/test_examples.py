"""The examples run, and their types are right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RIGHT = "digits 7 7 1 4 2 4 0 2 3 6 6 1 0 1 7 8 0 1 5 0\n20 of 20 right\n"
ROUTES = ("lenet_from_caffe", "lenet_from_uff", "lenet_from_frozen_graph", "lenet_from_onnx", "hand_built_lenet")
FLOWS = ("tensorflow_to_predictions", "caffe_to_predictions")
EXPECTED = {
    **dict.fromkeys((*ROUTES, *FLOWS), RIGHT),
    "lenet_files": "lenet.caffemodel     1724465 bytes",
    "build_save_load": "16 (16, 10)",
    "edit_parsed_model": "digit 2 with probability 1.000",
    "streams": "320 images",
    "plugin": "y: largest error below 1e-5: True\nz: largest error below 1e-5: True",
    "own_memory": "after close: 0 bytes",
    "without_numpy": "7 7 1 4 2 4 0 2 3 6 6 1 0 1 7 8 0 1 5 0\nNumPy was imported: False\n",
}
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))


def test_every_example_is_expected_and_listed():
    assert {path.stem for path in PROGRAMS} == set(EXPECTED)
    listed = (ROOT / "examples" / "README.md").read_text()
    assert all(f"`{path.name}`" in listed for path in PROGRAMS)


def run(name, folder, *arguments):
    command = [sys.executable, "-W", "error", ROOT / "examples" / f"{name}.py", *arguments]
    environment = {"XDG_CACHE_HOME": str(folder), "PATH": ""}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def cache(tmp_path_factory):
    """One timing cache for all: most of the examples build the same network."""
    return tmp_path_factory.getbasetemp().parent / "examples"


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {*ROUTES, *FLOWS}))
def test_example(name, cache):
    done = run(name, cache)
    assert done.returncode == 0, done.stdout + done.stderr
    assert EXPECTED[name] in done.stdout


def test_every_route_to_an_engine_gives_the_same_predictions_and_probabilities(cache, tmp_path):
    found = []
    for name in (*ROUTES, *FLOWS):
        done = run(name, cache, tmp_path / f"{name}.npy")
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        assert done.stdout.endswith(RIGHT), name
        found.append(np.load(tmp_path / f"{name}.npy"))
    np.testing.assert_allclose(np.stack(found), np.broadcast_to(found[0], (len(found), 20, 10)), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[0].sum(1), 1, atol=1e-5)


def test_the_page_about_caffe_works_as_written(cache, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "caffe.md").read_text(), re.DOTALL | re.MULTILINE)
    assert run("lenet_files", cache, tmp_path).returncode == 0
    (tmp_path / "page.py").write_text("".join(f"{block}\nprint(engine.max_batch_size)\n" for block in blocks))
    command, environment = [sys.executable, "-W", "error", "page.py"], {"XDG_CACHE_HOME": str(cache), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "20\n32\n", done.stderr


def test_the_types_of_the_examples_are_right():
    demo = [ROOT / "demo" / name for name in ("demo.py", "classify.py")]
    command = [sys.executable, "-m", "mypy", "--strict", *PROGRAMS, *demo]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
