"""A few seconds of the soak, and that it notices what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from soak.soak import Left, leaks

PATIENCE = 200


def test_a_short_soak() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "soak", "--seconds", "6"]
    tests = Path(__file__).parents[1]
    found = subprocess.run(command, cwd=tests, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert found.returncode == 0, found.stdout + found.stderr[-3000:]
    assert found.stdout.endswith("nothing is wrong\n")
    assert "of_a_context" in found.stdout


def test_leaks_are_noticed() -> None:
    warm = Left(100 << 20, 7, 3)
    assert not leaks([warm] * 5)
    assert "memory" in leaks([warm] * 4 + [Left(200 << 20, 7, 3)])[0]
    assert "descriptors" in leaks([warm] * 4 + [Left(100 << 20, 8, 3)])[0]
    assert "threads" in leaks([warm] * 4 + [Left(100 << 20, 7, 4)])[0]
