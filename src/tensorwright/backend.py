"""ONNX's backend interface: prepare a model, run it.

    import tensorwright.backend as backend

    outputs = backend.prepare(model).run(inputs)  # inputs in the order of the model; outputs likewise

ONNX's own test suite runs on it: ``onnx.backend.test.BackendTest(tensorwright.backend, __name__)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import IR_VERSION, ModelProto, NodeProto, TypeProto, helper
from onnx.backend.base import Backend, BackendRep, namedtupledict
from onnx.defs import onnx_opset_version

from tensorwright.api.shortcuts import build
from tensorwright.base.errors import ExecutionError

if TYPE_CHECKING:
    from tensorwright.runtime.engine import Engine
    from tensorwright.staged.engine import StagedEngine

DEVICE = "CPU"


class TensorwrightRep(BackendRep):
    """A prepared model. engine: what runs it."""

    def __init__(self, engine: Engine | StagedEngine) -> None:
        self.engine = engine
        self._inputs = [name for name in engine if engine.binding_is_input(name)]
        self._outputs = [name for name in engine if not engine.binding_is_input(name)]

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs in the order of the model, as a tuple whose entries also have the outputs' names.

        inputs: a mapping by name, a sequence in the order of the model, or the one input's array.

        Raises:
            ExecutionError: the inputs do not fit the model.
        """
        results: Mapping[str, Any] = self.engine(self._by_name(inputs))
        return namedtupledict("Outputs", self._outputs)(*(results[name] for name in self._outputs))

    def _by_name(self, inputs: object) -> Mapping[str, Any]:
        if isinstance(inputs, Mapping):
            return inputs
        given = list(inputs) if isinstance(inputs, Sequence) else [inputs]
        if len(given) != len(self._inputs):
            names = ", ".join(map(repr, self._inputs)) or "none"
            raise ExecutionError(f"expected {len(self._inputs)} inputs ({names}), found {len(given)}")
        return dict(zip(self._inputs, given, strict=True))


class TensorwrightBackend(Backend):
    """See the module."""

    @classmethod
    def prepare(cls, model: ModelProto, device: str = DEVICE, **kwargs: Any) -> TensorwrightRep:
        """Build an engine for a model.

        Args:
            model: the model; a path or its bytes will do as well.
            device: "CPU".
            kwargs: options of `tensorwright.build`, such as ``level=0, threads=2, shapes={"batch": (1, 8, 32)}``.

        Raises:
            ImportFailure: the model cannot be read or uses what is not supported.
            BuildError: the options are wrong, or the device is not supported.
        """
        _require(device)
        return TensorwrightRep(build(model, **kwargs))

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = DEVICE, **kwargs: Any) -> tuple[Any, ...]:
        """Prepare a model and run it once."""
        with cls.prepare(model, device, **kwargs).engine as engine:
            return TensorwrightRep(engine).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = DEVICE,
        outputs_info: Sequence[tuple[np.dtype[np.generic], tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one node of the newest opset; ``opset_version=`` says another.

        inputs: by name, or in the order of the node's inputs. outputs_info: not needed.
        """
        version = kwargs.pop("opset_version", onnx_opset_version())
        names = [name for name in node.input if name]
        arrays = inputs if isinstance(inputs, Mapping) else dict(zip(names, inputs, strict=True))
        model = _model_of(node, {name: np.asarray(arrays[name]) for name in names}, version)
        return cls.run_model(model, {name: np.asarray(arrays[name]) for name in names}, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models can be prepared for a device, which may have a number: ``CPU:0``."""
        return device.split(":", maxsplit=1)[0] == DEVICE


def _model_of(node: NodeProto, arrays: Mapping[str, np.ndarray[Any, Any]], version: int) -> ModelProto:
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in arrays.items()
    ]
    outputs = [helper.make_value_info(name, TypeProto()) for name in node.output if name]
    graph = helper.make_graph([node], node.op_type, inputs, outputs)
    opset = helper.make_opsetid(node.domain, version)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)


def _require(device: str) -> None:
    if not TensorwrightBackend.supports_device(device):
        raise ExecutionError(f"device {device!r} is not supported; expected {DEVICE!r}")


prepare = TensorwrightBackend.prepare
run_model = TensorwrightBackend.run_model
run_node = TensorwrightBackend.run_node
supports_device = TensorwrightBackend.supports_device
is_compatible = TensorwrightBackend.is_compatible
