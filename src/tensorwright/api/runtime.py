"""The runtime in TensorRT's words; `tensorwright.load` is the short way."""

from __future__ import annotations

from tensorwright.api.logger import SHARED_LOGGER, ILogger
from tensorwright.devices.device import Allocator
from tensorwright.runtime.engine import Engine
from tensorwright.runtime.load import load


class Runtime:
    """Loads engines.

    gpu_allocator: gives all device memory of the engines; None for the package's own.
    threads: how many threads the engines use; None for the number they were built for.
    device: what they run on, such as ``cuda:1``; None for the first that their plan was made for.
    """

    def __init__(self, logger: ILogger | None = None) -> None:
        self.logger = SHARED_LOGGER.adopt(logger, "Runtime")
        self.gpu_allocator: Allocator | None = None
        self.threads: int | None = None
        self.device: str | None = None

    def deserialize_engine(self, serialized_engine: bytes | bytearray | memoryview) -> Engine:
        """The engine of the bytes of a plan.

        Raises:
            PlanError: they are no plan, damaged, of another version or for another machine.
        """
        return load(serialized_engine, threads=self.threads, allocator=self.gpu_allocator, device=self.device)

    deserialize_cuda_engine = deserialize_engine
