"""Maps that are resized to extents which are known only at run time, as heads of segmentation networks do."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto
from tests.importers.onnx.models import model_of, node

import tensorwright as tw


@pytest.mark.parametrize(
    ("mode", "positions"), [("linear", "pytorch_half_pixel"), ("linear", "align_corners"), ("nearest", "asymmetric")]
)
def test_maps_take_the_size_of_the_image(mode: str, positions: str, rng: np.random.Generator) -> None:
    nodes = [
        node("MaxPool", "x", "half", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", "half", "one"),
        node("Shape", "half", "inner"), node("Shape", "x", "outer"),
        node("Resize", "one _ _ inner", "spread", mode=mode, coordinate_transformation_mode=positions),
        node("Add", "half spread", "sum"),
        node("Resize", "sum _ _ outer", "y", mode=mode, coordinate_transformation_mode=positions, nearest_mode="floor"),
    ]  # fmt: skip
    model = model_of(nodes, {"x": (TensorProto.FLOAT, ["batch", 2, "height", "width"])}, ["y"])
    judge = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with tw.build(model, level=0, threads=2, timing_cache="", strict=True) as engine:
        for height, width in ((7, 10), (16, 5), (1, 33)):
            x = rng.standard_normal((2, 2, height, width), dtype=np.float32)
            np.testing.assert_allclose(engine({"x": x})["y"], judge.run(None, {"x": x})[0], rtol=1e-5, atol=1e-5)
