"""The main job on real data: build an engine, save its plan, load it in a fresh process, classify digits, measure.

Run by `make demo`. Everything it writes goes to a temporary folder, timings into the user's cache folder.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
MODEL = HERE / "lenet.onnx"
THREADS = "1"  # A digit takes less than a tenth of a millisecond: waking a second thread does not pay.


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tensorwright-demo-") as folder:
        plan = Path(folder) / "lenet.plan"
        title("1. Build: try the tactics of every layer on this machine, keep the fastest, write a plan")
        tensorwright("build", MODEL, "-o", plan, "--threads", THREADS, "--verbose")
        title("2. Run: a fresh process loads the plan, without the compiler, and reads handwritten digits")
        run([HERE / "classify.py", plan, *sorted((HERE / "digits").glob("*.pgm"))])
        title("3. Measure: the time of one digit")
        peer = ["--against", "onnxruntime"] if importlib.util.find_spec("onnxruntime") else []
        tensorwright("bench", plan, "--model", MODEL, *peer, "--duration", "2")
        if not peer:
            print("ONNX Runtime is not installed: nothing to compare with.")


def title(text: str) -> None:
    print(f"\n{text}\n", flush=True)


def tensorwright(*arguments: str | Path) -> None:
    run(["-m", "tensorwright", *arguments])


def run(arguments: list[str | Path]) -> None:
    done = subprocess.run([sys.executable, *map(str, arguments)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
