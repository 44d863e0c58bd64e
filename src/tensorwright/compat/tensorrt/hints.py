"""What scripts may say that has no effect on a CPU in float32: it is kept; a warning tells where it would matter."""

from __future__ import annotations

from typing import Any

from tensorwright.api.logger import SHARED_LOGGER, Severity
from tensorwright.base.errors import NetworkError
from tensorwright.compat.tensorrt.enums import DataType, DeviceType, EngineCapability, TensorLocation
from tensorwright.compat.tensorrt.facade import Facade
from tensorwright.tensor.dtype import DType

Range = tuple[float, float]


def kept(facade: Facade[Any]) -> dict[str, object]:
    """What only this interface knows of an object, whichever facade stands for it."""
    found: dict[str, object] = facade.inner.__dict__.setdefault("kept_by_tensorrt", {})
    return found


def warn(message: str) -> None:
    """Tell the logger in use."""
    SHARED_LOGGER.adopt(None, "tensorrt").log(Severity.WARNING, message)


class TensorHints(Facade[Any]):
    """Ranges for int8, and where tensors lie."""

    def set_dynamic_range(self, min: float, max: float) -> bool:
        """The range for int8: the larger magnitude counts."""
        done: bool = self.inner.set_dynamic_range(min, max)
        return done

    def get_dynamic_range(self) -> float:
        """The larger magnitude of the range's ends; -1 if none is set."""
        low, high = self._range() or (1.0, -1.0)
        return max(abs(low), abs(high)) if self.dynamic_range_is_set() else -1.0

    def get_dynamic_range_min(self) -> float:
        """The lower end; NaN if none is set."""
        return (self._range() or (float("nan"),) * 2)[0]

    def get_dynamic_range_max(self) -> float:
        """The upper end; NaN if none is set."""
        return (self._range() or (float("nan"),) * 2)[1]

    def dynamic_range_is_set(self) -> bool:
        """Whether a range is set."""
        return self._range() is not None

    def reset_dynamic_range(self) -> None:
        """Forget the range."""
        self.inner.reset_dynamic_range()

    def set_broadcast_across_batch(self, broadcast_across_batch: bool) -> None:
        """Inputs have the batch of the call.

        Raises:
            NetworkError: an input shall be the same for the whole batch.
        """
        if broadcast_across_batch:
            raise NetworkError(
                "set_broadcast_across_batch: in a network with implicit batch every input has the batch; use "
                "add_constant, or a network with explicit batch"
            )

    def get_broadcast_across_batch(self) -> bool:
        """False."""
        return False

    def set_location(self, location: TensorLocation) -> None:
        """Nothing: memory of host and device is the same."""

    def _range(self) -> Range | None:
        found: Range | None = self.inner.dynamic_range
        return found


class LayerHints(Facade[Any]):
    """Precisions and types of outputs of single layers."""

    def set_precision(self, data_type: DType) -> None:
        """The type to compute in, if types are strict."""
        self.inner.precision = None if data_type == DataType.INT32 else data_type

    def get_precision(self) -> DType:
        """What was set; float32 if nothing was."""
        found: DType | None = self.inner.precision
        return DataType.FLOAT if found is None else found

    def precision_is_set(self) -> bool:
        """Whether a precision was set."""
        return self.inner.precision is not None

    def reset_precision(self) -> None:
        """Forget the precision."""
        self.inner.precision = None

    def set_output_type(self, index: int, data_type: DType) -> None:
        """Convert an output to another type."""
        self.inner.set_output_type(index, data_type)

    def get_output_type(self, index: int) -> DType:
        """The type of an output."""
        found: DType = self.inner.get_output(index).dtype
        return found

    def output_type_is_set(self, index: int) -> bool:
        """Whether a type was set."""
        return index in self.inner.output_types

    def reset_output_type(self, index: int) -> None:
        """Forget the type."""
        self.inner.reset_output_type(index)


class WithoutDla(Facade[Any]):
    """There are no accelerators besides the CPU."""

    def get_nb_dla_cores(self) -> int:
        """None."""
        return 0

    def set_dla_core(self, dla_core: int) -> None:
        """Nothing, with a warning: there is no such core."""
        warn(f"set_dla_core: there is no DLA core {dla_core}; the CPU is used")

    def get_dla_core(self) -> int:
        """0."""
        return 0


class BuilderHints(WithoutDla):
    """Devices of layers, and restrictions of engines."""

    def set_device_type(self, layer: LayerHints, device_type: DeviceType) -> None:
        """Kept, with a warning if it is a DLA."""
        if DeviceType(device_type) is DeviceType.DLA:
            warn(f"set_device_type: layer '{layer.inner.name}' runs on the CPU: there is no DLA")
        kept(layer)["device"] = DeviceType(device_type)

    def get_device_type(self, layer: LayerHints) -> DeviceType:
        """What was set; GPU if nothing was."""
        return kept(layer).get("device", DeviceType.GPU)  # type: ignore[return-value]

    def is_device_type_set(self, layer: LayerHints) -> bool:
        """Whether a device was set."""
        return "device" in kept(layer)

    def reset_device_type(self, layer: LayerHints) -> None:
        """Forget the device."""
        kept(layer).pop("device", None)

    def can_run_on_dla(self, layer: LayerHints) -> bool:
        """False."""
        del layer
        return False

    def get_max_dla_batch_size(self) -> int:
        """0."""
        return 0

    def allow_gpu_fallback(self, set_fallback_mode: bool) -> None:
        """Nothing: all layers run on the CPU."""

    def set_engine_capability(self, capability: EngineCapability) -> None:
        """Kept, with a warning if it restricts the engine."""
        if EngineCapability(capability) is not EngineCapability.DEFAULT:
            warn(f"set_engine_capability: {EngineCapability(capability).name} has no meaning on a CPU")
        kept(self)["capability"] = EngineCapability(capability)

    def get_engine_capability(self) -> EngineCapability:
        """What was set; DEFAULT if nothing was."""
        return kept(self).get("capability", EngineCapability.DEFAULT)  # type: ignore[return-value]

    def reset(self, network: object = None) -> None:
        """Nothing: a builder keeps nothing of its networks."""
