"""What a build compiles with."""

from __future__ import annotations

from tensorwright.backends.backend import Backend, Toolchain
from tensorwright.backends.find import backend_named
from tensorwright.build.config import BuildConfig


def toolchain_for(config: BuildConfig, backend: Backend | None = None) -> Toolchain:
    """The toolchain that a configuration asks for. backend: None for the one that it names.

    Raises:
        BuildError: a device, a target or an option is not to be had.
        PlanError: this machine cannot run or describe the target.
    """
    backend = backend or backend_named(config.device)
    if config.compatible:
        backend = backend.compatible()
    if config.libraries and config.level > 0:
        backend = backend.with_libraries(config.libraries)
    return backend.toolchain(config.wanted_target, config.threads, config.allocator)
