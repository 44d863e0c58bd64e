"""Memory of outputs from the application, which is asked for it when sizes are known."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index
from typing import TYPE_CHECKING, Protocol, SupportsIndex, runtime_checkable

from tensorwright.base.errors import ExecutionError

if TYPE_CHECKING:
    from tensorwright.runtime.bindings import BindingTable, Extents, Sizes

ALIGNMENT = 256


@runtime_checkable
class OutputAllocator(Protocol):
    """Gives the memory of an output, inference by inference."""

    def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int | None:
        """The address of at least `size` bytes that is a multiple of `alignment`; 0 or None if there are none.

        memory: the address that the caller of the inference gave, or else the one that was returned last; 0 for none.
        It may be returned again.
        """
        ...

    def notify_shape(self, name: str, shape: tuple[int, ...]) -> object:
        """Hear the shape that the output has, before the call returns."""
        ...


class OutputAllocators:
    """Which outputs of a context have an allocator."""

    def __init__(self) -> None:
        self._found: dict[str, OutputAllocator] = {}
        self._latest: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._found)

    def get(self, name: str) -> OutputAllocator | None:
        return self._found.get(name)

    def set(self, name: str, allocator: OutputAllocator | None) -> None:
        """Have an allocator give the memory of an output; None for whoever runs an inference.

        Raises:
            ExecutionError: it is no allocator.
        """
        self._latest.pop(name, None)
        if allocator is None:
            self._found.pop(name, None)
        elif isinstance(allocator, OutputAllocator):
            self._found[name] = allocator
        else:
            raise ExecutionError(
                f"output allocator of '{name}': expected an object with reallocate_output and notify_shape, found "
                f"{type(allocator).__name__}"
            )

    def memory(self, name: str, given: int, size: int) -> int:
        """The address of so many bytes for an output. given: where the caller would have it, 0 for nowhere.

        Raises:
            ExecutionError: the allocator failed, or gave none or memory that is not aligned.
        """
        try:
            found = self._found[name].reallocate_output(name, given or self._latest.get(name, 0), size, ALIGNMENT)
        except Exception as error:
            raise ExecutionError(f"output allocator of '{name}': {size} bytes were asked for: {error!r}") from error
        address = index(found) if isinstance(found, SupportsIndex) else 0
        if address <= 0 or address % ALIGNMENT:
            raise ExecutionError(
                f"output allocator of '{name}': expected the address of {size} bytes, a positive multiple of "
                f"{ALIGNMENT}, found {found!r}; free memory, or allocate a little more and round the address up"
            )
        self._latest[name] = address
        return address

    def placed(self, table: BindingTable, bindings: Sequence[int], sizes: Sizes) -> Sequence[int]:
        """The addresses of bindings, those of outputs with allocators from them."""
        if not self._found or len(bindings) != len(table.bindings):
            return bindings
        found = list(bindings)
        for slot in table.outputs:
            if slot.name in self._found:
                size = prod(sizes.shapes[slot.number]) * slot.dtype.size
                found[slot.number] = self.memory(slot.name, int(found[slot.number] or 0), max(size, 1))
        return found

    def notify(self, name: str, shape: Extents) -> None:
        """Tell the allocator of an output its shape, if it has one."""
        allocator = self._found.get(name)
        if allocator is not None:
            allocator.notify_shape(name, shape)

    def notify_all(self, table: BindingTable, sizes: Sizes) -> None:
        """Tell all allocators the shapes of their outputs."""
        for slot in table.outputs if self._found else ():
            self.notify(slot.name, sizes.shapes[slot.number])
