"""The end of a detection network: boxes are chosen natively, and as many as remain are gathered."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import tensorwright as tw
from importers.onnx.models import model_of, node
from tensorwright.importers.failures import UnsupportedNodes
from tensorwright.importers.onnx import import_onnx
from tensorwright.staged import engine as staged_engine

NODES = [
    node("Sigmoid", "logits", "scores"),
    node("NonMaxSuppression", "boxes scores most overlap lowest", "chosen", name="suppress"),
    node("Gather", "chosen two", "place", axis=1),
    node("Gather", "boxes zero", "first", axis=0),
    node("Gather", "first place", "kept", axis=0),
    node("Slice", "chosen one three axes", "pairs"),
    node("Mul", "kept half", "scaled"),
]
CONSTANTS = {
    "most": np.int64([20]), "overlap": np.float32([0.4]), "lowest": np.float32([0.6]), "half": np.float32(0.5),
    "two": np.int64(2), "zero": np.int64(0), "one": np.int64([1]), "three": np.int64([3]), "axes": np.int64([1]),
}  # fmt: skip
CANDIDATES = [
    node("Greater", "scores lowest", "good"),
    node("NonZero", "good", "where"),
    node("Squeeze", "where zero_axis", "places"),
    node("Gather", "boxes places", "candidates", axis=0),
    node("Gather", "scores places", "marks", axis=0),
]
"""Boxes with good scores, as many as there are, and their scores."""


def drawn(rng: np.random.Generator, shift: float, classes: int = 3, count: int = 150) -> dict[str, np.ndarray]:
    corners = rng.uniform(0, 10, (1, count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.5, 4, (1, count, 2))], axis=2)
    return {
        "boxes": boxes.astype(np.float32),
        "logits": (rng.standard_normal((1, classes, count)) + shift).astype(np.float32),
    }


def test_as_onnx_runtime(rng: np.random.Generator) -> None:
    model = model_of(NODES, drawn(rng, 0), ["pairs", "scaled"], constants=CONSTANTS)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    engine = tw.build(model, level=0, threads=2, timing_cache="")
    assert isinstance(engine, tw.StagedEngine)
    with engine:
        assert len(engine.engines) == 1, "the first part is compiled when the engine is built"
        for shift in (0, -1, 1, -2, 0.5, -9):
            arrays = drawn(rng, shift)
            for actual, expected in zip(engine(arrays).values(), session.run(None, arrays), strict=True):
                np.testing.assert_allclose(actual, expected, rtol=1e-6)
        assert not engine.hosted
        assert len(engine.engines) <= 4


def test_a_plan_cannot_leave_sizes_open(rng: np.random.Generator) -> None:
    with pytest.raises(UnsupportedNodes, match="the size of its result follows from data"):
        import_onnx(model_of(NODES, drawn(rng, 0), ["pairs"], constants=CONSTANTS))


def test_what_follows_from_data_is_compiled_once(rng: np.random.Generator) -> None:
    """Any number of boxes none among them, then as many as are kept: the first call foresees it."""
    nodes = [
        *CANDIDATES,
        node("Unsqueeze", "candidates zero_axis", "b"),
        node("Unsqueeze", "marks two_axes", "s"),
        node("Shape", "marks", "most"),
        node("NonMaxSuppression", "b s most overlap", "chosen"),
        node("Gather", "chosen two", "kept", axis=1),
        node("Gather", "candidates kept", "found", axis=0),
    ]
    constants = {
        "lowest": np.float32(0.5), "zero_axis": np.int64([0]), "two_axes": np.int64([0, 1]), "two": np.int64(2),
        "overlap": np.float32([0.4]),
    }  # fmt: skip
    arrays = drawn(rng, 0)
    feeds = {"boxes": arrays["boxes"][0], "scores": arrays["logits"][0, 0]}
    model = model_of(nodes, feeds, ["found", "kept"], constants=constants)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with tw.build(model, level=0, threads=2, timing_cache="") as engine:
        compiled = set()
        for shift in (0, -1, 1, -9, 0.3, 9):
            given = {**feeds, "scores": feeds["scores"] + np.float32(shift)}
            for actual, expected in zip(engine(given).values(), session.run(None, given), strict=True):
                np.testing.assert_array_equal(actual, expected)
            compiled.add(len(engine.engines))
        assert len(compiled) == 1


def test_what_only_a_branch_reads_is_compiled_once(rng: np.random.Generator) -> None:
    """The marks of what was found are taken there and nowhere else; it chooses boxes, so that it runs on the host."""
    nodes = list(CANDIDATES)
    then = [
        node("Unsqueeze", "candidates zero_axis", "b"),
        node("Unsqueeze", "marks two_axes", "s"),
        node("NonMaxSuppression", "b s most overlap", "chosen"),
        node("Gather", "chosen two", "then_y", axis=1),
    ]
    branches = [
        helper.make_graph(nodes_of, name, [], [helper.make_tensor_value_info(f"{name}_y", TensorProto.INT64, None)])
        for name, nodes_of in (("then", then), ("else", [node("Identity", "places", "else_y")]))
    ]
    nodes.append(node("If", "any", "y", then_branch=branches[0], else_branch=branches[1]))
    constants = {
        "lowest": np.float32(0), "zero_axis": np.int64([0]), "two_axes": np.int64([0, 1]), "two": np.int64(2),
        "most": np.int64([90]), "overlap": np.float32([0.4]),
    }  # fmt: skip
    arrays = drawn(rng, 0)
    feeds = {"boxes": arrays["boxes"][0], "scores": arrays["logits"][0, 0], "any": np.array(True)}
    model = model_of(nodes, feeds, ["y"], constants=constants)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with tw.build(model, level=0, threads=2, timing_cache="") as engine:
        compiled = set()
        for shift in (0, -1, 1, 0.3):
            given = {**feeds, "scores": feeds["scores"] + np.float32(shift)}
            np.testing.assert_array_equal(engine(given)["y"], session.run(None, given)[0])
            compiled.add(len(engine.engines))
        assert len(compiled) == 1


def test_images_of_any_size_give_any_number_of_boxes(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are computed from the input's, boxes from the map's; of what remains the best few are taken."""
    nodes = [
        node("Conv", "x w b", "f", strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("Shape", "x", "size", start=2),
        node("Div", "size four", "small"),
        node("Shape", "f", "ends", end=2),
        node("Concat", "ends small", "target", axis=0),
        node("Resize", "f _ _ target", "r", mode="nearest"),
        node("Reshape", "r flat", "columns"),
        node("Transpose", "columns", "rows", perm=[0, 2, 1]),
        node("Split", "rows", "corners scores", axis=2, num_outputs=2),
        node("Transpose", "scores", "s", perm=[0, 2, 1]),
        node("NonMaxSuppression", "corners s most overlap lowest", "chosen"),
        node("Gather", "chosen two", "place", axis=1),
        node("Gather", "corners zero", "first", axis=0),
        node("Gather", "first place", "kept", axis=0),
        node("ReduceSum", "kept axes", "total", keepdims=0),
        node("Shape", "total", "count"),
        node("Min", "count few", "k"),
        node("TopK", "total k", "best where"),
        node("Gather", "kept where", "y", axis=0),
    ]
    constants = {
        **CONSTANTS, "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32), "b": np.zeros(8, np.float32),
        "four": np.int64([4, 4]), "flat": np.int64([0, 8, -1]), "few": np.int64([5]), "most": np.int64([30]),
    }  # fmt: skip
    model = model_of(nodes, {"x": (1, [1, 3, "h", "w_"])}, ["y", "best"], constants=constants)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    monkeypatch.setattr(staged_engine, "MOST_EXACT", 1)
    with tw.build(model, level=0, threads=2, timing_cache="") as engine:
        compiled = []
        for height, width in (
            (16, 24),
            (40, 32),
            (64, 64),
            (24, 16),
            (20, 48),
            (32, 40),
            (56, 28),
            (12, 60),
            (36, 36),
            (28, 52),
        ):
            x = rng.standard_normal((1, 3, height, width)).astype(np.float32)
            for actual, expected in zip(engine(x).values(), session.run(None, {"x": x}), strict=True):
                np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
            compiled.append(len(engine.engines))
    assert compiled[-1] == compiled[-3]
