"""Where benchmarks keep their files, and the Python of every engine: in an environment of its own where it clashes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.engines import DISTRIBUTIONS

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tensorwright" / "benchmarks"
console = Console()

REQUIREMENTS = {"mnn": ("MNN==3.6.1", "numpy")}
"""What such an engine needs. MNN wants an older protobuf than onnx does."""


def interpreters(engines: list[str], given: dict[str, str], folder: Path) -> dict[str, str]:
    """The Python of every engine that is there; says why of those that are left out.

    The first word of an engine's name is its library; `given` has the interpreters that a user named, by library.
    """
    found: dict[str, str] = {}
    for engine in engines:
        library = engine.split(maxsplit=1)[0]
        try:
            python = given.get(library) or interpreter(library, folder)
        except RuntimeError as error:
            console.print(f"[yellow]{engine} is left out: {error}")
            continue
        if python == sys.executable and importlib.util.find_spec(DISTRIBUTIONS.get(library, library)) is None:
            console.print(f"[yellow]{engine} is left out: it is not installed")
            continue
        found[engine] = python
    return found


def interpreter(engine: str, folder: Path) -> str:
    """The Python that runs an engine: this one, or one in an environment below `folder`, made at the first use.

    Raises:
        RuntimeError: the environment cannot be made; says what pip said last.
    """
    if engine not in REQUIREMENTS:
        return sys.executable
    home = folder.absolute() / "environments" / engine
    python, finished = home / "bin" / "python", home / "finished"
    wanted = " ".join(REQUIREMENTS[engine])
    if not finished.exists() or finished.read_text() != wanted:
        _run([sys.executable, "-m", "venv", "--clear", str(home)])
        _run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[engine]])
        finished.write_text(wanted)
    return str(python)


def _run(command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    made = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if made.returncode:
        said = (made.stderr or made.stdout).strip().splitlines() or ["no message"]
        raise RuntimeError(f"{' '.join(command)}: {said[-1]}")
