"""Export networks, build them and compare them with ONNX Runtime, each in a process of its own."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.exports.measure import Row, measured
from benchmarks.exports.networks import CLASSIFIERS, NETWORKS

WIDTH = 170
"""Columns that the table needs, whatever the terminal has."""

CHILD = "--row"
"""The argument behind which a process of ours finds its row, the threads and the cores."""


def planned(names: list[str], exporters: list[str], levels: list[int], batches: list[int]) -> Iterator[Row]:
    """The rows without what is to be found: classifiers with all batches, others with 1; open extents only so."""
    for name in names:
        for exporter in exporters:
            for level in levels:
                for batch in batches if name in CLASSIFIERS else batches[:1]:
                    for is_open in (False, True) if batch == batches[0] else (False,):
                        yield Row(name, exporter, is_open, batch, level)


def listed(path: Path, level: int) -> Iterator[Row]:
    """The rows that a file of JSON lines names."""
    for line in path.read_text().splitlines():
        yield Row(**{"exporter": "dynamo", "open": False, "batch": 1, "level": level, **json.loads(line)})


def in_process(row: Row, threads: list[int], cores: list[int], seconds: float) -> Row:
    """The row as a process gave it that was ended if it took longer."""
    if seconds <= 0:
        return replace(row, failure="not begun")
    command = [sys.executable, "-m", "benchmarks.exports", CHILD, json.dumps([asdict(row), threads, cores])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    late = threading.Timer(seconds, process.kill)
    late.start()
    text, errors = process.communicate()
    is_late, _ = not late.is_alive(), late.cancel()
    lines = [line for line in text.splitlines() if line.startswith("{")]
    found = Row(**json.loads(lines[-1])) if lines else row
    if is_late:
        return replace(found, failure=f"not done after {seconds:.0f} s")
    if process.returncode:
        return replace(found, failure=f"ended with {process.returncode}: {errors.strip()[-200:]}")
    return found


def child(argument: str) -> None:
    """Print the row more than once, each time with more of what was found."""
    known, threads, cores = json.loads(argument)
    os.sched_setaffinity(0, cores)
    warnings.simplefilter("ignore")
    for row in measured(Row(**known), threads):
        print(json.dumps(asdict(row)), flush=True)


def table(found: list[Row]) -> Table:
    shown = Table("network", "exporter", "extents", "build", "engine", "first call", "off by", "boxes", "ms", "")
    for row in found:
        pairs = [f"{own:.2f} / {row.onnxruntime_milliseconds[n]:.2f}" for n, own in row.milliseconds.items()]
        shown.add_row(
            row.network,
            row.exporter,
            ("open" if row.open else "fixed") + (f", {row.batch}" if row.batch > 1 else ""),
            "" if row.build_seconds is None else f"{row.build_seconds:.1f} s",
            row.engine + (f", {row.on_host} nodes on the host" if row.on_host else ""),
            "" if row.first_call_seconds is None else f"{row.first_call_seconds:.2f} s",
            ("" if row.difference is None else f"{row.difference:.1e}")
            + ("" if row.moved is None else f" of {row.moved:.0e}, steady to {row.sensitivity:.0e}"),
            "" if row.boxes is None else f"{row.boxes}, unmatched {row.unmatched} (steady: {row.steady})",
            ", ".join(pairs),
            row.failure,
        )
    return shown


def main(
    networks: Annotated[list[str] | None, typer.Argument(help="Their names; all without any.")] = None,
    exporter: Annotated[list[str], typer.Option(help="torchscript or dynamo.")] = ["torchscript", "dynamo"],  # noqa: B006
    level: Annotated[list[int], typer.Option(help="Tuning effort.")] = [3],  # noqa: B006
    batch: Annotated[list[int], typer.Option(help="Images that classifiers are exported for.")] = [1],  # noqa: B006
    threads: Annotated[list[int], typer.Option(help="Threads of an inference; engines are built for most.")] = [1, 2],  # noqa: B006
    extents: Annotated[str, typer.Option(help="fixed, open or both.")] = "both",
    jobs: Annotated[int, typer.Option(help="So many exports at a time, each on cores of its own.")] = 1,
    seconds: Annotated[float, typer.Option(help="After so long an export's process is ended.")] = 600,
    total: Annotated[float, typer.Option(help="After so long all are.")] = float("inf"),
    rows: Annotated[Path | None, typer.Option(help="JSON lines with network, exporter, open, batch.")] = None,
    output: Annotated[Path, typer.Option(help="Where the rows are added, as JSON lines.")] = Path("exports.jsonl"),
) -> None:
    """Export networks, build them and compare them with ONNX Runtime."""
    console, found = Console(width=max(Console().width, WIDTH)), list[Row]()
    kinds = {"fixed": (False,), "open": (True,)}.get(extents, (False, True))
    waiting: queue.SimpleQueue[Row] = queue.SimpleQueue()
    chosen = planned(networks or list(NETWORKS), exporter, level, batch) if rows is None else listed(rows, level[0])
    for row in chosen:
        if rows is not None or row.open in kinds:
            waiting.put(row)
    lock, here, end = threading.Lock(), sorted(os.sched_getaffinity(0)), time.monotonic() + total
    each = max(1, len(here) // jobs)

    def work(number: int) -> None:
        cores = here[number * each : (number + 1) * each][: max(threads)]
        while True:
            try:
                row = waiting.get_nowait()
            except queue.Empty:
                return
            row = in_process(row, threads, cores, min(seconds, end - time.monotonic()))
            with lock:
                found.append(row)
                console.print(row)
                with output.open("a") as file:
                    file.write(json.dumps(asdict(row)) + "\n")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    console.print(table(found))


if __name__ == "__main__":
    if CHILD in sys.argv:
        child(sys.argv[-1])
    else:
        typer.run(main)
