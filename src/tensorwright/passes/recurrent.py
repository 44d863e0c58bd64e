"""Recurrent layers: steps that two values need are made once; on devices without a kernel they are operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tensorwright.base.errors import BuildError
from tensorwright.graph.graph import Graph, Value, apply, constant_value
from tensorwright.graph.op import Op
from tensorwright.ops.elementwise import Binary, Cast, Select
from tensorwright.ops.mathematics import accumulator
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.recurrent import LSTM, Recurrence, RecurrentStep, Result
from tensorwright.ops.shape import Concatenation, Expand, Reshape, Slice
from tensorwright.passes.rewrite import Permit, graph_pass, replaced_where
from tensorwright.tensor.dim import Dim
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.weights import weights_of


@graph_pass
def share_steps(graph: Graph, permit: Permit) -> Graph:
    """``LSTM(x) = LSTM with cells(x)[:-1]`` where somebody needs the cells of the same layer."""
    original = iter(graph.order())
    with_cells = [v for v in graph.order() if isinstance(v.op, LSTM) and v.op.gives_cells]

    def visit(value: Value) -> Value | None:
        before = next(original)
        if not isinstance(before.op, LSTM) or before.op.gives_cells:
            return None
        twin = replace(before.op, gives_cells=True)
        if not any(other.inputs == before.inputs and other.op.same(twin) for other in with_cells):
            return None
        whole = apply(twin, *value.inputs, name=value.name)
        shape = value.type.shape
        return apply(Slice((0,) * len(shape), shape, (1,) * len(shape)), whole, name=value.name)

    return replaced_where(graph, "share_steps", permit, visit)


def unrolled(graph: Graph, has_kernel: Callable[[Value], bool]) -> Graph:
    """Recurrent layers without a kernel as operators, one after another for every step.

    Raises:
        BuildError: the number of steps is not known.
    """

    def visit(value: Value) -> Value | None:
        return _Unroller.of(value).unrolled() if isinstance(value.op, Recurrence) and not has_kernel(value) else None

    return graph.rebuild(visit)


@dataclass(frozen=True)
class _Unroller:
    """The steps of a layer; `given`: its inputs by role, floating ones in the type of sums."""

    value: Value
    op: Recurrence
    given: dict[str, Value]

    @classmethod
    def of(cls, value: Value) -> _Unroller:
        assert isinstance(value.op, Recurrence)
        wide = Cast(accumulator(value.type.dtype))
        given = {
            role: apply(wide, v, name=value.name) if v.type.dtype.is_float and v.type.dtype != wide.dtype else v
            for role, v in zip(value.op.roles, value.inputs, strict=True)
        }
        return cls(value, value.op, given)

    @property
    def batch(self) -> Dim:
        return self.value.type.shape[1]

    @property
    def size(self) -> Dim:
        return self.value.type.shape[3]

    def unrolled(self) -> Value:
        steps = self.given["gates"].type.shape[0]
        if not isinstance(steps, int):
            raise BuildError(
                f"layer '{self.value.name}': {self.op.name} over a number of steps that is known only at run time "
                f"({steps}) has no kernel on this device; fix the number of steps"
            )
        ways = [self._one_way(number, steps) for number in range(len(self.op.directions))]
        whole = self._apply(Concatenation(2), *ways) if len(ways) > 1 else ways[0]
        dtype = self.value.type.dtype
        return whole if whole.type.dtype == dtype else self._apply(Cast(dtype), whole)

    def _one_way(self, number: int, steps: int) -> Value:
        """The states ``[T, N, 1, H]`` of one direction."""
        rows: dict[int, Value] = {}
        state = [self._first(name, number) for name in self.op.states]
        for time in reversed(range(steps)) if self.op.directions[number] else range(steps):
            after = self._step(number, time, self._marked(state, time))
            inside, shown = self._inside(time), after[0]
            if inside is not None:
                after = [self._apply(Select(), inside, new, old) for new, old in zip(after, state, strict=True)]
                shown = self._apply(Select(), inside, shown, self._constant(np.zeros(()), shown))
            state, rows[time] = after, shown
        ordered = [rows[time] for time in range(steps)] + state[1:] * self.op.tail
        wide = [self._apply(Reshape((1, self.batch, 1, self.size)), row) for row in ordered]
        return self._apply(Concatenation(0), *wide) if len(wide) > 1 else wide[0]

    def _step(self, number: int, time: int, state: Sequence[Value]) -> list[Value]:
        gates = self.op.gates
        seen = [self._part("gates", (time, 0, (number * gates + g) * self.size)) for g in range(gates)]
        first, *second = self.op.phases
        kept = self._kept(number, state[0], first)
        if second:
            further = self._further(number)
            gated = self._computed("gated", [*seen, *kept, kept[0], *state, *further])
            kept += self._kept(number, gated, second[0])
        operands = [*seen, *kept, *state, *self._further(number)]
        results: tuple[Result, ...] = ("hidden", "cell")
        return [self._computed(result, operands) for result in results[: len(state)]]

    def _computed(self, result: Result, operands: Sequence[Value]) -> Value:
        return self._apply(RecurrentStep(self.op, result), *operands)

    def _kept(self, number: int, state: Value, gates: Sequence[int]) -> list[Value]:
        """The products of a state with the columns of some gates of R."""
        matrix = self._matrix(number, gates[0] * self.size, len(gates) * self.size)
        whole = self._apply(MatMul(), state, matrix)
        return [self._slice(whole, (0, g * self.size), (self.batch, self.size)) for g in range(len(gates))]

    def _matrix(self, number: int, first: Dim, count: Dim) -> Value:
        part = self._slice(self.given["recurrence"], (number, 0, first), (1, self.size, count))
        return self._apply(Reshape((self.size, count)), part)

    def _part(self, role: str, starts: Sequence[Dim]) -> Value:
        """A vector of hidden units for every sequence, from an input ``[T, N, …]``."""
        part = self._slice(self.given[role], starts, (1, self.batch, self.size))
        return self._apply(Reshape((self.batch, self.size)), part)

    def _first(self, role: str, number: int) -> Value:
        extent = self.given[role].type.shape[1]
        part = self._slice(self.given[role], (number, 0, 0), (1, extent, self.size))
        flat = self._apply(Reshape((extent, self.size)), part)
        return flat if extent == self.batch else self._apply(Expand((self.batch, self.size)), flat)

    def _further(self, number: int) -> list[Value]:
        """Bias and peepholes."""
        found: list[Value] = []
        if "bias" in self.given:
            found.append(
                self._apply(Reshape((self.size,)), self._slice(self.given["bias"], (number, 0), (1, self.size)))
            )
        if "peepholes" in self.given:
            slices = [self._slice(self.given["peepholes"], (number, gate, 0), (1, 1, self.size)) for gate in range(3)]
            found += [self._apply(Reshape((self.size,)), part) for part in slices]
        return found

    def _marked(self, state: Sequence[Value], time: int) -> list[Value]:
        if "markers" not in self.given:
            return list(state)
        part = self._slice(self.given["markers"], (time, 0), (1, self.batch))
        marker = self._apply(Reshape((self.batch, 1)), part)
        return [self._apply(Binary("mul"), one, marker) for one in state]

    def _inside(self, time: int) -> Value | None:
        if "lengths" not in self.given:
            return None
        lengths = self.given["lengths"]
        whole = lengths if lengths.type.dtype == INT64 else self._apply(Cast(INT64), lengths)
        column = self._apply(Reshape((self.batch, 1)), whole)
        return self._apply(Binary("less"), self._constant(np.array(time), column), column)

    def _slice(self, value: Value, starts: Sequence[Dim], extents: Sequence[Dim]) -> Value:
        whole = value.type.shape == tuple(extents)
        return value if whole else self._apply(Slice(tuple(starts), tuple(extents), (1,) * value.type.rank), value)

    def _constant(self, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], like: Value) -> Value:
        return constant_value(weights_of(array.astype(like.type.dtype.numpy)), self.value.name)

    def _apply(self, op: Op, *inputs: Value) -> Value:
        return apply(op, *inputs, name=self.value.name)
