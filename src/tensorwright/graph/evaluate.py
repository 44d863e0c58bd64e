"""Computes a whole graph with the operators' references: slow and independent of code generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from tensorwright.base.errors import NetworkError
from tensorwright.graph.graph import ConstantTensor, Graph, Input, Value
from tensorwright.graph.op import Array
from tensorwright.tensor.dim import Symbol, evaluate
from tensorwright.tensor.type import TensorType


def evaluate_graph(
    graph: Graph, inputs: Mapping[str, Array], symbols: Mapping[str, int] | None = None
) -> dict[str, Array]:
    """The outputs of a graph by name.

    Each operator computes in float64 (integers and bools as they are); its result is rounded to the inferred type.

    Args:
        graph: what to evaluate.
        inputs: one array for each network input, by name.
        symbols: values of symbolic dimensions; those that are an input's dimension are taken from its array.

    Raises:
        NetworkError: an input is missing or does not fit, or a symbol has no value.
    """
    environment = dict(symbols or {})
    for name, value in graph.inputs:
        if name not in inputs:
            raise NetworkError(f"input '{name}' is missing; given are {', '.join(map(repr, inputs)) or 'none'}")
        _bind(name, value.type, inputs[name], environment)
    missing = [symbol.name for symbol in graph.symbols() if symbol.name not in environment]
    if missing:
        raise NetworkError(f"dimension '{missing[0]}' has no value; give it in `symbols`")
    by_value = {value: np.asarray(inputs[name]) for name, value in graph.inputs}
    remaining, results = graph.uses(), dict[Value, Array]()
    for value in graph.order():
        results[value] = by_value[value] if isinstance(value.op, Input) else _result(value, results, environment)
        for operand in value.inputs:
            remaining[operand] -= 1
            if not remaining[operand]:
                results.pop(operand, None)
    return {name: results[value] for name, value in graph.outputs}


def _bind(name: str, type: TensorType, array: Array, environment: dict[str, int]) -> None:
    found = np.asarray(array)
    if found.dtype != type.dtype.numpy or found.ndim != type.rank:
        raise NetworkError(f"input '{name}': expected {type}, found {found.dtype}{list(found.shape)}")
    for dim, extent in zip(type.shape, found.shape, strict=True):
        if not isinstance(dim, int) and dim.terms[0][1] == 1 and len(dim.terms) == len(dim.atoms) == 1:
            (atom,) = dim.atoms
            if isinstance(atom, Symbol):
                environment.setdefault(atom.name, extent)
    expected = tuple(evaluate(dim, environment) for dim in type.shape)
    if expected != found.shape:
        raise NetworkError(f"input '{name}': expected shape {expected} for {type}, found {found.shape}")


def _result(value: Value, results: Mapping[Value, Array], environment: Mapping[str, int]) -> Array:
    if isinstance(value.op, ConstantTensor):
        return value.op.weights.array
    operands = [
        results[operand].astype(np.float64) if operand.type.dtype.is_float else results[operand]
        for operand in value.inputs
    ]
    with np.errstate(all="ignore"):
        result = value.op.specialised(environment).reference(*operands)
        rounded = np.asarray(result).astype(value.type.dtype.numpy, copy=False)
    expected = tuple(evaluate(dim, environment) for dim in value.type.shape)
    if rounded.shape != expected:
        raise AssertionError(f"{value}: the reference has shape {rounded.shape}, inferred is {expected}")
    return cast("Array", rounded)
