"""Builds plans for AArch64: of the cases of all operators, and of the demo's network on its digits."""

from __future__ import annotations

import importlib
import pkgutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import cases
from cases.case import Array, Case
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, apply, input_value
from tensorwright.importers.onnx import import_onnx
from tensorwright.plan.file import serialize_plan
from tensorwright.runtime.bindings import bare_symbol
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import IntegerExpression, expression, symbols_of

TARGET = "aarch64"
DEMO = Path(__file__).parents[2] / "demo"


@dataclass(frozen=True, eq=False)
class Job:
    """A network, its inputs, and what it has to compute, up to a tolerance relative to the largest magnitude."""

    name: str
    graph: Graph
    inputs: list[Array]
    expected: Array
    tolerance: float
    threads: int


def jobs() -> Iterator[Job]:
    yield _lenet()
    for family in sorted(module.name for module in pkgutil.iter_modules(cases.__path__) if module.name != "case"):
        for case in importlib.import_module(f"cases.{family}").CASES:
            if _is_network(case):
                yield _job(f"{family}-{case!r}", case)


def _is_network(case: Case) -> bool:
    """Whether the inputs say all sizes, as those of a plan have to."""
    known = {dim for type in case.types for dim in type.shape if bare_symbol(dim) is not None}
    return all(bare in known for dim in _dims((case.output.shape, *vars(case.op).values())) for bare in _bare(dim))


def _dims(values: Iterable[object]) -> Iterator[IntegerExpression]:
    for value in values:
        if isinstance(value, IntegerExpression):
            yield value
        elif isinstance(value, tuple):
            yield from _dims(value)


def _bare(dim: IntegerExpression) -> Iterator[IntegerExpression]:
    return (expression(symbol) for symbol in symbols_of(dim))


def _job(name: str, case: Case) -> Job:
    """The threads differ from case to case, but not from run to run."""
    seed = zlib.crc32(name.encode())
    values = [(f"x{number}", input_value(f"x{number}", type)) for number, type in enumerate(case.types)]
    graph = Graph(tuple(values), (("y", apply(case.op, *(value for _, value in values))),))
    arrays = case.arrays(np.random.default_rng(seed))
    return Job(name, graph, list(arrays), case.expected(arrays), 10 * case.scaled_tolerance, 1 + seed % 3)


def _lenet() -> Job:
    """The demo's network, as it is computed here."""
    graph = import_onnx(DEMO / "lenet.onnx")
    ((name, value),) = graph.inputs
    x = np.random.default_rng(0).random(value.type.tuning_shape).astype(np.float32)
    with Engine(build(graph, BuildConfig(level=0, threads=1, timing_cache=""))) as engine:
        (expected,) = engine({name: x}).values()
    return Job("lenet", graph, [x], np.array(expected), 1e-5, 2)


def write(job: Job, folder: Path) -> None:
    """The plan, and what it is to be run on, as files called like the job."""
    config = BuildConfig(level=0, threads=job.threads, timing_cache="", instruction_set=TARGET)
    stem = f"{zlib.crc32(job.name.encode()):08x}"
    (folder / f"{stem}.plan").write_bytes(serialize_plan(build(job.graph, config)))
    arrays = {name: array for (name, _), array in zip(job.graph.inputs, map(_plain, job.inputs), strict=True)}
    types = [array.dtype.name for array in job.inputs]
    np.savez(folder / f"{stem}.npz", **arrays, expected=_plain(job.expected), tolerance=job.tolerance,
             label=job.name, types=np.array(types), type=job.expected.dtype.name)  # fmt: skip


def _plain(array: Array) -> Array:
    """Types that NumPy's files do not know become float32, which holds all their values."""
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
