"""One step of a decoder of GPT-2's size with weights of few bits: ``python -m benchmarks.decoder --threads 1,2``.

Twelve layers of 768, a vocabulary of 50257, one token, random weights in blocks of 32 with a scale each (MatMulNBits),
attention over the keys and values of the tokens before (GroupQueryAttention, a mask says how many there are), written
with onnx alone. Past and present are the same memory, with room for 1024 tokens, for all engines. They take turns; each
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
    """Sizes of a decoder; `past`: tokens whose keys and values are known; `room`: of their buffers, in tokens."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 50257
    past: int = 128
    room: int = 1024

    @property
    def cache(self) -> tuple[int, ...]:
        """The shape of the keys or values of a layer."""
        return 1, self.heads, self.room, self.width // self.heads

    @property
    def caches(self) -> list[str]:
        """The names of keys and values before a step."""
        return [f"{kind}{number}" for number in range(self.layers) for kind in ("key", "value")]

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

    def lengths(self) -> tuple[str, str]:
        """From the mask: the place of the new token, and how many there are with it."""
        counted = self.node("ReduceSum", "mask", self.constant(np.array([1])), keepdims=0)
        last = self.node("Cast", self.node("Sub", counted, self.constant(np.array([1]))), to=TensorProto.INT32)
        total = self.node("Gather", self.node("Shape", "mask"), self.constant(np.array(1)))
        return last, self.node("Cast", total, to=TensorProto.INT32)

    def attention(self, x: str, number: int, lengths: tuple[str, str]) -> str:
        width, heads = self.shape.width, self.shape.heads
        given = [*(self.product(x, width, width) for _ in range(3)), f"key{number}", f"value{number}", *lengths]
        outputs = [f"attention{number}", f"key{number} now", f"value{number} now"]
        counts = {"num_heads": heads, "kv_num_heads": heads}
        self.nodes.append(
            helper.make_node("GroupQueryAttention", given, outputs, outputs[0], domain="com.microsoft", **counts)
        )
        return outputs[0]

    def layer(self, x: str, number: int, lengths: tuple[str, str]) -> str:
        width = self.shape.width
        attended = self.attention(self.normalised(x), number, lengths)
        x = self.node("Add", x, self.product(attended, width, width))
        inner = self.gelu(self.product(self.normalised(x), width, 4 * width))
        return self.node("Add", x, self.product(inner, 4 * width, width))


def decoder(shape: Shape) -> onnx.ModelProto:
    """The model: inputs `token` ``int64[1, 1]``, `mask` ``int64[1, past + 1]``, `key0`, `value0`, … of float32, outputs
    `scores`, `key0 now`, `value0 now`, … of the same shapes.
    """
    made = _Writer(shape)
    x = made.node("Gather", made.floats(shape.vocabulary, shape.width, scale=1.0), "token")
    lengths = made.lengths()
    for number in range(shape.layers):
        x = made.layer(x, number, lengths)
    last = made.product(made.normalised(x), shape.width, shape.vocabulary)
    made.node("Identity", last, output="scores")

    def tensor(name: str, *extents: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, extents)

    token = helper.make_tensor_value_info("token", TensorProto.INT64, [1, 1])
    mask = helper.make_tensor_value_info("mask", TensorProto.INT64, [1, shape.past + 1])
    graph = helper.make_graph(
        made.nodes, "decoder",
        [token, mask, *(tensor(name, *shape.cache) for name in shape.caches)],
        [tensor("scores", 1, 1, shape.vocabulary), *(tensor(f"{name} now", *shape.cache) for name in shape.caches)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in made.constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def feeds(shape: Shape) -> dict[str, Array]:
    """A token, a mask of ones, and random keys and values, zeros behind those of the tokens that there are."""
    rng = np.random.default_rng(2)
    found: dict[str, Array] = {"token": np.array([[7]]), "mask": np.ones((1, shape.past + 1), np.int64)}
    for name in shape.caches:
        found[name] = np.zeros(shape.cache, np.float32)
        found[name][:, :, : shape.past] = rng.standard_normal((1, *shape.cache[1:2], shape.past, shape.cache[3]))
    return found


def tensorwright_step(model: bytes, inputs: dict[str, Array], threads: int) -> Callable[[], Array]:
    """A step of the engine that the default level builds."""
    import tensorwright as tw

    engine = tw.build(onnx.load_from_string(model), threads=threads, caches_in_place=True)
    shared = {f"{name} now": array for name, array in inputs.items() if name not in ("token", "mask")}
    return lambda: engine(inputs, outputs=shared)["scores"]


def onnxruntime_step(model: bytes, inputs: dict[str, Array], threads: int) -> Callable[[], Array]:
    """A step of a session with its defaults."""
    return _session(model, inputs, threads)


def _session(model: bytes, inputs: dict[str, Array], threads: int) -> Callable[[], Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    bound = session.io_binding()
    for name, array in inputs.items():
        tensor = onnxruntime.OrtValue.ortvalue_from_numpy(array)
        bound.bind_ortvalue_input(name, tensor)
        if name not in ("token", "mask"):
            bound.bind_ortvalue_output(f"{name} now", tensor)
    bound.bind_output("scores")

    def step() -> Array:
        session.run_with_iobinding(bound)
        return np.asarray(bound.get_outputs()[-1].numpy())

    return step


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
