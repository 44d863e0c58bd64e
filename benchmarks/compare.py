"""Compares engines side by side: ``python -m benchmarks.compare --models resnet18,lenet --threads 1,2 --json FILE``.

Every engine runs in a process of its own, pinned to the cores it may use. Engines take turns (A B C A B C …) for
several rounds, so that whatever disturbs the machine disturbs all. Outputs are checked against ONNX Runtime in float32.
``--precision bf16`` or ``int8`` compares those engines that compute in it. Engines
whose requirements clash with ours get an environment of their own; ``--python mnn=/path/to/python`` names another one.
``--device cuda --models resnet50,bert --batches 1,8 --precision f16`` compares with PyTorch, JAX and ONNX Runtime on a
GPU, those of them that are there; ``--onnxruntime FOLDER`` names a folder with an ONNX Runtime for GPUs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from benchmarks.engines import ENGINES, PRECISIONS, convert
from benchmarks.environments import CACHE, console, interpreters
from benchmarks.gpu import beside
from benchmarks.gpu.models import MODELS as GPU_MODELS
from benchmarks.gpu.models import TYPES
from benchmarks.inputs import example
from benchmarks.models import MODELS, input_shape, model_file
from tensorwright.base.errors import TensorwrightError
from tensorwright.devices.find import devices_of

ROUNDS = 10
ROUND_SECONDS = 0.25
MOST_RUNS = 400


@dataclass(frozen=True)
class Row:
    """One measurement. Times are milliseconds; `error` is the largest difference to ONNX Runtime's output, relative."""

    model: str
    precision: str
    threads: int
    engine: str
    median_ms: float
    min_ms: float
    p90_ms: float
    error: float
    load_seconds: float
    peak_bytes: int


class Worker:
    """The process of one engine."""

    def __init__(
        self, engine: str, model: Path, threads: int, array: Path, output: Path, python: str, precision: str
    ) -> None:
        files = map(str, (array, output))
        command = [python, "-m", "benchmarks.engines", engine, str(model), str(threads), *files, precision]
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        ready = self._read().split()
        if ready[:1] != ["ready"]:
            self._process.kill()
            raise RuntimeError((self._process.communicate()[1] or "ended").strip().splitlines()[-1])
        self.load_seconds = float(ready[1])
        self.output = np.load(output)
        self.times: list[int] = []
        self._count = 1

    def turn(self) -> None:
        """Run for about ROUND_SECONDS."""
        times = [int(word) for word in self._ask(f"run {self._count}").split()]
        self.times.extend(times)
        self._count = max(1, min(MOST_RUNS, int(ROUND_SECONDS * 1e9 / statistics.median(times))))

    def finish(self) -> int:
        """End the process; returns its peak memory in bytes."""
        peak = int(self._ask("memory"))
        self._process.communicate()
        return peak

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def measure(name: str, threads: int, pythons: dict[str, str], folder: Path, precision: str) -> list[Row]:
    """All engines on one network, side by side."""
    model, shape = model_file(name, folder), input_shape(name)
    workers: dict[str, Worker] = {}
    with tempfile.TemporaryDirectory() as scratch:
        array = Path(scratch) / "input.npy"
        np.save(array, example(name))
        for engine, python in pythons.items():
            problem = convert(engine, model, shape, python)
            try:
                if problem:
                    raise RuntimeError(problem)
                output = Path(scratch) / f"{engine}.npy"
                workers[engine] = Worker(engine, model, threads, array, output, python, precision)
            except (RuntimeError, IndexError, FileNotFoundError) as error:
                console.print(f"[yellow]{name}: {engine} is left out: {error}")
        judge = workers["onnxruntime"].output if precision == "f32" else _exact(model, threads, array)
        for turn in range(ROUNDS + 1):
            for worker in workers.values():
                worker.turn()
                if turn == 0:
                    worker.times.clear()
    return [_row(name, precision, threads, engine, worker, judge) for engine, worker in workers.items()]


def _exact(model: Path, threads: int, array: Path) -> np.ndarray:
    """What ONNX Runtime computes in float32."""
    worker = Worker("onnxruntime", model, threads, array, array.with_name("exact.npy"), sys.executable, "f32")
    worker.finish()
    return worker.output


def _row(name: str, precision: str, threads: int, engine: str, worker: Worker, judge: np.ndarray) -> Row:
    times = np.array(worker.times) / 1e6
    output = worker.output.reshape(judge.shape) if worker.output.size == judge.size else np.full(judge.shape, np.nan)
    return Row(
        model=name,
        precision="float32" if precision == "f32" else precision,
        threads=threads,
        engine=engine,
        median_ms=float(np.median(times)),
        min_ms=float(times.min()),
        p90_ms=float(np.percentile(times, 90)),
        error=float(np.abs(output - judge).max() / np.abs(judge).max()),
        load_seconds=worker.load_seconds,
        peak_bytes=worker.finish(),
    )


def show(rows: list[Row], engines: list[str]) -> None:
    """A table of medians, and the ratio of the best peer to tensorwright."""
    table = Table(
        "model", "threads", *engines, "best peer ÷ tensorwright", title="median latency, ms (90th percentile)"
    )
    ratios = []
    for model, threads in dict.fromkeys((row.model, row.threads) for row in rows):
        mine = {row.engine: row for row in rows if (row.model, row.threads) == (model, threads)}
        peers = [row.median_ms for engine, row in mine.items() if engine != "tensorwright"]
        ratio = min(peers) / mine["tensorwright"].median_ms if peers and "tensorwright" in mine else float("nan")
        ratios.append(ratio)
        cells = [f"{mine[e].median_ms:.3f} ({mine[e].p90_ms:.3f})" if e in mine else "–" for e in engines]
        table.add_row(model, str(threads), *cells, f"{ratio:.2f}")
    console.print(table)
    console.print(f"geometric mean of best peer ÷ tensorwright: {float(np.exp(np.mean(np.log(ratios)))):.3f}")


def on_gpu(
    models: list[str],
    batches: list[str],
    type: str,
    patience: float,
    autotune: bool,
    onnxruntime: Path | None,
    json_file: Path | None,
) -> None:
    """Compare with PyTorch, JAX and ONNX Runtime on the first GPU.

    Raises:
        typer.BadParameter: there is no such model or type.
    """
    known, types = ["lenet", *GPU_MODELS], [*TYPES, "int8"]
    if unknown := [name for name in models if name not in known]:
        raise typer.BadParameter(f"models {', '.join(unknown)}: expected some of {', '.join(known)}")
    if type not in types:
        raise typer.BadParameter(f"precision '{type}': on a GPU, expected one of {', '.join(types)}")
    try:
        gpus = devices_of("cuda")
    except TensorwrightError as error:
        raise typer.BadParameter(str(error)) from error
    networks = [f"{name}:{batch}:{type}" for name in models for batch in batches]
    rows = beside.compare(networks, len(gpus), patience, autotune, onnxruntime, console)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    beside.show(rows, console)


def main(
    models: Annotated[str | None, typer.Option(help="Comma-separated names; all without any.")] = None,
    threads: Annotated[str, typer.Option(help="Comma-separated thread counts.")] = "1,2",
    engines: Annotated[str, typer.Option(help="Comma-separated engines.")] = ",".join(ENGINES),
    precision: Annotated[str, typer.Option(help=f"{', '.join(PRECISIONS)}; f16, tf32 on a GPU.")] = "f32",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
    python: Annotated[list[str] | None, typer.Option(help="engine=interpreter of its own environment.")] = None,
    folder: Annotated[Path, typer.Option(help="Where models and plans are kept.")] = CACHE,
    device: Annotated[str, typer.Option(help="cpu, or cuda for peers beside us on the first GPU.")] = "cpu",
    batches: Annotated[str, typer.Option(help="Comma-separated batches, on a GPU.")] = "1",
    autotune: Annotated[bool, typer.Option(help="Have PyTorch compile with max-autotune, too.")] = False,
    onnxruntime: Annotated[Path | None, typer.Option(help="A folder with an ONNX Runtime for GPUs.")] = None,
    patience: Annotated[float, typer.Option(help="Seconds for builds and PyTorch's compiler on a GPU.")] = 600,
) -> None:
    """Compare engines on the same networks in one run."""
    if device == "cuda":
        names = ["lenet", *GPU_MODELS] if models is None else models.split(",")
        on_gpu(names, batches.split(","), precision, patience, autotune, onnxruntime, json_file)
        return
    if device != "cpu":
        raise typer.BadParameter(f"device '{device}': expected cpu or cuda")
    if precision not in PRECISIONS:
        raise typer.BadParameter(f"precision '{precision}': expected one of {', '.join(PRECISIONS)}")
    given = dict(item.split("=", 1) for item in python or [])
    wanted = [engine for engine in engines.split(",") if engine in PRECISIONS[precision]]
    pythons = interpreters(wanted, given, folder)
    rows: list[Row] = []
    for name in ["lenet", *MODELS] if models is None else models.split(","):
        for count in threads.split(","):
            rows += measure(name, int(count), pythons, folder, precision)
            if json_file is not None:
                json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    show(rows, list(pythons))


if __name__ == "__main__":
    typer.run(main)
