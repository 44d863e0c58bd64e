"""Constant tensors of a model: element types, and values that are read when they are needed."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from tensorwright.base.errors import ImportFailure, NetworkError
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.files import ordinary_size
from tensorwright.tensor.dtype import DType, dtype_of
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import Weights

Bytes = npt.NDArray[np.uint8]


def dtype_from(element_type: int, what: str) -> DType:
    """The element type with a number of TensorProto.DataType.

    Raises:
        Unsupported: ONNX has this type, tensorwright has not.
        ImportFailure: there is no such number.
    """
    if element_type not in TensorProto.DataType.values() or element_type == TensorProto.UNDEFINED:
        raise ImportFailure(f"{what}: there is no element type number {element_type}")
    try:
        return dtype_of(helper.tensor_dtype_to_np_dtype(element_type))
    except NetworkError:
        name = TensorProto.DataType.Name(TensorProto.DataType.ValueType(element_type)).lower()
        raise Unsupported(f"element type {name} of {what} is not supported") from None


class Mapped:
    """A file that is mapped into memory. size: its bytes."""

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self._pages: mmap.mmap | None = None
        if size:  # What is empty cannot be mapped.
            with path.open("rb") as file:
                self._pages = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)

    def content(self, offset: int, size: int) -> Bytes:
        """Bytes of the file."""
        return (
            np.empty(0, np.uint8)
            if self._pages is None or not size
            else np.frombuffer(self._pages, np.uint8, size, offset)
        )

    def forget(self, offset: int, size: int) -> None:
        """Have the system drop pages from this process's memory; who reads them has them back."""
        first = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
        count = (offset + size) // mmap.PAGESIZE * mmap.PAGESIZE - first
        if self._pages is not None and count > 0 and hasattr(mmap, "MADV_DONTNEED"):
            self._pages.madvise(mmap.MADV_DONTNEED, first, count)


@dataclass(frozen=True)
class Part:
    """Bytes of a mapped file."""

    file: Mapped
    offset: int
    size: int

    @property
    def content(self) -> Bytes:
        return self.file.content(self.offset, self.size)

    def forget(self) -> None:
        self.file.forget(self.offset, self.size)


class ExternalFiles:
    """The files beside a model that hold its large tensors, each mapped into memory once.

    A mapping stays valid when the file is deleted afterwards.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._mapped: dict[str, Mapped] = {}

    def bytes(self, tensor: TensorProto, size: int) -> Bytes:
        """The `size` bytes of a tensor; see `part`."""
        return self.part(tensor, size).content

    def part(self, tensor: TensorProto, size: int) -> Part:
        """The part of a file that is the `size` bytes of a tensor.

        Raises:
            ImportFailure: the file is missing, too short or outside of the model's folder.
        """
        fields = {entry.key: entry.value for entry in tensor.external_data}
        what = f"external data of tensor '{tensor.name}'"
        if not fields.get("location"):
            raise ImportFailure(f"{what}: no location is given")
        if "\0" in fields["location"]:
            raise ImportFailure(f"{what}: no file can be called {fields['location']!r}")
        content = self._map(fields["location"], what)
        try:
            offset, length = int(fields.get("offset", 0)), int(fields.get("length", size))
        except ValueError:
            raise ImportFailure(f"{what}: offset and length must be integers, found {fields}") from None
        if length != size:
            raise ImportFailure(f"{what}: type and shape need {size} bytes, length says {length}")
        if offset < 0 or offset + size > content.size:
            raise ImportFailure(
                f"{what}: bytes {offset} to {offset + size} of '{fields['location']}' are needed, the file has "
                f"{content.size}; it is truncated or belongs to another model"
            )
        return Part(content, offset, size)

    def _map(self, location: str, what: str) -> Mapped:
        if location not in self._mapped:
            path = self._resolve(location, what)
            size = ordinary_size(path, what)
            try:
                self._mapped[location] = Mapped(path, size)
            except OSError as error:
                raise ImportFailure(
                    f"{what}: '{path}' cannot be read ({error.strerror}); keep the file beside the model"
                ) from error
        return self._mapped[location]

    def _resolve(self, location: str, what: str) -> Path:
        if not self._folders:
            raise ImportFailure(
                f"{what}: the model refers to the file '{location}' beside it; import it by its path, not as bytes "
                "or a loaded message, or load it with onnx.load, which reads external data"
            )
        stated = Path(os.path.normpath(self._folders[0] / location))
        path = stated.resolve()
        inside = stated.is_relative_to(self._folders[0])
        if not inside or not any(path.is_relative_to(folder.resolve()) for folder in self._folders):
            raise ImportFailure(f"{what}: '{location}' is outside of the model's folder '{self._folders[0]}'; refused")
        return path


def weights_from(tensor: TensorProto, files: ExternalFiles) -> Weights:
    """The weights of a tensor; their values are read when they are first needed.

    Raises:
        ImportFailure: the tensor's data do not fit its type and shape.
        Unsupported: its element type is not supported.
    """
    shape = tuple(tensor.dims)
    if tensor.HasField("segment"):
        raise ImportFailure(f"tensor '{tensor.name}': it is only a segment of a larger one; export the model again")
    if any(extent < 0 for extent in shape):
        raise ImportFailure(f"tensor '{tensor.name}': shape {list(shape)} has a negative extent")
    dtype = dtype_from(tensor.data_type, f"tensor '{tensor.name}'")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    type = TensorType(dtype, shape)
    if tensor.data_location == TensorProto.EXTERNAL:
        part = files.part(tensor, count * dtype.size)
        return Weights(type, lambda: _view(part.content, dtype), part.forget)
    if tensor.HasField("raw_data") and len(tensor.raw_data) != count * dtype.size:
        raise ImportFailure(
            f"tensor '{tensor.name}': type {type} needs {count * dtype.size} bytes, found {len(tensor.raw_data)}"
        )
    if not tensor.HasField("raw_data") and _listed(tensor) != count:
        raise ImportFailure(f"tensor '{tensor.name}': type {type} needs {count} elements, found {_listed(tensor)}")
    return Weights(type, lambda: np.asarray(numpy_helper.to_array(tensor)))


def widened_weights(tensor: TensorProto, dtype: DType, files: ExternalFiles) -> Weights:
    """A constant of a small type as the type that holds it."""
    if tensor.data_location == TensorProto.EXTERNAL:
        per_byte = PER_BYTE.get(tensor.data_type, 1)
        content = files.bytes(tensor, -(-int(np.prod(tensor.dims, dtype=object)) // per_byte))
        inside = TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=content.tobytes())
    else:
        inside = tensor
        _require_packed(tensor)
    return Weights(TensorType(dtype, tuple(tensor.dims)), lambda: numpy_helper.to_array(inside).astype(dtype.numpy))


def _require_packed(tensor: TensorProto) -> None:
    """Refuse a constant of a small type that has more or less data than its shape says."""
    needed = -(-int(np.prod(tensor.dims, dtype=object)) // PER_BYTE.get(tensor.data_type, 1))
    found = len(tensor.raw_data) if tensor.HasField("raw_data") else _listed(tensor)
    if found != needed:
        raise ImportFailure(
            f"tensor '{tensor.name}': its shape {list(tensor.dims)} needs {needed} bytes, found {found}"
        )


def _listed(tensor: TensorProto) -> int:
    return len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))


def _view(content: Bytes, dtype: DType) -> npt.NDArray[np.generic]:
    aligned = content.copy() if content.ctypes.data % dtype.size else content
    return aligned.view(dtype.numpy)


def _types(*names: str) -> list[int]:
    known = set(TensorProto.DataType.keys())
    return [TensorProto.DataType.Value(name) for name in names if name in known]


PER_BYTE: Mapping[int, int] = dict.fromkeys(_types("INT4", "UINT4", "FLOAT4E2M1"), 2) | dict.fromkeys(
    _types("INT2", "UINT2"), 4
)
