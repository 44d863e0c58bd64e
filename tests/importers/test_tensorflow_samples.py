"""Real models, where TENSORWRIGHT_SAMPLE_MODELS names a folder with them (in its subfolders tensorflow and uff)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import tensorwright as tw
from tensorwright.compat import uff
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.tensorflow import import_tensorflow
from tensorwright.importers.uff import RegisteredInput, import_uff
from tensorwright.importers.uff.messages import meta_graph_class

FOLDER = Path(os.environ.get("TENSORWRIGHT_SAMPLE_MODELS", "none"))
pytestmark = pytest.mark.skipif(
    not (FOLDER / "uff").is_dir(), reason="TENSORWRIGHT_SAMPLE_MODELS names no folder with models"
)


@pytest.mark.parametrize("digit", [1, 9])
def test_lenet_names_the_digits(digit: int) -> None:
    network = import_uff(FOLDER / "uff" / "lenet5.uff", {"in": RegisteredInput((1, 28, 28))}, ["out"])
    pixels = np.frombuffer((FOLDER / "uff" / f"{digit}.pgm").read_bytes()[-784:], np.uint8)
    image = (1 - pixels.reshape(1, 1, 28, 28) / 255).astype(np.float32)
    assert evaluate_graph(network, {"in": image})["out"].argmax() == digit
    definition, parser = tw.Builder().create_network(), tw.UffParser()
    parser.register_input("in", (1, 28, 28), tw.UffInputOrder.NCHW)
    parser.register_output("out")
    assert parser.parse(str(FOLDER / "uff" / "lenet5.uff"), definition)
    (probabilities,) = tw.build(definition, level=0)({"in": image}).values()
    assert probabilities.argmax() == digit


def test_a_converted_file_equals_that_of_the_original_converter() -> None:
    data = uff.from_tensorflow(FOLDER / "tensorflow" / "mlp.pb", ["dense_1/Softmax"], quiet=True)
    original = (FOLDER / "uff" / "mlp.uff").read_bytes()
    assert len(data) == len(original)
    assert meta_graph_class().FromString(data) == meta_graph_class().FromString(original)


def test_graph_and_model_compute_the_same(rng: np.random.Generator) -> None:
    graph = import_tensorflow(FOLDER / "tensorflow" / "mlp.pb")
    model = import_uff(FOLDER / "uff" / "mlp.uff", {"input_1": RegisteredInput((1, 28, 28))})
    x = rng.uniform(0, 1, (3, 28, 28, 1)).astype(np.float32)
    (expected,) = evaluate_graph(graph, {"input_1": x}).values()
    (found,) = evaluate_graph(model, {"input_1": x.reshape(3, 1, 28, 28)}).values()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("name", "shape"), [("mlp", (1, 28, 28, 1)), ("softmax_regression", (1, 784))])
def test_frozen_graphs_match_opencv(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    cv2 = pytest.importorskip("cv2")
    file = FOLDER / "tensorflow" / f"{name}.pb"
    network = import_tensorflow(file)
    x = rng.uniform(0, 1, shape).astype(np.float32)
    (found,) = evaluate_graph(network, {network.inputs[0][0]: x}).values()
    reader = cv2.dnn.readNetFromTensorflow(str(file))
    reader.setInput(x.transpose(0, 3, 1, 2) if len(shape) == 4 else x)
    np.testing.assert_allclose(found, reader.forward(), atol=1e-6)
