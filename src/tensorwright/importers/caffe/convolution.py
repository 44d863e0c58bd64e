"""Layers with trained weights: convolutions, and the matrix products of fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.importers.caffe.schema import Unsigned
from tensorwright.ops.convolution import Convolution as ConvolutionOp
from tensorwright.ops.convolution import Deconvolution as DeconvolutionOp
from tensorwright.ops.indexing import Gather
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dim import product
from tensorwright.tensor.dtype import INT64

Ints = tuple[int, ...]
Counts = tuple[Unsigned, ...]

_FILLERS = ("weight_filler", "bias_filler")
_ENGINES = (*_FILLERS, "engine", "force_nd_im2col")


@reads("convolution_param", _ENGINES)
def Convolution(
    layer: Layer,
    *inputs: Value,
    num_output: Unsigned,
    bias_term: bool = True,
    pad: Counts = (),
    kernel_size: Counts = (),
    stride: Counts = (),
    dilation: Counts = (),
    pad_h: Unsigned | None = None,
    pad_w: Unsigned | None = None,
    kernel_h: Unsigned | None = None,
    kernel_w: Unsigned | None = None,
    stride_h: Unsigned | None = None,
    stride_w: Unsigned | None = None,
    group: Unsigned = 1,
    axis: int = 1,
) -> list[Value]:
    """All bottoms are convolved with the same weights ``[num_output, C / group, *kernel]``."""
    windows = _Windows(
        layer, _first(layer, inputs), axis, kernel_size, stride, pad, dilation,
        (kernel_h, kernel_w), (stride_h, stride_w), (pad_h, pad_w),
    )  # fmt: skip
    _check_groups(layer, windows.channels, num_output, group)
    op = ConvolutionOp(windows.stride, windows.pad, windows.pad, windows.dilation, group)
    shape = (num_output, windows.channels // group, *windows.kernel)
    operands = [layer.weights(0, shape), *_bias(layer, bias_term, num_output)]
    return [windows.restore(layer.apply(op, windows.flatten(x), *operands), x) for x in inputs]


@reads("convolution_param", _ENGINES)
def Deconvolution(
    layer: Layer,
    *inputs: Value,
    num_output: Unsigned,
    bias_term: bool = True,
    pad: Counts = (),
    kernel_size: Counts = (),
    stride: Counts = (),
    dilation: Counts = (),
    pad_h: Unsigned | None = None,
    pad_w: Unsigned | None = None,
    kernel_h: Unsigned | None = None,
    kernel_w: Unsigned | None = None,
    stride_h: Unsigned | None = None,
    stride_w: Unsigned | None = None,
    group: Unsigned = 1,
    axis: int = 1,
) -> list[Value]:
    """The transpose of a convolution, with weights ``[C, num_output / group, *kernel]``."""
    windows = _Windows(
        layer, _first(layer, inputs), axis, kernel_size, stride, pad, dilation,
        (kernel_h, kernel_w), (stride_h, stride_w), (pad_h, pad_w),
    )  # fmt: skip
    _check_groups(layer, windows.channels, num_output, group)
    none = (0,) * len(windows.kernel)
    op = DeconvolutionOp(windows.stride, windows.pad, windows.pad, windows.dilation, group, none)
    shape = (windows.channels, num_output // group, *windows.kernel)
    operands = [layer.weights(0, shape), *_bias(layer, bias_term, num_output)]
    return [windows.restore(layer.apply(op, windows.flatten(x), *operands), x) for x in inputs]


@reads("convolution_param", _ENGINES)
def DepthwiseConvolution(
    layer: Layer,
    x: Value,
    *,
    num_output: Unsigned,
    bias_term: bool = True,
    pad: Counts = (),
    kernel_size: Counts = (),
    stride: Counts = (),
    dilation: Counts = (),
    pad_h: Unsigned | None = None,
    pad_w: Unsigned | None = None,
    kernel_h: Unsigned | None = None,
    kernel_w: Unsigned | None = None,
    stride_h: Unsigned | None = None,
    stride_w: Unsigned | None = None,
    group: Unsigned = 1,
    axis: int = 1,
) -> list[Value]:
    """A convolution with a group for every channel, as MobileNets write it."""
    (channels,) = layer.static(x.type.shape[1:2] or (1,), "the number of channels")
    return Convolution(
        layer, x, num_output=num_output, bias_term=bias_term, pad=pad, kernel_size=kernel_size, stride=stride,
        dilation=dilation, pad_h=pad_h, pad_w=pad_w, kernel_h=kernel_h, kernel_w=kernel_w, stride_h=stride_h,
        stride_w=stride_w, group=channels, axis=axis,
    )  # fmt: skip


@reads("inner_product_param", _FILLERS)
def InnerProduct(
    layer: Layer,
    x: Value,
    *,
    num_output: Unsigned,
    bias_term: bool = True,
    axis: int = 1,
    transpose: bool = False,
) -> Value:
    """``y = x Wᵀ + b`` over all axes from `axis` on; weights ``[num_output, K]``, or ``[K, num_output]`` transposed."""
    start = layer.axis(axis, x.type.rank)
    lead = x.type.shape[:start]
    inner = product(x.type.shape[start:])
    shape = (inner, num_output) if transpose else (num_output, inner)
    rows = layer.reshape(x, (product(lead), inner))
    result = layer.apply(MatMul(False, not transpose), rows, layer.weights(0, shape))
    for bias in _bias(layer, bias_term, num_output):
        result = layer.add(result, bias)
    return layer.reshape(result, (*lead, num_output))


@reads("embed_param", _FILLERS)
def Embed(layer: Layer, x: Value, *, num_output: Unsigned, input_dim: Unsigned, bias_term: bool = True) -> Value:
    """Row x of the weights ``[input_dim, num_output]``."""
    if min(num_output, input_dim) < 1:
        layer.fail(f"num_output and input_dim: expected at least 1, found {num_output} and {input_dim}")
    table = layer.weights(0, (input_dim, num_output))
    result = layer.apply(Gather(0), table, layer.cast(x, INT64))
    for bias in _bias(layer, bias_term, num_output):
        result = layer.add(result, bias)
    return result


class _Windows:
    """Kernel, stride, padding and dilation along the axes after the channels; one value stands for all axes."""

    def __init__(
        self,
        layer: Layer,
        x: Value,
        axis: int,
        kernel: Ints,
        stride: Ints,
        pad: Ints,
        dilation: Ints,
        kernel_hw: tuple[int | None, int | None],
        stride_hw: tuple[int | None, int | None],
        pad_hw: tuple[int | None, int | None],
    ) -> None:
        self._layer = layer
        self._axis = layer.axis(axis, x.type.rank)
        spatial = x.type.rank - self._axis - 1
        if not 1 <= spatial <= 3:
            layer.unsupported(f"1 to 3 axes after axis {self._axis} are supported, the bottom is {x.type}")
        (self.channels,) = layer.static(x.type.shape[self._axis : self._axis + 1], "the number of channels")
        self.kernel = self._values("kernel_size", kernel, kernel_hw, ("kernel_h", "kernel_w"), None, spatial, 1)
        self.stride = self._values("stride", stride, stride_hw, ("stride_h", "stride_w"), 1, spatial, 1)
        self.pad = self._values("pad", pad, pad_hw, ("pad_h", "pad_w"), 0, spatial, 0)
        self.dilation = self._values("dilation", dilation, (None, None), ("", ""), 1, spatial, 1)

    def flatten(self, x: Value) -> Value:
        """The bottom as N×C×spatial."""
        if x.type.rank - self._axis < 2:
            self._layer.fail(f"expected bottoms of the same number of axes, found {x.type}")
        shape = x.type.shape
        return self._layer.reshape(x, (product(shape[: self._axis]), *shape[self._axis :]))

    def restore(self, y: Value, x: Value) -> Value:
        """The result with the leading axes of the bottom."""
        return self._layer.reshape(y, (*x.type.shape[: self._axis], *y.type.shape[1:]))

    def _values(
        self,
        name: str,
        given: Ints,
        by_side: tuple[int | None, int | None],
        sides: tuple[str, str],
        default: int | None,
        spatial: int,
        low: int,
    ) -> Ints:
        fail = self._layer.fail
        if any(side is not None for side in by_side):
            if given:
                fail(f"{name} and {sides[0]}, {sides[1]} exclude each other; keep one")
            if spatial != 2:
                fail(f"{sides[0]} and {sides[1]} are for 2 spatial axes, the bottom has {spatial}; use {name}")
            known = [default if side is None else side for side in by_side]
            given = tuple(side for side in known if side is not None)
            if len(given) != 2:
                fail(f"expected both {sides[0]} and {sides[1]}, found one")
        elif not given and default is None:
            fail(f"{name} is required, but absent; say it")
        values = given or (default or 0,)
        if len(values) not in (1, spatial):
            fail(f"{name}: expected 1 or {spatial} values, found {len(values)}: {list(values)}")
        if min(values) < low:
            fail(f"{name}: expected at least {low}, found {list(values)}")
        return values * spatial if len(values) == 1 else values


def _first(layer: Layer, inputs: Sequence[Value]) -> Value:
    if not inputs:
        layer.fail("expected at least 1 bottom, found none")
    return inputs[0]


def _check_groups(layer: Layer, channels: int, outputs: int, groups: int) -> None:
    if outputs < 1:
        layer.fail(f"num_output: expected at least 1, found {outputs}")
    if groups < 1 or channels % groups or outputs % groups:
        layer.fail(
            f"group: expected a divisor of the {channels} channels of the bottom and of num_output {outputs}, "
            f"found {groups}"
        )


def _bias(layer: Layer, has_bias: bool, outputs: int) -> list[Value]:
    return [layer.weights(1, (outputs,), "bias", spread="bias")] if has_bias else []
