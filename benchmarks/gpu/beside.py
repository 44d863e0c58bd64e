"""Our plans beside their peers on one GPU, in one run: what ``python -m benchmarks.compare --device cuda`` does.

All sides prepare at the same time, each in a process of its own: `benchmarks.gpu.measure` is ours, on another GPU if
there are two; PyTorch's is `benchmarks.gpu.peers`, then there are `benchmarks.gpu.jax_peer` and
`benchmarks.gpu.onnxruntime_peer`. Then one after the other is timed on the first GPU, which nothing else uses.
"""

from __future__ import annotations

import json
import os
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
"""What every side prints when it has prepared all."""
PEERS = {
    "eager": "eager",
    "inductor": "inductor",
    "autotuned": "max-autotune",
    "jax": "JAX",
    "onnxruntime": "ONNX Runtime",
}
"""A row's times of peers, and how the table calls them."""


@dataclass(frozen=True)
class Row:
    """One network on all sides; times in microseconds, None of what was not ready in time or is not there.

    autotuned: PyTorch's best mode of tuning, if it was asked for. error: ours, relative to the largest output.
    """

    network: str
    tensorwright: float | None
    eager: float | None
    inductor: float | None
    autotuned: float | None
    error: float | None
    build_seconds: float | None
    jax: float | None = None
    onnxruntime: float | None = None

    @property
    def ratio(self) -> float | None:
        """The best peer's time over ours."""
        peers = [time for name in PEERS if (time := getattr(self, name)) is not None]
        return min(peers) / self.tensorwright if peers and self.tensorwright else None


class Side:
    """A process that prepares, says so, and is timed when a file comes.

    It is told its files by options: --after, which it waits for, --until, at whose coming it stops to prepare, --json.
    A folder of packages that it is given stands before all others.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        name: str,
        folder: Path,
        console: Console,
        packages: Path | None = None,
    ) -> None:
        self._go, self._end, self._rows = (folder / f"{name}.{what}" for what in ("go", "end", "json"))
        files = ("--after", str(self._go), "--until", str(self._end), "--json", str(self._rows))
        command = [sys.executable, "-u", "-m", module, *arguments, *files]
        paths = [str(packages or ""), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
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


def compare(
    networks: Sequence[str], gpus: int, patience: float, autotune: bool, onnxruntime: Path | None, console: Console
) -> list[Row]:
    """Measure networks "NAME:BATCH:TYPE" on GPU 0.

    Args:
        networks: what is measured.
        gpus: how many there are.
        patience: seconds that may be spent on preparing.
        autotune: have PyTorch compile with max-autotune, too.
        onnxruntime: a folder with an ONNX Runtime for GPUs, if the one that is installed is none.
        console: for what the sides print.
    """
    end = time.monotonic() + patience
    few, build = ("--at-once", "4"), () if gpus < 2 else ("--build-gpu", str(gpus - 1))
    with tempfile.TemporaryDirectory() as scratch:

        def side(name: str, module: str, *options: str, packages: Path | None = None) -> Side:
            return Side(f"benchmarks.gpu.{module}", [*networks, *options], name, Path(scratch), console, packages)

        sides = {"tensorwright": side("tensorwright", "measure", *build), "PyTorch": side("PyTorch", "peers", *few)}
        if autotune:
            sides["autotuned"] = side("autotuned", "peers", *few, "--autotune")
        sides["JAX"] = side("JAX", "jax_peer", *few)
        sides["ONNX Runtime"] = side("ONNX Runtime", "onnxruntime_peer", *few, packages=onnxruntime)
        for one in sides.values():
            one.prepare(end)
        found = {name: {row["network"]: row for row in one.timed()} for name, one in sides.items()}
    return [_row(network, found) for network in networks]


def _row(network: str, found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Row:
    def of(side: str) -> Mapping[str, Any]:
        return found.get(side, {}).get(network, {})

    return Row(
        network=network,
        tensorwright=of("tensorwright").get("one_us"),
        eager=of("PyTorch").get("eager_us"),
        inductor=of("PyTorch").get("inductor_us"),
        autotuned=of("autotuned").get("inductor_us"),
        error=of("tensorwright").get("error"),
        build_seconds=of("tensorwright").get("build_seconds"),
        jax=of("JAX").get("us"),
        onnxruntime=of("ONNX Runtime").get("us"),
    )


def show(rows: Sequence[Row], console: Console) -> None:
    """A table of medians, without peers that have none, and the geometric mean of the ratios."""
    peers = [name for name in PEERS if any(getattr(row, name) is not None for row in rows)]
    columns = ("network", "tensorwright", *(PEERS[name] for name in peers), "best peer ÷ tensorwright", "error")
    table = Table(*columns, title="medians, µs, between two events of the GPU (JAX: by the host's clock)")
    for row in rows:
        times = (row.tensorwright, *(getattr(row, name) for name in peers))
        cells = ["–" if value is None else f"{value:.1f}" for value in times]
        ratio, error = (
            "–" if v is None else form.format(v) for v, form in ((row.ratio, "{:.2f}"), (row.error, "{:.0e}"))
        )
        table.add_row(row.network, *cells, ratio, error)
    console.print(table)
    ratios = [row.ratio for row in rows if row.ratio is not None]
    if ratios:
        console.print(f"geometric mean of best peer ÷ tensorwright: {statistics.geometric_mean(ratios):.3f}")
