"""Sample inputs in a folder: arrays as NumPy writes them, and images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tensorwright.api.calibration import Calibrator
from tensorwright.base.errors import BuildError
from tensorwright.base.files import require_regular

if TYPE_CHECKING:
    from tensorwright.build.calibrate import Algorithm

Array = npt.NDArray[np.generic]
Data = str | os.PathLike[str] | Iterable[Mapping[str, Array] | Array]
"""A folder of samples, or batches."""
Inputs = Mapping[str, tuple[tuple[int, ...], np.dtype[np.generic]]]

ARRAYS = (".npy", ".npz")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".webp", ".tif", ".tiff")
CHANNELS = (1, 3)


class FolderCalibrator(Calibrator):
    """Sample inputs in a folder, in the order of the files' names.

    A ``.npy`` file is the input of a network that has one, an ``.npz`` file has an array for each input by its name.
    Arrays with all axes of their input are batches; without the first axis, or with 1 there where more is expected,
    they are samples, and so are images, for networks with one input of 1 or 3 channels behind or before the rows and
    columns. Samples are put together to batches; the last one is filled up with the first samples.

    Args:
        folder: has the files; others in it are an error.
        mean: for images: what is subtracted from pixels between 0 and 255, for all channels or one by one.
        std: for images: what pixels are divided by afterwards.
        algorithm, cache, quantile: as for `Calibrator`.

    Raises:
        BuildError: there are no such files in the folder, or others.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (255.0,),
        algorithm: Algorithm = "MinMaxCalibration",
        cache: str | os.PathLike[str] | None = None,
        quantile: float = 0.9999,
    ) -> None:
        super().__init__((), algorithm, cache, quantile)
        if any(not np.isfinite(one) for one in mean) or any(not one or not np.isfinite(one) for one in std):
            raise BuildError(f"images: expected finite numbers, and none of 0 for std; found {mean} and {std}")
        self.files = sample_files(folder)
        self._mean, self._std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self._pending: Iterator[Mapping[str, Array]] | None = None

    def samples_per_batch(self) -> int:
        """0: whatever the files have."""
        return 0

    def expected_batches(self) -> int:
        """As many as there are files, if each is one."""
        return len(self.files)

    def next_batch(self, inputs: Inputs) -> Mapping[str, Array] | None:
        """The arrays of the next batch by input name; None at the end."""
        if self._pending is None:
            self._pending = self.batches(inputs)
        return next(self._pending, None)

    def batches(self, inputs: Inputs) -> Iterator[Mapping[str, Array]]:
        """All batches for inputs of such shapes and element types.

        Raises:
            BuildError: a file cannot be read, or does not fit the inputs; the message names it.
        """
        samples: list[Mapping[str, Array]] = []
        first: list[Mapping[str, Array]] = []
        count = max((shape[0] for shape, _ in inputs.values() if shape), default=1)
        for path in self.files:
            found = self._read(path, inputs)
            if not all(_is_sample(array, inputs[name][0]) for name, array in found.items()):
                yield found
                continue
            samples.append({name: _without_batch(array, inputs[name][0]) for name, array in found.items()})
            first = first if len(first) == count else [*first, samples[-1]]
            if len(samples) == count:
                yield _stacked(samples)
                samples = []
        if samples:
            yield _stacked(list(islice(chain(samples, *([first] * count)), count)))

    def _read(self, path: Path, inputs: Inputs) -> Mapping[str, Array]:
        if path.suffix.lower() in IMAGES:
            name, shape, dtype = _only(path, inputs)
            return {name: self._image(path, shape).astype(dtype)}
        loaded = _load(path)
        if isinstance(loaded, np.ndarray):
            loaded = {_only(path, inputs)[0]: loaded}
        for name, (shape, dtype) in inputs.items():
            if name not in loaded:
                raise BuildError(f"{path}: expected arrays {', '.join(inputs)}, found {', '.join(loaded) or 'none'}")
            array = loaded[name]
            if array.ndim not in (len(shape), len(shape) - 1) or not np.can_cast(array.dtype, dtype, "same_kind"):
                raise BuildError(
                    f"{path}: input '{name}': expected an array of {dtype} of shape {shape}, or without the first "
                    f"axis, found {array.dtype} {array.shape}"
                )
        return {name: np.ascontiguousarray(loaded[name], dtype) for name, (_, dtype) in inputs.items()}

    def _image(self, path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """An image as an input of a shape takes it, without the first axis."""
        if len(shape) != 4 or not {shape[1], shape[3]} & set(CHANNELS):
            raise BuildError(f"{path}: images are for inputs of four axes with 1 or 3 channels, the input is {shape}")
        is_first = shape[1] in CHANNELS
        channels, rows, columns = shape[1:] if is_first else (shape[3], *shape[1:3])
        pixels = (_pixels(path, channels, rows, columns) - self._mean) / self._std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if is_first else pixels)


def calibrators_of(
    data: Data, algorithm: Algorithm, mean: Sequence[float], std: Sequence[float]
) -> Callable[[], Calibrator]:
    """Gives the same samples as often as it is called."""
    if isinstance(data, str | os.PathLike):
        folder = data
        return lambda: FolderCalibrator(folder, mean, std, algorithm)
    batches = list(data)
    return lambda: Calibrator(batches, algorithm)


def sample_files(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The files of a folder by name; hidden ones are left out.

    Raises:
        BuildError: it is no folder, is empty, or has others than arrays and images.
    """
    if not Path(folder).is_dir():
        raise BuildError(f"{folder}: expected a folder of samples: .npy, .npz or image files")
    found = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    strange = [path.name for path in found if path.suffix.lower() not in (*ARRAYS, *IMAGES)]
    if strange or not found:
        what = f"found '{strange[0]}'" if strange else "it is empty"
        raise BuildError(f"{folder}: expected .npy, .npz or image files ({' '.join(IMAGES)}), {what}")
    return tuple(found)


def _load(path: Path) -> Array | dict[str, Array]:
    require_regular(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, OSError) as error:
        raise BuildError(f"{path}: expected arrays as numpy.save or numpy.savez write them ({error})") from None


def _pixels(path: Path, channels: int, rows: int, columns: int) -> npt.NDArray[np.float32]:
    """An image in grey or in colours, scaled, ``[rows, columns, channels]`` from 0 to 255."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise BuildError(f"{path}: images need Pillow: pip install 'tensorwright[images]'") from None
    require_regular(path)
    try:
        with Image.open(path) as image:
            scaled = image.convert("L" if channels == 1 else "RGB").resize((columns, rows), Image.Resampling.BILINEAR)
            return np.asarray(scaled, np.float32).reshape(rows, columns, channels)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise BuildError(f"{path}: this image cannot be read: {error}") from None


def _only(path: Path, inputs: Inputs) -> tuple[str, tuple[int, ...], np.dtype[np.generic]]:
    if len(inputs) != 1:
        raise BuildError(
            f"{path}: the network has the inputs {', '.join(inputs)}; expected .npz files with all of them"
        )
    ((name, (shape, dtype)),) = inputs.items()
    return name, shape, dtype


def _is_sample(array: Array, shape: tuple[int, ...]) -> bool:
    return array.ndim == len(shape) - 1 or (array.ndim > 0 and array.shape[0] == 1 and shape[0] != 1)


def _without_batch(array: Array, shape: tuple[int, ...]) -> Array:
    return array if array.ndim == len(shape) - 1 else array[0]


def _stacked(samples: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
    try:
        return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    except ValueError:
        shapes = [str({name: array.shape for name, array in sample.items()}) for sample in samples]
        raise BuildError(
            f"samples of different shapes are in one batch: {', '.join(dict.fromkeys(shapes))}; make them alike, or "
            "fix the first dimension to 1"
        ) from None
