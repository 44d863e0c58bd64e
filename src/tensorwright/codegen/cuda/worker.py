"""Compiles modules for GPUs in a process of its own; speaks as `tensorwright.codegen.cpu.worker` does."""

from __future__ import annotations

import sys

from tensorwright.codegen.cpu.worker import serve
from tensorwright.codegen.cuda.compile import compile_image
from tensorwright.codegen.cuda.targets import cuda_target_named


def main() -> None:
    target = cuda_target_named(sys.argv[1])
    serve(lambda text: compile_image(text, target))
