"""Discrete Fourier transforms, as products with matrices of cosines and sines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import LONGEST, element, stacked
from tensorwright.importers.onnx.node import Node
from tensorwright.importers.onnx.tensors import dtype_from
from tensorwright.ops.indexing import Gather
from tensorwright.ops.matmul import MatMul
from tensorwright.tensor.dtype import INT64

Floats = npt.NDArray[np.float64]


def DFT(
    node: Node,
    x: Value,
    length: Value | None = None,
    axis_value: Value | None = None,
    *,
    axis: int = 1,
    inverse: int = 0,
    onesided: int = 0,
) -> Value:
    """Complex numbers are pairs along the last axis. The axis is an attribute up to opset 19, an input after."""
    given = axis if node.version < 20 else -2 if axis_value is None else node.integers(axis_value, "axis")[0]
    own = node.axis(given, x.type.rank)
    (extent,) = node.static([x.type.shape[own]], "the axis that is transformed")
    natural = 2 * (extent - 1) if inverse and onesided else extent
    size = natural if length is None else node.integers(length, "dft_length")[0]
    parts = [element(node, x, x.type.rank - 1, number) for number in range(2) if number < _pair(node, x)]
    order = [a for a in range(x.type.rank - 1) if a != own] + [own]
    back = [order.index(a) for a in range(x.type.rank - 1)]
    moved = [node.transpose(part, order) for part in parts]
    if inverse and onesided:
        results = [_real_inverse(node, moved, extent, size)]
    else:
        results = list(_transform(node, moved, extent, size, bool(inverse), bool(onesided)))
    return stacked(node, [node.transpose(result, back) for result in results], x.type.rank - 1)


def _pair(node: Node, x: Value) -> int:
    if x.type.rank < 2 or x.type.shape[-1] not in (1, 2):
        node.fail(f"the last axis must have extent 1 (real) or 2 (complex), found {x.type}")
    return int(x.type.shape[-1] == 2) + 1


def _transform(
    node: Node, parts: list[Value], extent: int, size: int, inverse: bool, onesided: bool
) -> tuple[Value, Value]:
    """Real and imaginary part of ``Σ x[n] exp(∓2πi n k / size)`` along the last axis."""
    bins = size // 2 + 1 if onesided else size
    _require_listed(node, extent, bins)
    angles = 2 * np.pi * np.outer(np.arange(extent), np.arange(bins)) / size
    kept = (np.arange(extent) < size)[:, None] / (size if inverse else 1)
    cosine, sine = np.cos(angles) * kept, np.sin(angles) * kept * (1 if inverse else -1)
    real, imaginary = _product(node, parts[0], cosine), _product(node, parts[0], sine)
    if len(parts) == 2:
        real = node.subtract(real, _product(node, parts[1], sine))
        imaginary = node.add(imaginary, _product(node, parts[1], cosine))
    return real, imaginary


def _real_inverse(node: Node, parts: list[Value], extent: int, size: int) -> Value:
    """The real signal of `size` whose spectrum up to its middle is given; the other half mirrors it."""
    _require_listed(node, extent, size)
    bins = np.arange(extent)
    weight = np.where((bins == 0) | (2 * bins == size), 1, 2) * (2 * bins <= size) / size
    angles = 2 * np.pi * np.outer(bins, np.arange(size)) / size
    result = _product(node, parts[0], np.cos(angles) * weight[:, None])
    if len(parts) == 1:
        return result
    return node.subtract(result, _product(node, parts[1], np.sin(angles) * weight[:, None]))


def _require_listed(node: Node, rows: int, columns: int) -> None:
    """Refuse a table of more numbers than are listed."""
    if rows < 0 or columns < 0 or rows * columns > LONGEST:
        node.fail(f"a table of {rows}×{columns} numbers; expected at most {LONGEST}")


def _product(node: Node, x: Value, matrix: Floats) -> Value:
    wide = node.reshape(x, (1, *x.type.shape)) if x.type.rank == 1 else x
    result = node.apply(MatMul(False, False), wide, node.constant(matrix, x.type.dtype))
    return node.reshape(result, (*x.type.shape[:-1], matrix.shape[1]))


def STFT(
    node: Node,
    signal: Value,
    frame_step: Value,
    window: Value | None = None,
    frame_length: Value | None = None,
    *,
    onesided: int = 1,
) -> Value:
    """Transforms of overlapping frames of ``[batch, length, 1 or 2]``: ``[batch, frames, bins, 2]``."""
    step = node.integers(frame_step, "frame_step")[0]
    if frame_length is not None:
        size = node.integers(frame_length, "frame_length")[0]
    elif window is not None:
        (size,) = node.static(window.type.shape, "the window's length")
    else:
        node.fail("frame_length or window is required, but both are absent")
    (length,) = node.static([signal.type.shape[1]], "the length of the signal")
    if step < 1 or not 1 <= size <= length:
        node.fail(
            f"frames of {size} elements, {step} apart, in a signal of {length}; expected 1 to {length}, 1 or more apart"
        )
    frames = (length - size) // step + 1
    _require_listed(node, frames, size)
    places = node.constant(np.arange(frames)[:, None] * step + np.arange(size), INT64)
    parts = []
    for number in range(_pair(node, signal)):
        framed = node.apply(Gather(1), element(node, signal, 2, number), places)
        parts.append(framed if window is None else node.multiply(framed, window))
    return stacked(node, _transform(node, parts, size, size, False, bool(onesided)), 3)


def MelWeightMatrix(
    node: Node,
    bins_value: Value,
    length_value: Value,
    rate_value: Value,
    low_value: Value,
    high_value: Value,
    *,
    output_datatype: int = 1,
) -> Value:
    """Triangles, equally wide on the mel scale ``2595 log10(1 + f / 700)``, as weights of spectrogram bins."""
    given = (bins_value, length_value, rate_value, low_value, high_value)
    bins, length, rate, low, high = (node.number(value, "MelWeightMatrix") for value in given)
    _require_listed(node, int(length) // 2 + 1, int(bins) + 2)
    count, rows = int(bins), np.arange(int(length) // 2 + 1)[:, None]
    first, last = (2595 * np.log10(1 + edge / 700) for edge in (low, high))
    mels = first + np.arange(count + 2) * (last - first) / (count + 2)
    points = np.floor((length + 1) * 700 * (10 ** (mels / 2595) - 1) / rate)
    left, centre, right = points[:-2], points[1:-1], points[2:]
    rising = np.where(centre > left, (rows - left) / np.maximum(1, centre - left), 1.0)
    falling = (right - rows) / np.maximum(1, right - centre)
    up = (rows >= np.where(centre > left, left, centre)) & (rows <= centre)
    weights = np.where(up, rising, np.where((rows > centre) & (rows < right), falling, 0.0))
    return node.constant(weights, dtype_from(output_datatype, "output_datatype"))
