"""Everything that is not supported is reported at once."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import NodeProto, TensorProto

from importers.onnx.models import model_of, node
from tensorwright.importers.failures import UnsupportedNodes
from tensorwright.importers.onnx import import_onnx

FLOATS = {"x": (TensorProto.FLOAT, [2, 3])}


def test_one_report_of_all_nodes() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("RandomUniformLike", "a", "b", name="noise_0"),
        node("RandomUniformLike", "a", "c", name="noise_1"),
        node("Add", "b c", "d", name="after"),
        node("Mystery", "d", "e", name="odd", domain="com.example"),
        node("ImageDecoder", "e", "f", name="boxes"),
        node("Cast", "x", "g", name="small", to=TensorProto.FLOAT8E8M0),
        node("Sum", "f g", "y"),
    ]
    model = model_of(nodes, FLOATS, ["y"], domains={"com.example": 3})
    with pytest.raises(UnsupportedNodes) as caught:
        import_onnx(model)
    report = str(caught.value)
    assert [finding.node for finding in caught.value.findings] == ["noise_0", "noise_1", "odd", "boxes", "small"]
    rows = [line.split() for line in report.splitlines()]
    assert ["RandomUniformLike", "ai.onnx", "20", "2", "'noise_0',", "'noise_1'"] in [row[:6] for row in rows]
    assert ["Mystery", "com.example", "3", "1", "'odd'"] in [row[:5] for row in rows]
    assert "element type float8e8m0 of attribute to is not supported" in report
    assert "5 nodes are not supported" in report
    assert "after" not in report


def test_long_lists_of_nodes_are_cut() -> None:
    nodes = [node("RandomUniformLike", "x", f"y{number}", name=f"n{number}") for number in range(9)]
    with pytest.raises(UnsupportedNodes, match=r"9 +'n0', 'n1', 'n2', \.\.\."):
        import_onnx(model_of(nodes, FLOATS, ["y0"]))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (node("Det", "square", "y"), "determinants of matrices up to 3×3 are supported"),
        (node("Dropout", "x ratio yes", "y"), "training mode"),
        (node("Gather", "x x", "y", mode="fast"), "attribute mode is not supported"),
        (node("DynamicQuantizeLinear", "x", "y scale zero more"), "output 3 is not supported"),
        (node("Bernoulli", "x", "y"), "its definition uses RandomUniformLike"),
    ],
)
def test_reasons(given: NodeProto, reason: str) -> None:
    constants = {"ratio": np.float32(0.5), "yes": np.array(True), "v": np.float32([1, 1, 1])}
    inputs = {**FLOATS, "square": (TensorProto.FLOAT, [4, 4])}
    outputs = [name for name in given.output if name]
    with pytest.raises(UnsupportedNodes, match=reason):
        import_onnx(model_of([given], inputs, outputs, constants=constants))
