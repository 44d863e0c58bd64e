"""Calibrators: sample inputs from which builds for int8 measure the ranges of tensors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import BuildError
from tensorwright.base.files import replacing, require_regular

if TYPE_CHECKING:
    from tensorwright.build.calibrate import Algorithm

Array = npt.NDArray[np.generic]
ALGORITHMS: tuple[Algorithm, ...] = (
    "LegacyCalibration",
    "EntropyCalibration",
    "EntropyCalibration2",
    "MinMaxCalibration",
)


class Calibrator:
    """Sample inputs in memory.

    Args:
        batches: arrays by input name, or arrays alone for a network with one input; all of the same batch size.
        algorithm: "MinMaxCalibration" keeps the whole range, "EntropyCalibration2" and "EntropyCalibration" most of the
            information, "LegacyCalibration" the smallest share `quantile` of the magnitudes.
        cache: a file with the result, in TensorRT's text format: read if it is there, else written.
        quantile: see `algorithm`.
    """

    def __init__(
        self,
        batches: Iterable[Mapping[str, Array] | Array],
        algorithm: Algorithm = "MinMaxCalibration",
        cache: str | os.PathLike[str] | None = None,
        quantile: float = 0.9999,
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise BuildError(f"Calibrator: expected one of {', '.join(ALGORITHMS)}, found {algorithm!r}")
        if not 0 < quantile <= 1:
            raise BuildError(f"Calibrator: expected a quantile above 0 up to 1, found {quantile}")
        self._batches: Iterator[Mapping[str, Array] | Array] = iter(batches)
        self._first: Mapping[str, Array] | Array | None = None
        self._cache = None if cache is None else Path(cache)
        self._algorithm = algorithm
        self.quantile = quantile

    @property
    def calibration_name(self) -> Algorithm:
        """How thresholds are found."""
        return self._algorithm

    def samples_per_batch(self) -> int:
        """The first extent of the first batch; 1 if there is none, which is well where a cache knows the ranges."""
        if self._first is None:
            self._first = next(self._batches, None)
        arrays = [np.asarray(one) for one in _arrays(self._first)]
        return len(arrays[0]) if arrays and arrays[0].ndim else 1

    def expected_batches(self) -> int:
        """0: nobody knows how many the iterator gives."""
        return 0

    def next_batch(
        self, inputs: Mapping[str, tuple[tuple[int, ...], np.dtype[np.generic]]]
    ) -> Mapping[str, Array] | None:
        """The arrays of the next batch by input name; None at the end."""
        given, self._first = self._first, None
        given = next(self._batches, None) if given is None else given
        if given is None or isinstance(given, Mapping):
            return given
        if len(inputs) != 1:
            raise BuildError(f"Calibrator: expected arrays by name for the inputs {', '.join(inputs)}, found one array")
        return dict.fromkeys(inputs, given)

    def read_cache(self) -> bytes | None:
        """The contents of the file, if there is one."""
        if self._cache is None or not self._cache.exists():
            return None
        require_regular(self._cache)
        return self._cache.read_bytes()

    def write_cache(self, data: bytes) -> None:
        """Write the file, if there is to be one."""
        if self._cache is not None:
            with replacing(self._cache) as file:
                file.write(data)


def _arrays(batch: Mapping[str, Array] | Array | None) -> list[Array]:
    if batch is None:
        return []
    return list(batch.values()) if isinstance(batch, Mapping) else [batch]
