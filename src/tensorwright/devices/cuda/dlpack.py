"""DLPack: how libraries hand each other tensors without a copy (dlpack.h of dmlc/dlpack, version 0.8)."""

from __future__ import annotations

import ctypes
import sys
import threading
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p
from typing import NamedTuple

from tensorwright.base.fork import forkable

CUDA = 2
_CODES = {"signed": 0, "unsigned": 1, "float": 2, "bfloat": 4, "bool": 6}
_KINDS = {code: kind for kind, code in _CODES.items()}
_NAME = b"dltensor"


class _Tensor(ctypes.Structure):
    """`DLTensor`."""

    _fields_ = (
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("rank", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    )


class _Managed(ctypes.Structure):
    """`DLManagedTensor`."""

    _fields_ = (("tensor", _Tensor), ("context", c_void_p), ("deleter", c_void_p))


class Exported(NamedTuple):
    """A tensor in a capsule. dtype: kind and bits, such as ``float32`` or ``bfloat16``; strides in elements."""

    address: int
    device: tuple[int, int]
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: str


_pointer = ctypes.PYFUNCTYPE(c_void_p, ctypes.py_object, c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
_new = ctypes.PYFUNCTYPE(ctypes.py_object, c_void_p, c_char_p, c_void_p)(("PyCapsule_New", ctypes.pythonapi))
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))


def read_capsule(capsule: object) -> Exported:
    """What a capsule holds, which keeps it alive as long as nobody else takes it over."""
    found = _Managed.from_address(_pointer(capsule, _NAME)).tensor
    rank = found.rank
    strides = tuple(found.strides[:rank]) if found.strides else None
    kind = _KINDS.get(found.code, f"code {found.code} of ") if found.lanes == 1 else "vectors of "
    address = (found.data or 0) + found.byte_offset
    return Exported(
        address, (found.device_type, found.device_id), tuple(found.shape[:rank]), strides, _dtype(kind, found.bits)
    )


def _dtype(kind: str, bits: int) -> str:
    names = {"signed": f"int{bits}", "unsigned": f"uint{bits}", "float": f"float{bits}", "bfloat": f"bfloat{bits}"}
    return "bool" if kind == "bool" and bits == 8 else names.get(kind, f"{kind}{bits}")


def write_capsule(address: int, device: int, shape: tuple[int, ...], kind: str, bits: int, owner: object) -> object:
    """A capsule of a row-major tensor on a GPU. `owner` lives until whoever takes it is done with it, and longer: until
    the next call of this function or of `forget`.

    kind: as `DType` has it, or "bfloat".
    """
    forget()
    shift = 0 if address & _WORD else _SHIFT
    extents = (c_int64 * max(1, len(shape)))(*shape)
    tensor = _Tensor(address - shift, CUDA, device, len(shape), _CODES[kind], bits, 1, extents, None, shift)
    managed = _Managed(tensor, None, _DELETER)
    capsule = _new(ctypes.addressof(managed), _NAME, None)
    with _LOCK:
        _ALIVE.append(_Held(managed, (address - shift) & _WORD, capsule, (extents, owner)))
    return capsule


def forget() -> None:
    """Let go of tensors that nobody has any more."""
    with _LOCK:
        before = list(_ALIVE)
        _ALIVE[:] = [held for held in before if held.is_wanted]
    del before  # What goes with it may call this function again.


class _Held(NamedTuple):
    """A tensor that somebody may have; word: the lower half of its data's address, which the deleter overwrites."""

    managed: _Managed
    word: int
    capsule: object
    others: object

    @property
    def is_wanted(self) -> bool:
        is_taken = not _is_valid(self.capsule, _NAME)
        return self.managed.tensor.data & _WORD == self.word if is_taken else sys.getrefcount(self.capsule) > _ONE


_ALIVE: list[_Held] = []
"""What C holds without a reference that Python could see."""
_LOCK = forkable(threading.RLock())
_WORD, _SHIFT = 0xFFFFFFFF, 256
_ONE = 2
"""What `sys.getrefcount` says of an object that has one reference."""

# A deleter may be called by any thread, without the interpreter's lock, while an exception is on its way: Python code
# must not run there. Unlocking a spin lock is one store of 32 bits, 0 or 1, at the address that is given, which is that
# of the data's address: a note that the tensor is not needed any more. No address of data has such a lower half.
_DELETER = ctypes.cast(ctypes.CDLL(None).pthread_spin_unlock, c_void_p).value
