"""The table of cases, and how TensorFlow answers one."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Tensor = Any
Make = Callable[..., Any]


@dataclass(frozen=True)
class Feed:
    """A placeholder: its shape, and from where to where its elements are drawn."""

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    dtype: str = "float32"

    def draw(self, rng: np.random.Generator, batch: int | None) -> np.ndarray:
        shape = self.shape if batch is None else (batch, *self.shape[1:])
        drawn = rng.uniform(self.low, self.high, shape)
        return (drawn if np.dtype(self.dtype).kind == "f" else np.floor(drawn)).astype(self.dtype)


@dataclass(frozen=True, eq=False)
class Case:
    """A graph; where TensorFlow cannot run it on a CPU, `judge` builds one that is the same by definition."""

    name: str
    feeds: tuple[Feed, ...]
    make: Make
    judge: Make | None = None
    tolerance: float = 1e-5
    any_batch: bool = True


@dataclass(frozen=True, eq=False)
class Live:
    """A graph under construction: TensorFlow, and variables with random values."""

    tf: Any
    rng: np.random.Generator
    made: list[Any] = field(default_factory=list)

    def variable(self, *shape: int, low: float = -1.0, high: float = 1.0, dtype: str = "float32") -> Tensor:
        """A variable; every other one is of the older kind."""
        drawn = self.rng.uniform(low, high, shape).astype(dtype)
        variable = self.tf.compat.v1.Variable(drawn, use_resource=len(self.made) % 2 == 0)
        self.made.append(variable)
        return variable.read_value()


@dataclass(frozen=True)
class Answer:
    """A frozen graph, its inputs and outputs by name, and what TensorFlow computed."""

    frozen: Any
    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]
    expected: tuple[np.ndarray, ...]


def answer(case: Case, unknown_batch: bool) -> Answer:
    """Build, run and freeze a case; with `unknown_batch`, a batch of 3 goes through placeholders that leave it open."""
    batch = 3 if unknown_batch else None
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    arrays = [feed.draw(rng, batch) for feed in case.feeds]
    seed = int(rng.integers(1 << 30))
    frozen, outputs, expected = _run(case, case.make, arrays, seed, unknown_batch, run=case.judge is None)
    if case.judge is not None:
        _, _, expected = _run(case, case.judge, arrays, seed, unknown_batch, run=True)
    return Answer(frozen, {f"x{i}": array for i, array in enumerate(arrays)}, outputs, expected)


def _run(
    case: Case, make: Make, arrays: Sequence[np.ndarray], seed: int, unknown_batch: bool, *, run: bool
) -> tuple[Any, tuple[str, ...], tuple[np.ndarray, ...]]:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        declared = [(None, *f.shape[1:]) if unknown_batch else f.shape for f in case.feeds]
        placeholders = [
            v1.placeholder(a.dtype, s, f"x{i}") for i, (a, s) in enumerate(zip(arrays, declared, strict=True))
        ]
        made = make(Live(tf, np.random.default_rng(seed)), *placeholders)
        tensors = made if isinstance(made, list | tuple) else [made]
        session.run(v1.global_variables_initializer())
        fed = dict(zip(placeholders, arrays, strict=True))
        expected = tuple(map(np.asarray, session.run(list(tensors), fed))) if run else ()
        names = [tensor.op.name for tensor in tensors]
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), names)
        return frozen, tuple(t.name.removesuffix(":0") for t in tensors), expected


CASES: list[Case] = []


def case(name: str, *feeds: Feed | tuple[int, ...], **options: Any) -> Callable[[Make], Make]:
    """Enter a function into the table."""

    def enter(make: Make) -> Make:
        given = tuple(feed if isinstance(feed, Feed) else Feed(feed) for feed in feeds)
        CASES.append(Case(name, given, make, **options))
        return make

    return enter


A = Feed((2, 3, 4))
IMAGE = Feed((2, 9, 8, 4))
SMALL = Feed((2, 5, 6, 4))
POSITIVE = Feed((2, 3, 4), 0.1, 3)
UNIT = Feed((2, 3, 4), -0.95, 0.95)
