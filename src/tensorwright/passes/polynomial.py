"""Reads arithmetic as a polynomial in one value, in whichever order a model spells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorwright.graph.graph import Value
from tensorwright.passes.arithmetic import function_of
from tensorwright.passes.constants import nearly, uniform
from tensorwright.tensor.dtype import DType

DEEPEST = 8
HIGHEST = 4

Coefficients = Mapping[int, float]


def polynomial(value: Value, x: Value, depth: int = DEEPEST) -> Coefficients | None:
    """The coefficients by degree with which a value is a polynomial in x; None where it is not known to be one."""
    if value is x:
        return {1: 1.0}
    number = uniform(value)
    if number is not None:
        return {0: number}
    if depth == 0 or len(value.inputs) not in (1, 2):
        return None
    function = function_of(value)
    if function not in ("neg", "add", "sub", "mul", "pow"):
        return None
    parts = [polynomial(operand, x, depth - 1) for operand in value.inputs]
    known = [part for part in parts if part is not None]
    return _combined(function, known) if len(known) == len(parts) else None


def _combined(function: str, parts: Sequence[Coefficients]) -> Coefficients | None:
    if function == "neg":
        return {degree: -c for degree, c in parts[0].items()}
    left, right = parts
    if function == "pow":
        exponent = right.get(0, 0.0)
        if set(right) != {0} or exponent not in (1.0, 2.0, 3.0):
            return None
        result: Coefficients | None = left
        for _ in range(int(exponent) - 1):
            result = None if result is None else _product(result, left)
        return result
    if function == "mul":
        return _product(left, right)
    sign = 1 if function == "add" else -1
    return {degree: left.get(degree, 0) + sign * right.get(degree, 0) for degree in {*left, *right}}


def _product(left: Coefficients, right: Coefficients) -> Coefficients | None:
    if max(left) + max(right) > HIGHEST:
        return None
    result: dict[int, float] = {}
    for a, first in left.items():
        for b, second in right.items():
            result[a + b] = result.get(a + b, 0.0) + first * second
    return result


def is_polynomial(value: Value, x: Value, wanted: Coefficients) -> bool:
    """Whether a value is the polynomial in x with the given coefficients, as well as its element type can say it."""
    found = polynomial(value, x)
    return found is not None and _alike(found, wanted, value.type.dtype)


def _alike(found: Coefficients, wanted: Coefficients, dtype: DType) -> bool:
    return all(nearly(found.get(degree, 0.0), wanted.get(degree, 0.0), dtype) for degree in {*found, *wanted})


@dataclass(frozen=True)
class Product:
    """A number times values."""

    number: float
    factors: tuple[Value, ...]


def product_of(value: Value, depth: int = DEEPEST) -> Product:
    """A value as a product: numbers are gathered, the other factors stay in order."""
    number = uniform(value)
    if number is not None:
        return Product(number, ())
    if depth and function_of(value) == "mul":
        left, right = (product_of(operand, depth - 1) for operand in value.inputs)
        return Product(left.number * right.number, left.factors + right.factors)
    if depth and function_of(value) == "neg":
        inner = product_of(value.inputs[0], depth - 1)
        return Product(-inner.number, inner.factors)
    return Product(1.0, (value,))
