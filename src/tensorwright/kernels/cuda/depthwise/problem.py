"""How the work of a depthwise convolution is dealt to threads."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from tensorwright.codegen.cuda.targets import CUDA_TARGETS, WARP
from tensorwright.graph.graph import Value, is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import Axis, Problem, layouts, problem_of
from tensorwright.kernels.cuda.operands import is_aligned
from tensorwright.kernels.cuda.problem import BLOCKED
from tensorwright.kernels.tactic import TacticOptions
from tensorwright.ops.shape import Transpose
from tensorwright.tensor.dim import Dim, tuning_value
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.layout import PLAIN, Layout

ACCESS_BYTES = 16
FLOATS = (FLOAT16, BFLOAT16, FLOAT32)
UNROLLED = 9
"""Taps that are written out; of larger kernels it is one row at a time."""
MOST_TAPS = 225


@dataclass(frozen=True)
class Pixels(TacticOptions):
    """pixels: neighbouring outputs of a thread along the last axis; warps: of a block."""

    pixels: int
    warps: int


@dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution whose input and output lie alike, channels in blocks of `layout` innermost.

    dtype: of the input; that of the weights is the same, or signed bytes beside bytes.
    stage: the convolution itself, with inputs in the order of those of the region that is computed.
    """

    problem: Problem
    stage: Region
    layout: Layout
    dtype: DType

    @property
    def lanes(self) -> int:
        """Channels of a thread."""
        return ACCESS_BYTES // self.dtype.size

    @property
    def inputs(self) -> tuple[Layout, ...]:
        """How the inputs of the stage lie."""
        if self.layout == BLOCKED:
            return layouts(self.stage, self.problem, BLOCKED, BLOCKED)
        return tuple(self.layout if n == self.problem.x else PLAIN for n in range(len(self.stage.inputs)))

    @property
    def rows(self) -> Axis:
        return self.problem.axes[0]

    @property
    def columns(self) -> Axis:
        return self.problem.axes[1]

    @property
    def blocks(self) -> int:
        """Blocks of channels."""
        return ceil(self.problem.groups / self.layout.block)

    @property
    def is_unrolled(self) -> bool:
        return self.problem.taps <= UNROLLED

    def extents(self, pixels: int) -> tuple[Dim, ...]:
        """What threads are numbered by: images, blocks of channels, rows, groups of pixels, parts of a block."""
        problem, groups = self.problem, ceil(self.columns.output / pixels)
        return problem.batch, self.blocks, self.rows.output, groups, self.layout.block // self.lanes

    def offsets(self, pixels: int) -> list[int]:
        """Columns of the input that a thread reads, from that of its first pixel and tap."""
        axis = self.columns
        return sorted({p * axis.stride + t * axis.dilation for p in range(pixels) for t in range(axis.kernel)})

    def estimate(self, options: Pixels) -> float:
        """Microseconds on an H200: a launch, instructions of its multiprocessors, and what one thread waits for."""
        pixels, taps = options.pixels, self.columns.kernel
        threads = prod(tuning_value(extent) for extent in self.extents(pixels))
        loads = len(self.offsets(pixels))
        row = loads * (5 + 2 * self.lanes) + taps * self.lanes * (1 + pixels)
        instructions = self.rows.kernel * row + pixels * 40 + 100
        multiprocessors = CUDA_TARGETS["sm_90"].multiprocessors
        blocks = ceil(threads / (WARP * options.warps))
        warps = options.warps * max(blocks / multiprocessors, 1)
        waits = 1 if self.is_unrolled else self.rows.kernel
        traffic = 2e-6 * self.dtype.size * threads * self.lanes * pixels / 3.0
        return 1.3 + max(warps * instructions / 4 / 1700, traffic) + 0.35 * waits + instructions / 4000


def depthwise_of(region: Region) -> Depthwise | None:
    """The depthwise convolution that a region is, in blocks of 32 channels, or a joined one, by pixels.

    None if its channels are not in whole accesses, or if it reads something else that differs from pixel to pixel
    than what lies like its output.
    """
    stage = _turned(region) if region.stages else region
    problem = None if stage is None else problem_of(stage)
    if stage is None or problem is None or not problem.is_depthwise or len(problem.axes) != 2:
        return None
    dtype = problem.numerics.left
    found = Depthwise(problem, stage, Layout(problem.groups) if region.stages else BLOCKED, dtype)
    types = {type.dtype for type in (*stage.input_types, stage.output.type)}
    has_types = problem.numerics.is_integer or (types == {dtype} and dtype in FLOATS)
    if not has_types or problem.groups % found.lanes or problem.taps > MOST_TAPS:
        return None
    return found if is_aligned(stage, found.inputs, found.layout, found.lanes) else None


def _turned(region: Region) -> Region | None:
    """The convolution between a transposition that brings channels forward and one that takes them back, its operand
    standing for what is transposed.
    """
    if len(region.stages) != 3 or [stage.anchor is None for stage in region.stages] != [True, False, True]:
        return None
    before, stage, after = region.stages
    x, rank = before.output, before.output.type.rank
    if len(before.values) + len(after.values) > 2 or x not in stage.inputs:
        return None
    if not _transposes(x, (0, rank - 1, *range(1, rank - 1))) or not _transposes(after.output, (0, *range(2, rank), 1)):
        return None
    (source,) = x.inputs
    if any(not is_constant(value) for value in region.inputs if value is not source):
        return None
    return Region(stage.values, tuple(x if value is source else value for value in region.inputs), stage.anchor)


def _transposes(value: Value, permutation: tuple[int, ...]) -> bool:
    return isinstance(value.op, Transpose) and value.op.permutation == permutation
