"""Computations as GPU kernels: a thread for every element of the output, or a cooperative group for every row.

A *cooperative group* is the neighbouring threads of one warp, or all threads of a block. It shares the reductions that
are the same for many elements (the sums of a softmax), each thread taking every so many steps; then its threads share
out the elements of the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tensorwright.codegen.cuda.normal import coarse_erf, one_plus_coarse_erf
from tensorwright.codegen.cuda.quotient import quotient
from tensorwright.codegen.cuda.targets import WARP
from tensorwright.codegen.cuda.threads import ThreadBuilder, wide
from tensorwright.codegen.flatten import FlatComputation
from tensorwright.codegen.scalar import STRIDED_STEPS, Lane, ScalarEmitter
from tensorwright.codegen.values import Pointer, Register, i64, literal
from tensorwright.graph.expression import (
    Apply,
    Constant,
    Load,
    Reduce,
    Scalar,
    Variable,
    scalar_atoms,
    stride_along,
    walk,
)
from tensorwright.graph.functions import reduction_identity
from tensorwright.tensor.dim import Dim, IntegerExpression, expression, product, upper_bound
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, INT32, DType

BLOCK = 256
"""Threads in a block."""
MOST_GATHERED = 96
"""Elements that lie apart, each with an address of its own, that the written out steps of a reduction read: for many
more a thread has too few registers.
"""


@dataclass(frozen=True)
class Rows:
    """The loops of an output: `rows` are dealt to groups of `group_size` threads, `inner` to a group's threads.

    lanes: neighbouring elements along the last row variable that a thread of its own computes at once. block: threads
    in a block that several groups share.
    """

    rows: tuple[Variable, ...]
    inner: tuple[Variable, ...]
    group_size: int
    lanes: int = 1
    block: int = BLOCK

    @property
    def threads(self) -> int:
        """Threads in a block."""
        return self.block if self.group_size <= WARP else self.group_size

    @property
    def blocks(self) -> Dim:
        """Blocks in the grid."""
        elements = product(v.extent for v in self.rows) * self.group_size
        of_block = self.threads * self.lanes
        return (elements + (of_block - 1)) // of_block


def elements_apart(flat: FlatComputation) -> Rows:
    """A thread for every element."""
    return Rows(flat.variables, (), 1)


def vectors_apart(flat: FlatComputation, lanes: int) -> Rows | None:
    """A thread for every so many neighbouring elements; None if they are not whole vectors in the output, and in all
    that is read as vectors.
    """
    last = flat.variables[-1] if flat.variables else None
    if last is None or not isinstance(last.extent, int) or last.extent % lanes:
        return None
    loads = [index for node in walk(flat.body) if isinstance(node, Load) for index in node.index]
    steps = [stride_along(address, last) for address in loads]
    if stride_along(flat.address, last) != 1 or any(step in STRIDED_STEPS for step in steps):
        return None
    vectors = [flat.address, *(address for address, step in zip(loads, steps, strict=True) if step == 1)]
    aligned = all(
        coefficient % lanes == 0 or monomial == (last,)
        for address in vectors
        if isinstance(address, IntegerExpression)
        for monomial, coefficient in address.terms
    )
    return Rows(flat.variables, (), 1, lanes) if aligned else None


def rows_apart(flat: FlatComputation, group_size: int) -> Rows | None:
    """A group for all elements that share the outermost reductions; None without reductions that are worth it."""
    outermost = outermost_reductions(flat.body)
    if not any(_dealt(node, group_size) for node in outermost):
        return None
    shared = [v for v in flat.variables if any(v not in scalar_atoms(node) for node in outermost)]
    return Rows(tuple(v for v in flat.variables if v not in shared), tuple(shared), group_size)


def outermost_reductions(body: Scalar) -> list[Reduce]:
    """The reductions that are inside no other one."""
    reductions = [node for node in walk(body) if isinstance(node, Reduce)]
    inside = {id(below) for node in reductions for below in walk(node.body)}
    return [node for node in reductions if id(node) not in inside]


def _dealt(node: Reduce, group_size: int) -> tuple[Variable, ...]:
    """The variables whose steps the threads of a group share: the innermost long enough one, or all together."""
    long = [v for v in node.variables if upper_bound(v.extent) >= group_size]
    if long:
        return (long[-1],)
    return node.variables if upper_bound(product(v.extent for v in node.variables)) >= group_size else ()


def _is_gathered(node: Scalar, lane: Variable) -> bool:
    """Whether lanes read elements that lie apart, some of them none: the address of each is chosen by itself."""
    if not isinstance(node, Load) or node.guard is None or lane not in scalar_atoms(node.guard):
        return False
    return any(stride_along(address, lane) not in (0, 1) for address in node.index)


@dataclass
class GroupEmitter(ScalarEmitter):
    """Emits scalars for one thread. While `dealing`, at places that all threads reach, the group shares reductions."""

    builder: ThreadBuilder
    group_size: int = 1
    dealing: bool = False
    rank: Register = field(default_factory=lambda: i64(0))

    def _emit(self, node: Scalar) -> Register:
        match node:
            case Apply(function="erf", operands=(x,), dtype=dtype) if dtype in (FLOAT16, BFLOAT16):
                return coarse_erf(self.builder, self.scalar(x))
            case Apply(
                function="add", operands=(Constant(value=1), Apply(function="erf", operands=(x,))), dtype=dtype
            ) if dtype in (FLOAT16, BFLOAT16):
                return one_plus_coarse_erf(self.builder, self.scalar(x))
        return super()._emit(node)

    def _to_be_rounded(self, node: Scalar) -> Register:
        if not isinstance(node, Apply) or node.function != "div" or node.dtype != FLOAT32:
            return super()._to_be_rounded(node)
        dividend, divisor = (self.scalar(operand) for operand in node.operands)
        if dividend.lanes < divisor.lanes:
            dividend = self.builder.splat(dividend, divisor.lanes)
        return quotient(self.builder, dividend, divisor)

    def _load(self, node: Load) -> Register:
        if self.lane is None or node.guard is None or node.operand in self.given:
            return super()._load(node)
        guard, (address,) = self.scalar(node.guard), node.index
        if guard.lanes > 1 or stride_along(address, self.lane.variable) != 1:
            return super()._load(node)
        base, chosen = self.operands[node.operand], self.builder.fresh("p")
        place = self.builder.offset(base, self.integer(address), node.dtype)
        self.builder.emit(f"{chosen} = select {guard.typed}, ptr {place.text}, ptr {base.text}")
        vector = self.builder.load(Pointer(chosen), node.dtype, self.lane.lanes)
        return self.builder.select(guard, vector, self._otherwise(node, self.lane.lanes))

    def _reduce(self, node: Reduce) -> Register:
        dealt = _dealt(node, self.group_size) if self.dealing else ()
        others = [v for v in node.variables if v not in dealt]
        if not dealt:
            return self._reduce_rounds(node, others, 1 if self.lane is None else self.lane.lanes)
        total = literal(reduction_identity(node.combine, node.dtype), node.dtype)
        self.dealing = False
        extent = product(v.extent for v in dealt)
        whole = extent // self.group_size * self.group_size if isinstance(extent, int) else 0
        if whole:  # Rounds that all threads have, and whose number is known: loads of several are under way at once.
            with self.builder.loop(0, whole, self.group_size, [total]) as loop, self.scope():
                step = self.builder.add(loop.index, self.rank)
                loop.following = self._dealt_step(node, dealt, others, step, loop.carried)
            (total,) = loop.final
        if whole != extent:
            start, steps = self.builder.add(self.rank, whole), self.integer(extent)
            with self.builder.loop(start, steps, self.group_size, [total]) as loop, self.scope():
                loop.following = self._dealt_step(node, dealt, others, loop.index, loop.carried)
            (total,) = loop.final
        self.dealing = True
        return self._combined(node, total)

    def _most_written_out(self, node: Reduce) -> int:
        steps = super()._most_written_out(node)
        if self.lane is None:
            return steps
        gathered = sum(_is_gathered(part, self.lane.variable) for part in walk(node.body)) * self.lane.lanes
        return min(steps, MOST_GATHERED // gathered) if gathered else steps

    def _dealt_step(
        self, node: Reduce, dealt: Sequence[Variable], others: list[Variable], step: Register, carried: list[Register]
    ) -> list[Register]:
        """What a thread carries after one of its steps."""
        indexes = split_index(self, [v.extent for v in dealt], step)
        self.values.update(zip(dealt, indexes, strict=True))
        return self._nest(node, others, carried)

    def _combined(self, node: Reduce, value: Register) -> Register:
        """The values of all threads of the group combined."""
        builder = self.builder
        assert isinstance(builder, ThreadBuilder)
        value = builder.combined(value, lambda a, b: self._combine(node, a, b), min(self.group_size, WARP))
        if self.group_size <= WARP:
            return value
        places, lane = builder.shared_memory(node.dtype, self.group_size // WARP), builder.thread()
        warp = builder.binary("lshr", lane, 5)
        builder.store_shared(value, places, warp)
        builder.meet()
        values = [builder.load_shared(places, literal(n, INT32), node.dtype) for n in range(self.group_size // WARP)]
        while len(values) > 1:
            values = [self._combine(node, a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
        return values[0]


@dataclass(frozen=True)
class RowsEmitter:
    """Emits the body of a kernel that computes a flat computation, dealt out as `rows` says."""

    flat: FlatComputation
    rows: Rows
    emitter: GroupEmitter
    output: Pointer
    dtype: DType

    def run(self) -> None:
        builder, emitter, rows = self.emitter.builder, self.emitter, self.rows
        row = builder.scaled(self._row(), rows.lanes)
        with builder.when(builder.compare("ult", row, emitter.integer(product(v.extent for v in rows.rows)))):
            self._bind(rows.rows, row)
            lane = Lane(rows.rows[-1], rows.lanes) if rows.lanes > 1 else None
            with emitter.in_lanes(lane):
                emitter.dealing = rows.group_size > 1
                self._hoist(set(rows.rows))
                emitter.dealing = False
                if rows.inner:
                    self._share_elements()
                else:
                    is_first = builder.compare("eq", emitter.rank, 0) if rows.group_size > 1 else None
                    with builder.when(is_first):
                        self._store()

    def _row(self) -> Register:
        """The row of this thread's group."""
        builder, group_size = self.emitter.builder, self.rows.group_size
        thread = builder.thread()
        if group_size > 1:
            self.emitter.rank = wide(builder, builder.binary("and", thread, group_size - 1))
            thread = builder.binary("lshr", thread, group_size.bit_length() - 1)
        first = builder.scaled(wide(builder, builder.block_index()), self.rows.threads // group_size)
        return builder.add(first, wide(builder, thread))

    def _bind(self, variables: Sequence[Variable], index: Register) -> None:
        """Give variables their values at a position in row-major order."""
        indexes = split_index(self.emitter, [v.extent for v in variables], index)
        self.emitter.values.update(zip(variables, indexes, strict=True))

    def _share_elements(self) -> None:
        builder, emitter, inner = self.emitter.builder, self.emitter, self.rows.inner
        extent = emitter.integer(product(v.extent for v in inner))
        with builder.loop(emitter.rank, extent, self.rows.group_size) as loop, emitter.scope():
            self._bind(inner, loop.index)
            self._hoist({*self.rows.rows, *inner})
            self._store()

    def _hoist(self, bound: set[Variable]) -> None:
        """Emit every reduction whose variables are all bound, innermost first, so that none is repeated in a loop."""
        for node in reversed([n for n in walk(self.flat.body) if isinstance(n, Reduce)]):
            free = {atom for atom in self.emitter.atoms(node) if isinstance(atom, Variable)}
            if free <= bound and not self.emitter.known(node):
                self.emitter.scalar(node)

    def _store(self) -> None:
        with self.emitter.scope():
            value = self.emitter.scalar(self.flat.body)
            self.emitter.store(value, self.output, self.flat.address, self.dtype)


def named_index(emitter: ScalarEmitter, name: str, extents: Sequence[Dim], number: Register) -> list[Dim]:
    """As `split_index`, in variables of this name and the axis's number that the emitter knows then."""
    found = list[Dim]()
    for place, (extent, index) in enumerate(zip(extents, split_index(emitter, extents, number), strict=True)):
        variable = Variable(f"{name}{place}", extent)
        emitter.values[variable] = index
        found.append(0 if extent == 1 else expression(variable))
    return found


def split_index(emitter: ScalarEmitter, extents: Sequence[Dim], number: Register) -> list[Register]:
    """The index (i64) along each axis of a position in row-major order, by divisions of 32 bits where those do."""
    builder, found = emitter.builder, list[Register]()
    narrow = upper_bound(product(extents)) < 1 << 31 and len(extents) > 1
    number = builder.convert("trunc", number, INT32) if narrow else number
    for extent in reversed(extents[1:]):
        divisor = emitter.integer(extent)
        if narrow:
            divisor = literal(extent, INT32) if isinstance(extent, int) else builder.convert("trunc", divisor, INT32)
        index = literal(0, number.dtype) if extent == 1 else builder.binary("urem", number, divisor)
        number = number if extent == 1 else builder.binary("udiv", number, divisor)
        found.append(wide(builder, index) if narrow else index)
    return [wide(builder, number) if narrow else number, *reversed(found)][: len(extents)]
