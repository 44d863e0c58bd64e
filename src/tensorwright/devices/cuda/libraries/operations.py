"""A convolution, and what is done with its sums, as a graph of cuDNN's operations on tensors."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_void_p
from math import prod

from tensorwright.devices.cuda.libraries.convolution import Convolution
from tensorwright.devices.cuda.libraries.cudnn import Attribute, Descriptors, Kind
from tensorwright.devices.cuda.libraries.shared import ALIGNMENT
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32

_FLOAT = 0
_TYPES = {FLOAT32: _FLOAT, FLOAT16: 2, BFLOAT16: 9}
"""Of `cudnnDataType_t`."""
_CROSS_CORRELATION, _ADD, _RELU = 1, 0, 100


class Operations:
    """Makes the operations for a convolution. Tensors are known by the numbers of operands; those between two
    operations, in float32, lie nowhere and have numbers behind.
    """

    def __init__(self, convolution: Convolution, make: Descriptors) -> None:
        self._of, self._make = convolution, make
        self._result = (convolution.batch, convolution.columns, *convolution.outputs)
        self._next = max(convolution.extents)

    def all(self) -> list[c_void_p]:
        """The operations in order; the last one writes y."""
        of, one = self._of, (1,) * len(self._of.spatial)
        added = ((of.residual, self._result), (of.bias, (1, of.columns, *one)))
        terms = [(operand, shape) for operand, shape in added if operand is not None]
        left = len(terms) + (of.activation == "relu")
        current = self._written(left)
        found = [self._product(current)]
        for operand, shape in terms:
            left -= 1
            before, current = current, self._written(left)
            found.append(self._pointwise(_ADD, current, before, self._tensor(operand, shape)))
        if left:
            found.append(self._pointwise(_RELU, self._written(0), current))
        return found

    def _product(self, result: c_void_p) -> c_void_p:
        of, make = self._of, self._make
        how = make.made(
            Kind.CONVOLUTION,
            {
                Attribute.CONVOLUTION_AXES: [len(of.spatial)],
                Attribute.CONVOLUTION_TYPE: [_FLOAT],
                Attribute.CONVOLUTION_MODE: [_CROSS_CORRELATION],
                Attribute.CONVOLUTION_PADS_BEGIN: of.pads_begin,
                Attribute.CONVOLUTION_PADS_END: of.pads_end,
                Attribute.CONVOLUTION_DILATIONS: of.dilations,
                Attribute.CONVOLUTION_STRIDES: of.strides,
            },
        )
        return make.made(
            Kind.CONVOLUTION_FORWARD,
            {
                Attribute.FORWARD_CONVOLUTION: [how],
                Attribute.FORWARD_X: [self._tensor(of.x, (of.batch, of.channels, *of.spatial))],
                Attribute.FORWARD_WEIGHTS: [self._tensor(of.weights, (of.columns, of.channels, *of.kernel))],
                Attribute.FORWARD_Y: [result],
                Attribute.FORWARD_ALPHA: [1.0],
                Attribute.FORWARD_BETA: [0.0],
            },
        )

    def _pointwise(self, mode: int, result: c_void_p, *operands: c_void_p) -> c_void_p:
        how = self._make.made(Kind.POINTWISE, {Attribute.POINTWISE_MODE: [mode], Attribute.POINTWISE_TYPE: [_FLOAT]})
        names = (Attribute.OPERATION_X, Attribute.OPERATION_B)
        read = {name: [operand] for name, operand in zip(names, operands, strict=False)}
        written = {Attribute.OPERATION_POINTWISE: [how], Attribute.OPERATION_Y: [result]}
        return self._make.made(Kind.POINTWISE_OPERATION, {**written, **read})

    def _written(self, left: int) -> c_void_p:
        """What an operation writes that so many others follow."""
        if not left:
            return self._tensor(0, self._result)
        self._next += 1
        return self._tensor(self._next, self._result, is_virtual=True)

    def _tensor(self, number: int, shape: Sequence[int], *, is_virtual: bool = False) -> c_void_p:
        """A tensor with its channels, axis 1, innermost."""
        spatial = shape[2:]
        steps = [shape[1] * prod(spatial[axis + 1 :]) for axis in range(len(spatial))]
        return self._make.made(
            Kind.TENSOR,
            {
                Attribute.TENSOR_NUMBER: [number],
                Attribute.TENSOR_TYPE: [_FLOAT if is_virtual else _TYPES[self._of.dtype]],
                Attribute.TENSOR_ALIGNMENT: [ALIGNMENT],
                Attribute.TENSOR_EXTENTS: shape,
                Attribute.TENSOR_STRIDES: [prod(shape[1:]), 1, *steps],
                Attribute.TENSOR_IS_VIRTUAL: [is_virtual],
            },
        )
