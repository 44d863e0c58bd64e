"""Memory of outputs from the application."""

from __future__ import annotations


class OutputAllocator:
    """Gives the memory of an output when its size is known; subclass it. See `tensorwright.OutputAllocator`."""

    def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int | None:
        """The address of at least `size` bytes that is a multiple of `alignment`; 0 or None if there are none."""
        raise NotImplementedError(f"{type(self).__name__} must implement reallocate_output")

    def reallocate_output_async(
        self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
    ) -> int | None:
        """As `reallocate_output`, which it calls unless it is overridden; the stream is always 0."""
        del stream
        return self.reallocate_output(tensor_name, memory, size, alignment)

    def notify_shape(self, tensor_name: str, shape: tuple[int, ...]) -> None:
        """Hear the shape of the output."""
        raise NotImplementedError(f"{type(self).__name__} must implement notify_shape")


class Adapter:
    """An allocator as the runtime calls it: asks by the later of both methods."""

    def __init__(self, inner: OutputAllocator) -> None:
        self.inner = inner

    def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int | None:
        return self.inner.reallocate_output_async(name, memory, size, alignment, 0)

    def notify_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self.inner.notify_shape(name, shape)
