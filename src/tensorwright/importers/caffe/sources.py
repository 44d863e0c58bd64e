"""Layers that feed data in. Their tops are inputs of the network."""

from __future__ import annotations

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.importers.caffe.schema import BlobShape, Unsigned


@reads("input_param")
def Input(layer: Layer, *, shape: tuple[BlobShape, ...] = ()) -> list[Value]:
    """One shape for all tops, or one for each."""
    count = len(layer.tops)
    if len(shape) not in (0, 1, count):
        layer.fail(f"input_param: expected 1 shape, or one for each of the {count} tops, found {len(shape)}")
    shapes = shape * count if len(shape) == 1 else shape
    return [layer.input(name, shapes[number].dim if shapes else None) for number, name in enumerate(layer.tops)]


@reads("memory_data_param")
def MemoryData(
    layer: Layer, *, batch_size: Unsigned, channels: Unsigned, height: Unsigned, width: Unsigned
) -> list[Value]:
    """Images, and one label for each."""
    shapes = [(batch_size, channels, height, width), (batch_size,)]
    if len(layer.tops) > len(shapes):
        layer.fail(f"expected 1 to 2 tops, found {len(layer.tops)}")
    return [layer.input(name, dims) for name, dims in zip(layer.tops, shapes, strict=False)]


def Data(layer: Layer) -> list[Value]:
    return _readers(layer)


def DummyData(layer: Layer) -> list[Value]:
    return _readers(layer)


def HDF5Data(layer: Layer) -> list[Value]:
    return _readers(layer)


def ImageData(layer: Layer) -> list[Value]:
    return _readers(layer)


def WindowData(layer: Layer) -> list[Value]:
    return _readers(layer)


def _readers(layer: Layer) -> list[Value]:
    """Inputs whose shapes only the user can say."""
    unsaid = [name for name in layer.tops if not layer.has_shape(name)]
    if unsaid:
        layer.unsupported(f"it reads training data; write an Input layer, or give shapes={{'{unsaid[0]}': ...}}")
    return [layer.input(name, None) for name in layer.tops]
