"""Emits scalar expressions as vector code.

Inside a *lane* loop one variable, the lane variable, takes `lanes` consecutive values at once. Whatever depends on it
becomes a vector; whatever does not stays scalar and is splatted where the two meet. The last, incomplete round of a
lane loop runs with a mask: masked-out lanes touch no memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tensorwright.codegen.convert import bounded_integer, rounded_integer
from tensorwright.codegen.functions import apply_function, convert
from tensorwright.codegen.instructions import Loop
from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import (
    Apply,
    Constant,
    DataIndex,
    IndexValue,
    Load,
    Reduce,
    Scalar,
    Variable,
    free_atoms,
    scalar_atoms,
    stride_along,
)
from tensorwright.graph.functions import reduction_identity
from tensorwright.tensor.conversion import limits
from tensorwright.tensor.dim import (
    Atom,
    Dim,
    Extremum,
    IntegerExpression,
    Quotient,
    Remainder,
    Symbol,
    bounds,
    is_static,
    product,
)
from tensorwright.tensor.dtype import BOOL, FLOAT32, INT64, DType

COMBINE = {"add": "add", "mul": "mul", "max": "max", "min": "min"}
REDUCTION_UNROLL = 4
STRIDED_STEPS = (2, 3, 4)
"""Distances between the elements of neighbouring lanes for which whole vectors are loaded and shuffled."""
UNROLLED_STEPS = 16
"""A reduction of at most so many steps is written out."""


def _rounded(node: Scalar) -> tuple[Scalar, int] | None:
    """x and z of ``round(x) + z`` in float32, for an integer z of at most two bytes."""
    shift: float = 0
    match node:
        case Apply(function="add", operands=(whole, Apply(function="cast", operands=(Constant() as zero,)))):
            if not zero.dtype.is_integer or zero.dtype.size > 2:
                return None
            node, shift = whole, zero.value
    match node:
        case Apply(function="round", operands=(number,), dtype=dtype) if dtype == FLOAT32:
            return number, int(shift)
    return None


@dataclass(frozen=True)
class Lane:
    """The variable that runs across the lanes, how many there are, and which of them are active.

    active: how many are, from the first one on, if that is known although there is a mask.
    """

    variable: Variable
    lanes: int
    mask: Register | None = None
    active: int | None = None

    @property
    def known_active(self) -> int | None:
        return self.lanes if self.mask is None else self.active


def lane_mask(count: int, lanes: int) -> Register:
    """The first `count` lanes of a vector."""
    if lanes == 1:
        return literal(count > 0, BOOL)
    bits = ", ".join(f"i1 {'true' if lane < count else 'false'}" for lane in range(lanes))
    return Register(f"<{bits}>", BOOL, lanes)


@dataclass
class ScalarEmitter:
    """Emits scalars and integers at the current place of a function under construction.

    operands: where the elements of each operand start. symbols and values: the i64 registers of symbolic dimensions
    and of the loop variables that are open (for the lane variable, its value in lane 0). given: the current element of
    operands that are not in memory but in a register (the accumulator that an epilogue works on).
    """

    builder: FunctionBuilder
    target: Target
    operands: Sequence[Pointer]
    symbols: dict[str, Register]
    values: dict[Atom, Register] = field(default_factory=dict)
    lane: Lane | None = None
    given: dict[int, Register] = field(default_factory=dict)
    _scopes: list[dict[tuple[object, ...], Register]] = field(default_factory=lambda: [{}])
    _atoms: dict[int, frozenset[Atom]] = field(default_factory=dict)
    _alive: list[Scalar] = field(default_factory=list)

    # ---- places

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is emitted inside is forgotten outside: use it around loops and conditional blocks."""
        self._scopes.append({})
        try:
            yield
        finally:
            self._scopes.pop()

    @contextmanager
    def loop(
        self, start: Register | int, stop: Register | int, step: int = 1, carried: Sequence[Register | int] = ()
    ) -> Iterator[Loop]:
        """A loop of the builder whose body is a scope."""
        with self.builder.loop(start, stop, step, carried) as loop, self.scope():
            yield loop

    @contextmanager
    def when(self, condition: Register | None) -> Iterator[None]:
        """A conditional block of the builder that is a scope."""
        with self.builder.when(condition), self.scope():
            yield

    @contextmanager
    def in_lanes(self, lane: Lane | None) -> Iterator[None]:
        previous, self.lane = self.lane, lane
        try:
            yield
        finally:
            self.lane = previous

    def atoms(self, scalar: Scalar) -> frozenset[Atom]:
        """Symbols and variables that a scalar depends on."""
        known = self._atoms.get(id(scalar))
        if known is None:
            self._alive.append(scalar)
            known = scalar_atoms(scalar, self._atoms)
        return known

    def known(self, scalar: Scalar) -> bool:
        """Whether the scalar has been emitted at a place that reaches here."""
        return self._recall(self._key(scalar)) is not None

    def _key(self, scalar: Scalar) -> tuple[object, ...]:
        return id(scalar), self.lane if self._varies(scalar) else None

    def _varies(self, scalar: Scalar) -> bool:
        return self.lane is not None and self.lane.variable in self.atoms(scalar)

    def _recall(self, key: tuple[object, ...]) -> Register | None:
        for scope in reversed(self._scopes):
            if key in scope:
                return scope[key]
        return None

    # ---- scalars

    def scalar(self, node: Scalar) -> Register:
        """The value of a scalar: one lane if it does not depend on the lane variable."""
        key = self._key(node)
        found = self._recall(key)
        if found is None:
            if self.lane is not None and not self._varies(node):
                with self.in_lanes(None):
                    found = self._emit(node)
            else:
                found = self._emit(node)
            self._scopes[-1][key] = found
            self.atoms(node)
        return found

    def _emit(self, node: Scalar) -> Register:
        match node:
            case Constant(value=value, dtype=dtype):
                return literal(value, dtype)
            case IndexValue(index=index):
                return self.integers(index)
            case Load():
                return self._load(node)
            case Apply(function="cast", operands=(operand,), dtype=dtype):
                return self._cast(operand, dtype)
            case Apply(function=function, operands=operands, dtype=dtype):
                return apply_function(self.builder, function, self._aligned(operands), dtype)
            case Reduce():
                return self._reduce(node)

    def _cast(self, operand: Scalar, dtype: DType) -> Register:
        """A conversion; where a float is kept within bounds of its own, not within those of the type once more."""
        match operand:
            case Apply(
                function="min",
                operands=(Apply(function="max", operands=(inner, Constant(value=low))), Constant(value=high)),
            ) if operand.dtype.is_float and dtype.is_integer and dtype.size <= 2:
                least, most = limits(dtype)
                if least <= low <= high <= most:
                    return self._bounded(inner, low, high, dtype)
        return convert(self.builder, self.scalar(operand), dtype)

    def _bounded(self, node: Scalar, low: float, high: float, dtype: DType) -> Register:
        """A float within bounds as a small integer."""
        rounded = _rounded(node)
        if rounded is None:
            return bounded_integer(self.builder, self.scalar(node), low, high, dtype)
        number, shift = rounded
        return rounded_integer(self.builder, self._to_be_rounded(number), shift, int(low), int(high), dtype)

    def _to_be_rounded(self, node: Scalar) -> Register:
        """A float32 that is rounded to an integer of at most two bytes."""
        return self.scalar(node)

    def _aligned(self, operands: Sequence[Scalar]) -> list[Register]:
        values = [self.scalar(operand) for operand in operands]
        lanes = max((value.lanes for value in values), default=1)
        return [self._splat(value, lanes) for value in values]

    def _splat(self, value: Register, lanes: int) -> Register:
        if value.lanes == lanes:
            return value
        if value.text[0] != "%":
            return Register(f"splat ({value.type} {value.text})", value.dtype, lanes)
        return self.builder.splat(value, lanes)

    # ---- memory

    def _load(self, node: Load) -> Register:
        if node.operand in self.given:
            return self.given[node.operand]
        (address,), base = node.index, self.operands[node.operand]
        guard = None if node.guard is None else self.scalar(node.guard)
        if self.lane is None:
            return self._load_one(node, base, address, guard)
        step = stride_along(address, self.lane.variable)
        if step == 0:
            if guard is None or guard.lanes == 1:
                return self._load_one(node, base, address, guard)
            place = self.builder.offset(base, self.integer(address), node.dtype)
            one = self.builder.load(self._mapped(place, base, guard), node.dtype)
            return self.builder.select(guard, self._splat(one, guard.lanes), self._otherwise(node, guard.lanes))
        mask = self._mask(guard)
        if step == 1:
            place = self.builder.offset(base, self.integer(address), node.dtype)
            if guard is not None:
                place = self._mapped(place, base, guard)
            if mask is None:
                return self.builder.load(place, node.dtype, self.lane.lanes)
            return self.builder.masked_load(place, mask, self._otherwise(node, self.lane.lanes), node.dtype)
        if guard is None and step in STRIDED_STEPS and self.lane.known_active is not None:
            return self._load_strided(
                self.builder.offset(base, self.integer(address), node.dtype), int(step), node.dtype
            )
        everywhere = mask or literal(True, BOOL, self.lane.lanes)
        index, otherwise = self.integers(address), self._otherwise(node, self.lane.lanes)
        return self.builder.gather(base, index, everywhere, otherwise, node.dtype)

    def _load_strided(self, place: Pointer, step: int, dtype: DType) -> Register:
        """Every so many elements from consecutive vectors, which need not touch what lies behind the last element."""
        assert self.lane is not None
        assert self.lane.known_active is not None
        lanes, reach = self.lane.lanes, (self.lane.known_active - 1) * step + 1
        vectors: list[Register] = []
        for first in range(0, reach, lanes):
            start = self.builder.offset(place, first, dtype)
            if reach - first >= lanes:
                vectors.append(self.builder.load(start, dtype, lanes))
            else:
                mask = lane_mask(reach - first, lanes)
                vectors.append(self.builder.masked_load(start, mask, literal(0, dtype, lanes), dtype))
        return self._every(step, vectors, lanes)

    def _every(self, step: int, vectors: list[Register], lanes: int) -> Register:
        """Every so many lanes of vectors side by side."""
        result: Register | None = None
        for number in range(0, len(vectors), 2):
            pair = vectors[number : number + 2]
            wanted = [lane * step - number * lanes for lane in range(lanes)]
            inside = [0 <= position < lanes * len(pair) for position in wanted]
            picked = [position if ok else 0 for position, ok in zip(wanted, inside, strict=True)]
            part = self.builder.shuffle(pair[0], pair[-1], picked)
            merged = [lanes + lane if ok else lane for lane, ok in enumerate(inside)]
            result = part if result is None else self.builder.shuffle(result, part, merged)
        assert result is not None
        return result

    def _load_one(self, node: Load, base: Pointer, address: Dim, guard: Register | None) -> Register:
        place = self.builder.offset(base, self.integer(address), node.dtype)
        if guard is None:
            return self.builder.load(place, node.dtype)
        value = self.builder.load(self._mapped(place, base, guard), node.dtype)
        return self.builder.select(guard, value, self._otherwise(node, 1))

    def _mapped(self, place: Pointer, base: Pointer, guard: Register) -> Pointer:
        """`place` if the guard holds in any lane, else `base`.

        Loads of which all lanes are masked out take hundreds of cycles where no memory is mapped.
        """
        return self.builder.choose(self.builder.any(guard), place, base)

    def _otherwise(self, node: Load, lanes: int) -> Register:
        return literal(node.otherwise, node.dtype, lanes)

    def _mask(self, guard: Register | None) -> Register | None:
        if self.lane is None:
            return guard
        if guard is None:
            return self.lane.mask
        guard = self._splat(guard, self.lane.lanes)
        return guard if self.lane.mask is None else self.builder.binary("and", guard, self.lane.mask)

    def store(self, value: Register, base: Pointer, address: Dim, dtype: DType) -> None:
        """Write the value of the current element, or of the elements of all active lanes."""
        if self.lane is None:
            self.builder.store(value, self.builder.offset(base, self.integer(address), dtype), dtype)
            return
        value = self._splat(value, self.lane.lanes)
        step = stride_along(address, self.lane.variable)
        if step != 1:
            raise AssertionError(f"stores step by 1 along the lanes, not by {step}: {address}")
        place = self.builder.offset(base, self.integer(address), dtype)
        if self.lane.mask is None:
            self.builder.store(value, place, dtype)
        else:
            self.builder.masked_store(value, place, self.lane.mask, dtype)

    # ---- reductions

    def _reduce(self, node: Reduce) -> Register:
        across = None if self._varies(node) else self._reduction_lane(node)
        if across is None:
            return self._reduce_rounds(node, list(node.variables), 1 if self.lane is None else self.lane.lanes)
        return self._reduce_across(node, across)

    def _reduce_rounds(self, node: Reduce, variables: list[Variable], lanes: int) -> Register:
        """One accumulator, sequential loops over all variables."""
        identity = literal(reduction_identity(node.combine, node.dtype), node.dtype, lanes)
        return self._nest(node, variables, [identity])[0]

    def _nest(self, node: Reduce, variables: list[Variable], carried: list[Register]) -> list[Register]:
        if not variables:
            lanes = carried[0].lanes
            value = self._splat(self.scalar(node.body), lanes)
            return [self._combine(node, carried[0], value)]
        variable, *rest = variables
        steps = [v.extent for v in variables]
        is_static = all(isinstance(extent, int) for extent in steps)
        if is_static and bounds(product(steps))[1] <= self._most_written_out(node):
            for step in range(bounds(variable.extent)[1]):
                self.values[variable] = i64(step)
                with self.scope():
                    carried = self._nest(node, rest, carried)
            return carried
        with self.builder.loop(0, self.integer(variable.extent), 1, carried) as loop:
            self.values[variable] = loop.index
            with self.scope():
                results = self._nest(node, rest, loop.carried)
            loop.following = results
        return loop.final

    def _most_written_out(self, node: Reduce) -> int:
        """Of how many steps a loop of a reduction, with those inside, is written out."""
        return UNROLLED_STEPS

    def _combine(self, node: Reduce, left: Register, right: Register) -> Register:
        return apply_function(self.builder, COMBINE[node.combine], [left, right], node.dtype)

    def _reduction_lane(self, node: Reduce) -> Variable | None:
        """The innermost variable of a reduction, if the elements along it are worth loading as vectors."""
        variable = node.variables[-1]
        lanes = self.target.float_lanes
        long_enough = bounds(variable.extent)[1] >= lanes
        return variable if long_enough and not self._scattered(node.body, variable) else None

    def _scattered(self, body: Scalar, variable: Variable) -> bool:
        seen: set[int] = set()
        stack: list[Scalar] = [body]
        while stack:
            node = stack.pop()
            if id(node) in seen or variable not in self.atoms(node):
                continue
            seen.add(id(node))
            match node:
                case Load(index=(address,), guard=guard):
                    if stride_along(address, variable) not in (0, 1):
                        return True
                    stack.extend([] if guard is None else [guard])
                case Apply(operands=operands):
                    stack.extend(operands)
                case Reduce(body=inner):
                    stack.append(inner)
                case _:
                    pass
        return False

    def _reduce_across(self, node: Reduce, variable: Variable) -> Register:
        """Vector accumulators along the innermost variable, combined at the end."""
        lanes = self.target.float_lanes
        identity = literal(reduction_identity(node.combine, node.dtype), node.dtype, lanes)
        totals = self._across_nest(node, list(node.variables[:-1]), variable, [identity] * REDUCTION_UNROLL)
        while len(totals) > 1:
            half = len(totals) // 2
            totals = [self._combine(node, a, b) for a, b in zip(totals[:half], totals[half:], strict=True)]
        return self.horizontal(node, totals[0])

    def _across_nest(
        self, node: Reduce, outer: list[Variable], variable: Variable, carried: list[Register]
    ) -> list[Register]:
        if outer:
            with self.builder.loop(0, self.integer(outer[0].extent), 1, carried) as loop:
                self.values[outer[0]] = loop.index
                with self.scope():
                    results = self._across_nest(node, outer[1:], variable, loop.carried)
                loop.following = results
            return loop.final
        lanes, extent = self.target.float_lanes, self.integer(variable.extent)
        whole = self.whole_rounds(extent, variable, lanes * REDUCTION_UNROLL)
        with self.builder.loop(0, whole, lanes * REDUCTION_UNROLL, carried) as loop:
            results = []
            for part, total in enumerate(loop.carried):
                start = self.builder.add(loop.index, part * lanes)
                results.append(self._across_part(node, variable, start, total, None))
            loop.following = results
        carried = loop.final
        if is_static(variable.extent) and bounds(variable.extent)[1] % (lanes * REDUCTION_UNROLL) == 0:
            return carried
        with self.builder.loop(whole, extent, lanes, carried[:1]) as loop:
            mask = self.tail_mask(extent, loop.index, lanes)
            loop.following = [self._across_part(node, variable, loop.index, loop.carried[0], mask)]
        return [*loop.final, *carried[1:]]

    def _across_part(
        self, node: Reduce, variable: Variable, start: Register, total: Register, mask: Register | None
    ) -> Register:
        self.values[variable] = start
        with self.scope(), self.in_lanes(Lane(variable, total.lanes, mask)):
            value = self._splat(self.scalar(node.body), total.lanes)
        if mask is not None:
            identity = literal(reduction_identity(node.combine, node.dtype), node.dtype, total.lanes)
            value = self.builder.select(mask, value, identity)
        return self._combine(node, total, value)

    def horizontal(self, node: Reduce, vector: Register) -> Register:
        """All lanes of a vector combined into one."""
        while vector.lanes > 1:
            half = vector.lanes // 2
            low = self.builder.shuffle(vector, vector, range(half))
            high = self.builder.shuffle(vector, vector, range(half, vector.lanes))
            if half == 1:
                low, high = self.builder.extract(vector, 0), self.builder.extract(vector, 1)
            vector = self._combine(node, low, high)
        return vector

    def whole_rounds(self, extent: Register, variable: Variable, step: int) -> Register:
        """The largest multiple of `step` (a power of two) that is not above the extent."""
        if is_static(variable.extent):
            return i64(bounds(variable.extent)[1] // step * step)
        return self.builder.binary("and", extent, -step)

    def tail_mask(self, extent: Register, start: Register, lanes: int) -> Register:
        """Which lanes, counted from `start`, lie below the extent."""
        left = self.builder.sub(extent, start)
        numbers = self.builder.lane_numbers(lanes)
        return self.builder.compare("slt", numbers, self.builder.splat(left, lanes))

    # ---- integers

    def integer(self, value: Dim) -> Register:
        """An integer as one i64; for what depends on the lane variable, its value in lane 0."""
        if not isinstance(value, IntegerExpression):
            return i64(value)
        found = self._recall((value,))
        if found is None:
            with self.in_lanes(None):
                found = self._polynomial(value)
            self._scopes[-1][(value,)] = found
        return found

    def integers(self, value: Dim) -> Register:
        """An integer in every lane, or as one i64 if it does not depend on the lane variable."""
        if self.lane is None or self.lane.variable not in free_atoms(value):
            return self.integer(value)
        step = stride_along(value, self.lane.variable)
        if step is None:
            return self._polynomial(value)
        base = self.builder.splat(self.integer(value), self.lane.lanes)
        numbers = self.builder.lane_numbers(self.lane.lanes)
        if step != 1:
            numbers = self.builder.mul(numbers, self._splat(self.integer(step), self.lane.lanes))
        return self.builder.add(base, numbers)

    def _polynomial(self, value: Dim) -> Register:
        if not isinstance(value, IntegerExpression):
            return i64(value)
        total: Register | None = None
        for monomial, coefficient in value.terms:
            term: Register | None = None if coefficient == 1 and monomial else i64(coefficient)
            for atom in monomial:
                factor = self._atom(atom)
                term = factor if term is None else self._both("mul", term, factor)
            assert term is not None
            total = term if total is None else self._both("add", total, term)
        return i64(0) if total is None else total

    def _both(self, opcode: str, left: Register, right: Register) -> Register:
        lanes = max(left.lanes, right.lanes)
        return self.builder.binary(opcode, self._splat(left, lanes), self._splat(right, lanes))

    def _atom(self, atom: Atom) -> Register:
        match atom:
            case Symbol():
                return self.symbols[atom.name]
            case Variable():
                if self.lane is not None and atom == self.lane.variable:
                    base = self.builder.splat(self.values[atom], self.lane.lanes)
                    return self.builder.add(base, self.builder.lane_numbers(self.lane.lanes))
                return self.values[atom]
            case Quotient(numerator=numerator, denominator=denominator):
                return self._divide("div", numerator, denominator)
            case Remainder(numerator=numerator, denominator=denominator):
                return self._divide("rem", numerator, denominator)
            case Extremum(function=function, left=left, right=right):
                a, b = self.integers(left), self.integers(right)
                lanes = max(a.lanes, b.lanes)
                a, b = self._splat(a, lanes), self._splat(b, lanes)
                return self.builder.select(self.builder.compare("slt" if function == "min" else "sgt", a, b), a, b)
            case DataIndex(scalar=scalar, low=low, high=high):
                return self._data_index(scalar, low, high)
            case _:
                raise TypeError(f"cannot emit {atom}")

    def _divide(self, operation: str, numerator: Dim, denominator: Dim) -> Register:
        """Quotient or remainder rounded down."""
        a, b = self.integers(numerator), self.integers(denominator)
        lanes = max(a.lanes, b.lanes)
        a, b = self._splat(a, lanes), self._splat(b, lanes)
        if bounds(numerator)[0] >= 0:
            return self.builder.binary("u" + operation, a, b)
        if isinstance(denominator, int) and denominator & (denominator - 1) == 0:
            power = literal(denominator.bit_length() - 1, INT64, lanes)
            if operation == "div":
                return self.builder.binary("ashr", a, power)
            return self.builder.binary("and", a, denominator - 1)
        raw = self.builder.binary("srem", a, b)
        negative = self.builder.compare("slt", raw, 0)
        rest = self.builder.add(raw, self.builder.select(negative, b, literal(0, INT64, lanes)))
        return rest if operation == "rem" else self.builder.binary("sdiv", self.builder.sub(a, rest), b)

    def _data_index(self, scalar: Scalar, low: int, high: int) -> Register:
        value = convert(self.builder, self.scalar(scalar), INT64)
        least, most = literal(low, INT64, value.lanes), literal(high, INT64, value.lanes)
        value = self.builder.select(self.builder.compare("slt", value, least), least, value)
        return self.builder.select(self.builder.compare("sgt", value, most), most, value)
