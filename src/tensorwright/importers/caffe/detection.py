"""Layers of single-shot detectors."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value
from tensorwright.importers.caffe.layer import Layer
from tensorwright.importers.caffe.registry import reads
from tensorwright.importers.caffe.schema import Unsigned
from tensorwright.importers.compose import counting, joined, part
from tensorwright.ops.activation import Relu
from tensorwright.ops.detection import BoxSuppression
from tensorwright.ops.indexing import Gather, GatherElements
from tensorwright.tensor.dim import product
from tensorwright.tensor.dtype import FLOAT32, INT64

Floats = npt.NDArray[np.float64]

NEAR = 1e-6
DEFAULT_VARIANCE = 0.1
NEVER = 2.0
"""A share of overlap that no boxes reach."""


@dataclass(frozen=True)
class NonMaximumSuppressionParameter:
    """Which boxes are dropped for one with a higher score that they overlap."""

    nms_threshold: float = 0.3
    top_k: int | None = None
    eta: float = 1.0


DEFAULT_SUPPRESSION = NonMaximumSuppressionParameter()


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


@reads("detection_output_param", ("save_output_param", "visualize", "visualize_threshold", "save_file"))
def DetectionOutput(
    layer: Layer,
    location: Value,
    confidence: Value,
    priors: Value,
    *,
    num_classes: Unsigned,
    share_location: bool = True,
    background_label_id: int = 0,
    nms_param: NonMaximumSuppressionParameter = DEFAULT_SUPPRESSION,
    code_type: Literal["CORNER", "CENTER_SIZE", "CORNER_SIZE"] = "CORNER",
    variance_encoded_in_target: bool = False,
    keep_top_k: int = -1,
    confidence_threshold: float = -inf,
) -> Value:
    """The objects in every image: 1×1×rows×7, a row being image, label, score, left, top, right and bottom.

    Rows are sorted by image, label and falling score. Every image has `keep_top_k` rows, or without it as many as there
    can be; those that are not needed hold -1 but for the image, as Caffe's do for images without objects.
    """
    count = _check_bottoms(layer, location, confidence, priors, num_classes, share_location, variance_encoded_in_target)
    batch = location.type.shape[0]
    found = layer.reshape(location, (batch, count, 1 if share_location else num_classes, 4))
    boxes = _decoded(layer, layer.transpose(found, (0, 2, 1, 3)), priors, code_type, variance_encoded_in_target)
    scores = layer.transpose(layer.reshape(confidence, (batch, count, num_classes)), (0, 2, 1))
    labels = [label for label in range(num_classes) if label != background_label_id]
    if not labels:
        layer.fail(
            f"num_classes: expected classes beside background_label_id {background_label_id}, found {num_classes}"
        )
    scores = _without(layer, scores, background_label_id)
    boxes = boxes if share_location else _without(layer, boxes, background_label_id)
    taken = None if nms_param.top_k is None or nms_param.top_k < 0 else max(1, nms_param.top_k)
    limit = min(bound for bound in (count, taken, keep_top_k) if bound is not None and bound > 0)
    op = BoxSuppression(limit, nms_param.nms_threshold, confidence_threshold, taken, nms_param.eta)
    objects = _Objects(layer, layer.apply(op, scores, boxes), scores, boxes)
    return objects.rows(np.asarray(labels), keep_top_k if keep_top_k > 0 else limit * len(labels))


class _Objects:
    """The boxes that are kept of every class, in one list for each image: `places` are -1 where there are fewer."""

    def __init__(self, layer: Layer, places: Value, scores: Value, boxes: Value) -> None:
        self._layer = layer
        batch, classes, self._limit = places.type.shape
        self._batch, self._count = batch, classes * self._limit
        known = layer.apply(Relu(), places)
        chosen = layer.apply(GatherElements(2), scores, known)
        lost = layer.scalar(-inf, scores)
        self.scores = layer.reshape(layer.select(_is_there(layer, places), chosen, lost), (batch, 1, self._count))
        lists = (batch, 1, self._count) if boxes.type.shape[1] == 1 else places.type.shape
        corners = layer.expand(layer.reshape(known, (*lists, 1)), (*lists, 4))
        self.boxes = layer.reshape(layer.apply(GatherElements(2), boxes, corners), (batch, self._count, 4))

    def rows(self, labels: npt.NDArray[np.int64], count: int) -> Value:
        """The rows of the `count` best objects of each image."""
        layer, batch = self._layer, self._batch
        best = self._sorted(self.scores, count)
        entries = layer.apply(Relu(), best)
        falling = layer.unary("neg", layer.cast(entries, FLOAT32))
        order = self._sorted(layer.select(_is_there(layer, best), falling, layer.scalar(-inf, falling)), count)
        there = layer.reshape(_is_there(layer, order), (batch, count, 1))
        entry = layer.apply(GatherElements(2), entries, layer.apply(Relu(), order))
        row = (batch, count, 1)
        number = layer.divide(entry, layer.constant(np.asarray(self._limit), INT64))
        label = layer.reshape(layer.apply(Gather(0), layer.constant(labels, FLOAT32), number), row)
        score = layer.reshape(layer.apply(GatherElements(2), self.scores, entry), row)
        corners = layer.expand(layer.reshape(entry, row), (batch, count, 4))
        parts = [label, score, layer.apply(GatherElements(1), self.boxes, corners)]
        absent = layer.scalar(-1.0, score)
        filled = [layer.select(there, value, absent) for value in parts]
        image = layer.reshape(layer.cast(counting(layer, batch), FLOAT32), (batch, 1, 1))
        whole = joined(layer, [layer.expand(image, row), *filled], 2)
        return layer.reshape(whole, (1, 1, batch * count, 7))

    def _sorted(self, scores: Value, count: int) -> Value:
        """The positions of the `count` highest scores, best first; -1 after those that are not -inf."""
        layer = self._layer
        none = layer.expand(layer.scalar(0.0, scores), (*scores.type.shape, 4))
        return layer.apply(BoxSuppression(count, NEVER, -inf), scores, none)


def _check_bottoms(
    layer: Layer,
    location: Value,
    confidence: Value,
    priors: Value,
    classes: int,
    shared: bool,
    without_variances: bool,
) -> int:
    """The number of prior boxes."""
    rank = priors.type.rank
    sizes = [layer.static((product(x.type.shape[1:]),), "the extent of a bottom")[0] for x in (location, confidence)]
    extents = layer.static(priors.type.shape[1:], "the shape of the prior boxes")
    if rank != 3 or (extents[0] != (1 if without_variances else 2) and extents[0] != 2) or extents[1] % 4:
        layer.fail(f"expected prior boxes of shape 1×2×(4 · boxes), found {priors.type}")
    count = extents[1] // 4
    expected = [count * 4 * (1 if shared else classes), count * classes]
    if sizes != expected:
        layer.fail(
            f"expected {expected[0]} locations and {expected[1]} confidences for each image, {count} boxes and "
            f"{classes} classes, found {location.type} and {confidence.type}"
        )
    return count


def _decoded(layer: Layer, location: Value, priors: Value, code: str, without_variances: bool) -> Value:
    """Boxes from what the network says of them relative to prior boxes; all of shape [..., boxes, 4]."""
    known, count = priors.type.shape[1], priors.type.shape[2] // 4
    grid = layer.reshape(priors, (known, count, 4))
    prior = layer.reshape(part(layer, grid, {0: (0, 1)}), (1, 1, count, 4))
    if not without_variances:
        variance = layer.reshape(part(layer, grid, {0: (1, 1)}), (1, 1, count, 4))
        location = layer.multiply(location, variance)
    if code == "CORNER":
        return layer.add(location, prior)
    low, high = part(layer, prior, {3: (0, 2)}), part(layer, prior, {3: (2, 2)})
    size = layer.subtract(high, low)
    if code == "CORNER_SIZE":
        return layer.add(layer.multiply(location, joined(layer, [size, size], 3)), prior)
    half = layer.scalar(0.5, location)
    middle = layer.multiply(layer.add(low, high), half)
    centre = layer.add(layer.multiply(part(layer, location, {3: (0, 2)}), size), middle)
    reach = layer.multiply(layer.multiply(layer.unary("exp", part(layer, location, {3: (2, 2)})), size), half)
    return joined(layer, [layer.subtract(centre, reach), layer.add(centre, reach)], 3)


def _without(layer: Layer, x: Value, index: int) -> Value:
    """A tensor without one place of its second axis, if there is such a place."""
    extent = x.type.shape[1]
    if not isinstance(extent, int) or not 0 <= index < extent:
        return x
    ranges = [(0, index), (index + 1, extent - index - 1)]
    return joined(layer, [part(layer, x, {1: (start, length)}) for start, length in ranges if length], 1)


def _is_there(layer: Layer, places: Value) -> Value:
    return layer.binary("less", layer.constant(np.asarray(-1), INT64), places)


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
