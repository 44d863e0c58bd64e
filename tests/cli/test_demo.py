"""The demo, as `make demo` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[2] / "demo"


def test_the_demo_reads_all_digits(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, DEMO / "demo.py"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tactics tried and chosen" in done.stdout
    assert "compiler loaded: no" in done.stdout
    assert "20 of 20 right" in done.stdout
    assert "digit-18-label-5          5           5" in done.stdout
    assert "× the time of onnxruntime" in done.stdout
    assert (tmp_path / "tensorwright").is_dir()


def test_a_wrong_image_is_refused(tmp_path):
    image = tmp_path / "digit-label-1.pgm"
    image.write_bytes(b"P2\n")
    code = "import pathlib, sys; from classify import read_image; read_image(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, image], cwd=DEMO, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "expected a binary PGM" in done.stderr
