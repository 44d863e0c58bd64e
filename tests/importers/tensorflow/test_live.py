"""Graphs that TensorFlow builds, runs and freezes compute the same here; run by ``make test-tensorflow``."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tensorflow_live import CASES, Case, answer
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.tensorflow import import_tensorflow

if importlib.util.find_spec("tensorflow") is None:
    reason = "tensorflow not installed; `make test-tensorflow` sets it up and runs this"
    pytest.skip(reason, allow_module_level=True)

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore")]
BOTH = [(case, unknown) for case in CASES for unknown in ((False, True) if case.any_batch else (False,))]


def name_of(value: object) -> str:
    return value.name if isinstance(value, Case) else "any" if value else "static"


@pytest.mark.parametrize(("case", "unknown_batch"), BOTH, ids=name_of)
def test_a_frozen_graph_gives_what_tensorflow_gave(case: Case, unknown_batch: bool) -> None:
    assert error_of(case, unknown_batch) <= case.tolerance


def error_of(case: Case, unknown_batch: bool) -> float:
    """The largest difference of all outputs, relative to the largest element or 1; 0 for exact ones."""
    given = answer(case, unknown_batch)
    network = import_tensorflow(given.frozen, outputs=given.outputs)
    found = evaluate_graph(network, {name: given.inputs[name] for name, _ in network.inputs})
    errors = [0.0]
    for name, expected in zip(given.outputs, given.expected, strict=True):
        assert found[name].dtype == expected.dtype
        assert found[name].shape == expected.shape
        if expected.dtype.kind == "f":
            difference = np.abs(found[name].astype(float) - expected.astype(float)).max(initial=0)
            errors.append(float(difference) / max(1.0, float(np.abs(expected.astype(float)).max(initial=0))))
        else:
            np.testing.assert_array_equal(found[name], expected)
    return max(errors)


def test_case_names_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
