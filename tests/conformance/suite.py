"""ONNX's own backend test suite, as the onnx package of the test environment makes or ships it."""

from __future__ import annotations

import re
import tomllib
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import ModelProto, OptionalProto, SequenceProto, TensorProto, ValueInfoProto, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
KNOWN_FAILURES = Path(__file__).with_name("known_failures.toml")
TO_FEW_BITS = re.compile(r"test_cast(like)?_FLOAT(16)?_to_U?INT[24](_expanded)?")
"""Cases whose names match as a whole convert floats to integers that do not hold all of them."""


@dataclass(frozen=True)
class Case:
    """A model with inputs and expected outputs, and the suite's tolerances."""

    name: str
    model: ModelProto
    data: Sequence[tuple[Sequence[object], Sequence[object]]]
    rtol: float
    atol: float

    def compare(self, actual: Sequence[object], expected: Sequence[object]) -> None:
        assert _form(actual) == _form(expected)
        Runner.assert_similar_outputs(list(_tensors(expected)), list(_tensors(actual)), self.rtol, self.atol)


def _form(value: object) -> object:
    """Where sequences are; the suite's own comparison stumbles over sequences of scalars."""
    return [_form(item) for item in value] if isinstance(value, list | tuple) else None


def _tensors(value: object) -> Iterator[object]:
    for item in value if isinstance(value, list | tuple) else ():
        yield from _tensors(item) if isinstance(item, list | tuple) else (item,)


@cache
def known_failures(kind: str) -> dict[str, str]:
    """The cases of a kind that must fail, each with the reason."""
    found: dict[str, str] = tomllib.loads(KNOWN_FAILURES.read_text()).get(kind, {})
    return found


def hand(kind: str, number: int, count: int) -> Iterator[Case]:
    """The cases of a kind, dealt out by name to `count` hands: one of them."""
    for found in _tests(kind):
        if zlib.crc32(found.name.encode()) % count == number:
            yield _case(found)


@cache
def names(kind: str) -> frozenset[str]:
    return frozenset(found.name for found in _tests(kind))


@cache
def _tests(kind: str) -> list[object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_model_tests(kind=kind)


def _case(found: object) -> Case:
    if found.model_dir is None:
        data = [tuple(map(_plain, d)) for d in found.data_sets]
        if TO_FEW_BITS.fullmatch(found.name):
            data = [(inputs, [wrapped(inputs[0], output) for output in outputs]) for inputs, outputs in data]
        return Case(found.name, found.model, data, found.rtol, found.atol)
    folder = Path(found.model_dir)
    model = onnx.load(folder / "model.onnx")
    data = [
        (_stored(part, "input", model.graph.input), _stored(part, "output", model.graph.output))
        for part in sorted(folder.glob("test_data_set*"))
    ]
    return Case(found.name, model, data, found.rtol, found.atol)


def wrapped(floats: np.ndarray, integers: np.ndarray) -> np.ndarray:
    """Converted floats, where the type does not hold them with the lowest bits of their whole part.

    ONNX leaves open what those become, and the suite has what ml_dtypes makes of them: these bits, and from 0.7 on 0.
    Ours are these bits.
    """
    whole, limits = np.asarray(floats).astype(np.int64), ml_dtypes.iinfo(integers.dtype)
    is_held = (whole >= limits.min) & (whole <= limits.max)
    return np.where(is_held, integers, whole.astype(integers.dtype))


def _plain(values: Sequence[object]) -> list[object]:
    return [numpy_helper.to_array(value) if isinstance(value, TensorProto) else value for value in values]


def _stored(folder: Path, prefix: str, declared: Sequence[ValueInfoProto]) -> list[object]:
    count = len(list(folder.glob(f"{prefix}_*.pb")))
    return [_read((folder / f"{prefix}_{n}.pb").read_bytes(), declared[n]) for n in range(count)]


def _read(content: bytes, declared: ValueInfoProto) -> np.ndarray | list[object] | None:
    match declared.type.WhichOneof("value"):
        case "sequence_type":
            return numpy_helper.to_list(SequenceProto.FromString(content))
        case "optional_type":
            return numpy_helper.to_optional(OptionalProto.FromString(content))
    return numpy_helper.to_array(TensorProto.FromString(content))
