"""Operators of com.microsoft, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
import pytest

from importers.onnx.models import model_of, node, run
from tensorwright.importers.failures import UnsupportedNodes
from tensorwright.importers.onnx import import_onnx

DOMAIN = "com.microsoft"
STEP = np.float32(0.02)


@dataclass(frozen=True)
class Case:
    """constants and inputs: arrays, or the shape of one of random float32."""

    operator: str
    inputs: str
    attributes: Mapping[str, object] = field(default_factory=dict)
    outputs: str = "y"
    data: Mapping[str, object] = field(default_factory=dict)
    constants: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.operator}-{'-'.join(map(str, self.attributes.values())) or 'plain'}-{len(self.inputs.split())}"


def codes(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng([seed, *shape]).integers(info.min, info.max + 1, shape).astype(dtype)


def mixed(*shape: int) -> np.ndarray:
    return np.random.default_rng([1, *shape]).integers(0, 2, shape).astype(np.int32)


Q = {"s": STEP, "z": np.uint8(120), "t": np.float32(0.05), "u": np.uint8(100)}
BINARY = {**Q, "a": codes(2, 3, 4), "b": codes(3, 1, seed=1)}
IMAGE = {**Q, "x": codes(2, 3, 5, 6)}
ATTENTION = {"x": (2, 5, 8), "w": (8, 24), "b": (24,)}
HEADS = {"q": (2, 3, 8), "k": (2, 5, 8), "v": (2, 5, 8), "b": (24,)}
ANGLES = {"cos": np.cos(np.arange(40).reshape(20, 2) / 7).astype(np.float32),
          "sin": np.sin(np.arange(40).reshape(20, 2) / 7).astype(np.float32)}  # fmt: skip
WIDE = {"cos": np.cos(np.arange(160).reshape(20, 8) / 9).astype(np.float32),
        "sin": np.sin(np.arange(160).reshape(20, 8) / 9).astype(np.float32)}  # fmt: skip
PAST = {"pk": (1, 2, 4, 16), "pv": (1, 2, 4, 16), "n": np.int32([6]), "total": np.int32(7), **WIDE}
GROUPED = {"q": (1, 3, 64), "k": (1, 3, 32), "v": (1, 3, 32), **PAST}
ONE = {"q": (2, 1, 64), "k": (2, 1, 32), "v": (2, 1, 32), "pk": (2, 2, 4, 16), "pv": (2, 2, 4, 16),
       "n": np.int32([4, 4]), "total": np.int32(5), **WIDE}  # fmt: skip
PROMPT = {"q": (2, 5, 64), "k": (2, 5, 32), "v": (2, 5, 32), "n": np.int32([4, 4]), "total": np.int32(5), **WIDE}
NORMS = {"x": (2, 3, 8), "k": (2, 3, 8), "g": (8,), "b": (8,), "c": (8,)}
EMBEDDING = {"ids": np.int32([[1, 5, 0], [3, 3, 2]]), "kinds": np.int32([[0, 1, 1], [0, 0, 1]]), "w": (6, 8),
             "p": (4, 8), "s": (2, 8), "g": (8,), "b": (8,), "m": np.int32([[1, 1, 0], [1, 1, 1]])}  # fmt: skip

CASES = [
    Case("QLinearAdd", "a s z b s z t u", data=BINARY),
    Case("QLinearMul", "a s z b s z t u", data=BINARY),
    Case("QLinearSigmoid", "x s z h _", data={**IMAGE, "h": np.float32(1 / 256)}, constants=("s", "z", "h")),
    Case("QLinearLeakyRelu", "x s z t u", {"alpha": 0.2}, data=IMAGE, constants=("s", "z", "t", "u")),
    Case("QLinearSoftmax", "x s z h o", {"axis": -1, "opset": 13}, constants=("s", "z", "h", "o"),
         data={**IMAGE, "h": np.float32(1 / 256), "o": np.uint8(0)}),
    Case("QLinearGlobalAveragePool", "x s z t u", data=IMAGE),
    Case("QLinearGlobalAveragePool", "x s z t u", {"channels_last": 1}, data=IMAGE),
    Case("QLinearAveragePool", "x s z t u", {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]}, data=IMAGE),
    Case("QLinearConcat", "t u a s z b t u", {"axis": 1}, constants=("s", "z", "t", "u"),
         data={**Q, "a": codes(2, 3), "b": codes(2, 4)}),
    Case("QGemm", "a s z b t u c h o", {"transB": 1, "alpha": 0.5}, constants=("b", "s", "z", "t", "u", "c", "h", "o"),
         data={**Q, "a": codes(3, 8), "b": codes(5, 8, seed=2), "c": np.arange(5, dtype=np.int32) * 900,
               "h": np.float32(2.5), "o": np.uint8(128)}),
    Case("QGemm", "a s z b t u", constants=("b", "s", "z", "t", "u"), data={**Q, "a": codes(3, 8), "b": codes(8, 5)}),
    Case("MatMulIntegerToFloat", "a b s t z u c", constants=("b", "s", "z", "t", "u"),
         data={**Q, "a": codes(2, 3, 8), "b": codes(8, 5), "c": (5,)}),
    Case("DynamicQuantizeMatMul", "a b t u", data={"a": (3, 8), "b": codes(8, 5), "t": STEP, "u": np.uint8(99)}),
    Case("MatMulNBits", "a b s", {"K": 40, "N": 6, "bits": 4, "block_size": 16}, constants=("b", "s"),
         data={"a": (2, 3, 40), "b": codes(6, 3, 8), "s": (18,)}),
    Case("MatMulNBits", "a b s z", {"K": 32, "N": 5, "bits": 4, "block_size": 16}, constants=("b", "s", "z"),
         data={"a": (3, 32), "b": codes(5, 2, 8), "s": (10,), "z": codes(5)}),
    Case("MatMulNBits", "a b s z", {"K": 32, "N": 5, "bits": 8, "block_size": 16}, constants=("b", "s", "z"),
         data={"a": (3, 32), "b": codes(5, 2, 16), "s": (10,), "z": codes(10)}),
    Case("Gelu", "x", data={"x": (3, 5)}),
    Case("BiasGelu", "x b", data={"x": (3, 8), "b": (8,)}),
    Case("FastGelu", "x b", data={"x": (3, 8), "b": (8,)}),
    Case("QuickGelu", "x", {"alpha": 1.5}, data={"x": (3, 8)}),
    Case("FusedMatMul", "a b", {"alpha": 0.5, "transA": 1, "transB": 1}, data={"a": (2, 4, 3), "b": (2, 5, 4)}),
    Case("FusedGemm", "a b c", {"activation": "LeakyRelu", "activation_alpha": 0.3, "transB": 1},
         data={"a": (3, 4), "b": (5, 4), "c": (5,)}),
    Case("FusedConv", "x w b", {"activation": "Relu", "kernel_shape": [3, 3]},
         data={"x": (1, 3, 6, 6), "w": (4, 3, 3, 3), "b": (4,)}, constants=("w", "b")),
    Case("SkipLayerNormalization", "x k g b c", {"epsilon": 1e-3}, "y _ _ sum", NORMS),
    Case("SkipSimplifiedLayerNormalization", "x k g", {"epsilon": 1e-3}, "y _ _ sum", NORMS),
    Case("EmbedLayerNormalization", "ids kinds w p s g b m", {"epsilon": 1e-3}, "y lengths", EMBEDDING,
         ("w", "p", "s", "g", "b")),
    Case("Attention", "x w b", {"num_heads": 2}, data=ATTENTION, constants=("w", "b")),
    Case("Attention", "x w b m", {"num_heads": 2}, data={**ATTENTION, "m": mixed(2, 5) | np.eye(2, 5, dtype=np.int32)}),
    Case("Attention", "x w b m", {"num_heads": 2}, data={**ATTENTION, "m": np.int32([3, 5])}),
    Case("Attention", "x w b _ p", {"num_heads": 2, "unidirectional": 1}, "y present",
         {**ATTENTION, "p": (2, 2, 2, 3, 4)}),
    Case("MultiHeadAttention", "q k v b", {"num_heads": 2}, data=HEADS),
    Case("MultiHeadAttention", "q k v _ m a", {"num_heads": 2, "scale": 0.3},
         data={**HEADS, "m": np.int32([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]), "a": (1, 2, 3, 5)}),
    Case("MultiHeadAttention", "q k v _ _ _ pk pv", {"num_heads": 2}, "y k1 v1",
         {"q": (2, 3, 8), "k": (2, 3, 8), "v": (2, 3, 8), "pk": (2, 2, 4, 4), "pv": (2, 2, 4, 4)}),
    Case("GroupQueryAttention", "q k v pk pv n total", {"num_heads": 4, "kv_num_heads": 2}, "y k1 v1", GROUPED),
    Case("GroupQueryAttention", "q k v pk pv n total cos sin", {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1},
         "y k1 v1", GROUPED),
    Case("GroupQueryAttention", "q k v pk pv n total", {"num_heads": 4, "kv_num_heads": 2, "local_window_size": 3},
         "y k1 v1", GROUPED),
    Case("GroupQueryAttention", "q k v pk pv n total cos sin", {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1},
         "y k1 v1", ONE),
    Case("GroupQueryAttention", "q k v pk pv n total", {"num_heads": 4, "kv_num_heads": 2, "smooth_softmax": 1},
         "y k1 v1", GROUPED),
    Case("GroupQueryAttention", "q k v pk pv n total _ _ _ _ sinks", {"num_heads": 4, "kv_num_heads": 2},
         "y k1 v1", {**GROUPED, "sinks": (4,)}),
    Case("GroupQueryAttention", "q k v _ _ n total cos sin",
         {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "rotary_interleaved": 1, "softcap": 5.0},
         "y k1 v1", PROMPT),
    Case("RotaryEmbedding", "x p cos sin", data={"x": (2, 3, 8), "p": np.int64([[0, 1, 2], [4, 5, 9]]), **ANGLES}),
    Case("RotaryEmbedding", "x p cos sin", {"interleaved": 1}, data={"x": (2, 3, 8), "p": np.int64([4]), **ANGLES}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_onnx_runtime(case: Case, rng: np.random.Generator) -> None:
    arrays = {
        name: rng.standard_normal(given).astype(np.float32) if isinstance(given, tuple) else np.asarray(given)
        for name, given in case.data.items()
        if name in case.inputs.split()
    }
    constants = {name: arrays.pop(name) for name in case.constants}
    outputs = [name for name in case.outputs.split() if name != "_"]
    made = node(case.operator, case.inputs, case.outputs, domain=DOMAIN, **case.attributes)
    model = model_of([made], arrays, outputs, constants=constants, domains={DOMAIN: 1})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for actual, expected in zip(run(model, arrays), session.run(outputs, arrays), strict=True):
        assert actual.dtype == expected.dtype
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)
        else:  # Products of scales are rounded elsewhere: a value between two steps may go either way.
            np.testing.assert_allclose(actual.astype(int), expected.astype(int), atol=1)
            assert np.mean(actual != expected) < 0.05


def test_weights_of_few_bits_must_be_constants() -> None:
    made = node("MatMulNBits", "a b s", "y", domain=DOMAIN, K=32, N=5, bits=4, block_size=16)
    inputs = {"a": np.ones((3, 32), np.float32), "b": codes(5, 2, 8), "s": np.ones(10, np.float32)}
    with pytest.raises(UnsupportedNodes, match="the weights of MatMulNBits has to be a constant"):
        import_onnx(model_of([made], inputs, ["y"], domains={DOMAIN: 1}))
