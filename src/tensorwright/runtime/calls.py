"""Calls on NumPy arrays for plans whose sizes are fixed: as few steps of the interpreter as possible.

After an inference the caches of the processor hold weights, not the interpreter, so that every step costs several times
what it costs in a loop of its own. Whatever is unusual about the inputs is left to a slower path, which copes with it
or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tensorwright.runtime.arrays import Array, address_of, output_maker, view_of

if TYPE_CHECKING:
    from collections.abc import MutableSequence
    from threading import Lock

    from tensorwright.runtime.bindings import BindingTable, Sizes

FixedCall = Callable[[Array | Mapping[str, Array]], dict[str, Array] | None]


def fixed_call(
    table: BindingTable,
    sizes: Sizes,
    bindings: MutableSequence[int],
    run: Callable[[], None],
    lock: Lock,
    is_ready: list[bool],
) -> FixedCall:
    """A function that runs on arrays of exactly these sizes, and returns None without running for all else.

    bindings: gets the addresses, inputs first; run: is called with the lock held; is_ready: empty once it must not be.
    """
    expected = [(slot.name, slot.dtype, sizes.shapes[slot.number]) for slot in table.inputs]
    makers = [(slot.name, output_maker(sizes.shapes[slot.number], slot.dtype)) for slot in table.outputs]
    count, only = len(expected), expected[0][0] if len(expected) == 1 else None
    exact, view, address = np.ndarray, view_of, address_of

    def call(inputs: Array | Mapping[str, Array]) -> dict[str, Array] | None:
        if only is not None and type(inputs) is exact:
            found: Mapping[str, Array] = {only: inputs}
        elif type(inputs) is dict and len(inputs) == count:
            found = inputs
        else:
            return None
        views, addresses = [], []  # Views keep the arrays alive and in place.
        try:
            for name, dtype, shape in expected:
                array = found[name]
                if array.dtype is not dtype or array.shape != shape or type(array) is not exact:
                    return None
                place = view(array)  # Raises for arrays that are not contiguous or may not be written.
                views.append(place)
                addresses.append(address(place))
        except (KeyError, AttributeError, TypeError, ValueError, BufferError):
            return None
        results = {}
        for name, make in makers:
            results[name], start = make()
            addresses.append(start)
        with lock:
            if not is_ready:
                return None
            bindings[:] = addresses
            run()
        return results

    return call
