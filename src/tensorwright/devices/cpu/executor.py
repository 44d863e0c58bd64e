"""Plans on the CPU: code and weights that contexts share, and what each context has of its own."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, MutableSequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from tensorwright.base.addresses import buffer_address, read_only_memory
from tensorwright.base.unique import Unique
from tensorwright.devices.buffer import Buffer
from tensorwright.devices.cpu.abi import ALIGNMENT, CONTEXT_BYTES, field_offset, team_bytes
from tensorwright.devices.cpu.code import CodeImage, syscall_address
from tensorwright.devices.cpu.team import Team
from tensorwright.plan.plan import WEIGHTS_ALIGNMENT, Plan

if TYPE_CHECKING:
    from tensorwright.devices.device import Allocator

_CONTROL_ALIGNMENT = 128


class CpuModule(Unique):
    """Code and weights of a plan in memory. Weights that are not aligned already are copied once."""

    checks_indices = False

    def __init__(self, plan: Plan, allocator: Allocator, threads: int) -> None:
        self.allocator = allocator
        self.threads = threads
        self.image = CodeImage(plan.executable)
        self._copy: Buffer | None = None
        self.weights = buffer_address(plan.weights)
        if self.weights % WEIGHTS_ALIGNMENT:
            size = plan.weights.nbytes
            self._copy = Buffer(allocator, size, WEIGHTS_ALIGNMENT, f"the weights of '{plan.name}'")
            self.weights = self._copy.address
            ctypes.memmove(self.weights, buffer_address(plan.weights), size)
            plan = replace(plan, weights=read_only_memory(self.weights, size))
        self.plan = plan
        self.workspace_offset = _aligned(plan.arena_bytes)
        self.memory_bytes = self.workspace_offset + max(ALIGNMENT, _aligned(threads * plan.workspace_bytes))

    def create_executor(self) -> CpuExecutor:
        return CpuExecutor(self)

    def close(self) -> None:
        if self._copy is not None:
            self._copy.close()


class CpuExecutor(Unique):
    """The native context of one execution context, and its threads."""

    def __init__(self, module: CpuModule) -> None:
        plan = module.plan
        self._module = module
        counts = (len(plan.bindings), len(plan.symbols))
        fields = team_bytes(module.threads)
        tables = fields + CONTEXT_BYTES
        self._control = Buffer(
            module.allocator, tables + 8 * sum(counts), _CONTROL_ALIGNMENT, f"the control block of '{plan.name}'"
        )
        base = self._control.address
        ctypes.memset(base, 0, self._control.size)
        self._context = base + fields
        self._single = partial(module.image.run, ctypes.c_void_p(self._context))
        self.bindings = _table(ctypes.c_uint64, base + tables, counts[0])
        self.symbols = _table(ctypes.c_int64, base + tables + 8 * counts[0], counts[1])
        self._set("bindings", base + tables)
        self._set("symbols", base + tables + 8 * counts[0])
        self._set("weights", module.weights)
        self._set("team", base)
        self._set("threads", module.threads)
        self._set("syscall", syscall_address())
        self._team: Team | None = None
        if module.threads > 1:
            self._team = Team(module.image, self._control, self._context, base, module.threads)

    @property
    def runner(self) -> Callable[[], None]:
        return self._single if self._team is None else self.run

    @property
    def context(self) -> int:
        """The address of what the native entries are given."""
        return self._context

    def set_memory(self, address: int) -> None:
        self._set("arena", address)
        self._set("workspace", address + self._module.workspace_offset)

    def run(self) -> None:
        if self._team is not None:
            self._team.ensure()
        self._single()

    def run_profiled(self, steps: int) -> list[int]:
        ticks = (ctypes.c_uint64 * (steps + 1))()
        self._set("profile", ctypes.addressof(ticks))
        try:
            self.run()
        finally:
            self._set("profile", 0)
        return list(ticks)

    def close(self) -> None:
        if self._team is not None:
            self._team.close()
        self._control.close()

    def _set(self, field: str, value: int) -> None:
        ctypes.c_uint64.from_address(self._context + field_offset(field)).value = value


def _table(element: type[ctypes.c_uint64 | ctypes.c_int64], address: int, count: int) -> MutableSequence[int]:
    return cast(MutableSequence[int], (element * count).from_address(address))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
