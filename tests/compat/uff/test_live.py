"""Graphs out of a TensorFlow that runs: converted, read back and compared; run by ``make test-tensorflow``."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorwright as tw
from compat.lenet import DIGITS, label
from tensorflow_live import CASES, Case, answer
from tensorwright.api.uff_parser import _operator_of_tensorflow
from tensorwright.compat import uff
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.uff import RegisteredInput, import_uff

if importlib.util.find_spec("tensorflow") is None:
    reason = "tensorflow not installed; `make test-tensorflow` sets it up and runs this"
    pytest.skip(reason, allow_module_level=True)

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]

BATCH = 3
WITHOUT_TYPE = ("Cast-uint8", "Cast-bool", "Const-uint8", "Const-bool")
"""Cases with inputs or constants of element types that UFF has not."""
UNCONVERTIBLE = ("cumsum-topk", "conditions")
"""Cases with several outputs of one node, or with conditions, which UFF cannot say."""
CONVERTIBLE = [
    case
    for case in CASES
    if case.any_batch and all(len(feed.shape) > 1 for feed in case.feeds) and not case.name.startswith(UNCONVERTIBLE)
]


@pytest.mark.parametrize("case", CONVERTIBLE, ids=lambda case: case.name)
def test_a_converted_graph_gives_what_tensorflow_gave(case: Case) -> None:
    given = answer(case, unknown_batch=True)
    if case.name.startswith(WITHOUT_TYPE):
        with pytest.raises(tw.ImportFailure, match=r"UFF has no element type (uint8|bool)"):
            converted(case, given)
        return
    found = converted(case, given)
    for array, expected in zip(found, given.expected, strict=True):
        assert array.shape == expected.shape
        scale = max(1.0, float(np.abs(expected.astype(float)).max(initial=0)))
        np.testing.assert_allclose(array.astype(float), expected.astype(float), rtol=0, atol=case.tolerance * scale)


def converted(case: Case, given: Any) -> list[np.ndarray]:
    """What the UFF model of a case computes."""
    model = uff.from_tensorflow(given.frozen, list(given.outputs), quiet=True)
    order = "NCHW" if "NCHW" in case.name else "NHWC"
    inputs = {name: RegisteredInput(x.shape[1:], order if x.ndim > 3 else "NC") for name, x in given.inputs.items()}
    network = import_uff(model, inputs, batch=BATCH, custom=_operator_of_tensorflow)
    fed = {name: given.inputs[name].astype(value.type.dtype.numpy) for name, value in network.inputs}
    return list(evaluate_graph(network, fed).values())


def trained(tf: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """A LeNet in the current graph, as if it had been trained, and its session."""
    v1 = tf.compat.v1

    def variable(*shape: int) -> Any:
        return v1.get_variable(
            f"v{len(v1.global_variables())}", initializer=rng.normal(0, 0.1, shape).astype("float32")
        )

    image = v1.placeholder(tf.float32, (None, 28, 28, 1), "Placeholder")
    y = tf.nn.relu(tf.nn.conv2d(image, variable(5, 5, 1, 8), 1, "SAME") + variable(8))
    y = tf.nn.relu(tf.nn.conv2d(tf.nn.max_pool2d(y, 2, 2, "SAME"), variable(5, 5, 8, 12), 2, "VALID") + variable(12))
    flat = tf.reshape(y, [-1, 5 * 5 * 12], name="flatten/Reshape")
    tf.nn.relu(tf.matmul(flat, variable(300, 10)) + variable(10), name="fc2/Relu")
    session = v1.Session()
    session.run(v1.global_variables_initializer())
    return session, image


@pytest.fixture
def live(rng: np.random.Generator) -> Any:
    """A frozen graph from a session, with an image and what the session answers."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        session, image = trained(tf, rng)
        x = rng.uniform(0, 1, (2, 28, 28, 1)).astype(np.float32)
        expected = session.run("fc2/Relu:0", {image: x})
        util = tf.compat.v1.graph_util
        frozen = util.convert_variables_to_constants(session, graph.as_graph_def(), ["fc2/Relu"])
        yield graph, util.remove_training_nodes(frozen), x, expected
        session.close()


def parsed_and_run(model: bytes, x: np.ndarray) -> np.ndarray:
    parser, builder = tw.UffParser(), tw.Builder()
    assert parser.register_input("Placeholder", (1, 28, 28), 0)
    assert parser.register_output("fc2/Relu")
    network = builder.create_network()
    assert parser.parse_buffer(model, network), parser.get_error(0)
    builder.max_batch_size = 2
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    return builder.build_engine(network, config)({"Placeholder": x.transpose(0, 3, 1, 2)})["fc2/Relu"]


def test_a_live_graph_becomes_an_engine(live: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, frozen, x, expected = live
    target = tmp_path / "trained_lenet5.uff"
    model = uff.from_tensorflow(graphdef=frozen, output_filename=str(target), output_nodes=["fc2/Relu"], text=True)
    assert target.read_bytes() == model
    assert 'operation: "Conv"' in target.with_suffix(".pbtxt").read_text()
    assert "output 'fc2/Relu'" in capsys.readouterr().out
    np.testing.assert_allclose(parsed_and_run(model, x), expected, atol=1e-5)
    file = tmp_path / "frozen.pb"
    file.write_bytes(frozen.SerializeToString())
    assert uff.from_tensorflow_frozen_model(str(file), ["fc2/Relu"], quiet=True) == model
    np.testing.assert_allclose(tw.build(frozen, level=0)({"Placeholder": x})["fc2/Relu"], expected, atol=1e-5)


def test_a_graph_object_is_taken_as_it_is(live: Any) -> None:
    import tensorflow as tf

    graph, frozen, x, expected = live
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(frozen, name="")
    np.testing.assert_allclose(parsed_and_run(uff.from_tensorflow(imported, quiet=True), x), expected, atol=1e-5)
    with pytest.raises(tw.ImportFailure, match="a variable; freeze the graph first"):
        uff.from_tensorflow(graph, ["fc2/Relu"])


def test_a_program_trains_converts_and_classifies(tmp_path: Path) -> None:
    program = Path(__file__).parents[1] / "programs" / "train_and_classify.py"
    command = [sys.executable, "-m", "tensorwright.compat", "--force", program, tmp_path, *DIGITS]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|     ")]
    found = [tuple(int(cell) for cell in line.strip("|").split("|")) for line in lines]
    assert found == [(label(file), label(file)) for file in DIGITS]
    assert (tmp_path / "trained_lenet5.uff").stat().st_size > 100_000
    assert (tmp_path / "trained_lenet5.pbtxt").exists()
