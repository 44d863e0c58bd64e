"""All device memory from an allocator of one's own; and a context that computes in memory lent to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

import tensorwright as tw

MODEL = Path(__file__).parents[1] / "demo" / "lenet.onnx"


class ArrayAllocator:
    """Gives out memory of NumPy arrays and counts it."""

    def __init__(self) -> None:
        self.arrays: dict[int, npt.NDArray[np.uint8]] = {}

    def allocate(self, size: int, alignment: int, flags: int) -> int:
        """The address of `size` bytes that is a multiple of `alignment`."""
        array = np.empty(size + alignment, np.uint8)
        address = -(-array.ctypes.data // alignment) * alignment
        self.arrays[address] = array
        return address

    def free(self, address: int) -> None:
        """Take memory back."""
        del self.arrays[address]

    @property
    def bytes(self) -> int:
        """What is given out now."""
        return sum(array.nbytes for array in self.arrays.values())


def main() -> None:
    allocator = ArrayAllocator()
    image = np.random.default_rng(0).random((1, 1, 28, 28), np.float32)

    engine = tw.build(MODEL, threads=1, level=1, allocator=allocator)
    own = engine.create_execution_context()
    print(f"engine and context use {allocator.bytes} bytes of the allocator")

    lent = engine.create_execution_context_without_device_memory()
    try:
        lent(image)
    except tw.ExecutionError as error:
        print("refused:", error)
    memory = np.empty(engine.device_memory_size + engine.device_memory_alignment, np.uint8)
    lent.device_memory = -(-memory.ctypes.data // engine.device_memory_alignment) * engine.device_memory_alignment
    assert np.array_equal(lent(image)["probabilities"], own(image)["probabilities"])

    engine.close()
    print(f"after close: {allocator.bytes} bytes")
    assert not allocator.arrays


if __name__ == "__main__":
    main()
