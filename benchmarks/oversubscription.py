"""Latency while another process keeps one core busy: ``python -m benchmarks.oversubscription --models resnet50``.

Engines run in processes of their own, as in `benchmarks.compare`, with as many threads as there are cores, first alone
and then beside a process that spins on the last core. Engines take turns in both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.compare import Worker
from benchmarks.environments import CACHE, interpreters
from benchmarks.inputs import example
from benchmarks.models import model_file

TURNS = 8
SPINNER = "import os\nos.sched_setaffinity(0, {%d})\nwhile True: pass"


def latencies(workers: dict[str, Worker]) -> dict[str, tuple[float, float, float]]:
    """Mean, median and 99th percentile, in milliseconds."""
    for worker in workers.values():
        worker.times.clear()
    for _ in range(TURNS):
        for worker in workers.values():
            worker.turn()
            time.sleep(0.05)
    found = {}
    for engine, worker in workers.items():
        times = np.array(worker.times) / 1e6
        found[engine] = float(times.mean()), float(np.median(times)), float(np.percentile(times, 99))
    return found


def main(
    models: Annotated[str, typer.Option(help="Comma-separated names.")] = "lenet,resnet18,resnet50",
    engines: Annotated[str, typer.Option(help="Comma-separated engines.")] = "tensorwright,onnxruntime",
    folder: Annotated[Path, typer.Option(help="Where models and plans are kept.")] = CACHE,
) -> None:
    """Measure what a busy core costs."""
    cores = sorted(os.sched_getaffinity(0))
    pythons = interpreters(engines.split(","), {}, folder)
    table = Table("model", "engine", title=f"ms with {len(cores)} threads: mean, median, 99th percentile")
    for heading in ("alone", "beside a busy core", "mean ÷ alone"):
        table.add_column(heading, justify="right")
    for name in models.split(","):
        model = model_file(name, folder)
        with tempfile.TemporaryDirectory() as scratch:
            array = Path(scratch) / "input.npy"
            np.save(array, example(name))
            workers = {
                engine: Worker(engine, model, len(cores), array, Path(scratch) / f"{engine}.npy", python)
                for engine, python in pythons.items()
            }
            alone = latencies(workers)
            with subprocess.Popen([sys.executable, "-c", SPINNER % cores[-1]]) as spinner:
                beside = latencies(workers)
                spinner.kill()
            for engine, worker in workers.items():
                worker.finish()
                cells = [" / ".join(f"{value:.3g}" for value in found[engine]) for found in (alone, beside)]
                table.add_row(name, engine, *cells, f"{beside[engine][0] / alone[engine][0]:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
