"""Environments of their own for engines whose requirements clash with ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = {"mnn": ("MNN==3.6.1", "numpy")}
"""What such an engine needs. MNN wants an older protobuf than onnx does."""


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
