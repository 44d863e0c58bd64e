"""Our plans beside PyTorch on one GPU, in one run: what ``python -m benchmarks.compare --device cuda`` does.

Both sides prepare at the same time, ours with `benchmarks.gpu.measure`, PyTorch's with `benchmarks.gpu.peers`, on GPUs
of their own if there are two; then one after the other is timed on the first GPU, which nothing else uses.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

READY = "ready to be timed"
"""What either side prints when it has prepared all."""


@dataclass(frozen=True)
class Row:
    """One network on both sides; times in microseconds, None of what was not ready in time.

    autotuned: PyTorch's best mode of tuning, if it was asked for. error: ours, relative to the largest output.
    """

    network: str
    tensorwright: float | None
    eager: float | None
    inductor: float | None
    autotuned: float | None
    error: float | None
    build_seconds: float | None

    @property
    def ratio(self) -> float | None:
        """The best peer's time over ours."""
        peers = [time for time in (self.eager, self.inductor, self.autotuned) if time is not None]
        return min(peers) / self.tensorwright if peers and self.tensorwright else None


class Side:
    """A process that prepares, says so, and is timed when a file comes.

    It is told its files by options: --after, which it waits for, --until, at whose coming it stops to prepare, --json.
    """

    def __init__(self, module: str, arguments: Sequence[str], name: str, folder: Path, console: Console) -> None:
        self._go, self._end, self._rows = (folder / f"{name}.{what}" for what in ("go", "end", "json"))
        files = ("--after", str(self._go), "--until", str(self._end), "--json", str(self._rows))
        command = [sys.executable, "-u", "-m", module, *arguments, *files]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._ready, self._name, self._console = threading.Event(), name, console
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._console.print(f"{self._name}: {line.rstrip()}", markup=False, highlight=False)
                if READY in line:
                    self._ready.set()
        self._ready.set()

    def prepare(self, end: float) -> None:
        """Wait until it is ready; from a time on it has to do with what it has."""
        if not self._ready.wait(max(0.0, end - time.monotonic())):
            self._end.touch()
            self._ready.wait()

    def timed(self) -> list[dict[str, Any]]:
        """Have it timed, wait for its end; the rows that it wrote."""
        self._go.touch()
        self._reader.join()
        self._process.wait()
        return json.loads(self._rows.read_text()) if self._rows.exists() else []


def compare(networks: Sequence[str], gpus: int, patience: float, autotune: bool, console: Console) -> list[Row]:
    """Measure networks "NAME:BATCH:TYPE" on GPU 0. patience: seconds that may be spent on preparing."""
    end = time.monotonic() + patience
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        build = () if gpus < 2 else ("--build-gpu", str(gpus - 1))
        sides = {"tensorwright": Side("benchmarks.gpu.measure", [*networks, *build], "tensorwright", folder, console)}
        for name, options in {"PyTorch": (), **({"autotuned": ("--autotune",)} if autotune else {})}.items():
            sides[name] = Side("benchmarks.gpu.peers", [*networks, "--at-once", "4", *options], name, folder, console)
        for side in sides.values():
            side.prepare(end)
        found = {name: {row["network"]: row for row in side.timed()} for name, side in sides.items()}
    return [_row(network, found) for network in networks]


def _row(network: str, found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Row:
    ours, plain, tuned = (found.get(name, {}).get(network, {}) for name in ("tensorwright", "PyTorch", "autotuned"))
    return Row(
        network=network,
        tensorwright=ours.get("one_us"),
        eager=plain.get("eager_us"),
        inductor=plain.get("inductor_us"),
        autotuned=tuned.get("inductor_us"),
        error=ours.get("error"),
        build_seconds=ours.get("build_seconds"),
    )


def show(rows: Sequence[Row], console: Console) -> None:
    """A table of medians, and the geometric mean of the ratios."""
    columns = ("network", "tensorwright", "eager", "inductor", "max-autotune", "best peer ÷ tensorwright", "error")
    table = Table(*columns, title="medians between two events of the GPU, µs")
    for row in rows:
        times = (row.tensorwright, row.eager, row.inductor, row.autotuned)
        cells = ["–" if value is None else f"{value:.1f}" for value in times]
        ratio, error = (
            "–" if v is None else form.format(v) for v, form in ((row.ratio, "{:.2f}"), (row.error, "{:.0e}"))
        )
        table.add_row(row.network, *cells, ratio, error)
    console.print(table)
    ratios = [row.ratio for row in rows if row.ratio is not None]
    if ratios:
        console.print(f"geometric mean of best peer ÷ tensorwright: {statistics.geometric_mean(ratios):.3f}")
