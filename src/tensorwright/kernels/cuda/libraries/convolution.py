"""Convolutions by cuDNN."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import numpy as np

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.devices.cuda.libraries import convolution as data
from tensorwright.devices.cuda.libraries.convolve import engines
from tensorwright.devices.cuda.libraries.cudnn import Cudnn
from tensorwright.graph.graph import Value, is_constant
from tensorwright.graph.region import Region, used_operands
from tensorwright.kernels.cuda.libraries.finish import Finish, finish_of, operand_number
from tensorwright.kernels.cuda.libraries.kernel import Algorithm, CallKernel, assumed_share, call_kernel, number_of
from tensorwright.kernels.tactic import Config, Packing, Tactic, pack_channels
from tensorwright.ops.convolution import Convolution
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType
from tensorwright.tensor.layout import PLAIN, Layout
from tensorwright.tensor.type import TensorType

MOST_WORKSPACE = 64 << 20
"""Bytes that an engine may need."""
MOST_ENGINES = 4
"""Some are compiled when they are described, which takes up to a second."""
ACCESS = 8
"""Channels are a multiple of this: so they come in whole accesses of tensor cores."""
CHANNELS_LAST = Packing("channels innermost", lambda array: np.ascontiguousarray(np.moveaxis(array, 1, -1)))


class LibraryConvolution(Tactic[CudaTarget, Algorithm]):
    """Convolutions of fixed sizes and one group, of tensors whose channels lie innermost: in one block."""

    name = "cudnn convolution"
    dtypes: ClassVar[tuple[DType, ...]] = (FLOAT16, BFLOAT16, FLOAT32)

    def __init__(self, cudnn: Cudnn) -> None:
        self._cudnn = cudnn
        self._proposed = cache(self._asked)

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Algorithm]]:
        found = self._convolution(region)
        if found is None:
            return []
        inputs = [PLAIN] * len(region.inputs)
        inputs[found.x - 1] = Layout(found.channels)
        if found.residual is not None:
            inputs[found.residual - 1] = Layout(found.columns)
        version = number_of(self._cudnn.version)
        ranks = range(len(self._proposed(found)))
        return [Config(tuple(inputs), Layout(found.columns), Algorithm(rank, version)) for rank in ranks]

    def efficiency(self, region: Region, config: Config[Algorithm]) -> float:
        found = self._convolution(region)
        assert found is not None
        return assumed_share(region, found.dtype, tf32=found.tf32)

    def emit(self, region: Region, config: Config[Algorithm], target: CudaTarget) -> CallKernel:
        found = self._convolution(region)
        assert found is not None
        packings: list[Packing | None] = [None] * len(region.inputs)
        packings[found.weights - 1] = CHANNELS_LAST
        if found.residual is not None and is_constant(region.inputs[found.residual - 1]):
            packings[found.residual - 1] = pack_channels(found.columns, 1)
        return call_kernel(config, self._proposed(found)[config.options.rank], tuple(packings))

    def _asked(self, convolution: data.Convolution) -> list[data.Convolution]:
        return engines(self._cudnn, convolution, MOST_WORKSPACE, MOST_ENGINES)

    def _convolution(self, region: Region) -> data.Convolution | None:
        anchor = region.anchor
        op = None if anchor is None else anchor.op
        if anchor is None or not isinstance(op, Convolution) or op.groups != 1 or not _is_simple(region, anchor):
            return None
        finish = finish_of(region, 1 - anchor.type.rank)
        shapes = [_fixed(value.type) for value in (*anchor.inputs[:2], anchor)]
        if finish is None or finish.activation not in data.ACTIVATIONS or anchor.type.dtype not in self.dtypes:
            return None
        if any(shape is None or shape[1] % ACCESS for shape in shapes):
            return None
        return _described(region, anchor, op, finish, tf32=self.rounding > 0)


class LibraryTf32Convolution(LibraryConvolution):
    """Of factors of float32 that are rounded to 10 bits of a mantissa."""

    name = "cudnn tf32 convolution"
    dtypes = (FLOAT32,)
    rounding = 2**-11


def _is_simple(region: Region, anchor: Value) -> bool:
    """Whether the operands are inputs, each another one, the weights and the bias constants that nothing else reads."""
    operands, constants = anchor.inputs, anchor.inputs[1:]
    if any(one not in region.inputs for one in operands) or len(set(operands)) < len(operands):
        return False
    read = used_operands(region.epilogue)
    return all(is_constant(one) and region.input_number(one) not in read for one in constants)


def _fixed(type: TensorType) -> tuple[int, ...] | None:
    extents = tuple(extent for extent in type.shape if isinstance(extent, int) and extent > 0)
    return extents if len(extents) == type.rank else None


def _described(
    region: Region, anchor: Value, op: Convolution, finish: Finish, *, tf32: bool
) -> data.Convolution | None:
    x, weights = (_fixed(value.type) for value in anchor.inputs[:2])
    assert x is not None
    assert weights is not None
    if len(x) - 2 > data.MOST_AXES:
        return None
    return data.Convolution(
        dtype=anchor.type.dtype,
        batch=x[0],
        channels=x[1],
        columns=weights[0],
        spatial=x[2:],
        kernel=weights[2:],
        strides=tuple(op.strides),
        pads_begin=tuple(op.pads_begin),
        pads_end=tuple(op.pads_end),
        dilations=tuple(op.dilations),
        x=1 + region.input_number(anchor.inputs[0]),
        weights=1 + region.input_number(anchor.inputs[1]),
        bias=operand_number(region, finish.bias),
        residual=operand_number(region, finish.residual),
        activation=finish.activation,
        tf32=tf32,
    )
