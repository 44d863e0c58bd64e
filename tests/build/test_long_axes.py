"""Axes of ten million elements, batches as large and windows much larger than the map: bounded time and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CASES = [("convolution", 0), ("winograd", 0), ("pooling", 0), ("product", 0), ("rows", 0), ("window", 3)]
PATIENCE = 300
"""Seconds; the builds take a few."""


@pytest.mark.parametrize(("name", "level"), CASES)
def test_build(name: str, level: int) -> None:
    command = [sys.executable, str(Path(__file__).parent / "long_axes.py"), name, str(level)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert found.stdout == "built\n", found.stderr[-2000:]
