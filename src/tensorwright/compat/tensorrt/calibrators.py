"""Calibrators of int8 builds: their batches are on the device, their caches in memory of the host."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import BuildError
from tensorwright.compat.machine import fetch
from tensorwright.compat.pycuda.memory import room_at
from tensorwright.compat.tensorrt.enums import CalibrationAlgoType

if TYPE_CHECKING:
    from tensorwright.build.calibrate import Algorithm

Array = npt.NDArray[np.generic]
Inputs = Mapping[str, tuple[tuple[int, ...], np.dtype[np.generic]]]

NAMES: Mapping[CalibrationAlgoType, Algorithm] = {
    CalibrationAlgoType.LEGACY_CALIBRATION: "LegacyCalibration",
    CalibrationAlgoType.ENTROPY_CALIBRATION: "EntropyCalibration",
    CalibrationAlgoType.ENTROPY_CALIBRATION_2: "EntropyCalibration2",
    CalibrationAlgoType.MINMAX_CALIBRATION: "MinMaxCalibration",
}


class Calibrator:
    """Gives batches of inputs, from which the ranges of tensors are measured; subclass it.

    A build for int8 reads the cache first. If there is none, it asks for batches until there are no more, and writes
    the cache. The ranges are kept in the report of the plan.
    """

    algorithm = CalibrationAlgoType.ENTROPY_CALIBRATION

    def get_batch_size(self) -> int:
        """The batch size of `get_batch`."""
        raise NotImplementedError(f"{type(self).__name__} must implement get_batch_size()")

    def get_batch(self, bindings: Sequence[int], names: Sequence[str]) -> Sequence[int] | None:
        """The addresses of the next batch, one per input; None at the end.

        A method with one parameter gets the names alone, as in the later versions.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement get_batch(bindings, names)")

    def read_calibration_cache(self, length: int = 0) -> bytes | None:
        """What an earlier calibration wrote; None for nothing. The method may have no parameter."""
        del length
        return None

    def write_calibration_cache(self, ptr: object, size: int = 0) -> None:
        """Keep the result of a calibration: an address and its number of bytes, or, with one parameter, the bytes."""

    def get_algorithm(self) -> CalibrationAlgoType:
        """How ranges are found."""
        return self.algorithm

    def destroy(self) -> None:
        """Nothing: the calibrator goes when nobody refers to it."""

    @property
    def calibration_name(self) -> Algorithm:
        """How ranges are found, as the cache says it."""
        return NAMES[CalibrationAlgoType(self.get_algorithm())]

    @property
    def quantile(self) -> float:
        """For `LegacyCalibrator`."""
        return 1.0

    def samples_per_batch(self) -> int:
        """As `get_batch_size`."""
        return int(self.get_batch_size())

    def expected_batches(self) -> int:
        """0: nobody knows how often `get_batch` gives one."""
        return 0

    def next_batch(self, inputs: Inputs) -> Mapping[str, Array] | None:
        """The arrays at the addresses that `get_batch` gives."""
        names = list(inputs)
        call: Callable[..., object] = self.get_batch
        found = call(names) if _required(call) == 1 else call([0] * len(names), names)
        if found is None or (isinstance(found, Sequence) and not found):
            return None
        if not isinstance(found, Sequence) or len(found) != len(names):
            raise BuildError(
                f"get_batch: expected a list with the address of each of the inputs {', '.join(names)}, found {found!r}"
            )
        return {
            name: _array(name, address, *kind)
            for (name, kind), address in zip(inputs.items(), found, strict=True)
        }  # fmt: skip

    def read_cache(self) -> bytes | None:
        """As `read_calibration_cache`."""
        call: Callable[..., object] = self.read_calibration_cache
        found = call(0) if _required(call) == 1 else call()
        if found is None or isinstance(found, bytes | bytearray | memoryview):
            return None if found is None else bytes(found)
        raise BuildError(f"read_calibration_cache: expected bytes or None, found {type(found).__name__}")

    def write_cache(self, data: bytes) -> None:
        """As `write_calibration_cache`; the bytes at the address end with a zero, which is not counted."""
        call: Callable[..., object] = self.write_calibration_cache
        if len(inspect.signature(call).parameters) == 1:
            call(data)
        else:
            memory = ctypes.create_string_buffer(data)
            call(ctypes.addressof(memory), len(data))


class EntropyCalibrator(Calibrator):
    """Ranges that keep most of the information."""


class EntropyCalibrator2(Calibrator):
    """Ranges that keep most of the information."""

    algorithm = CalibrationAlgoType.ENTROPY_CALIBRATION_2


class MinMaxCalibrator(Calibrator):
    """Ranges from the smallest to the largest element."""

    algorithm = CalibrationAlgoType.MINMAX_CALIBRATION


class LegacyCalibrator(Calibrator):
    """Ranges by quantile. The regression cutoff has no effect, and caches of histograms are not used."""

    algorithm = CalibrationAlgoType.LEGACY_CALIBRATION

    @property
    def quantile(self) -> float:
        """As `get_quantile`."""
        return float(self.get_quantile())

    def get_quantile(self) -> float:
        """From 0 to 1: the share of the elements' magnitudes below the range."""
        return 0.9999

    def get_regression_cutoff(self) -> float:
        """From 0 to 1."""
        return 1.0

    def read_histogram_cache(self, length: int = 0) -> bytes | None:
        """What an earlier calibration wrote; None for nothing."""
        del length
        return None

    def write_histogram_cache(self, ptr: object, length: int = 0) -> None:
        """Keep what was measured."""


def _required(call: Callable[..., object]) -> int:
    """How many parameters of a method have no default."""
    parameters = inspect.signature(call).parameters.values()
    return sum(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _array(name: str, address: object, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    if not isinstance(address, SupportsIndex):
        raise BuildError(f"get_batch: input '{name}': expected an address, found {type(address).__name__}")
    place, needed = address.__index__(), prod(shape) * dtype.itemsize
    room = room_at(place)
    if place == 0 or (room is not None and room < needed):
        found = "no memory" if place == 0 or room == 0 else f"device memory of {room} bytes"
        raise BuildError(
            f"get_batch: input '{name}': expected {needed} bytes, a batch of shape {shape}, found {found}; allocate "
            "more and keep what owns it, or correct get_batch_size()"
        )
    return fetch(place, needed).view(dtype).reshape(shape)
