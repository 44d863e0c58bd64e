"""The tactic: which regions it computes, and its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorwright.codegen.cuda.nest import GroupEmitter, named_index
from tensorwright.codegen.cuda.targets import WARP, CudaTarget
from tensorwright.codegen.cuda.threads import wide
from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.scalar import Lane
from tensorwright.codegen.values import Pointer, Register, literal
from tensorwright.graph.expression import Variable
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.function import ThreadWriter, kernel_in_a_row, thread_emitter
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.normalise.row import Row, Vectors
from tensorwright.kernels.cuda.operands import is_aligned
from tensorwright.kernels.tactic import Config, Tactic, TacticOptions, plain_inputs
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.tensor.dim import Dim, expression, product
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, INT32
from tensorwright.tensor.layout import PLAIN
from tensorwright.tensor.type import TensorType

ACCESS_BYTES = 16
MOST_ELEMENTS, REGISTERS = 32, 128
"""Elements of a row that a thread holds, and registers for them and for what comes of them."""
DTYPES = (FLOAT16, BFLOAT16, FLOAT32)


@dataclass(frozen=True)
class Warps(TacticOptions):
    """warps: of a block, each with a row of its own."""

    warps: int


@dataclass(frozen=True)
class _Problem:
    """`rows` rows of `extent` elements; parameters: the numbers of the inputs that are scale and bias."""

    op: Softmax | LayerNormalization
    rows: Dim
    extent: int
    x: int
    parameters: tuple[int, ...]
    lanes: int

    @property
    def parts(self) -> int:
        """Accesses of a thread."""
        return -(-self.extent // (self.lanes * WARP))


class RowsOfWarps(Tactic[CudaTarget, Warps]):
    """A row in the registers of a warp; see `kernels.cuda.normalise`."""

    name = "rows"

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Warps]]:
        problem = _problem(region)
        if problem is None or not is_aligned(region, plain_inputs(region), PLAIN, problem.lanes):
            return []
        return [Config(plain_inputs(region), PLAIN, Warps(warps)) for warps in (4, 1, 8, 2)]

    def emit(self, region: Region, config: Config[Warps], target: CudaTarget) -> CudaKernel:
        problem, warps = _problem(region), config.options.warps
        assert problem is not None
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        _Kernel(region, config, problem, emitter).write()
        blocks = (problem.rows + (warps - 1)) // warps
        return kernel_in_a_row(region, config, emitter, target, blocks, WARP * warps, REGISTERS)


def _problem(region: Region) -> _Problem | None:
    anchor = region.anchor
    if anchor is None or not isinstance(anchor.op, Softmax | LayerNormalization) or region.stages:
        return None
    type, axis = anchor.type, anchor.type.rank - 1
    given = anchor.inputs
    if anchor.op.axis != axis or not region.is_elementwise_around_anchor or not set(given) <= set(region.inputs):
        return None
    extent = type.shape[-1]
    if any(value.type.dtype not in DTYPES or value.type.dtype != type.dtype for value in given):
        return None
    if not isinstance(extent, int) or any(not _is_row(parameter.type, extent) for parameter in given[1:]):
        return None
    lanes = ACCESS_BYTES // type.dtype.size
    if extent % lanes or not 0 < extent <= MOST_ELEMENTS * WARP:
        return None
    numbers = [region.input_number(value) for value in given]
    return _Problem(anchor.op, product(type.shape[:-1]), extent, numbers[0], tuple(numbers[1:]), lanes)


def _is_row(type: TensorType, extent: int) -> bool:
    """Whether a tensor has one element for each of a row."""
    return type.elements == extent and type.shape[-1] == extent


@dataclass(frozen=True)
class _Kernel(ThreadWriter):
    region: Region
    config: Config[Warps]
    problem: _Problem
    emitter: GroupEmitter

    def write(self) -> None:
        builder, problem = self.builder, self.problem
        thread = builder.thread()
        lane, warp = (builder.binary(op, thread, WARP) for op in ("urem", "udiv"))
        block = builder.mul(builder.block_index(), self.config.options.warps)
        row = wide(builder, builder.add(block, warp))
        with self.emitter.when(builder.compare("slt", row, self.emitter.integer(problem.rows))):
            places, exists = self._places(lane)
            constants = {n: self._loaded(n, places) for n in problem.parameters if is_constant(self.region.inputs[n])}
            builder.launch_next()
            builder.wait_for_previous()
            start = builder.scaled(row, problem.extent)
            x = self._loaded(problem.x, [builder.add(start, place) for place in places])
            others = [constants.get(n) or self._loaded(n, places) for n in problem.parameters]
            self._store(row, places, exists, self._normalised(Row(builder, problem.extent, exists), start, x, others))

    def _places(self, lane: Register) -> tuple[list[Register], list[Register | None]]:
        """The first element (i64) of each of the thread's parts, and whether it is there; otherwise it is the last."""
        builder, problem = self.builder, self.problem
        places: list[Register] = []
        exists: list[Register | None] = []
        for part in range(problem.parts):
            place = builder.mul(builder.add(lane, part * WARP), problem.lanes)
            inside = None
            if (part + 1) * WARP * problem.lanes > problem.extent:
                inside = builder.compare("ult", place, problem.extent)
                place = builder.select(inside, place, literal(problem.extent - problem.lanes, INT32))
            places.append(wide(builder, place))
            exists.append(inside)
        return places, exists

    def _loaded(self, number: int, places: list[Register]) -> Vectors:
        dtype, base = self.region.inputs[number].type.dtype, self.emitter.operands[number]
        found = (self.builder.offset(base, place, dtype) for place in places)
        return [self.builder.load(place, dtype, self.problem.lanes) for place in found]

    def _normalised(self, row: Row, start: Register, x: Vectors, parameters: list[Vectors]) -> Vectors:
        """start: where the row begins."""
        op, builder = self.problem.op, self.builder
        if isinstance(op, Softmax):
            return row.softmax(x)
        dtype = self.region.inputs[self.problem.x].type.dtype
        if dtype == FLOAT32:
            result = row.layer_normalization(x, op.epsilon)
        else:
            pivot = builder.load(builder.offset(self.emitter.operands[self.problem.x], start, dtype), dtype)
            result = row.layer_normalization_at_once(x, pivot, op.epsilon)
        scale, *bias = parameters
        result = [builder.mul(a, b) for a, b in zip(result, scale, strict=True)]
        return [builder.add(a, b) for a, b in zip(result, bias[0], strict=True)] if bias else result

    def _store(self, row: Register, places: list[Register], exists: list[Register | None], values: Vectors) -> None:
        emitter = self.emitter
        names = named_index(emitter, "row", self.region.output.type.shape[:-1], row)
        lane = Variable("column", self.problem.extent)
        epilogue = epilogue_of(self.region, self.config.inputs, PLAIN)
        for place, inside, value in zip(places, exists, values, strict=True):
            with emitter.when(inside):
                emitter.values[lane] = place
                position = (*names, expression(lane))
                epilogue.store(emitter, Pointer("%out"), value, position, Lane(lane, self.problem.lanes))


TACTICS = (RowsOfWarps(),)
