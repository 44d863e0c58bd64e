"""Writes quantised ONNX models: QuantizeLinear and DequantizeLinear around the products of a float32 model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tensorwright.base.errors import ImportFailure
from tensorwright.base.text import unused_name
from tensorwright.importers.onnx.read import read_model
from tensorwright.tensor.range import Range

OnnxModel: TypeAlias = ModelProto
"""For annotations of those that do not know the onnx package."""

Floats = npt.NDArray[np.float32]

OLDEST_OPSET = 13
"""Since then QuantizeLinear has an axis."""

PRODUCTS = ("Conv", "MatMul", "Gemm")
NORMALISATIONS = (
    "LayerNormalization",
    "RMSNormalization",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
)
STEPS = 127
UNSIGNED_STEPS = 255
LARGEST_BIAS = 2**31 - 1


@dataclass(frozen=True)
class Product:
    """A node that multiplies a tensor by constant weights.

    number: of the node in the graph. activations, weights: names of tensors. axis: that of the columns of the weights,
    or of the output channels. bias: the name of a constant vector that is added, if there is one; else empty.
    """

    number: int
    name: str
    activations: str
    weights: str
    axis: int
    bias: str


def load_whole(source: str | os.PathLike[str] | bytes | ModelProto) -> ModelProto:
    """A model with all its data, in an opset that can be quantised.

    Raises:
        ImportFailure: it cannot be read, or cannot be brought into such an opset.
    """
    read = read_model(source)
    model = read.model
    if read.folders:
        try:
            onnx.load_external_data_for_model(model, str(read.folders[0]))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ImportFailure(f"{read.label}: data in another file cannot be read: {error}") from None
    if read.opsets.get("", OLDEST_OPSET) >= OLDEST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OLDEST_OPSET)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ImportFailure(
            f"{read.label}: opset {read.opsets['']} has no scales for each channel, and the onnx package cannot "
            f"convert the model to opset {OLDEST_OPSET}: {error}; export it in a later one"
        ) from None


def products_of(model: ModelProto, kept: Collection[str] = ()) -> tuple[Product, ...]:
    """The products of a model that can be quantised, without the nodes that patterns in `kept` name.

    Raises:
        ImportFailure: a pattern fits no product.
    """
    constants = _constants(model)
    found = [
        product
        for number, node in enumerate(model.graph.node)
        if (product := _product(number, node, constants)) is not None
    ]
    for pattern in kept:
        if not any(fnmatchcase(product.name, pattern) for product in found):
            raise ImportFailure(
                f"no product with constant weights is called '{pattern}'; they are called "
                f"{', '.join(product.name for product in found)}"
            )
    return tuple(one for one in found if not any(fnmatchcase(one.name, pattern) for pattern in kept))


def with_outputs(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """The model with other tensors of float32 as its outputs."""
    made = _copied(model)
    del made.graph.output[:]
    made.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return made


def smoothed(
    model: ModelProto, products: Sequence[Product], largest: Mapping[str, Floats], strength: float
) -> ModelProto:
    """The same function with the largest magnitudes of columns evened out between the factors of matrix products that
    read layer normalisations.

    ``a · w = (a / s) · (s · w)`` with ``s = max|a| ** strength / max|w| ** (1 − strength)`` for each element of the
    depth (G. Xiao et al., "SmoothQuant", 2022). The division is part of the layer normalisation that gives ``a`` if
    nobody else reads that, or else a node of its own.

    largest: the largest magnitude of the activations for each index of their last axis, by name. Others are left.
    """
    edit = _Edit(_copied(model))
    groups: dict[str, list[Product]] = {}
    for product in products:
        is_usable = product.activations in largest and edit.is_normalised(product.activations)
        if is_usable and model.graph.node[product.number].op_type != "Conv":
            groups.setdefault(product.activations, []).append(product)
    for name, group in groups.items():
        weights = {product: _depth_first(edit.array(product.weights), product) for product in group}
        columns = np.max([np.abs(array).max(axis=1) for array in weights.values()], axis=0)
        scale = _balance(largest[name], columns, strength)
        source = edit.divided(name, np.float32(1) / scale, [product.number for product in group])
        for product, array in weights.items():
            node = edit.model.graph.node[product.number]
            scaled = array * scale[:, None]
            node.input[0] = source
            node.input[1] = edit.constant(f"{product.weights}_smoothed", scaled if product.axis else scaled.T)
    return edit.done()


def with_integers(
    model: ModelProto, products: Sequence[Product], ranges: Mapping[str, Range], affine: bool = False
) -> ModelProto:
    """The model with the factors of products as integers of 8 bits, in QuantizeLinear and DequantizeLinear.

    Weights are int8 with one scale for each column or output channel. Activations have one scale: int8, or uint8 where
    nothing is negative, both with zero point 0; uint8 with any zero point if `affine`. Biases of convolutions are int32
    in steps of both scales' product.

    ranges: by the names of activations. Products without one stay.
    """
    edit = _Edit(_copied(model))
    scales: dict[str, float] = {}
    for product in products:
        if product.activations not in ranges:
            continue
        node = edit.model.graph.node[product.number]
        if product.activations not in scales:
            scales[product.activations] = edit.quantise(product, ranges[product.activations], affine)
        node.input[0] = f"{edit.read[product.activations]}"
        steps = edit.quantise_weights(product)
        if product.bias:
            edit.quantise_bias(product, steps * np.float32(scales[product.activations]))
    return edit.done()


class _Edit:
    """A copy of a model to which constants and nodes are added."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.read: dict[str, str] = {}
        """The dequantised tensor of each activation or constant."""
        self._constants = _constants(model)
        self._before: dict[int, list[NodeProto]] = {}
        graph = model.graph
        tensors = [name for node in graph.node for name in (*node.input, *node.output)]
        self._taken = {*tensors, *(node.name for node in graph.node), *(one.name for one in graph.initializer)}

    def array(self, name: str) -> Floats:
        return np.asarray(numpy_helper.to_array(self._constants[name]), np.float32)

    def constant(self, name: str, array: npt.NDArray[np.generic]) -> str:
        unique = self._name(name)
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), unique))
        return unique

    def add(self, number: int, operator: str, inputs: Sequence[str], name: str, **attributes: int) -> str:
        """A node in front of another one; the name of its output."""
        output = self._name(name)
        node = helper.make_node(operator, inputs, [output], output, None, None, None, **attributes)
        self._before.setdefault(number, []).append(node)
        return output

    def is_normalised(self, name: str) -> bool:
        """Whether a tensor is a layer normalisation: one operator, or scaled and moved by constants at its end."""
        source = self._source(name)
        if source is None or source.op_type in NORMALISATIONS:
            return source is not None
        inner = [one for one in source.input if one not in self._constants]
        if source.op_type != "Add" or len(inner) != 1 or len(source.input) != 2:
            return False
        scaled = self._source(inner[0])
        return scaled is not None and scaled.op_type == "Mul" and any(one in self._constants for one in scaled.input)

    def _source(self, name: str) -> NodeProto | None:
        return next((node for node in self.model.graph.node if name in node.output), None)

    def divided(self, name: str, factor: Floats, users: Sequence[int]) -> str:
        """A tensor times a factor for each index of its last axis, for some nodes."""
        graph = self.model.graph
        readers = Counter(operand for node in graph.node for operand in node.input)
        source = self._source(name)
        is_ours = readers[name] == len(users) and not any(one.name == name for one in graph.output)
        is_scaled = source is not None and source.op_type == "LayerNormalization"
        if source is not None and is_scaled and is_ours and all(one in self._constants for one in source.input[1:]):
            for place in range(1, len(source.input)):
                given = source.input[place]
                source.input[place] = self.constant(f"{given}_smoothed", self.array(given) * factor)
            return name
        return self.add(min(users), "Mul", [name, self.constant(f"{name}_factor", factor)], f"{name}_smoothed")

    def quantise(self, product: Product, range: Range, affine: bool) -> float:
        """Dequantised activations; the scale."""
        name = product.activations
        scale, zero = _steps_of(range, affine)
        parts = [
            self.constant(f"{name}_scale", np.asarray(scale, np.float32)),
            self.constant(f"{name}_zero_point", zero),
        ]
        integers = self.add(product.number, "QuantizeLinear", [name, *parts], f"{name}_quantized")
        self.read[name] = self.add(product.number, "DequantizeLinear", [integers, *parts], f"{name}_dequantized")
        return float(scale)

    def quantise_weights(self, product: Product) -> Floats:
        """Dequantised weights in a node; a scale for each column or channel."""
        name, node = product.weights, self.model.graph.node[product.number]
        array = self.array(name)
        others = tuple(axis for axis in range(array.ndim) if axis != product.axis)
        largest = np.abs(array).max(axis=others, keepdims=True)
        scale = (np.where(largest > 0, largest, 1) / STEPS).astype(np.float32)
        integers = np.clip(np.round(array / scale), -STEPS, STEPS).astype(np.int8)
        vector = scale.reshape(-1)
        zeros = np.zeros(len(vector), np.int8)
        node.input[1] = self._dequantised(product.number, name, integers, vector, zeros, product.axis)
        return vector

    def quantise_bias(self, product: Product, steps: Floats) -> None:
        """The bias in steps of the sums; it stays if it is too large for them."""
        whole = np.round(self.array(product.bias).astype(np.float64) / steps)
        if np.abs(whole).max(initial=0) <= LARGEST_BIAS:
            node, integers = self.model.graph.node[product.number], whole.astype(np.int32)
            zeros = np.zeros(len(steps), np.int32)
            node.input[2] = self._dequantised(product.number, product.bias, integers, steps, zeros, 0)

    def done(self) -> ModelProto:
        """The model with all nodes in order, and without constants that nothing reads any more."""
        graph = self.model.graph
        nodes = [one for number, node in enumerate(graph.node) for one in (*self._before.get(number, ()), node)]
        read = {name for node in nodes for name in node.input} | _read_in_subgraphs(nodes)
        read |= {one.name for one in graph.output}
        nodes = [node for node in nodes if node.op_type != "Constant" or read & set(node.output)]
        constants = [one for one in graph.initializer if one.name in read]
        unread = {one.name for one in graph.initializer} - read
        inputs = [one for one in graph.input if one.name not in unread]
        for field, kept in ((graph.node, nodes), (graph.initializer, constants), (graph.input, inputs)):
            copies = list(kept)
            del field[:]
            field.extend(copies)
        del graph.value_info[:]
        return self.model

    def _dequantised(
        self, number: int, name: str, integers: npt.NDArray[np.generic], scale: Floats, zero: npt.NDArray[np.generic],
        axis: int,
    ) -> str:  # fmt: skip
        parts = [
            self.constant(f"{name}_quantized", integers),
            self.constant(f"{name}_scale", scale.astype(np.float32)),
            self.constant(f"{name}_zero_point", zero),
        ]
        return self.add(number, "DequantizeLinear", parts, f"{name}_dequantized", axis=axis)

    def _name(self, wanted: str) -> str:
        found = unused_name(wanted, self._taken)
        self._taken.add(found)
        return found


def _product(number: int, node: NodeProto, constants: Mapping[str, TensorProto]) -> Product | None:
    if node.op_type not in PRODUCTS or node.domain or len(node.input) < 2 or node.input[0] in constants:
        return None
    weights = constants.get(node.input[1])
    if weights is None or weights.data_type != TensorProto.FLOAT or 0 in weights.dims:
        return None
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if len(weights.dims) < 3 if node.op_type == "Conv" else len(weights.dims) != 2 or attributes.get("transA"):
        return None
    axis = 0 if node.op_type == "Conv" or attributes.get("transB") else 1
    bias = node.input[2] if node.op_type == "Conv" and len(node.input) > 2 and node.input[2] in constants else ""
    return Product(number, node.name or node.output[0], node.input[0], node.input[1], axis, bias)


def _constants(model: ModelProto) -> dict[str, TensorProto]:
    found = {one.name: one for one in model.graph.initializer}
    for node in model.graph.node:
        if (
            node.op_type == "Constant"
            and not node.domain
            and len(node.attribute) == 1
            and node.attribute[0].name == "value"
        ):
            found[node.output[0]] = node.attribute[0].t
    return found


def _read_in_subgraphs(nodes: Iterable[NodeProto]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        for attribute in node.attribute:
            for graph in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                found |= {name for inner in graph.node for name in inner.input} | _read_in_subgraphs(graph.node)
                found |= {one.name for one in graph.output}
    return found


def _copied(model: ModelProto) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(model)
    return made


def _depth_first(array: Floats, product: Product) -> Floats:
    """Weights of a matrix product, ``[depth, columns]``."""
    return array if product.axis else array.T


def _balance(activations: Floats, weights: Floats, strength: float) -> Floats:
    """What activations are divided by; 1 where one of both factors is 0 throughout."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = activations.astype(np.float64) ** strength / weights.astype(np.float64) ** (1 - strength)
    usable = (activations > 0) & (weights > 0) & np.isfinite(scale)
    return np.where(usable, np.clip(scale, 1e-5, 1e5), 1.0).astype(np.float32)


def _steps_of(range: Range, affine: bool) -> tuple[np.float32, npt.NDArray[np.generic]]:
    """Scale and zero point."""
    low, high = min(range.low, 0.0), max(range.high, 0.0)
    if affine:
        scale = np.float32((high - low) / UNSIGNED_STEPS or 1.0)
        return scale, np.asarray(round(-low / float(scale)), np.uint8)
    if low == 0:
        return np.float32((high or 1.0) / UNSIGNED_STEPS), np.asarray(0, np.uint8)
    return np.float32(max(-low, high) / STEPS), np.asarray(0, np.int8)
