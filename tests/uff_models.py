"""Small UFF models, written with the converter's own writer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tensorwright.compat.uff.model import UffWriter
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.uff import RegisteredInput, import_uff
from tensorwright.tensor.dtype import FLOAT32, DType


class ModelMaker(UffWriter):
    """A model under construction; every call that adds a node gives its name."""

    def input(self, shape: tuple[int, ...] = (), name: str = "x", dtype: DType = FLOAT32) -> str:
        return self.add("Input", name, (), {"dtype": dtype, "shape": list(shape)})

    def number(self, array: object, name: str | None = None) -> str:
        """A constant: floats are float32, integers int32 unless the array says otherwise."""
        values = np.asarray(array)
        if not isinstance(array, np.ndarray | np.generic):
            values = values.astype({"f": np.float32, "i": np.int32}[values.dtype.kind])
        return self.constant(name or f"const_{len(self)}", values)

    def node(self, operation: str, *inputs: str, name: str | None = None, **fields: object) -> str:
        return self.add(operation, name or f"{operation.lower()}_{len(self)}", inputs, fields)

    def output(self, name: str) -> str:
        return self.add("MarkOutput", "MarkOutput_0", [name])


def evaluated(
    model: UffWriter, arrays: Mapping[str, np.ndarray], order: str | None = None, **options: object
) -> np.ndarray:
    """The first output. Inputs have their batch in front and count as NHWC unless `order` says otherwise."""
    inputs = {
        name: RegisteredInput(array.shape[1:], order or ("NHWC" if array.ndim > 3 else "NC"))
        for name, array in arrays.items()
    }
    batch = next(iter(arrays.values())).shape[0]
    network = import_uff(model.serialized(), inputs, batch=batch, **options)
    return next(iter(evaluate_graph(network, dict(arrays)).values()))
