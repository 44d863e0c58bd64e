"""Products and convolutions as rows, columns and a depth in pieces of 32."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from math import prod

from tensorwright.graph.graph import Value, is_constant
from tensorwright.graph.region import Region, used_operands
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.float8 import Float8Product
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import Dim, product
from tensorwright.tensor.dtype import FLOAT8, FLOAT32, INT8, INT32, UINT8, DType
from tensorwright.tensor.layout import PLAIN, Layout
from tensorwright.tensor.type import Shape

GROUP = 32
"""Elements of the depth, and columns, that belong together."""
PIECE_BYTES = 16
"""Bytes that a thread reads at once."""
BYTES = (INT8, UINT8)
"""Types that are multiplied by signed bytes and added up exactly."""
EIGHT = 8
"""Columns come in so many, unless less is asked for."""
MAX_TAPS = 31
"""Taps whose validity fits the bits of a word, one being kept for pieces beyond the depth."""
BLOCKED = Layout(GROUP)


@dataclass(frozen=True)
class RowAxis:
    """An axis of the rows: its extent, and elements of the left operand from one index to the next."""

    extent: Dim
    step: Dim


@dataclass(frozen=True)
class Tap:
    """A position of the kernel: elements from the row's origin, and for each spatial axis the valid range of rows."""

    offset: int
    valid: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Columns:
    """Where the columns of a right operand lie that is no constant, in elements.

    batch_steps: between neighbours along each batch axis; column_step: from a column to the next; depth_step: along it.
    """

    batch_steps: tuple[Dim, ...]
    column_step: int
    depth_step: int


@dataclass(frozen=True)
class Problem:
    """``y[row, column] = epilogue(Σ over taps and channels of left[row, tap, channel] · right[column, tap, channel])``.

    dtype: of the left operand, FLOAT8 for bytes that stand for such numbers; the right one has the same, or signed
    bytes beside bytes. left, right, bias: which inputs of the region they are. row_axes: what a row is made of,
    outermost first; taps, and `block_step`, elements between neighbouring pieces of 32 channels. layout: of the left
    operand and of the output.
    """

    dtype: DType
    left: int
    right: int
    bias: int | None
    row_axes: tuple[RowAxis, ...]
    origin: int
    taps: tuple[Tap, ...]
    channels: int
    block_step: int
    columns: int
    layout: Layout
    transposed: bool
    """Whether the right operand is given as columns by channels."""
    moving: Columns | None = None
    """Of a right operand that is no constant; the first row axes are then its batch axes."""

    @property
    def total(self) -> DType:
        """The type of the sums."""
        return INT32 if self.dtype in BYTES else FLOAT32

    @property
    def piece(self) -> int:
        """Elements of a row that a thread reads at once."""
        return PIECE_BYTES // self.dtype.size

    @property
    def batches(self) -> Dim:
        """How many right operands there are, each for as many rows."""
        axes = () if self.moving is None else self.row_axes[: len(self.moving.batch_steps)]
        return product(axis.extent for axis in axes)

    @property
    def batch_rows(self) -> Dim:
        """Rows that share a right operand."""
        axes = self.row_axes if self.moving is None else self.row_axes[len(self.moving.batch_steps) :]
        return product(axis.extent for axis in axes)

    @property
    def rows(self) -> Dim:
        return product(axis.extent for axis in self.row_axes)

    @property
    def slab(self) -> int:
        """Channels that four threads read at once: a block of 32 of two-byte types, two blocks of bytes."""
        return 4 * self.piece

    @property
    def slabs(self) -> int:
        return -(-self.channels // self.slab)

    @property
    def rest(self) -> int:
        """What the last slab has of the threads' pieces; 0 if it has all."""
        return -(-(self.channels % self.slab) // self.piece) % 4

    @property
    def steps(self) -> int:
        """Slabs of the depth."""
        return len(self.taps) * self.slabs

    @property
    def groups(self) -> int:
        """Groups of 32 columns."""
        return -(-self.columns // GROUP)

    @property
    def pads(self) -> bool:
        """Whether some tap lies outside the input for some rows."""
        return any(tap.valid for tap in self.taps)


def problem_of(
    region: Region, dtypes: Collection[DType], *, moving: bool = False, together: int = EIGHT
) -> Problem | None:
    """The product or convolution that a region is built around, with constant weights; with `moving`, products of two
    operands that are no constants, too. dtypes: those that the left operand may have; together: the columns of products
    come in so many.

    None if it is none that has rows, columns and a depth in whole accesses of a thread.
    """
    anchor = region.anchor
    op = None if anchor is None else _product_in(anchor)
    if anchor is None or op is None or not _multiplies(anchor, dtypes):
        return None
    if region.output.type.shape != anchor.type.shape:
        return None
    operands = anchor.inputs
    if any(operand not in region.inputs for operand in operands) or len(set(operands)) < len(operands):
        return None
    constants = {region.input_number(operand) for operand in operands[1:]}
    if constants & used_operands(region.epilogue) or not region.is_elementwise_around_anchor:
        return None
    if not all(is_constant(operand) for operand in operands[1:]):
        return _product_of_two(region, anchor, together) if moving else None
    return _product(region, anchor, op, together) if isinstance(op, MatMul) else _convolution(region, anchor, op)


def _product_in(anchor: Value) -> MatMul | Convolution | None:
    """The product that an operator is, or is of bytes."""
    op = anchor.op.product if isinstance(anchor.op, Float8Product) else anchor.op
    return op if isinstance(op, MatMul | Convolution) else None


def _factor_type(anchor: Value) -> DType:
    """What the left factor's elements are."""
    return FLOAT8 if isinstance(anchor.op, Float8Product) else anchor.inputs[0].type.dtype


def _multiplies(anchor: Value, dtypes: Collection[DType]) -> bool:
    """Whether the factors, and the result, have types that belong together."""
    left, right = _factor_type(anchor), anchor.inputs[1].type.dtype
    if left not in dtypes or left == FLOAT8:
        return left in dtypes
    return (right, anchor.type.dtype) == ((INT8, INT32) if left in BYTES else (left, left))


def _product(region: Region, anchor: Value, op: MatMul, together: int) -> Problem | None:
    left, right = (operand.type for operand in anchor.inputs)
    depth, columns = left.shape[-1], anchor.type.shape[-1]
    if op.transpose_a or right.rank != 2 or not isinstance(depth, int) or not isinstance(columns, int):
        return None
    if depth % (PIECE_BYTES // left.dtype.size) or columns % together or 0 in (depth, columns):
        return None
    lead = anchor.type.shape[:-1]
    return Problem(
        dtype=_factor_type(anchor),
        left=region.input_number(anchor.inputs[0]),
        right=region.input_number(anchor.inputs[1]),
        bias=None,
        row_axes=tuple(RowAxis(extent, product(lead[axis + 1 :]) * depth) for axis, extent in enumerate(lead)),
        origin=0,
        taps=(Tap(0),),
        channels=depth,
        block_step=GROUP,
        columns=columns,
        layout=PLAIN,
        transposed=op.transpose_b,
    )


def _product_of_two(region: Region, anchor: Value, together: int) -> Problem | None:
    """A product whose right operand is no constant either: for each batch one, or the same for some."""
    op, (left, right) = anchor.op, (operand.type for operand in anchor.inputs[:2])
    if not isinstance(op, MatMul) or op.transpose_a or anchor.type.rank < 2 or left.rank < 2 or right.rank < 2:
        return None
    depth, columns = left.shape[-1], anchor.type.shape[-1]
    if not isinstance(depth, int) or not isinstance(columns, int) or 0 in (depth, columns):
        return None
    if depth % (PIECE_BYTES // left.dtype.size) or columns % together:
        return None
    *batch, rows = anchor.type.shape[:-1]
    left_steps, right_steps = (_batch_steps(type.shape, len(batch)) for type in (left, right))
    axes = [RowAxis(extent, step) for extent, step in zip(batch, left_steps, strict=True)]
    return Problem(
        dtype=left.dtype,
        left=region.input_number(anchor.inputs[0]),
        right=region.input_number(anchor.inputs[1]),
        bias=None,
        row_axes=(*axes, RowAxis(rows, depth)),
        origin=0,
        taps=(Tap(0),),
        channels=depth,
        block_step=GROUP,
        columns=columns,
        layout=PLAIN,
        transposed=op.transpose_b,
        moving=Columns(right_steps, depth if op.transpose_b else 1, 1 if op.transpose_b else columns),
    )


def _batch_steps(shape: Shape, axes: int) -> tuple[Dim, ...]:
    """Elements between neighbouring matrices along each of so many batch axes; 0 where there is one for all."""
    own = [0 if shape[axis] == 1 else product(shape[axis + 1 :]) for axis in range(len(shape) - 2)]
    return (*(0,) * (axes - len(own)), *own)


def _convolution(region: Region, anchor: Value, op: Convolution) -> Problem | None:
    x, weights = (operand.type for operand in anchor.inputs[:2])
    shape = (*x.shape[1:], *weights.shape, *anchor.type.shape[1:])
    numbers = [extent for extent in shape if isinstance(extent, int) and extent > 0]
    if op.groups != 1 or len(numbers) < len(shape):
        return None
    spatial = [extent for extent in x.shape[2:] if isinstance(extent, int)]
    kernel = [extent for extent in weights.shape[2:] if isinstance(extent, int)]
    outputs = [extent for extent in anchor.type.shape[2:] if isinstance(extent, int)]
    channels, columns = numbers[0], numbers[len(x.shape) - 1]
    dtype = _factor_type(anchor)
    if prod(kernel) > MAX_TAPS or (dtype not in BYTES and channels % (PIECE_BYTES // x.dtype.size)):
        return None  # What lies behind the last channel of a block is multiplied by 0, which for floats may be NaN.
    pixel_steps = [GROUP * prod(spatial[axis + 1 :]) for axis in range(len(spatial))]
    padded = -(-channels // GROUP) * GROUP
    axes = [RowAxis(x.shape[0], padded * prod(spatial))]
    axes += [RowAxis(o, s * step) for o, s, step in zip(outputs, op.strides, pixel_steps, strict=True)]
    return Problem(
        dtype=dtype,
        left=region.input_number(anchor.inputs[0]),
        right=region.input_number(anchor.inputs[1]),
        bias=region.input_number(anchor.inputs[2]) if len(anchor.inputs) == 3 else None,
        row_axes=tuple(axes),
        origin=-sum(before * step for before, step in zip(op.pads_begin, pixel_steps, strict=True)),
        taps=tuple(_taps(op, spatial, outputs, kernel, pixel_steps)),
        channels=channels,
        block_step=GROUP * prod(spatial),
        columns=columns,
        layout=BLOCKED,
        transposed=True,
    )


def _taps(op: Convolution, spatial: list[int], outputs: list[int], kernel: list[int], steps: list[int]) -> list[Tap]:
    found = [Tap(0)]
    for axis, window in enumerate(kernel):
        stride, before, dilation = op.strides[axis], op.pads_begin[axis], op.dilations[axis]
        widened = []
        for tap in found:
            for position in range(window):
                # Rows o with 0 <= o * stride + position * dilation - before < extent.
                shift = before - position * dilation
                first, last = max(0, -(-shift // stride)), (spatial[axis] - 1 + shift) // stride
                offset = tap.offset + position * dilation * steps[axis]
                widened.append(Tap(offset, (*tap.valid, (first, min(last, outputs[axis] - 1)))))
        found = widened
    everywhere = tuple((0, extent - 1) for extent in outputs)
    return [Tap(tap.offset) for tap in found] if all(tap.valid == everywhere for tap in found) else found
