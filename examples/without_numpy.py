"""A program that reads digits without NumPy: it starts in less than half the time. The plan is built by another one."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from array import array
from pathlib import Path

import tensorwright as tw

DEMO = Path(__file__).parents[1] / "demo"
PIXELS = 28 * 28


def read_digit(engine: tw.Engine, file: Path) -> int:
    """The digit that a picture (PGM, 28×28) shows."""
    image = array("f", [pixel / 255 for pixel in file.read_bytes()[-PIXELS:]])
    probabilities = engine.run_buffers({"image": image})["probabilities"]  # 1×10, as the plan says
    return max(range(10), key=lambda digit: float(probabilities[0, digit]))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "lenet.plan"
        command = ["build", str(DEMO / "lenet.onnx"), "--shape", "batch=1", "--level", "1", "-o", str(plan)]
        subprocess.run([sys.executable, "-m", "tensorwright", *command], check=True, capture_output=True)
        engine = tw.load(plan)
    print(*(read_digit(engine, file) for file in sorted((DEMO / "digits").glob("*.pgm"))))
    print("NumPy was imported:", "numpy" in sys.modules)


if __name__ == "__main__":
    main()
