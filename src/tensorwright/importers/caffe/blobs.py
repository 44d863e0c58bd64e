"""Blobs of numbers: the weights in a model file, and mean images."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from types import MappingProxyType
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.files import read_bytes
from tensorwright.importers.protobuf import message_classes, parse_bytes

Array = npt.NDArray[np.generic]
Source = str | os.PathLike[str] | bytes

MODEL = "a Caffe model (the weights)"

# Packed numbers look like bytes on the wire, which are read without a Python object for each.
_DESCRIPTION = """
NetParameter
    2 layers V1LayerParameter repeated
    100 layer LayerParameter repeated
LayerParameter
    1 name string
    7 blobs BlobProto repeated
V1LayerParameter
    1 layer V0LayerParameter
    4 name string
    6 blobs BlobProto repeated
V0LayerParameter
    1 name string
    50 blobs BlobProto repeated
BlobProto
    1 num int32
    2 channels int32
    3 height int32
    4 width int32
    5 data {single}
    7 shape BlobShape
    8 double_data {double}
    10 raw_data_type int32
    12 raw_data bytes
BlobShape
    1 dim int64 packed
"""
_LEGACY_SHAPE = ("num", "channels", "height", "width")
_RAW_TYPES = ("<f8", "<f4", "<f2")


class _Shape(Protocol):
    dim: Sequence[int]


class _Blob(Protocol):
    num: int
    channels: int
    height: int
    width: int
    data: Sequence[bytes] | Sequence[float]
    shape: _Shape
    double_data: Sequence[bytes] | Sequence[float]
    raw_data_type: int
    raw_data: bytes

    def HasField(self, field_name: str) -> bool: ...


class _Layer(Protocol):
    name: str
    blobs: Sequence[_Blob]


class _OldLayer(_Layer, Protocol):
    layer: _Layer

    def HasField(self, field_name: str) -> bool: ...


class _Net(Protocol):
    layers: Sequence[_OldLayer]
    layer: Sequence[_Layer]


@dataclass(frozen=True, eq=False)
class Blob:
    """A tensor of floats: its shape as the file says it (None where it does not) and its elements in a row."""

    shape: tuple[int, ...] | None
    elements: Array

    @property
    def extents(self) -> tuple[int, ...]:
        """The shape, of one axis where the file does not say it."""
        return (self.elements.size,) if self.shape is None else self.shape


@dataclass(frozen=True)
class Model:
    """The blobs of a model file by the name of their layer."""

    label: str
    blobs: Mapping[str, tuple[Blob, ...]]


@dataclass(frozen=True, eq=False)
class Mean:
    """A mean image. `data` is float32 of shape N×C×H×W."""

    data: npt.NDArray[np.float32]


def read_model(source: Source) -> Model:
    """The weights of a model: from a path, or from the bytes of a file.

    Raises:
        ImportFailure: it cannot be read, is no Caffe model, or a blob in it is damaged.
    """
    label, data = _data(source, MODEL, "model")
    message = parse_bytes(_classes(True)["NetParameter"], data, label, MODEL)
    layers = _layers_of(message)
    if not layers:
        raise ImportFailure(f"{label}: expected {MODEL}, found no layers in it; is it the definition, or truncated?")
    if any(_lacks_data(blob) for layer in layers for blob in layer.blobs):
        message = parse_bytes(_classes(False)["NetParameter"], data, label, MODEL)
        layers = _layers_of(message)
    found: dict[str, tuple[Blob, ...]] = {}
    for layer in layers:
        name = _text(layer.name)
        blobs = tuple(_blob(blob, f"{label}: layer '{name}', blob {number}") for number, blob in enumerate(layer.blobs))
        if blobs:
            found[name] = blobs
    return Model(label, MappingProxyType(found))


def read_mean(source: Source) -> Mean:
    """A mean image (a `.binaryproto` file): from a path, or from the bytes of a file.

    Raises:
        ImportFailure: it cannot be read, is no mean image, or is damaged.
    """
    what = "a Caffe mean image (binaryproto)"
    label, data = _data(source, what, "mean image")
    proto = cast("_Blob", parse_bytes(_classes(True)["BlobProto"], data, label, what))
    if _lacks_data(proto):
        proto = cast("_Blob", parse_bytes(_classes(False)["BlobProto"], data, label, what))
    blob = _blob(proto, label)
    if not blob.elements.size or blob.shape is None:
        lacking = "elements" if not blob.elements.size else "shape"
        raise ImportFailure(f"{label}: expected {what}, found a blob without {lacking}")
    if len(blob.shape) > 4:
        raise ImportFailure(f"{label}: expected {what} of 4 axes, found {_show(blob.shape)}")
    shape = (1,) * (4 - len(blob.shape)) + blob.shape
    return Mean(np.ascontiguousarray(blob.elements.reshape(shape), dtype=np.float32))


@cache
def model_messages() -> Mapping[str, type[Message]]:
    """The messages of model files as they are commonly written: what a writer of such files needs."""
    return message_classes("caffe", _DESCRIPTION.format(single="float packed", double="double packed"))


@cache
def _classes(as_bytes: bool) -> Mapping[str, type[Message]]:
    single, double = ("bytes", "bytes") if as_bytes else ("float", "double")
    return message_classes("caffe", _DESCRIPTION.format(single=f"{single} repeated", double=f"{double} repeated"))


def _layers_of(message: Message) -> Sequence[_Layer]:
    """The layers, of whatever generation of the format."""
    net = cast("_Net", message)
    return net.layer or [layer.layer if layer.HasField("layer") else layer for layer in net.layers]


def _data(source: Source, what: str, label: str) -> tuple[str, bytes]:
    if isinstance(source, bytes | bytearray | memoryview):
        return label, bytes(source)
    return str(source), read_bytes(source, what)


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode(errors="replace")


def _lacks_data(blob: _Blob) -> bool:
    """Whether a blob has a shape and no data: then its numbers were written one by one, not packed."""
    return not (blob.data or blob.double_data or blob.raw_data) and (_shape(blob) or (0,)) != (0,)


def _shape(blob: _Blob) -> tuple[int, ...] | None:
    if any(blob.HasField(name) for name in _LEGACY_SHAPE):
        return blob.num, blob.channels, blob.height, blob.width
    return tuple(blob.shape.dim) if blob.HasField("shape") else None


def _blob(proto: _Blob, where: str) -> Blob:
    shape, elements = _shape(proto), _elements(proto, where)
    if shape is not None:
        if any(extent < 0 for extent in shape):
            raise ImportFailure(f"{where}: its shape {_show(shape)} has a negative extent; the file is damaged")
        if prod(shape) != elements.size:
            raise ImportFailure(
                f"{where}: its shape {_show(shape)} needs {prod(shape)} elements, found {elements.size}; "
                "the file is damaged or truncated"
            )
    return Blob(shape, elements)


def _elements(proto: _Blob, where: str) -> Array:
    if proto.raw_data:
        if not 0 <= proto.raw_data_type < len(_RAW_TYPES):
            raise ImportFailure(
                f"{where}: expected elements of type 0 (double), 1 (float) or 2 (half), found {proto.raw_data_type}"
            )
        return _numbers([proto.raw_data], _RAW_TYPES[proto.raw_data_type], where)
    if proto.data:
        return _numbers(proto.data, "<f4", where)
    return _numbers(proto.double_data, "<f8", where)


def _numbers(chunks: Sequence[bytes] | Sequence[float], dtype: str, where: str) -> Array:
    if not chunks:
        return np.empty(0, np.float32)
    first = chunks[0]
    if not isinstance(first, bytes):
        return np.array(chunks, dtype=dtype)
    data = first if len(chunks) == 1 else b"".join(cast("Sequence[bytes]", chunks))
    if len(data) % np.dtype(dtype).itemsize:
        raise ImportFailure(f"{where}: {len(data)} bytes are no whole number of {np.dtype(dtype).name}; it is damaged")
    return np.frombuffer(data, dtype=dtype)


def _show(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "(a single number)"
