"""Layers of single-shot detectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.importers.caffe.schema import Unsigned
from tensorwright.tensor.dtype import FLOAT32

Floats = npt.NDArray[np.float64]

NEAR = 1e-6
DEFAULT_VARIANCE = 0.1


@reads("prior_box_param")
def PriorBox(
    layer: Layer,
    x: Value,
    image: Value,
    *,
    min_size: tuple[float, ...],
    max_size: tuple[float, ...] = (),
    aspect_ratio: tuple[float, ...] = (),
    flip: bool = True,
    clip: bool = False,
    variance: tuple[float, ...] = (),
    img_size: Unsigned | None = None,
    img_h: Unsigned | None = None,
    img_w: Unsigned | None = None,
    step: float | None = None,
    step_h: float | None = None,
    step_w: float | None = None,
    offset: float = 0.5,
) -> Value:
    """Boxes around every place of x, as parts of the image, and their variances: 1×2×(H · W · boxes · 4).

    For every place and `min_size` s there is a square of side s, then one of side ``√(s · max_size)``, then for every
    aspect ratio r but 1, and 1 / r with `flip`, a box of ``s √r × s / √r``.
    """
    if x.type.rank != 4 or image.type.rank != 4:
        layer.fail(f"expected two bottoms of 4 axes, found {x.type} and {image.type}")
    height, width = layer.static(x.type.shape[2:], "the extent of the bottom")
    extents = layer.static(image.type.shape[2:], "the extent of the image")
    sides = _sides(layer, img_size, img_h, img_w, "img")
    image_height, image_width = (sides[0] or extents[0], sides[1] or extents[1])
    steps = _sides(layer, step, step_h, step_w, "step")
    places = _Places(
        (height, width),
        (image_height, image_width),
        (steps[0] or image_height / height, steps[1] or image_width / width),
    )
    shapes = _box_shapes(layer, min_size, max_size, _ratios(layer, aspect_ratio, flip))
    layer.check_constant((2, height, width, len(shapes), 4), "the boxes")
    boxes = places.boxes(shapes, offset)
    if clip:
        boxes = np.clip(boxes, 0, 1)
    variances = np.broadcast_to(np.asarray(_variances(layer, variance)), (boxes.size // 4, 4))
    both = np.stack([boxes.reshape(-1), variances.reshape(-1)])
    return layer.constant(both[np.newaxis], FLOAT32)


@dataclass(frozen=True)
class _Places:
    """The places of a map on an image; all pairs are height, width."""

    extents: tuple[int, int]
    image: tuple[float, float]
    steps: tuple[float, float]

    def boxes(self, shapes: list[tuple[float, float]], offset: float) -> Floats:
        """Left, top, right and bottom of a box of each of the shapes (width, height) around every place."""
        rows, columns = ((np.arange(n) + offset) * step for n, step in zip(self.extents, self.steps, strict=True))
        y, x = rows.reshape(-1, 1, 1), columns.reshape(1, -1, 1)
        height, width = self.image
        across, down = (np.asarray(sides) / 2 for sides in zip(*shapes, strict=True))
        sides = (x - across) / width, (y - down) / height, (x + across) / width, (y + down) / height
        return np.stack(np.broadcast_arrays(*sides), axis=-1)


def _ratios(layer: Layer, given: tuple[float, ...], flip: bool) -> list[float]:
    """The aspect ratios other than 1, each once."""
    found = [1.0]
    for ratio in given:
        if not ratio > 0:
            layer.fail(f"aspect_ratio: expected positive values, found {list(given)}")
        if all(abs(ratio - known) >= NEAR for known in found):
            found += [ratio, 1 / ratio] if flip else [ratio]
    return found[1:]


def _box_shapes(
    layer: Layer, smallest: tuple[float, ...], largest: tuple[float, ...], ratios: list[float]
) -> list[tuple[float, float]]:
    """Width and height of the boxes of one place, in their order."""
    if min(smallest) <= 0 or (largest and len(largest) != len(smallest)):
        layer.fail(f"expected positive min_size and as many max_size, found {list(smallest)} and {list(largest)}")
    shapes: list[tuple[float, float]] = []
    for number, size in enumerate(smallest):
        shapes.append((size, size))
        if largest:
            if largest[number] <= size:
                layer.fail(f"max_size: expected values above those of min_size, found {list(largest)}")
            shapes.append((sqrt(size * largest[number]),) * 2)
        shapes += [(size * sqrt(ratio), size / sqrt(ratio)) for ratio in ratios]
    return shapes


def _variances(layer: Layer, given: tuple[float, ...]) -> tuple[float, ...]:
    if len(given) not in (0, 1, 4) or any(value <= 0 for value in given):
        layer.fail(f"variance: expected 1 or 4 positive values, found {list(given)}")
    return given if len(given) == 4 else (given or (DEFAULT_VARIANCE,)) * 4


def _sides(
    layer: Layer, both: float | None, height: float | None, width: float | None, name: str
) -> tuple[float | None, float | None]:
    if both is not None and (height is not None or width is not None):
        layer.fail(f"{name}_h, {name}_w and the value for both exclude each other; keep one")
    if (height is None) != (width is None):
        layer.fail(f"expected both {name}_h and {name}_w, found one")
    found = (both, both) if both is not None else (height, width)
    if any(side is not None and not side > 0 for side in found):
        layer.fail(f"{name}: expected positive values, found {found[0]} and {found[1]}")
    return found
