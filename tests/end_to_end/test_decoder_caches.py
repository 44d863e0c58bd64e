"""Decoders as exporters write them, with caches that past and present share, step by step beside ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

import tensorwright as tw
from importers.onnx.models import model_of, node

HEADS, GROUPS, DEPTH, ROOM = 4, 2, 16, 24
WIDTH, PACKED = HEADS * DEPTH, (HEADS + 2 * GROUPS) * DEPTH


def grouped_decoder(rng: np.random.Generator, *, packed: bool) -> onnx.ModelProto:
    """A layer of ONNX Runtime's GroupQueryAttention: the mask says how many tokens there are, of each sequence too."""
    angles = np.arange(ROOM + 8)[:, None] / 100 ** (np.arange(DEPTH // 2) / DEPTH)
    constants = {"w": rng.standard_normal((WIDTH, PACKED), np.float32) / 8, "one": np.array([1])}
    constants |= {"cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32)}
    constants |= {"second": np.array(1), "widths": np.array([HEADS * DEPTH, GROUPS * DEPTH, GROUPS * DEPTH])}
    nodes = [
        node("ReduceSum", "mask one", "counts", keepdims=0),
        node("Sub", "counts one", "last"),
        node("Cast", "last", "lengths", to=TensorProto.INT32),
        node("Shape", "mask", "shape"),
        node("Gather", "shape second", "number"),
        node("Cast", "number", "total", to=TensorProto.INT32),
        node("MatMul", "x w", "qkv"),
        node("Split", "qkv widths", "q k v", axis=2),
        node(
            "GroupQueryAttention",
            f"{'qkv _ _' if packed else 'q k v'} past_k past_v lengths total cos sin",
            "y next_k next_v",
            domain="com.microsoft",
            num_heads=HEADS,
            kv_num_heads=GROUPS,
            do_rotary=1,
        ),
    ]
    past = (TensorProto.FLOAT, ("batch", GROUPS, "past", DEPTH))
    inputs = {"x": (TensorProto.FLOAT, ("batch", "length", WIDTH)), "mask": (TensorProto.INT64, ("batch", "total"))}
    inputs |= {"past_k": past, "past_v": past}
    return model_of(nodes, inputs, ["y", "next_k", "next_v"], 17, constants, {"com.microsoft": 1})


@pytest.mark.parametrize(("packed", "is_buffer", "padding"), [(False, True, 0), (True, True, 2), (False, False, 0)])
def test_grouped_queries_share_past_and_present(packed, is_buffer, padding, rng):
    model = grouped_decoder(rng, packed=packed)
    shapes = {"batch": (1, 2, 2), "length": (1, 1, 4), "total": (1, 8, ROOM), "past": ROOM if is_buffer else (0, 7, 20)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    options = {"level": 0, "threads": 2, "timing_cache": "", "check_plan": True}
    with tw.build(model, shapes=shapes, caches_in_place=True, **options) as engine:
        assert engine.get_binding_shape("past_k") == engine.get_binding_shape("next_v") == (-1, GROUPS, ROOM, DEPTH)
        caches = {name: np.zeros((2, GROUPS, ROOM, DEPTH), np.float32) for name in ("past_k", "past_v")}
        theirs = {name: cache[:, :, : ROOM if is_buffer else 0].copy() for name, cache in caches.items()}
        total = 0
        for length in (4, 1, 1, 1):
            total += length
            counts = np.array([total - padding, total])
            given = {"x": rng.standard_normal((2, length, WIDTH), np.float32)}
            given["mask"] = (np.arange(total) < counts[:, None]).astype(np.int64)
            y, *presents = session.run(None, {**given, **theirs})
            theirs = dict(zip(caches, presents, strict=True))
            shared = {name.replace("past", "next"): cache for name, cache in caches.items()}
            found = engine({**given, **caches}, outputs=shared)
            assert all(found[name] is cache for name, cache in shared.items())
            for sequence, count in enumerate(counts):
                rows = min(length, count)
                np.testing.assert_allclose(found["y"][sequence, :rows], y[sequence, :rows], rtol=1e-4, atol=1e-5)
                for name, cache in caches.items():
                    own, right = (array[sequence, :, :count] for array in (cache, theirs[name]))
                    np.testing.assert_allclose(own, right, rtol=1e-4, atol=1e-5)
            for cache in caches.values():
                assert (cache[:, :, total:] == 0).all()


def test_a_past_of_neither_size_is_refused(rng):
    model = grouped_decoder(rng, packed=False)
    shapes = {"batch": 1, "length": 1, "total": 9, "past": 7}
    with pytest.raises(tw.ImportFailure, match="expected a past of 9 rows, or of 9 less the 1 new ones; found 7"):
        tw.build(model, shapes=shapes, level=0, timing_cache="")


def scattered_decoder() -> onnx.ModelProto:
    """Opset 24: new rows go into buffers, and attention counts the rows that are there."""
    nodes = [
        node("TensorScatter", "past_k k first", "next_k", axis=2),
        node("TensorScatter", "past_v v first", "next_v", axis=2),
        node("Attention", "q next_k next_v _ _ _ count", "y"),
    ]
    kind = TensorProto.FLOAT
    inputs = {"q": (kind, ("batch", HEADS, "length", DEPTH)), "first": (TensorProto.INT64, ("batch",))}
    inputs |= dict.fromkeys("kv", (kind, ("batch", GROUPS, "length", DEPTH)))
    inputs |= dict.fromkeys(("past_k", "past_v"), (kind, ("batch", GROUPS, ROOM, DEPTH)))
    inputs |= {"count": (TensorProto.INT64, ("batch",))}
    return model_of(nodes, inputs, ["y", "next_k", "next_v"], 24)


@pytest.mark.parametrize("threads", [1, 3])
def test_scattered_rows_share_past_and_present(threads, rng):
    model, shapes = scattered_decoder(), {"batch": (1, 2, 2), "length": (1, 1, 4)}
    options = {"level": 0, "threads": threads, "timing_cache": "", "check_plan": True}
    with tw.build(model, shapes=shapes, caches_in_place=True, **options) as engine:
        given = {"q": rng.standard_normal((2, HEADS, 1, DEPTH), np.float32)}
        given |= {name: rng.standard_normal((2, GROUPS, 1, DEPTH), np.float32) for name in "kv"}
        given |= {"first": np.array([5, ROOM - 1]), "count": np.array([6, ROOM])}
        caches = {name: rng.standard_normal((2, GROUPS, ROOM, DEPTH), np.float32) for name in ("past_k", "past_v")}
        wanted = onnx.reference.ReferenceEvaluator(model).run(None, {**given, **caches})
        found = engine({**given, **caches}, outputs={"next_k": caches["past_k"], "next_v": caches["past_v"]})
        np.testing.assert_allclose(found["y"], wanted[0], rtol=1e-4, atol=1e-5)
        for cache, right in zip(caches.values(), wanted[1:], strict=True):
            np.testing.assert_array_equal(cache, right)


def test_attention_with_a_past_shares_it_with_the_present(rng):
    """Opset 23: the operator itself puts new rows behind the past; the mask says how many there are."""
    kind = TensorProto.FLOAT
    inputs = {"q": (kind, ("batch", HEADS, "length", DEPTH)), "mask": (kind, ("length", "total"))}
    inputs |= dict.fromkeys("kv", (kind, ("batch", GROUPS, "length", DEPTH)))
    inputs |= dict.fromkeys(("past_k", "past_v"), (kind, ("batch", GROUPS, "past", DEPTH)))
    model = model_of(
        [node("Attention", "q k v mask past_k past_v", "y next_k next_v")], inputs, ["y", "next_k", "next_v"], 23
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shapes = {"batch": (1, 2, 2), "length": (1, 1, 4), "past": (0, 7, 20), "total": (1, 8, ROOM)}
    options = {"level": 0, "threads": 2, "timing_cache": "", "check_plan": True}
    with tw.build(model, shapes=shapes, caches_in_place=True, **options) as engine:
        caches = {name: np.zeros((2, GROUPS, ROOM, DEPTH), np.float32) for name in ("past_k", "past_v")}
        past = 0
        for length in (4, 1, 2):
            given = {"q": rng.standard_normal((2, HEADS, length, DEPTH), np.float32)}
            given |= {name: rng.standard_normal((2, GROUPS, length, DEPTH), np.float32) for name in "kv"}
            given["mask"] = rng.standard_normal((length, past + length), np.float32)
            before = {name: cache[:, :, :past].copy() for name, cache in caches.items()}
            y, *presents = session.run(None, {**given, **before})
            shared = {name.replace("past", "next"): cache for name, cache in caches.items()}
            found = engine({**given, **caches}, outputs=shared)
            past += length
            np.testing.assert_allclose(found["y"], y, rtol=1e-4, atol=1e-5)
            for cache, right in zip(caches.values(), presents, strict=True):
                np.testing.assert_array_equal(cache[:, :, :past], right)
