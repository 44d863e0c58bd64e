"""DetectionOutput: against OpenCV, against a plain program that follows Caffe, and built."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_models import by_opencv, definition, imported, layer, outputs_of
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.importers.caffe import read_network
from tensorwright.ops.detection import BoxSuppression
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import symbol

NONE = {"none": [np.zeros(1)]}
BOXES = 30


def drawn(rng: np.random.Generator, images: int, classes: int, *, shared: bool = True) -> dict[str, np.ndarray]:
    corner = rng.uniform(0, 0.7, (BOXES, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.1, 0.3, (BOXES, 2))], axis=1)
    priors = np.stack([boxes.reshape(-1), np.tile([0.1, 0.1, 0.2, 0.2], BOXES)])[None]
    location = rng.uniform(-1, 1, (images, BOXES * 4 * (1 if shared else classes)))
    scores = rng.uniform(0, 1, (images, BOXES * classes))
    given = {"location": location, "confidence": scores, "priors": priors}
    return {name: array.astype(np.float32) for name, array in given.items()}


def text_for(parameters: str, inputs: dict[str, np.ndarray]) -> bytes:
    only = layer("DetectionOutput", f"detection_output_param {{ {parameters} }}", bottoms=" ".join(inputs))
    return definition(only, **{name: array.shape for name, array in inputs.items()})


def by_label(rows: np.ndarray) -> np.ndarray:
    """Rows of objects in Caffe's order; OpenCV sorts by score and fills up with zeros."""
    rows = rows.reshape(-1, 7)
    rows = rows[(rows[:, 2] > 0) & (rows[:, 1] >= 0)]
    return rows[np.lexsort((-rows[:, 2], rows[:, 1], rows[:, 0]))]


NMS = "nms_param { nms_threshold: 0.45 top_k: 20 }"
LIMITS = f"{NMS} confidence_threshold: 0.3 keep_top_k: 10"
MANY = "nms_param { nms_threshold: 0.7 top_k: 50 } confidence_threshold: 0.01 keep_top_k: 200"
FEW = f"{NMS} confidence_threshold: 2 keep_top_k: 5"
CENTRES = "code_type: CENTER_SIZE"


@pytest.mark.parametrize(
    ("parameters", "images", "classes"),
    [
        (f"num_classes: 3 background_label_id: 0 share_location: true {LIMITS} {CENTRES}", 1, 3),
        (f"num_classes: 4 background_label_id: 0 share_location: true {LIMITS} code_type: CORNER", 1, 4),
        (f"num_classes: 4 background_label_id: 2 share_location: true {LIMITS} {CENTRES}", 2, 4),
        (f"num_classes: 3 background_label_id: 0 share_location: false {LIMITS} {CENTRES}", 1, 3),
        (f"num_classes: 3 background_label_id: 0 share_location: true {CENTRES} {MANY}", 1, 3),
        (f"num_classes: 3 background_label_id: 0 share_location: true {CENTRES} {FEW}", 1, 3),
    ],
)
def test_detections_as_in_opencv(parameters: str, images: int, classes: int, rng: np.random.Generator):
    pytest.importorskip("cv2")
    inputs = drawn(rng, images, classes, shared="share_location: true" in parameters)
    text = text_for(parameters, inputs)
    (expected,) = by_opencv(text, NONE, ["out"], **inputs)
    actual = outputs_of(imported(text, NONE), **inputs)["out"].reshape(-1, 7)
    there = actual[:, 1] >= 0
    assert there.sum() == len(by_label(expected))
    np.testing.assert_allclose(actual[there], by_label(expected), rtol=0, atol=1e-6)
    assert (actual[~there, 1:] == -1).all()


def overlap(a, b) -> float:
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    if min(sides) <= 0:
        return 0.0
    common = sides[0] * sides[1]
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def detections(boxes, scores, background, nms, top_k, eta, least, keep) -> list[list[float]]:
    """Rows of the objects of all images, one after the other as Caffe finds them."""
    rows = []
    for image in range(len(scores)):
        found = []
        for label in range(scores.shape[2]):
            if label == background:
                continue
            ranked = sorted(range(scores.shape[1]), key=lambda i, c=label, n=image: (-scores[n, i, c], i))
            ranked = [i for i in ranked if scores[image, i, label] > least][:top_k]
            kept, limit = [], nms
            for i in ranked:
                if all(overlap(boxes[image, label, i], boxes[image, label, j]) <= limit for j in kept):
                    kept.append(i)
                    limit *= eta if limit > 0.5 else 1
            found += [(label, scores[image, i, label], i) for i in kept]
        if keep > 0:
            found = sorted(found, key=lambda one: -one[1])[:keep]
        found.sort(key=lambda one: (one[0], -one[1]))
        rows += [[image, label, score, *boxes[image, label, i]] for label, score, i in found]
    return rows


@pytest.mark.parametrize("code", ["CORNER", "CORNER_SIZE", "CENTER_SIZE"])
@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize(("background", "top_k", "eta", "keep"), [(0, 20, 1, 7), (-1, -1, 0.7, -1), (2, 5, 1, 200)])
def test_detections_by_a_plain_program(
    code: str, encoded: bool, background: int, top_k: int, eta: float, keep: int, rng: np.random.Generator
):
    inputs = drawn(rng, 2, 3, shared=False)
    prior, variance = inputs["priors"].reshape(2, BOXES, 4).astype(float)
    moves = inputs["location"].reshape(2, BOXES, 3, 4).transpose(0, 2, 1, 3) * (1 if encoded else variance)
    size, middle = prior[:, 2:] - prior[:, :2], (prior[:, 2:] + prior[:, :2]) / 2
    centre, reach = moves[..., :2] * size + middle, np.exp(moves[..., 2:]) * size / 2
    boxes = {
        "CORNER": moves + prior,
        "CORNER_SIZE": moves * np.concatenate([size, size], 1) + prior,
        "CENTER_SIZE": np.concatenate([centre - reach, centre + reach], -1),
    }[code]
    scores = inputs["confidence"].reshape(2, BOXES, 3)
    expected = detections(boxes, scores, background, 0.6, None if top_k < 0 else top_k, eta, 0.2, keep)
    text = text_for(
        f"num_classes: 3 share_location: false background_label_id: {background} code_type: {code} "
        f"nms_param {{ nms_threshold: 0.6 top_k: {top_k} eta: {eta} }} keep_top_k: {keep} confidence_threshold: 0.2 "
        f"variance_encoded_in_target: {str(encoded).lower()}",
        inputs,
    )
    actual = outputs_of(imported(text, NONE), **inputs)["out"]
    rows = keep if keep > 0 else (3 if background < 0 else 2) * BOXES
    assert actual.shape == (1, 1, 2 * rows, 7)
    images = actual.reshape(2, rows, 7)
    assert (images[..., 0] == [[0], [1]]).all()
    found = actual.reshape(-1, 7)[actual.reshape(-1, 7)[:, 1] >= 0]
    np.testing.assert_allclose(found, np.asarray(expected), rtol=0, atol=1e-5)
    assert (np.diff((images[..., 1] < 0).astype(int), axis=1) >= 0).all()


def test_a_detector_is_built(rng: np.random.Generator):
    inputs = drawn(rng, 3, 4)
    text = text_for(f"num_classes: 4 {LIMITS} {CENTRES}", {n: a[:1] for n, a in inputs.items()})
    batch = symbol("batch", 1, 2, 4)
    graph = read_network(
        text,
        shapes={"location": (batch, BOXES * 4), "confidence": (batch, BOXES * 4), "priors": (1, 2, BOXES * 4)},
    ).graph
    assert sum(isinstance(value.op, BoxSuppression) for value in graph.order()) == 3
    engine = Engine(build(graph, BuildConfig(level=0, timing_cache="")))
    for images in (1, 3):
        given = {name: array[:images] for name, array in inputs.items()}
        (found,) = engine(given).values()
        expected = outputs_of(imported(text_for(f"num_classes: 4 {LIMITS} {CENTRES}", given), NONE), **given)["out"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_single_shot_detector_from_features_to_rows(rng: np.random.Generator):
    """Priors that the network makes itself, heads as they are usually wired."""
    pytest.importorskip("cv2")
    one_by_one = "convolution_param {{ num_output: {} kernel_size: 1 }}"
    parts = [
        layer("Convolution", one_by_one.format(6), bottoms="image", tops="f", name="f"),
        layer("Convolution", one_by_one.format(16), bottoms="f", tops="loc", name="loc"),
        layer("Convolution", one_by_one.format(12), bottoms="f", tops="conf", name="conf"),
        layer(
            "PriorBox",
            "prior_box_param { min_size: 8 max_size: 12 aspect_ratio: 2 flip: true clip: false variance: 0.1 "
            "variance: 0.1 variance: 0.2 variance: 0.2 }",
            bottoms="f image",
            tops="priors",
            name="priors",
        ),
        layer("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }", bottoms="cf", tops="cr", name="cr"),
        layer("Softmax", "softmax_param { axis: 2 }", bottoms="cr", tops="cs", name="cs"),
        layer("Flatten", "flatten_param { axis: 1 }", bottoms="cs", tops="scores", name="scores"),
        layer(
            "DetectionOutput",
            f"detection_output_param {{ num_classes: 3 background_label_id: 0 share_location: true {CENTRES} {NMS} "
            "confidence_threshold: 0.35 keep_top_k: 12 }",
            bottoms="lf scores priors",
        ),
    ]
    for name in ("loc", "conf"):
        order = "permute_param { order: 0 order: 2 order: 3 order: 1 }"
        parts.insert(3, layer("Permute", order, bottoms=name, tops=f"{name[0]}p", name=f"{name[0]}p"))
        parts.insert(4, layer("Flatten", bottoms=f"{name[0]}p", tops=f"{name[0]}f", name=f"{name[0]}f"))
    text = definition("".join(parts), image=(1, 3, 6, 5))
    shapes = {"f": [(6, 3, 1, 1), (6,)], "loc": [(16, 6, 1, 1), (16,)], "conf": [(12, 6, 1, 1), (12,)]}
    blobs = {name: [rng.uniform(-1, 1, s).astype(np.float32) for s in of] for name, of in shapes.items()}
    image = rng.uniform(-1, 1, (1, 3, 6, 5)).astype(np.float32)
    (expected,) = by_opencv(text, blobs, ["out"], image=image)
    actual = outputs_of(imported(text, blobs), image=image)["out"].reshape(-1, 7)
    found = actual[actual[:, 1] >= 0]
    assert len(found) > 2
    np.testing.assert_allclose(found, by_label(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "shapes", "message"),
    [
        (
            "num_classes: 3",
            ((1, 8), (1, 6), (1, 2, 4)),
            "expected 4 locations and 3 confidences for each image, 1 boxes",
        ),
        ("num_classes: 3", ((1, 4), (1, 3), (1, 1, 4)), "expected prior boxes of shape 1×2×"),
        ("num_classes: 1", ((1, 4), (1, 1), (1, 2, 4)), "expected classes beside background_label_id 0, found 1"),
        ("", ((1, 4), (1, 3), (1, 2, 4)), "num_classes is required"),
    ],
)
def test_what_does_not_fit(parameters: str, shapes, message: str):
    inputs = {f"in{number}": np.zeros(shape) for number, shape in enumerate(shapes)}
    with pytest.raises(Exception, match=message):
        read_network(text_for(parameters, inputs))
