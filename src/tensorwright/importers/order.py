"""The order in which the nodes of a foreign graph can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence


def sources_first(
    roots: Iterable[str], sources: Callable[[str], Iterable[str]], cycle: Callable[[Sequence[str]], Exception]
) -> list[str]:
    """The names that some nodes need and these, each behind all that it takes; without recursion.

    Args:
        roots: the nodes that are wanted.
        sources: the names of the nodes that a node takes.
        cycle: the error for nodes that need each other, in order; it is raised.
    """
    order: list[str] = []
    is_done: dict[str, bool] = {}
    for root in roots:
        stack = [] if root in is_done else [(root, iter(sources(root)))]
        is_done.setdefault(root, False)
        while stack:
            name, rest = stack[-1]
            below = next(rest, None)
            if below is None:
                stack.pop()
                is_done[name] = True
                order.append(name)
            elif below not in is_done:
                is_done[below] = False
                stack.append((below, iter(sources(below))))
            elif not is_done[below]:
                path = [entry for entry, _ in stack]
                raise cycle(path[path.index(below) :])
    return order
