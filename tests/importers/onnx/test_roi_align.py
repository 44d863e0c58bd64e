"""Regions of maps, many of them in a few images, as heads of detectors read them."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import TensorProto
from tests.importers.onnx.models import model_of, node

import tensorwright as tw


def test_many_regions_share_the_maps_of_their_images(rng: np.random.Generator) -> None:
    inputs = {
        "x": (TensorProto.FLOAT, ["images", 5, "height", "width"]),
        "regions": (TensorProto.FLOAT, ["count", 4]),
        "image": (TensorProto.INT64, ["count"]),
    }
    cells = {"output_height": 3, "output_width": 2, "sampling_ratio": 2, "spatial_scale": 0.5}
    model = model_of([node("RoiAlign", "x regions image", "y", **cells)], inputs, ["y"], opset=16)
    judge = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = {"images": (1, 2, 3), "height": (1, 16, 40), "width": (1, 16, 40), "count": (0, 4, 200)}
    with tw.build(model, level=0, threads=2, timing_cache="", shapes=shapes, strict=True) as engine:
        for images, height, width, count in ((2, 16, 16, 4), (3, 7, 40, 200), (1, 1, 3, 1), (2, 5, 4, 0)):
            corners = rng.uniform(-10, 2 * max(height, width) + 10, (count, 2, 2))
            feeds = {
                "x": rng.standard_normal((images, 5, height, width), dtype=np.float32),
                "regions": np.sort(corners, axis=1).reshape(count, 4).astype(np.float32),
                "image": rng.integers(0, images, count),
            }
            np.testing.assert_allclose(engine(feeds)["y"], judge.run(None, feeds)[0], rtol=1e-5, atol=1e-5)
        image_for_each = 200 * 5 * 40 * 40 * np.float32().nbytes
        assert engine.device_memory_size < image_for_each / 2
