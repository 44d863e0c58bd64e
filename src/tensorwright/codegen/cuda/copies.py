"""Copies from global to shared memory that run beside a thread's other work, in groups that it waits for."""

from __future__ import annotations

from tensorwright.codegen.ir import FunctionBuilder
from tensorwright.codegen.values import Pointer, Register

_COPIES = {
    16: "@llvm.nvvm.cp.async.cg.shared.global.16",
    4: "@llvm.nvvm.cp.async.ca.shared.global.4",
}


def copy_bytes(builder: FunctionBuilder, count: int, to: str, source: Pointer, size: Register | None = None) -> None:
    """Begin to copy 4 or 16 bytes to shared memory; with a `size` (i32, 0 or all), so many, and zeros behind them."""
    place = builder.fresh("p")
    builder.emit(f"{place} = addrspacecast ptr {source.text} to ptr addrspace(1)")
    name, types = _COPIES[count], "ptr addrspace(3), ptr addrspace(1)"
    arguments = f"ptr addrspace(3) {to}, ptr addrspace(1) {place}"
    if size is not None:
        name, types, arguments = f"{name}.s", f"{types}, i32", f"{arguments}, {size.typed}"
    builder.declare(f"declare void {name}({types})")
    builder.emit(f"call void {name}({arguments})")


def end_group(builder: FunctionBuilder) -> None:
    """The copies begun since the last group are one, which may be empty."""
    builder.declare("declare void @llvm.nvvm.cp.async.commit.group()")
    builder.emit("call void @llvm.nvvm.cp.async.commit.group()")


def wait_for_groups(builder: FunctionBuilder, unfinished: int) -> None:
    """Wait until all groups of this thread but so many of the latest have been copied."""
    builder.declare("declare void @llvm.nvvm.cp.async.wait.group(i32 immarg)")
    builder.emit(f"call void @llvm.nvvm.cp.async.wait.group(i32 {unfinished})")
