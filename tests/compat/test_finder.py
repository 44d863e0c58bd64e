"""Names become importable, shadow nothing unless asked, and go away again."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

import tensorwright.compat
from tensorwright.compat.finder import CompatFinder


@pytest.fixture
def activated():
    tensorwright.compat.activate()
    yield
    tensorwright.compat.deactivate()


def run(tmp_path, script: str) -> str:
    command = [sys.executable, "-W", "always", "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def installed(tmp_path):
    """A tensorrt and a pycuda that somebody has installed."""
    for name in ("tensorrt", "pycuda"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("WHOSE = 'theirs'\n")
    return tmp_path


def test_importing_the_package_activates_nothing():
    for name in ("tensorrt", "pycuda", "uff"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_the_names_mean_the_modules_of_this_package(activated):
    import pycuda.autoinit
    import pycuda.driver as cuda
    import tensorrt
    import tensorrt.parsers.uffparser as uffparser  # noqa: PLR0402 - as scripts write it
    import uff
    from tensorrt.infer import LogSeverity
    from tensorrt.lite import Engine

    from tensorwright.compat import tensorrt as ours

    assert tensorrt is ours
    assert tensorrt.parsers.uffparser is uffparser
    assert tensorrt.infer.LogSeverity is LogSeverity
    assert tensorrt.lite.Engine is Engine
    assert all((cuda.mem_alloc, pycuda.autoinit.device, uff.from_tensorflow))
    assert ours.__spec__.name == ours.__name__ == "tensorwright.compat.tensorrt"


def test_the_fifth_version_has_the_older_interface_as_legacy(activated):
    import tensorrt
    import tensorrt.legacy as trt
    from tensorrt.legacy import infer
    from tensorrt.legacy.parsers import caffeparser

    assert trt is tensorrt is tensorrt.legacy
    assert infer is tensorrt.infer
    assert caffeparser is tensorrt.parsers.caffeparser


def test_a_name_that_is_not_there_is_an_import_error(activated):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("tensorrt.nonsense")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pycuda.compiler")


def test_activate_and_deactivate_twice_is_once():
    for _ in range(2):
        tensorwright.compat.activate()
    assert sum(isinstance(finder, CompatFinder) for finder in sys.meta_path) == 1
    importlib.import_module("tensorrt")
    for _ in range(2):
        tensorwright.compat.deactivate()
    assert not any(isinstance(finder, CompatFinder) for finder in sys.meta_path)
    assert "tensorrt" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("tensorrt")


def test_what_is_installed_is_not_shadowed(installed):
    script = (
        "from tensorwright import compat\n"
        "compat.activate()\n"
        "import tensorrt, pycuda, uff\n"
        "print(tensorrt.WHOSE, pycuda.WHOSE, uff.__name__)\n"
        "try:\n    import tensorrt.infer\n"
        "except ImportError as error:\n    print(error)\n"
    )
    assert run(installed, script) == "theirs theirs tensorwright.compat.uff\nNo module named 'tensorrt.infer'\n"


def test_a_mixture_of_installed_and_compatible_modules_gets_a_warning(installed):
    (installed / "tensorrt" / "__init__.py").unlink()
    (installed / "tensorrt").rmdir()
    script = (
        "from tensorwright import compat\n"
        "compat.activate()\n"
        "import tensorrt, pycuda\n"
        "print(tensorrt.__name__, pycuda.WHOSE)\n"
    )
    said = run(installed, script)
    assert "tensorwright.compat.tensorrt theirs" in said
    assert "RuntimeWarning: pycuda is installed and stays in use, tensorrt comes from tensorwright" in said


def test_what_is_installed_is_shadowed_when_asked_and_comes_back(installed):
    script = (
        "import tensorrt as first\n"
        "from tensorwright import compat\n"
        "compat.activate(force=True)\n"
        "import tensorrt, pycuda.driver\n"
        "print(tensorrt.__name__, pycuda.__name__)\n"
        "compat.deactivate()\n"
        "import tensorrt, pycuda\n"
        "print(tensorrt is first, pycuda.WHOSE)\n"
    )
    assert run(installed, script) == "tensorwright.compat.tensorrt tensorwright.compat.pycuda\nTrue theirs\n"


def test_the_command_shadows_only_with_force(installed, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import tensorrt\nprint(getattr(tensorrt, 'WHOSE', 'ours'))\n")
    for options, expected in (([], "theirs"), (["--force"], "ours")):
        command = [sys.executable, "-m", "tensorwright.compat", *options, str(script)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=installed, check=True)
        assert done.stdout.strip() == expected
