"""What a service lets a network take."""

from __future__ import annotations

from tensorwright.base.errors import BuildError
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, is_constant
from tensorwright.schedule.program import Program


def require_small(graph: Graph, config: BuildConfig) -> None:
    """Refuse a network whose constants are too many, before any of them is computed with.

    Raises:
        BuildError: they take more bytes than a model or its memory may have.
    """
    found = sum(value.type.max_bytes for value in graph.order() if is_constant(value))
    for name, most in (("max_model_size", config.max_model_size), ("max_memory", config.max_memory)):
        if most is not None and found > most:
            raise BuildError(f"network '{graph.name}' has {found} bytes of constants; {name} is {most}; allow more")


def require_memory(program: Program, threads: int, config: BuildConfig) -> None:
    """Refuse a program that needs too much memory.

    Raises:
        BuildError: weights, activations and scratch memory of one context take more than they may.
    """
    scratch = threads * program.workspace_bytes
    found = program.weights_bytes + program.arena_bytes + scratch
    if config.max_memory is not None and found > config.max_memory:
        raise BuildError(
            f"the network needs {found} bytes of memory: {program.weights_bytes} of weights, {program.arena_bytes} of "
            f"activations, {scratch} of scratch memory; max_memory is {config.max_memory}; allow more, use smaller "
            "shapes, or limit max_workspace_size"
        )
