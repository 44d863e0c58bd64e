"""Every operator against the cases that the onnx package makes for it."""

from __future__ import annotations

import pytest

from importers.onnx.node_cases import node_cases, operators
from tensorwright.base.errors import ImportFailure, NetworkError


@pytest.mark.parametrize("operator", ["", *operators()])
def test_operator(operator: str) -> None:
    wrong = []
    for case in node_cases().get(operator, ()):
        try:
            case.check()
            outcome = "passes"
        except (ImportFailure, NetworkError) as error:
            outcome = f"is refused: {error}"
        except AssertionError as error:
            outcome = "differs: " + " ".join(str(error).split())[:300]
        expected = "refused" if case.refused else "differs" if case.differs else "passes"
        if expected == "refused" and "is no tensor" in outcome:
            continue
        if expected not in outcome:
            wrong.append(f"{case.name} {outcome}")
    assert not wrong, "\n".join(wrong)


def test_most_cases_pass() -> None:
    """The share that is claimed in the documentation."""
    cases = [case for group in node_cases().values() for case in group]
    passing = sum(not case.refused and not case.differs for case in cases)
    assert passing >= 1600
    assert len(cases) > 1800
