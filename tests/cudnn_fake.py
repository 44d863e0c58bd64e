"""A stand-in for cuDNN on the emulated GPU: keeps descriptors, and computes graphs of operations by reference."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from cuda_emulator import EmulatedLibrary
from tensorwright.devices.cuda.libraries.cudnn import Attribute, Kind
from tensorwright.ops.convolution import Convolution
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32

NOT_SUPPORTED = 3000
_TYPES = {0: FLOAT32.numpy, 2: FLOAT16.numpy, 9: BFLOAT16.numpy}
_BY_NUMBER = {attribute.number: attribute for attribute in Attribute}
_KNOB_KIND, _ADD = 7, 0


def with_cudnn(monkeypatch: pytest.MonkeyPatch, gpu: EmulatedLibrary, **options: Any) -> FakeCudnn:
    """The emulated GPU with a stand-in for the library that this process finds."""
    fake = FakeCudnn(gpu, **options)
    monkeypatch.setattr("tensorwright.devices.cuda.libraries.cudnn.open_library", lambda library: fake)
    return fake


class FakeCudnn:
    """Has an engine for each of `notes`, the numerical notes of one engine after the other, each with one knob.

    open: descriptors that nobody has given back, by handle. executed: the numbers of engines that ran.
    """

    def __init__(
        self, gpu: EmulatedLibrary, version: int = 91900, workspace: int = 512, notes: Any = ((), (4,))
    ) -> None:
        self.gpu, self.version, self.workspace, self.notes = gpu, version, workspace, notes
        self.open: dict[int, dict[Any, Any]] = {}
        self.fail: dict[str, int] = {}
        self.executed: list[int] = []
        self._stream = 0

    def __getattr__(self, name: str) -> Any:
        work = getattr(type(self), f"on_{name}", None)
        if work is None:
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            return self.fail.get(name) or work(self, *arguments) or 0

        return call

    def on_cudnnGetVersion(self) -> int:  # noqa: N802
        return self.version

    def on_cudnnGetErrorString(self, code: int) -> bytes:  # noqa: N802
        return {NOT_SUPPORTED: b"CUDNN_STATUS_NOT_SUPPORTED"}.get(code, b"CUDNN_STATUS_OTHER")

    def on_cudnnCreate(self, handle: Any) -> None:  # noqa: N802
        handle._obj.value = self.gpu.handle()

    def on_cudnnDestroy(self, handle: Any) -> None:  # noqa: N802
        pass

    def on_cudnnSetStream(self, handle: Any, stream: int) -> None:  # noqa: N802
        self._stream = stream

    def on_cudnnBackendCreateDescriptor(self, kind: int, place: Any) -> None:  # noqa: N802
        place._obj.value = self.gpu.handle()
        self.open[place._obj.value] = {"kind": Kind(kind)}

    def on_cudnnBackendDestroyDescriptor(self, descriptor: Any) -> None:  # noqa: N802
        del self.open[descriptor.value]

    def on_cudnnBackendSetAttribute(self, descriptor: Any, number: int, type: int, count: int, values: Any) -> None:  # noqa: N802
        attribute = _BY_NUMBER[number]
        assert (attribute.type, len(values)) == (type, count)
        values = [self.open[value] for value in values] if attribute.type.name == "DESCRIPTOR" else list(values)
        self.open[descriptor.value][attribute] = values

    def on_cudnnBackendFinalize(self, descriptor: Any) -> int:  # noqa: N802
        found = self.open[descriptor.value]
        if found["kind"] != Kind.PLAN:
            return 0
        (config,) = found[Attribute.PLAN_CONFIG]
        (engine,), knobs = config[Attribute.CONFIG_ENGINE], config.get(Attribute.CONFIG_KNOBS, [])
        number = engine[Attribute.ENGINE_NUMBER][0]
        (knob,) = knobs
        known = (knob[Attribute.KNOB_KIND], knob[Attribute.KNOB_VALUE]) == ([_KNOB_KIND], [10 * number])
        return 0 if number < len(self.notes) and known else NOT_SUPPORTED

    def on_cudnnBackendGetAttribute(  # noqa: N802
        self, descriptor: Any, number: int, type: int, most: int, count: Any, elements: Any
    ) -> None:
        found, attribute = self.open[descriptor.value], _BY_NUMBER[number]
        assert attribute.type == type
        values = self._answers(found, attribute)
        count._obj.value = min(most, len(values))
        for place, value in enumerate(values[:most]):
            if isinstance(value, dict):
                self.open[elements[place]].update(value)
            else:
                elements[place] = value

    def _answers(self, found: dict[Any, Any], attribute: Attribute) -> list[Any]:
        match attribute:
            case Attribute.HEURISTICS_RESULTS:
                return [self._config(number) for number in range(len(self.notes))]
            case Attribute.PLAN_WORKSPACE:
                return [self.workspace]
            case Attribute.ENGINE_NOTES:
                return list(self.notes[found[Attribute.ENGINE_NUMBER][0]])
        return found[attribute]

    def _config(self, number: int) -> dict[Any, Any]:
        knob = {Attribute.KNOB_KIND: [_KNOB_KIND], Attribute.KNOB_VALUE: [10 * number]}
        return {Attribute.CONFIG_ENGINE: [{Attribute.ENGINE_NUMBER: [number]}], Attribute.CONFIG_KNOBS: [knob]}

    def on_cudnnBackendExecute(self, handle: Any, plan: Any, pack: Any) -> None:  # noqa: N802
        places = self.open[pack.value]
        self.gpu._inside(places[Attribute.PACK_WORKSPACE][0], self.workspace)
        addresses = dict(zip(places[Attribute.PACK_NUMBERS], places[Attribute.PACK_ADDRESSES], strict=True))
        (engine,) = self.open[plan.value][Attribute.PLAN_CONFIG][0][Attribute.CONFIG_ENGINE]
        self.executed.append(engine[Attribute.ENGINE_NUMBER][0])
        operations = engine[Attribute.ENGINE_GRAPH][0][Attribute.GRAPH_OPERATIONS]
        self.gpu.put(self._stream, partial(self._compute, operations, addresses))

    def _compute(self, operations: list[dict[Any, Any]], addresses: dict[int, int]) -> None:
        virtual: dict[int, np.ndarray] = {}
        for operation in operations:
            if operation["kind"] == Kind.CONVOLUTION_FORWARD:
                result, (written,) = self._convolved(operation, addresses), operation[Attribute.FORWARD_Y]
            else:
                result, (written,) = self._pointwise(operation, addresses, virtual), operation[Attribute.OPERATION_Y]
            if written[Attribute.TENSOR_IS_VIRTUAL][0]:
                virtual[written[Attribute.TENSOR_NUMBER][0]] = result
            else:
                self._view(written, addresses)[...] = result

    def _pointwise(
        self, operation: dict[Any, Any], addresses: dict[int, int], virtual: dict[int, np.ndarray]
    ) -> np.ndarray:
        names = (Attribute.OPERATION_X, Attribute.OPERATION_B)
        read = [self._read(operation[name][0], addresses, virtual) for name in names if name in operation]
        (how,) = operation[Attribute.OPERATION_POINTWISE]
        assert how[Attribute.POINTWISE_TYPE] == [0]
        (mode,) = how[Attribute.POINTWISE_MODE]
        return np.add(*read) if mode == _ADD else np.maximum(*read, 0)

    def _convolved(self, operation: dict[Any, Any], addresses: dict[int, int]) -> np.ndarray:
        (how,) = operation[Attribute.FORWARD_CONVOLUTION]
        strides, dilations = how[Attribute.CONVOLUTION_STRIDES], how[Attribute.CONVOLUTION_DILATIONS]
        begin, end = how[Attribute.CONVOLUTION_PADS_BEGIN], how[Attribute.CONVOLUTION_PADS_END]
        op = Convolution(*map(tuple, (strides, begin, end, dilations)))
        assert (how[Attribute.CONVOLUTION_TYPE], how[Attribute.CONVOLUTION_MODE]) == ([0], [1])
        factors = (operation[name][0] for name in (Attribute.FORWARD_X, Attribute.FORWARD_WEIGHTS))
        return op.reference(*(self._read(tensor, addresses, {}) for tensor in factors))

    def _read(self, tensor: dict[Any, Any], addresses: dict[int, int], virtual: dict[int, np.ndarray]) -> np.ndarray:
        number = tensor[Attribute.TENSOR_NUMBER][0]
        return virtual[number] if number in virtual else self._view(tensor, addresses).astype(np.float32)

    def _view(self, tensor: dict[Any, Any], addresses: dict[int, int]) -> np.ndarray:
        """A tensor in the device's memory."""
        dtype, extents = _TYPES[tensor[Attribute.TENSOR_TYPE][0]], tensor[Attribute.TENSOR_EXTENTS]
        steps = [step * dtype.itemsize for step in tensor[Attribute.TENSOR_STRIDES]]
        size = dtype.itemsize + sum((extent - 1) * step for extent, step in zip(extents, steps, strict=True))
        address = addresses[tensor[Attribute.TENSOR_NUMBER][0]]
        assert address % tensor[Attribute.TENSOR_ALIGNMENT][0] == 0
        memory = np.frombuffer(self.gpu._inside(address, size), dtype)
        return np.lib.stride_tricks.as_strided(memory, extents, steps)
