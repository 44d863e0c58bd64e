"""One step of a decoder of GPT-2's size with weights of few bits: ``python -m benchmarks.decoder --threads 1,2``.

Twelve layers of 768, a vocabulary of 50257, one token, keys and values of the tokens before as inputs and outputs,
random weights in blocks of 32 with a scale each (MatMulNBits), written with onnx alone. The engines take turns; each
waits for its turn in a process of its own. Beside the times stands the share of the memory's bandwidth, measured in the
same run: the bytes of weights and scales that a step reads, over its shortest time.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import onnx
import typer
from onnx import TensorProto, helper, numpy_helper
from rich.table import Table

from benchmarks.environments import console

Array = npt.NDArray[Any]
BLOCK, BITS = 32, 4
ROUNDS, ROUND_SECONDS = 12, 0.5


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder; `past`: tokens whose keys and values are known."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 50257
    past: int = 128

    @property
    def weight_bytes(self) -> int:
        """Of the weights that every step reads, and their scales."""
        weights = self.layers * 12 * self.width**2 + self.vocabulary * self.width
        return weights * BITS // 8 + weights // BLOCK * 4


class _Writer:
    """Nodes and constants of the model."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self._rng = np.random.default_rng(1)

    def node(self, operator: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:
        name = output or f"{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, domain=domain, **attributes))
        return name

    def constant(self, array: Array) -> str:
        name = f"constant{len(self.constants)}"
        self.constants[name] = array
        return name

    def floats(self, *shape: int, scale: float = 0.02) -> str:
        return self.constant((self._rng.standard_normal(shape) * scale).astype(np.float32))

    def product(self, x: str, depth: int, columns: int) -> str:
        """By random weights of few bits, of the size that trained ones have."""
        blocks = depth // BLOCK
        bits = self._rng.integers(0, 256, (columns, blocks, BLOCK * BITS // 8), np.uint8)
        scales = self._rng.uniform(0.5, 1.5, columns * blocks).astype(np.float32) / np.float32(5 * depth**0.5)
        sizes = {"K": depth, "N": columns, "bits": BITS, "block_size": BLOCK}
        constants = self.constant(bits), self.constant(scales)
        return self.node("MatMulNBits", x, *constants, domain="com.microsoft", **sizes)

    def normalised(self, x: str) -> str:
        width = self.shape.width
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.node("LayerNormalization", x, self.constant(ones), self.constant(zeros))

    def gelu(self, x: str) -> str:
        return self.node("Gelu", x, approximate="tanh")

    def heads(self, x: str) -> str:
        shape = self.shape
        parted = self.node("Reshape", x, self.constant(np.array([1, 1, shape.heads, -1])))
        return self.node("Transpose", parted, perm=[0, 2, 1, 3])

    def layer(self, x: str, number: int) -> str:
        width = self.shape.width
        normal = self.normalised(x)
        q, k, v = (self.heads(self.product(normal, width, width)) for _ in range(3))
        keys = self.node("Concat", f"key{number}", k, output=f"key{number} now", axis=2)
        values = self.node("Concat", f"value{number}", v, output=f"value{number} now", axis=2)
        turned = self.node("Transpose", keys, perm=[0, 1, 3, 2])
        scale = self.constant(np.float32((width // self.shape.heads) ** -0.5))
        weights = self.node("Softmax", self.node("Mul", self.node("MatMul", q, turned), scale), axis=-1)
        joined = self.node("Transpose", self.node("MatMul", weights, values), perm=[0, 2, 1, 3])
        flat = self.node("Reshape", joined, self.constant(np.array([1, 1, width])))
        x = self.node("Add", x, self.product(flat, width, width))
        inner = self.gelu(self.product(self.normalised(x), width, 4 * width))
        return self.node("Add", x, self.product(inner, 4 * width, width))


def decoder(shape: Shape) -> onnx.ModelProto:
    """The model: inputs `token` ``int64[1, 1]``, `key0`, `value0`, … ``float32[1, heads, past, width / heads]``."""
    made = _Writer(shape)
    x = made.node("Gather", made.floats(shape.vocabulary, shape.width, scale=1.0), "token")
    for number in range(shape.layers):
        x = made.layer(x, number)
    last = made.product(made.normalised(x), shape.width, shape.vocabulary)
    made.node("Identity", last, output="scores")
    cached = [f"{kind}{number}" for number in range(shape.layers) for kind in ("key", "value")]
    head = shape.width // shape.heads

    def tensor(name: str, *extents: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, extents)

    token = helper.make_tensor_value_info("token", TensorProto.INT64, [1, 1])
    graph = helper.make_graph(
        made.nodes, "decoder",
        [token, *(tensor(name, 1, shape.heads, shape.past, head) for name in cached)],
        [
            tensor("scores", 1, 1, shape.vocabulary),
            *(tensor(f"{name} now", 1, shape.heads, shape.past + 1, head) for name in cached),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in made.constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def feeds(shape: Shape) -> dict[str, Array]:
    """A token, and random keys and values."""
    rng, extents = np.random.default_rng(2), (1, shape.heads, shape.past, shape.width // shape.heads)
    cached = [f"{kind}{number}" for number in range(shape.layers) for kind in ("key", "value")]
    return {"token": np.array([[7]]), **{name: rng.standard_normal(extents, np.float32) for name in cached}}


def tensorwright_step(model: bytes, inputs: dict[str, Array], threads: int) -> Callable[[], Array]:
    """A step of the engine that the default level builds."""
    import tensorwright as tw

    engine = tw.build(onnx.load_from_string(model), threads=threads)
    return lambda: engine(inputs)["scores"]


def onnxruntime_step(model: bytes, inputs: dict[str, Array], threads: int) -> Callable[[], Array]:
    """A step of a session with its defaults."""
    return _session(model, inputs, threads)


def _session(model: bytes, inputs: dict[str, Array], threads: int) -> Callable[[], Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: np.asarray(session.run(None, inputs)[0])


def onnxruntime_bytes_step(model: bytes, inputs: dict[str, Array], threads: int) -> Callable[[], Array]:
    """The same with activations that it may round to 8 bits."""
    loose = onnx.load_from_string(model)
    for node in loose.graph.node:
        if node.op_type == "MatMulNBits":
            node.attribute.append(helper.make_attribute("accuracy_level", 4))
    return _session(loose.SerializeToString(), inputs, threads)


STEPS: Mapping[str, Callable[[bytes, dict[str, Array], int], Callable[[], Array]]] = {
    "tensorwright": tensorwright_step,
    "onnxruntime": onnxruntime_step,
    "onnxruntime, activations in int8": onnxruntime_bytes_step,
}


def _serve(name: str, shape: Shape, threads: int, pipe: Connection) -> None:
    step = STEPS[name](decoder(shape).SerializeToString(), feeds(shape), threads)
    pipe.send(step())
    while pipe.recv():
        times: list[float] = []
        end = time.perf_counter() + ROUND_SECONDS
        while time.perf_counter() < end:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        pipe.send(times)


@dataclass(frozen=True)
class Row:
    """One engine: seconds, the largest difference of scores to ONNX Runtime's in float32, relative."""

    engine: str
    threads: int
    median: float
    least: float
    error: float


def measure(shape: Shape, threads: int) -> list[Row]:
    """All engines in turns."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    scores: dict[str, Array] = {}
    for name in STEPS:
        pipes[name], theirs = context.Pipe()
        context.Process(target=_serve, args=(name, shape, threads, theirs), daemon=True).start()
        scores[name] = pipes[name].recv()
    times: dict[str, list[float]] = {name: [] for name in STEPS}
    for turn in range(ROUNDS + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            found = pipe.recv()
            times[name] = [*times[name], *found] if turn else []
    for pipe in pipes.values():
        pipe.send(False)
    exact = scores["onnxruntime"]
    return [
        Row(
            name,
            threads,
            statistics.median(times[name]),
            min(times[name]),
            float(np.abs(scores[name] - exact).max() / np.abs(exact).max()),
        )
        for name in STEPS
    ]


def bandwidth(threads: int) -> float:
    """Bytes a second that so many threads read from memory, of what lies in no cache."""
    from tensorwright.codegen.cpu.targets import TARGETS
    from tensorwright.devices.cpu.host import best_instruction_set
    from tensorwright.tune.cpu.machine import measured_machine

    target = TARGETS[best_instruction_set()]
    return 1e9 * max(measured_machine(target, threads).levels[-1].gigabytes_per_second for _ in range(5))


def main(
    threads: Annotated[str, typer.Option(help="Numbers of threads, with commas.")] = "1,2",
    past: Annotated[int, typer.Option(help="Tokens whose keys and values are known.")] = 128,
) -> None:
    """Measure a decoder's step."""
    shape = Shape(past=past)
    table = Table("engine", "threads", "median, ms", "least, ms", "of the bandwidth", "error")
    for count in map(int, threads.split(",")):
        speed = bandwidth(count)
        for row in measure(shape, count):
            share = shape.weight_bytes / row.least / speed
            times = f"{1e3 * row.median:.2f}", f"{1e3 * row.least:.2f}"
            table.add_row(row.engine, str(count), *times, f"{share:.0%} of {speed / 1e9:.0f} GB/s", f"{row.error:.1e}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
