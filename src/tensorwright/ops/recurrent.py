"""Recurrent layers: the steps through time. What the inputs give to the gates is a product before them.

Formulas as in the ONNX operator specification. Gates are in the order i, o, f, c (LSTM) or z, r, h (GRU).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from tensorwright.graph.expression import Scalar
from tensorwright.graph.op import Array, Op, expect, expect_inputs
from tensorwright.ops.checks import expect_float, expect_index, expect_rank, expect_same_dtype, expect_shape, show
from tensorwright.ops.elementwise import Elementwise
from tensorwright.ops.mathematics import accumulator, call, constant
from tensorwright.tensor.dim import Dim, bounds
from tensorwright.tensor.type import TensorType

Direction = Literal["forward", "reverse", "bidirectional"]
Extra = Literal["bias", "peepholes", "lengths", "markers"]
Result = Literal["hidden", "cell", "gated"]
Floats = npt.NDArray[np.float64]
Step = tuple[int, tuple[Floats, ...], npt.NDArray[np.bool_]]
"""The time of a step, the state after it, and which sequences have the step."""

Number = TypeVar("Number", Scalar, Floats)


@dataclass(frozen=True)
class Unit(Generic[Number]):
    """What the new state of a hidden unit is computed from, as scalars or as arrays of many units.

    seen: for every gate what the input gives, biases included. kept: for every gate the product of R and the state.
    hidden, cell: the state before; cell of an LSTM alone. bias: is added to the last gate of `kept`. peepholes: the
    weights of gates i, o, f for the cell.
    """

    seen: Sequence[Number]
    kept: Sequence[Number]
    hidden: Number
    cell: Number | None = None
    bias: Number | None = None
    peepholes: Sequence[Number] = ()


@dataclass(frozen=True, eq=False)
class Recurrence(Op):
    """The states of a recurrent layer at all times.

    With D directions, G gates, T steps, N sequences and H hidden units the inputs are, all of one floating type but
    for cells and lengths:

    - gates ``[T, N, D·G·H]``: what the input gives to the gates, biases included;
    - recurrence ``[D, H, G·H]``: R, transposed;
    - hidden ``[D, N or 1, H]``: the states before the first step;
    - cells, like hidden, of an LSTM alone; float32 if hidden has a narrower type;
    - those named in `extras`: bias ``[D, H]``, what R adds to the last gate (GRU with `linear_before_reset`); peepholes
      ``[D, 3, H]`` of gates i, o, f (LSTM); lengths ``[N]``, integers from 0 to T; markers ``[T, N]``, with which the
      state before each step is multiplied.

    Output: ``[T, N, D, H]``. A sequence with a length ends there: states behind it are 0, and the other direction
    begins at its last step.

    Attributes:
        functions: the elementwise operators of the gates, of the candidate, and (LSTM) of the new cell.
        direction: which way the steps go; of two directions the second one is the reverse.
        clip: gates are kept in ``[-clip, clip]`` before their functions.
        extras: the further inputs, in order.
    """

    functions: tuple[Op, ...]
    direction: Direction = "forward"
    clip: float | None = None
    extras: tuple[Extra, ...] = ()
    is_sequential: ClassVar[bool] = True
    gates: ClassVar[int]
    states: ClassVar[tuple[str, ...]] = ("hidden",)

    @property
    def directions(self) -> tuple[bool, ...]:
        """For every direction whether it is the reverse one."""
        return {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[self.direction]

    @property
    def roles(self) -> tuple[str, ...]:
        """What the inputs are."""
        return ("gates", "recurrence", *self.states, *self.extras)

    @property
    def phases(self) -> tuple[tuple[int, ...], ...]:
        """The gates whose products with the state are needed at once; the second phase multiplies the gated state."""
        return (tuple(range(self.gates)),)

    @property
    def tail(self) -> int:
        """Rows of the output behind those of the steps."""
        return 0

    @abstractmethod
    def scalars(self, unit: Unit[Scalar]) -> tuple[Scalar, ...]:
        """The new state of a hidden unit."""

    @abstractmethod
    def arrays(self, unit: Unit[Floats]) -> tuple[Floats, ...]:
        """The new states of many hidden units, in float64."""

    def gated_scalar(self, unit: Unit[Scalar]) -> Scalar:
        """The state that the second phase multiplies; `kept` needs to hold what the first one gives."""
        raise NotImplementedError

    def gated_array(self, unit: Unit[Floats]) -> Floats:
        """The same for arrays."""
        raise NotImplementedError

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        expect_inputs(self, inputs, len(self.roles))
        given = dict(zip(self.roles, inputs, strict=True))
        gates, recurrence = given["gates"], given["recurrence"]
        expect_float(self, gates, "gates")
        expect_rank(self, gates, 3, 3, "gates")
        expect_rank(self, recurrence, 3, 3, "recurrence")
        (steps, batch, width), directions = gates.shape, len(self.directions)
        expect(self.clip is None or self.clip >= 0, self, f"clip: expected at least 0, found {self.clip}")
        size = recurrence.shape[1]
        expect(isinstance(size, int), self, f"input recurrence: expected H to be fixed, found {show(recurrence.shape)}")
        expect(bounds(steps)[1] >= 1, self, f"input gates: expected at least one step, found {show(gates.shape)}")
        expect_shape(self, recurrence, (directions, size, self.gates * size), "recurrence")
        wanted = directions * self.gates * size
        expect(width == wanted, self, f"input gates: expected last extent {wanted}, found {width}")
        self._expect_states(given, batch, size)
        self._expect_extras(given, steps, batch, size)
        expect_same_dtype(self, [given[role] for role in self._alike], self._alike)
        return TensorType(gates.dtype, (steps + self.tail, batch, directions, size))

    @property
    def _alike(self) -> tuple[str, ...]:
        """The inputs of one type."""
        return tuple(role for role in self.roles if role not in ("cells", "lengths"))

    def _expect_states(self, given: dict[str, TensorType], batch: Dim, size: Dim) -> None:
        directions = len(self.directions)
        for state in self.states:
            shape = given[state].shape
            fits = shape in ((directions, batch, size), (directions, 1, size))
            wanted = f"[{directions}, {batch} or 1, {size}]"
            expect(fits, self, f"input {state}: expected {wanted}, found {show(shape)}")
        if "cells" in given:
            wide, found = accumulator(given["gates"].dtype), given["cells"].dtype
            expect(found == wide, self, f"input cells: expected {wide}, found {found}; cast it")

    def _expect_extras(self, given: dict[str, TensorType], steps: Dim, batch: Dim, size: Dim) -> None:
        directions = len(self.directions)
        shapes = {
            "bias": (directions, size),
            "peepholes": (directions, 3, size),
            "lengths": (batch,),
            "markers": (steps, batch),
        }
        for extra in self.extras:
            expect_shape(self, given[extra], shapes[extra], extra)
        if "lengths" in given:
            expect_index(self, given["lengths"], "lengths")

    def valid_range(self, operand: int, inputs: Sequence[TensorType]) -> tuple[Dim, Dim] | None:
        """Lengths of sequences do not exceed the number of steps."""
        return (0, inputs[0].shape[0] + 1) if self.roles[operand] == "lengths" else None

    def clipped_scalar(self, number: int, x: Scalar) -> Scalar:
        """A function of a gate."""
        if self.clip is not None:
            x = call("min", call("max", x, constant(-self.clip, x.dtype)), constant(self.clip, x.dtype))
        return scalar_of(self.functions[number], x)

    def clipped_array(self, number: int, x: Floats) -> Floats:
        """A function of a gate."""
        return array_of(self.functions[number], x if self.clip is None else np.clip(x, -self.clip, self.clip))

    def reference(self, *inputs: Array) -> Array:
        given = {role: array.astype(np.float64) for role, array in zip(self.roles, inputs, strict=True)}
        steps, batch, _ = given["gates"].shape
        size = given["recurrence"].shape[1]
        result = np.zeros((steps + self.tail, batch, len(self.directions), size))
        for number in range(len(self.directions)):
            for time, state, inside in self._steps(given, number):
                result[time, :, number] = np.where(inside, state[0], 0)
                result[steps:, :, number] = state[-1]
        return result

    def _steps(self, given: dict[str, Floats], number: int) -> Iterator[Step]:
        """The steps in the order in which a direction takes them."""
        steps, batch, _ = given["gates"].shape
        size = given["recurrence"].shape[1]
        gates = given["gates"].reshape(steps, batch, len(self.directions), self.gates, size)[:, :, number]
        state = tuple(np.broadcast_to(given[name][number], (batch, size)) for name in self.states)
        for time in reversed(range(steps)) if self.directions[number] else range(steps):
            before = tuple(given["markers"][time][:, None] * one for one in state) if "markers" in given else state
            after = self.arrays(self._unit(given, number, gates[time].swapaxes(0, 1), before))
            inside = np.asarray(time < given["lengths"][:, None] if "lengths" in given else True)
            state = tuple(np.where(inside, new, old) for new, old in zip(after, state, strict=True))
            yield time, state, inside

    def _unit(self, given: dict[str, Floats], number: int, seen: Array, state: tuple[Floats, ...]) -> Unit[Floats]:
        hidden, size = state[0], given["recurrence"].shape[1]
        matrix = given["recurrence"][number].reshape(size, self.gates, size)
        unit = Unit[Floats](
            list(seen),
            [hidden @ matrix[:, gate] for gate in range(self.gates)],
            hidden,
            state[1] if len(state) > 1 else None,
            given["bias"][number] if "bias" in given else None,
            list(given["peepholes"][number]) if "peepholes" in given else (),
        )
        if len(self.phases) == 1:
            return unit
        (again,) = self.phases[1]
        kept = [*unit.kept[:again], self.gated_array(unit) @ matrix[:, again]]
        return Unit(unit.seen, kept, hidden, unit.cell, unit.bias)


@dataclass(frozen=True, eq=False)
class RNN(Recurrence):
    """``h' = f(x + R h)``, where x is what the input gives; see `Recurrence`."""

    gates: ClassVar[int] = 1

    def scalars(self, unit: Unit[Scalar]) -> tuple[Scalar, ...]:
        return (self.clipped_scalar(0, call("add", unit.seen[0], unit.kept[0])),)

    def arrays(self, unit: Unit[Floats]) -> tuple[Floats, ...]:
        return (self.clipped_array(0, unit.seen[0] + unit.kept[0]),)


@dataclass(frozen=True, eq=False)
class GRU(Recurrence):
    """``z, r = f(x + R h)``, ``n = g(x + R (r ∘ h))``, ``h' = (1 - z) ∘ n + z ∘ h``; see `Recurrence`.

    linear_before_reset: the candidate is ``n = g(x + r ∘ (R h + b))``.
    """

    linear_before_reset: bool = False
    gates: ClassVar[int] = 3

    @property
    def phases(self) -> tuple[tuple[int, ...], ...]:
        return ((0, 1, 2),) if self.linear_before_reset else ((0, 1), (2,))

    def scalars(self, unit: Unit[Scalar]) -> tuple[Scalar, ...]:
        z = self._gate_scalar(unit, 0)
        kept = unit.kept[2] if unit.bias is None else call("add", unit.kept[2], unit.bias)
        if self.linear_before_reset:
            kept = call("mul", self._gate_scalar(unit, 1), kept)
        new = self.clipped_scalar(1, call("add", unit.seen[2], kept))
        rest = call("sub", constant(1, z.dtype), z)
        return (call("add", call("mul", rest, new), call("mul", z, unit.hidden)),)

    def arrays(self, unit: Unit[Floats]) -> tuple[Floats, ...]:
        z, reset = (self._gate_array(unit, gate) for gate in (0, 1))
        kept = unit.kept[2] if unit.bias is None else unit.kept[2] + unit.bias
        new = self.clipped_array(1, unit.seen[2] + (reset * kept if self.linear_before_reset else kept))
        return ((1 - z) * new + z * unit.hidden,)

    def gated_scalar(self, unit: Unit[Scalar]) -> Scalar:
        return call("mul", self._gate_scalar(unit, 1), unit.hidden)

    def gated_array(self, unit: Unit[Floats]) -> Floats:
        return self._gate_array(unit, 1) * unit.hidden

    def _gate_scalar(self, unit: Unit[Scalar], gate: int) -> Scalar:
        return self.clipped_scalar(0, call("add", unit.seen[gate], unit.kept[gate]))

    def _gate_array(self, unit: Unit[Floats], gate: int) -> Floats:
        return self.clipped_array(0, unit.seen[gate] + unit.kept[gate])


@dataclass(frozen=True, eq=False)
class LSTM(Recurrence):
    """``i, f, o = a(x + R h)``, ``c' = f ∘ c + i ∘ g(x + R h)``, ``h' = o ∘ k(c')``; see `Recurrence`.

    With peepholes P the gates i and f see ``P ∘ c`` as well, and o sees ``P ∘ c'``.

    input_forget: f is ``1 - i``. gives_cells: a last row of the output, ``[T + 1, N, D, H]``, holds the cells after
    the last step of every sequence.
    """

    input_forget: bool = False
    gives_cells: bool = False
    gates: ClassVar[int] = 4
    states: ClassVar[tuple[str, ...]] = ("hidden", "cells")

    @property
    def tail(self) -> int:
        return int(self.gives_cells)

    def scalars(self, unit: Unit[Scalar]) -> tuple[Scalar, ...]:
        assert unit.cell is not None
        i = self.clipped_scalar(0, self._total_scalar(unit, 0, unit.cell))
        if self.input_forget:
            f: Scalar = call("sub", constant(1, i.dtype), i)
        else:
            f = self.clipped_scalar(0, self._total_scalar(unit, 2, unit.cell))
        new = self.clipped_scalar(1, call("add", unit.seen[3], unit.kept[3]))
        cell = call("add", call("mul", f, unit.cell), call("mul", i, new))
        o = self.clipped_scalar(0, self._total_scalar(unit, 1, cell))
        return call("mul", o, scalar_of(self.functions[2], cell)), cell

    def arrays(self, unit: Unit[Floats]) -> tuple[Floats, ...]:
        assert unit.cell is not None
        i = self.clipped_array(0, self._total_array(unit, 0, unit.cell))
        f = 1 - i if self.input_forget else self.clipped_array(0, self._total_array(unit, 2, unit.cell))
        cell = f * unit.cell + i * self.clipped_array(1, unit.seen[3] + unit.kept[3])
        o = self.clipped_array(0, self._total_array(unit, 1, cell))
        return o * array_of(self.functions[2], cell), cell

    def _total_scalar(self, unit: Unit[Scalar], gate: int, cell: Scalar) -> Scalar:
        total = call("add", unit.seen[gate], unit.kept[gate])
        return call("add", total, call("mul", unit.peepholes[gate], cell)) if unit.peepholes else total

    def _total_array(self, unit: Unit[Floats], gate: int, cell: Floats) -> Floats:
        total = unit.seen[gate] + unit.kept[gate]
        return total + unit.peepholes[gate] * cell if unit.peepholes else total


@dataclass(frozen=True, eq=False)
class RecurrentStep(Elementwise):
    """One step of a recurrent layer for every hidden unit, where steps are operators of their own.

    Inputs, with G gates: what each of them sees, what each keeps, the hidden state, and the cell, bias and peepholes if
    there are; shapes broadcast to that of the first one.

    Attributes:
        of: the layer. result: the new state's part, or the state that the second phase multiplies.
    """

    of: Recurrence
    result: Result

    def infer(self, inputs: Sequence[TensorType]) -> TensorType:
        count = (
            2 * self.of.gates + len(self.of.states) + ("bias" in self.of.extras) + 3 * ("peepholes" in self.of.extras)
        )
        expect_inputs(self, inputs, count)
        return inputs[0]

    def reference(self, *inputs: Array) -> Array:
        unit = self._unit([array.astype(np.float64) for array in inputs])
        if self.result == "gated":
            return self.of.gated_array(unit)
        return self.of.arrays(unit)[self.result == "cell"]

    def scalar(self, operands: Sequence[Scalar], output: TensorType) -> Scalar:
        unit = self._unit(operands)
        if self.result == "gated":
            return self.of.gated_scalar(unit)
        return self.of.scalars(unit)[self.result == "cell"]

    def _unit(self, operands: Sequence[Number]) -> Unit[Number]:
        rest = list(operands)
        seen, kept = ([rest.pop(0) for _ in range(self.of.gates)] for _ in range(2))
        hidden = rest.pop(0)
        cell = rest.pop(0) if "cells" in self.of.states else None
        bias = rest.pop(0) if "bias" in self.of.extras else None
        return Unit(seen, kept, hidden, cell, bias, rest)


def scalar_of(function: Op, x: Scalar) -> Scalar:
    """An elementwise operator applied to one number."""
    return function.scalar([x], TensorType(x.dtype, ()))


def array_of(function: Op, x: Floats) -> Floats:
    """An elementwise operator applied to many numbers."""
    return function.reference(x).astype(np.float64)
