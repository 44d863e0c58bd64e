"""Peers on GPUs compute the networks that we do, and their processes say so when they can be timed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from benchmarks.gpu.beside import Row, Side, show
from benchmarks.gpu.models import Maker, bert, convnext, mobilenet, resnet, vit
from benchmarks.gpu.networks import Task, drawn_inputs, network, task
from benchmarks.written import onnx_model
from rich.console import Console

from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph, apply, input_value
from tensorwright.ops.activation import Clip, Relu
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Transpose
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, DType
from tensorwright.tensor.type import TensorType


def images(dtype: DType) -> Graph:
    """Every operator of images in a network of a few pixels, strided and padded."""
    make, image = Maker(np.random.default_rng(3), dtype), input_value("image", TensorType(dtype, (2, 3, 17, 15)))
    x = apply(Clip(0.0, 6.0), make.convolution(image, 8, 3, 2))
    x = apply(Relu(), make.convolution(x, 8, 3, groups=8))
    x = apply(Pool("max", (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)), x)
    turned = make.normalised(apply(Transpose((0, 2, 3, 1)), x), 1e-6)
    pooled = apply(Reduction("mean", (1, 2), keep_dims=False), turned)
    scores = apply(MatMul(transpose_b=True), pooled, make.weights(5, 8))
    return Graph((("image", image),), (("output", apply(Softmax(1), scores)),))


def transformer(dtype: DType) -> Graph:
    return bert(2, layers=1, width=48, length=5, dtype=dtype)


def vision(dtype: DType) -> Graph:
    return vit(2, dtype, layers=1, width=48)


def given_and_expected(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    inputs = drawn_inputs(graph)
    ((given,), (expected,)) = inputs.values(), evaluate_graph(graph, inputs).values()
    return given, expected


@pytest.mark.parametrize(("dtype", "most"), [(FLOAT32, 2e-5), (FLOAT16, 1e-2)], ids=["f32", "f16"])
@pytest.mark.parametrize("make", [images, transformer, vision])
def test_jax_computes_the_network(make: Callable[[DType], Graph], dtype: DType, most: float) -> None:
    jax = pytest.importorskip("jax")
    from benchmarks.gpu.jax_network import jax_function
    from benchmarks.gpu.jax_peer import compiled, looped

    graph = make(dtype)
    given, expected = given_and_expected(graph)
    run, weights = jax_function(graph)
    with jax.default_matmul_precision("highest"):
        once, (last, looped_output) = compiled(run, weights, given)(), compiled(looped(run, 3), weights, given)()
    np.testing.assert_array_equal(last, given)
    for output in (once, looped_output):
        assert output.dtype == given.dtype
        np.testing.assert_allclose(output, expected, rtol=0, atol=most * np.abs(expected).max())


@pytest.mark.parametrize("make", [resnet, mobilenet, convnext, vit, bert])
def test_all_operators_of_the_networks_are_known_to_jax(make: Callable[[int], Graph]) -> None:
    jax = pytest.importorskip("jax")
    from benchmarks.gpu.jax_network import jax_function

    graph = make(1)
    run, weights = jax_function(graph)
    ((_, given),), ((_, result),) = graph.inputs, graph.outputs
    shape = jax.eval_shape(run, weights, jax.ShapeDtypeStruct(given.type.shape, given.type.dtype.numpy))
    assert shape.shape == result.type.shape


def run_onnx(model: bytes, given: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: given})
    return np.asarray(output)


@pytest.mark.parametrize(("dtype", "most"), [(FLOAT32, 2e-5), (FLOAT16, 1e-2)], ids=["f32", "f16"])
@pytest.mark.parametrize("make", [images, transformer, vision])
def test_what_onnxruntime_reads_is_the_network(make: Callable[[DType], Graph], dtype: DType, most: float) -> None:
    graph = make(dtype)
    given, expected = given_and_expected(graph)
    output = run_onnx(onnx_model(graph, reads_tokens=False).SerializeToString(), given)
    assert output.dtype == given.dtype
    np.testing.assert_allclose(output, expected, rtol=0, atol=most * np.abs(expected).max())


@pytest.mark.parametrize("make", [transformer, vision])
def test_the_optimiser_of_onnxruntime_finds_attention(make: Callable[[DType], Graph]) -> None:
    pytest.importorskip("sympy", reason="the optimiser needs it")
    from benchmarks.gpu.onnxruntime_peer import optimised

    graph = make(FLOAT32)
    given, expected = given_and_expected(graph)
    model = optimised(onnx_model(graph, reads_tokens=False))
    assert "Attention" in {node.op_type for node in onnx.load_from_string(model).graph.node}
    np.testing.assert_allclose(run_onnx(model, given), expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def test_a_peer_is_judged_by_the_first_of_a_batch() -> None:
    found = task("lenet:3:f32")
    whole = evaluate_graph(found.graph, drawn_inputs(network("lenet", 3, "f32")))
    (output,) = whole.values()
    assert found.given.shape[0] == 3
    assert found.error(output) < 1e-6
    with pytest.raises(ValueError, match="lenet:3:f32: expected an error below"):
        found.error(np.flip(output, 1))


@pytest.mark.parametrize("output", [np.nan, 0.5])
def test_a_wrong_output_is_no_peer_s(output: float) -> None:
    graph, one = transformer(FLOAT32), np.ones((1, 2), np.float32)
    with pytest.raises(ValueError, match="expected an error below"):
        Task("net:2:f32", "net", "f32", graph, one, one).error(np.full((2, 2), output))


PEER = """
from benchmarks.gpu.waiting import parser, take_part

def prepared(item):
    if item == "broken:1:f16":
        raise RuntimeError("as it is to be")
    return lambda: {"us": float(len(item))}

if __name__ == "__main__":
    take_part(parser().parse_args(), prepared)
"""


def test_a_peer_prepares_each_network_and_measures_those_that_it_could(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "played_peer.py").write_text(PEER)
    monkeypatch.setenv("PYTHONPATH", f"{Path.cwd()}:{Path.cwd() / 'src'}")
    names = ["one:1:f16", "broken:1:f16", "three:1:f16"]
    side = Side("played_peer", names, "played", tmp_path, Console(file=sys.stderr), packages=tmp_path)
    side.prepare(time.monotonic() + 60)
    assert {row["network"]: row["us"] for row in side.timed()} == {"one:1:f16": 9.0, "three:1:f16": 11.0}


def test_peers_without_times_have_no_column() -> None:
    console = Console(record=True, width=200)
    rows = [
        Row("a:1:f16", 100.0, 300.0, 150.0, None, error=1e-3, build_seconds=1.0, jax=120.0),
        Row("b:1:f16", 100.0, None, None, None, error=1e-3, build_seconds=1.0, jax=480.0),
    ]
    show(rows, console)
    shown = console.export_text()
    assert "JAX" in shown
    assert "ONNX Runtime" not in shown
    assert "max-autotune" not in shown
    assert [row.ratio for row in rows] == [1.2, 4.8]
    assert "2.400" in shown
