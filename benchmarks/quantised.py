"""Quantised models for engines that read such: ONNX Runtime's static quantisation, in QDQ form."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.inputs import samples


class _Samples:
    """What `quantize_static` reads ranges from."""

    def __init__(self, input: str, arrays: list[Any]) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter([{input: array} for array in arrays])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def quantised_file(model: Path) -> Path:
    """The quantised model beside a model, made if it is not there yet: int8 by channel, activations in uint8."""
    path = model.with_suffix(".qdq.onnx")
    if path.exists():
        return path
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, part = (path.with_suffix(f".{os.getpid()}.{kind}") for kind in ("prepared", "part"))
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    input = onnx.load(str(prepared), load_external_data=False).graph.input[0].name
    quantize_static(
        str(prepared), str(part), _Samples(input, samples(model.stem)), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    prepared.unlink()
    part.replace(path)
    return path
