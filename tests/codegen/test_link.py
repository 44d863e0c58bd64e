"""Objects put together to one image: what code of theirs may refer to."""

from __future__ import annotations

import pytest

from tensorwright.base.errors import BuildError
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.link import link
from tensorwright.codegen.cpu.targets import TARGETS

EMPTY_TABLE = """
@table = private unnamed_addr constant [0 x float] zeroinitializer
define ptr @first() { ret ptr @table }
"""
"""A table without elements lies in a section without bytes."""

CALL = """
declare void @{callee}()
define void @second() {{ call void @{callee}() ret void }}
"""


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_section_without_bytes_may_be_referred_to(target):
    alone = link([compile_object(EMPTY_TABLE, target)])
    assert list(alone.functions) == ["first"]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_functions_call_those_of_other_objects(target):
    objects = [compile_object(CALL.format(callee="first"), target), compile_object(EMPTY_TABLE, target)]
    assert set(link(objects).functions) == {"first", "second"}
    with pytest.raises(BuildError, match="refers to 'sqrtf', which nothing defines"):
        link([compile_object(CALL.format(callee="sqrtf"), target)])
