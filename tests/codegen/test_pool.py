"""Compiler processes import what this process does, whatever lies in the folder that it works in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tensorwright.base.errors import BuildError
from tensorwright.codegen.cpu.pool import IN_PROCESS, CompilerPool
from tensorwright.codegen.cpu.targets import target_named
from tensorwright.devices.cpu.host import best_instruction_set

MODULES = {f"f{number}": f"define void @f{number}() {{ ret void }}" for number in range(IN_PROCESS + 2)}


def _pool() -> CompilerPool:
    return CompilerPool(target_named(best_instruction_set()), 2)


def test_modules_of_the_users_folder_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("types", "struct", "enum", "numpy", "llvmlite", "tensorwright"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # Where a script's own folder stands.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    heard: list[str] = []
    with _pool() as pool:
        pool.compile_all(MODULES, heard.append)
        assert all(pool.compile(name, text)[:4] == b"\x7fELF" for name, text in MODULES.items())
    assert heard == list(MODULES)


def test_what_llvm_rejects_is_reported() -> None:
    with _pool() as pool, pytest.raises(BuildError, match="not valid LLVM IR"):
        pool.compile_all({**MODULES, "bad": "define void @bad() { nonsense }"}, lambda name: None)
