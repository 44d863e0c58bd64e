"""How long it takes to make an engine of a model file; part of ``python -m benchmarks.load --build``.

Every measurement is a fresh process; imports do not count, files are in the page cache. tensorwright is built without
known timings at its default level and at level 0, and again with the timings of the first build. Peers compile when
a session is made.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fresh import run_fresh
from benchmarks.models import model_file

_OURS = """
import tensorwright
start = time.perf_counter()
tensorwright.build(path, threads=threads, level={level}, timing_cache=cache).save(path + ".timed.plan")
"""

PROGRAMS = {
    "tensorwright (level 3)": _OURS.format(level=3),
    "tensorwright (level 3, timings known)": _OURS.format(level=3),
    "tensorwright (level 0)": _OURS.format(level=0),
    "onnxruntime": """
import onnxruntime
start = time.perf_counter()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
""",
    "openvino": """
import openvino
start = time.perf_counter()
settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1}
openvino.Core().compile_model(path, "CPU", settings)
""",
}
"""What each engine does; the first builds of tensorwright leave their timings behind for the second."""


@dataclass(frozen=True)
class BuildRow:
    """Seconds from a model file to an engine that is ready (tensorwright: to a plan on the disk)."""

    model: str
    precision: str
    threads: int
    engine: str
    build_seconds: float


def measure_builds(
    name: str, threads: int, engines: list[str], pythons: dict[str, str], folder: Path
) -> list[BuildRow]:
    """One build of every engine that has a program."""
    source, rows = model_file(name, folder), list[BuildRow]()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / source.name
        path.symlink_to(source.resolve())
        for engine, program in PROGRAMS.items():
            library = engine.split(maxsplit=1)[0]
            if library not in engines:
                continue
            head = f"import time\npath, threads, cache = {str(path)!r}, {threads}, {scratch + '/timings.json'!r}\n"
            text = head + program + "answer = time.perf_counter() - start"
            seconds = run_fresh(text, threads, pythons.get(library, sys.executable))
            rows.append(BuildRow(name, "float32", threads, engine, float(seconds)))
    return rows
