"""How much a region has to compute and to move: the numerator of every rate and of the roofline."""

from __future__ import annotations

from dataclasses import dataclass

from tensorwright.graph.graph import Value
from tensorwright.graph.region import Region
from tensorwright.ops.blocks import BlockMatMul
from tensorwright.ops.cache import CachedMatMul, CacheUpdate
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.float8 import Float8Product
from tensorwright.ops.indexing import Gather
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.recurrent import Recurrence
from tensorwright.tensor.dim import Dim, minimum, product


@dataclass(frozen=True)
class Work:
    """flops: floating-point operations, a multiply-add counted as two; bytes: inputs and output, each once, as far as
    they are read and written.
    """

    flops: Dim
    bytes: Dim


def work(region: Region) -> Work:
    """The least that any kernel for a region must do (direct convolution, for convolutions)."""
    flops: Dim = 0
    for value in region.values:
        flops = flops + _flops(value)
    moved = bytes_written(region)
    for operand in region.inputs:
        moved = moved + bytes_read(region, operand)
    return Work(flops, moved)


def bytes_written(region: Region) -> Dim:
    """Bytes of the output; of a cache that stays where it is those of the new rows."""
    written = region.output.inputs[1] if isinstance(region.output.op, CacheUpdate) else region.output
    return written.type.elements * written.type.dtype.size


def bytes_read(region: Region, operand: Value) -> Dim:
    """Bytes of an input: of tables as much as is gathered from them, of caches the rows that are read."""
    return _elements_read(region, operand) * operand.type.dtype.size


def _elements_read(region: Region, operand: Value) -> Dim:
    if isinstance(region.output.op, CacheUpdate) and operand is region.output.inputs[0]:
        return 0
    readers = [value for value in region.values if operand in value.inputs]
    rows = [r.op.rows for r in readers if isinstance(r.op, CachedMatMul) and r.inputs[0] is not operand]
    if rows and len(rows) == len(readers):
        return product([*operand.type.shape[:-2], rows[0], operand.type.shape[-1]])
    if not all(isinstance(reader.op, Gather) and reader.inputs.index(operand) == 0 for reader in readers):
        return operand.type.elements
    gathered: Dim = sum((reader.type.elements for reader in readers), start=0)
    return minimum(operand.type.elements, gathered)


def _flops(value: Value) -> Dim:
    match value.op.product if isinstance(value.op, Float8Product) else value.op:
        case Convolution():
            return value.type.elements * product(value.inputs[1].type.shape[1:]) * 2
        case Deconvolution():
            return value.inputs[0].type.elements * product(value.inputs[1].type.shape[1:]) * 2
        case MatMul(transpose_a=transposed):
            return value.type.elements * value.inputs[0].type.shape[-2 if transposed else -1] * 2
        case BlockMatMul() | CachedMatMul():
            return value.type.elements * value.inputs[0].type.shape[-1] * 2
        case Recurrence():
            return value.inputs[0].type.elements * value.type.shape[-1] * 2
    if value.op.kind == "reduction":
        return value.inputs[0].type.elements
    return value.type.elements if value.op.kind == "elementwise" else 0
