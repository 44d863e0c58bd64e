"""Calibrators of int8 builds. They are accepted; int8 itself is not available yet."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.compat.tensorrt.enums import CalibrationAlgoType


class Calibrator:
    """Gives batches of inputs, from which the ranges of tensors are measured; subclass it.

    Builds accept a calibrator and say that int8 is not available yet; they do not call it.
    """

    algorithm = CalibrationAlgoType.ENTROPY_CALIBRATION

    def get_batch_size(self) -> int:
        """The batch size of `get_batch`."""
        raise NotImplementedError(f"{type(self).__name__} must implement get_batch_size()")

    def get_batch(self, bindings: Sequence[int], names: Sequence[str]) -> Sequence[int] | None:
        """The addresses of the next batch, one per input; None at the end."""
        raise NotImplementedError(f"{type(self).__name__} must implement get_batch(bindings, names)")

    def read_calibration_cache(self, length: int = 0) -> bytes | None:
        """What an earlier calibration wrote; None for nothing."""
        del length
        return None

    def write_calibration_cache(self, ptr: object, size: int = 0) -> None:
        """Keep the result of a calibration."""

    def get_algorithm(self) -> CalibrationAlgoType:
        """How ranges are found."""
        return self.algorithm

    def destroy(self) -> None:
        """Nothing: the calibrator goes when nobody refers to it."""


class EntropyCalibrator(Calibrator):
    """Ranges that keep most of the information."""


class EntropyCalibrator2(Calibrator):
    """Ranges that keep most of the information."""

    algorithm = CalibrationAlgoType.ENTROPY_CALIBRATION_2


class MinMaxCalibrator(Calibrator):
    """Ranges from the smallest to the largest element."""

    algorithm = CalibrationAlgoType.MINMAX_CALIBRATION


class LegacyCalibrator(Calibrator):
    """Ranges by quantile and regression."""

    algorithm = CalibrationAlgoType.LEGACY_CALIBRATION

    def get_quantile(self) -> float:
        """From 0 to 1."""
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
