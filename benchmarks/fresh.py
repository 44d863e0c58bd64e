"""Programs in processes of their own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path


def run_fresh(text: str, threads: int, python: str) -> str:
    """Run a program in a new process and return what it left in its variable `answer`.

    It may use the whole machine, and compiled modules are kept, as for any user.

    Raises:
        RuntimeError: it failed; says its last words.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "answer"
        program = f"{text}\nopen({str(target)!r}, 'w').write(str(answer))\n"
        command = [python, "-c", program]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if result.returncode:
            raise RuntimeError((result.stderr.strip() or "ended").splitlines()[-1])
        return target.read_text()
