"""What a fresh process costs: ``python -m benchmarks.load --models resnet50,bert_base --threads 1,2 --json FILE``.

Every measurement starts a process that does what a user's script does: import the engine, load the model, read the
input, run once. The clock starts before the first import and stops after the first result. The process then runs four
more times and reports the most memory that it ever had resident (VmHWM). Engines take turns (A B C A B C …); one round
before the measurement brings all files into the page cache. Figures are medians. ``onnxruntime (optimised)`` loads the
file that ONNX Runtime itself wrote after optimising, in its own format. ``tensorwright (buffers)`` passes bytes, as a
program does that has no other use for NumPy; all others read and pass arrays.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markdown import Markdown

from benchmarks.build import BuildRow, measure_builds
from benchmarks.engines import convert
from benchmarks.environments import CACHE, console, interpreters
from benchmarks.fresh import run_fresh
from benchmarks.inputs import example
from benchmarks.models import MODELS, input_shape, model_file
from benchmarks.plans import load_or_build
from benchmarks.report import costs

RUNS = 5

_ONNXRUNTIME = """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
run = lambda array: session.run(None, {name: array})[0]
"""

_TENSORWRIGHT = """
import tensorwright
engine = tensorwright.load(path, threads=threads)
"""

PROGRAMS = {
    "tensorwright": (".{threads}.plan", _TENSORWRIGHT + "run = engine\n"),
    "tensorwright (buffers)": (
        ".{threads}.plan",
        _TENSORWRIGHT + "run = lambda content: engine.run_buffers({next(iter(engine)): content})\n",
    ),
    "onnxruntime": (".onnx", _ONNXRUNTIME),
    "onnxruntime (optimised)": (".ort", _ONNXRUNTIME),
    "openvino": (
        ".onnx",
        """
import openvino
settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1}
request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
run = lambda array: request.infer([array], share_inputs=True)[0]
""",
    ),
    "ncnn": (
        ".ncnn.param",
        """
import ncnn
net = ncnn.Net()
net.opt.num_threads = threads
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
net.load_param(path)
net.load_model(path.removesuffix("param") + "bin")
def run(array):
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(array[0]))
    return extractor.extract("out0")
""",
    ),
    "mnn": (
        ".mnn",
        """
import MNN
runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": threads, "precision": "high"},))
net = MNN.nn.load_module_from_file(path, [], [], runtime_manager=runtime, shape_mutable=False)
def run(array):
    placed = MNN.expr.placeholder(list(array.shape), MNN.expr.NCHW, MNN.numpy.float32)
    placed.write(array)
    return MNN.expr.convert(net.forward([placed])[0], MNN.expr.NCHW).read()
""",
    ),
}
"""How a script uses each engine: the ending of its file, and what it does to get a function `run`."""

_BEFORE = """
import time
start = time.perf_counter()
"""
_ARRAY = """
import numpy
given = numpy.load(source + ".npy")
"""
_BYTES = """
with open(source + ".bytes", "rb") as file:
    given = file.read()
"""
_AFTER = f"""
run(given)
seconds = time.perf_counter() - start
for _ in range({RUNS - 1}):
    run(given)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
answer = f"{{seconds}} {{int(peak.split()[1]) * 1024}}"
"""


@dataclass(frozen=True)
class Row:
    """What fresh processes of one engine took, from the first import to the first result, and their peak memory."""

    model: str
    precision: str
    threads: int
    engine: str
    load_seconds: float
    load_min_seconds: float
    peak_bytes: int


def fresh(engine: str, model: Path, threads: int, source: Path, python: str) -> tuple[float, int]:
    """Seconds and peak bytes of one fresh process.

    Raises:
        RuntimeError: the process failed; says its last words.
    """
    ending, program = PROGRAMS[engine]
    path = str(model.with_suffix("")) + ending.format(threads=threads)
    values = f"path, threads, source = {path!r}, {threads}, {str(source)!r}"
    reading = _BYTES if engine == "tensorwright (buffers)" else _ARRAY
    seconds, peak = run_fresh(_BEFORE + values + program + reading + _AFTER, threads, python).split()
    return float(seconds), int(peak)


def prepare(engine: str, model: Path, shape: tuple[int, ...], threads: int, python: str) -> str:
    """Make the engine's file if it is missing; returns why that fails, empty if it does not."""
    if engine.startswith("tensorwright"):
        load_or_build(model, threads).close()
    if engine == "onnxruntime (optimised)" and not model.with_suffix(".ort").exists():
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(model.with_suffix(".ort"))
        options.add_session_config_entry("session.save_model_format", "ORT")
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return convert(engine, model, shape, python)


def measure(
    name: str, threads: int, engines: list[str], pythons: dict[str, str], folder: Path, repeats: int
) -> list[Row]:
    """All engines on one network, in turns."""
    model, found = model_file(name, folder), dict[str, list[tuple[float, int]]]()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "input"
        np.save(f"{source}.npy", example(name))
        Path(f"{source}.bytes").write_bytes(example(name).tobytes())
        for turn in range(repeats + 1):
            for engine in [e for e in engines if turn == 0 or e in found]:
                python = pythons.get(engine, sys.executable)
                try:
                    if turn == 0 and (problem := prepare(engine, model, input_shape(name), threads, python)):
                        raise RuntimeError(problem)
                    sample = fresh(engine, model, threads, source, python)
                except (RuntimeError, OSError) as error:
                    console.print(f"[yellow]{name}: {engine} is left out: {error}")
                    continue
                found[engine] = [*found.get(engine, []), sample] if turn else []
    return [_row(name, threads, engine, samples) for engine, samples in found.items()]


def _row(name: str, threads: int, engine: str, samples: list[tuple[float, int]]) -> Row:
    seconds, peaks = zip(*samples, strict=True)
    return Row(
        name, "float32", threads, engine, statistics.median(seconds), min(seconds), int(statistics.median(peaks))
    )


def main(
    models: Annotated[str, typer.Option(help="Comma-separated names.")] = ",".join(["lenet", *MODELS]),
    threads: Annotated[str, typer.Option(help="Comma-separated thread counts.")] = "1,2",
    engines: Annotated[str, typer.Option(help="Comma-separated engines.")] = ",".join(PROGRAMS),
    repeats: Annotated[int, typer.Option(min=1, help="Fresh processes of each engine.")] = 9,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
    build: Annotated[bool, typer.Option(help="Measure the time of builds, too.")] = False,
    python: Annotated[list[str] | None, typer.Option(help="engine=interpreter of its own environment.")] = None,
    folder: Annotated[Path, typer.Option(help="Where models and plans are kept.")] = CACHE,
) -> None:
    """Measure load time, peak memory and, if wanted, build time in fresh processes."""
    given = dict(item.split("=", 1) for item in python or [])
    pythons = interpreters(engines.split(","), given, folder)
    wanted = list(pythons)
    rows: list[Row | BuildRow] = []
    for name in models.split(","):
        for count in threads.split(","):
            rows += measure(name, int(count), wanted, pythons, folder, repeats)
            if build:
                rows += measure_builds(name, int(count), wanted, pythons, folder)
            if json_file is not None:
                json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    console.print(Markdown(costs([asdict(row) for row in rows])))


if __name__ == "__main__":
    typer.run(main)
