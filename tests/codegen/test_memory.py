"""Too little memory for LLVM is an error, not the end of the process."""

from __future__ import annotations

import resource

import pytest

from networks.isolation import isolated
from tensorwright.base.errors import BuildError
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.targets import target_named

MODULE = "define void @f() {\n  ret void\n}\n"


def compiled_within(mebibytes: int) -> str:
    """What happens where the process may map so much more than it has mapped."""
    with open("/proc/self/statm") as file:  # noqa: PTH123  # No file of which a path would say more.
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        return f"{len(compile_object(MODULE, target_named('baseline')))} bytes"
    except BuildError as error:
        return str(error)


@pytest.mark.parametrize("mebibytes", [1, 8, 32, 60])
def test_too_little_memory_is_an_error(mebibytes: int) -> None:
    assert "takes more memory than there is" in isolated(lambda: compiled_within(mebibytes), 60)


def test_small_modules_need_little_memory() -> None:
    assert isolated(lambda: compiled_within(256), 60).endswith(" bytes")
