"""A network as a function of JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tensorwright.graph.graph import Graph, is_constant, weights_in
from tensorwright.graph.op import Array, Op
from tensorwright.ops.activation import Clip, Gelu, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, Reshape, Slice, Transpose

BINARY = {"add": jnp.add, "mul": jnp.multiply}
SPATIAL = "DHW"


def jax_function(graph: Graph) -> tuple[Callable[[Sequence[Any], Any], Any], list[Array]]:
    """A function of weights and the only input, which gives the only output; and the weights.

    Single numbers are constants of the function.
    """
    ((_, given),), ((_, result),) = graph.inputs, graph.outputs
    order = graph.order()
    constants = {value: weights_in(value).array for value in order if is_constant(value)}
    numbers = {value: array for value, array in constants.items() if not array.ndim}
    tensors = {value: array for value, array in constants.items() if array.ndim}

    def run(weights: Sequence[Any], x: Any) -> Any:
        values = {**numbers, **dict(zip(tensors, weights, strict=True)), given: x}
        for value in order:
            if value.inputs:
                values[value] = _applied(value.op, *(values[operand] for operand in value.inputs))
        return values[result]

    return run, list(tensors.values())


def _applied(op: Op, *operands: Any) -> Any:
    """The operator's result. Statistics are computed in float32."""
    x, *others = operands
    match op:
        case Relu():
            return jax.nn.relu(x)
        case Clip():
            return jnp.clip(x, op.low, op.high)
        case Gelu():
            return jax.nn.gelu(x, approximate=op.approximate)
        case Binary() if op.function in BINARY:
            return BINARY[op.function](x, *others)
        case MatMul():
            a, b = (
                jnp.swapaxes(operand, -1, -2) if is_turned else operand
                for operand, is_turned in ((x, op.transpose_a), (others[0], op.transpose_b))
            )
            return jnp.matmul(a, b)
        case Convolution():
            return _convolution(op, x, *others)
        case Pool(mode="max", ceil_mode=False):
            return _largest(op, x)
        case Reduction(function="mean"):
            return jnp.mean(x, op.axes, keepdims=op.keep_dims)
        case Softmax():
            return jax.nn.softmax(x.astype(jnp.float32), op.axis).astype(x.dtype)
        case LayerNormalization():
            return _layer_normalization(op, x, *others)
        case _:
            return _rearranged(op, operands)


def _convolution(op: Convolution, x: Any, weights: Any, bias: Any = None) -> Any:
    spatial = SPATIAL[-len(op.strides) :]
    result = lax.conv_general_dilated(
        x, weights, op.strides, list(zip(op.pads_begin, op.pads_end, strict=True)),
        rhs_dilation=op.dilations, feature_group_count=op.groups,
        dimension_numbers=("NC" + spatial, "OI" + spatial, "NC" + spatial),
    )  # fmt: skip
    return result if bias is None else result + bias.reshape(-1, *(1 for _ in spatial))


def _largest(op: Pool, x: Any) -> Any:
    padding = [(0, 0), (0, 0), *zip(op.pads_begin, op.pads_end, strict=True)]
    window, strides, dilations = ((1, 1, *values) for values in (op.window, op.strides, op.dilations))
    lowest = jnp.array(-jnp.inf, x.dtype)
    return lax.reduce_window(x, lowest, lax.max, window, strides, padding, window_dilation=dilations)


def _layer_normalization(op: LayerNormalization, x: Any, scale: Any, bias: Any = None) -> Any:
    wide, axes = x.astype(jnp.float32), tuple(range(op.axis, x.ndim))
    centred = wide - wide.mean(axes, keepdims=True)
    normalised = centred * lax.rsqrt(jnp.mean(centred * centred, axes, keepdims=True) + op.epsilon)
    result = normalised * scale.astype(jnp.float32)
    return (result if bias is None else result + bias.astype(jnp.float32)).astype(x.dtype)


def _rearranged(op: Op, operands: Sequence[Any]) -> Any:
    match op:
        case Reshape():
            return operands[0].reshape(op.shape)
        case Transpose():
            return jnp.transpose(operands[0], op.permutation)
        case Concatenation():
            return jnp.concatenate(operands, op.axis)
        case Slice():
            places = zip(op.starts, op.extents, op.steps, strict=True)
            return operands[0][tuple(slice(start, start + extent * step, step) for start, extent, step in places)]
        case _:
            raise NotImplementedError(f"{op.name}: expected an operator that networks of benchmarks have; add it here")
