"""The test cases that the onnx package makes for each operator, and what is known not to be supported."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from importers.onnx.models import run

UNSUPPORTED: Mapping[str, str] = {
    r"ai_onnx_ml_|adagrad|adam|momentum|nesterov": "another domain",
    r"(cast|castlike)_.*_to_(FLOAT8|FLOAT4|U?INT4|U?INT2)|cast_e8m0": "outputs of small types",
    r"quantizelinear_(e4m3fn|e5m2|float4e2m1|u?int[24])": "outputs of small types",
    r"string_|strnormalizer|regex|equal_string|tfidf|image_decoder": "strings and images",
    r"bernoulli|training_dropout(_default)?(_mask)?$": "random numbers",
    r"nonmaxsuppression": "outputs whose shape depends on data",
    r"sequence_map|sequence_insert|identity_(sequence|opt)|loop1[36]_seq": "sequences as inputs",
    r"optional_(get|has)_element_(sequence|optional_sequence|empty_optional_input)": "sequences as inputs",
    r"split_to_sequence|sequence_|if_(seq|opt)": "sequences as outputs",
}
"""Cases, by what their name contains, that must be refused; nothing else may be."""

DIFFERENT: Mapping[str, str] = {
    r"resize_downsample_scales_(cubic|linear)_align_corners": (
        "positions follow the rounded output extent, as in PyTorch and ONNX Runtime, not extent times scale"
    ),
}
TOLERANCES = {"bfloat16": 2e-2, "float16": 2e-3}
"""The stored outputs of half types come from arithmetic in that type; each operator here rounds once."""


@dataclass(frozen=True)
class NodeCase:
    name: str
    model: bytes
    inputs: Sequence[object]
    outputs: Sequence[object]
    rtol: float
    atol: float

    @property
    def refused(self) -> str | None:
        """Why the case must be refused."""
        return next((reason for name, reason in UNSUPPORTED.items() if re.search(f"test_({name})", self.name)), None)

    @property
    def differs(self) -> bool:
        return any(re.search(name, self.name) for name in DIFFERENT)

    def check(self) -> None:
        """Import and evaluate; inputs that must be known at import become constants if it does not work without."""
        model = ModelProto.FromString(self.model)
        arrays = [_array(given) for given in self.inputs]
        inputs = dict(zip([value.name for value in model.graph.input], arrays, strict=True))
        structural = [n for n, a in inputs.items() if a.dtype.kind in "iub" or a.size <= 1]
        for frozen in ((), structural, list(inputs)):
            try:
                results = run(_frozen(model, inputs, frozen), inputs)
                break
            except Exception:
                if len(frozen) == len(inputs):
                    raise
        self._compare(results)

    def _compare(self, results: Sequence[np.ndarray]) -> None:
        assert len(results) == len(self.outputs)
        for actual, given in zip(results, self.outputs, strict=True):
            expected = _array(given)
            assert actual.dtype == expected.dtype
            assert actual.shape == expected.shape
            rtol = max(self.rtol, TOLERANCES.get(expected.dtype.name, 0))
            if expected.dtype.kind in "biu":
                np.testing.assert_array_equal(actual, expected)
            else:
                wide = expected.astype(float)
                finite = np.abs(wide[np.isfinite(wide)])
                atol = max(self.atol, 1e-6 * finite.max(initial=0), TOLERANCES.get(expected.dtype.name, 0))
                np.testing.assert_allclose(actual.astype(float), wide, rtol, atol)


def _array(given: object) -> np.ndarray:
    if isinstance(given, TensorProto):
        return numpy_helper.to_array(given)
    assert isinstance(given, np.ndarray | np.generic | float | int), f"a {type(given).__name__} is no tensor"
    return np.asarray(given)


def _frozen(model: ModelProto, inputs: Mapping[str, np.ndarray], names: Sequence[str]) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(model)
    kept = [value for value in model.graph.input if value.name not in names]
    del result.graph.input[:]
    result.graph.input.extend(kept)
    result.graph.initializer.extend(numpy_helper.from_array(inputs[name], name) for name in names)
    return result


@cache
def node_cases() -> Mapping[str, Sequence[NodeCase]]:
    """All cases by operator; models of several nodes are under ''."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        collected = collect_testcases(None)
    cases: dict[str, list[NodeCase]] = defaultdict(list)
    for case in collected:
        nodes = case.model.graph.node
        operator = nodes[0].op_type if len(nodes) == 1 else ""
        inputs, outputs = case.data_sets[0]
        found = NodeCase(case.name, case.model.SerializeToString(), inputs, outputs, case.rtol, case.atol)
        cases[operator].append(found)
    return cases


def operators() -> list[str]:
    """All operators of the standard domain."""
    return sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""})
