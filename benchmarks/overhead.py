"""What a call from Python costs over the native entry: ``python -m benchmarks.overhead [PLAN …]``.

The entry of a plan is called in a loop of generated code, and then in every way that Python offers; all in turns, for
many rounds, and the smallest time of each counts. Without plans, a network of one addition of four numbers is built, so
that next to nothing but the call is measured.
"""

from __future__ import annotations

import ctypes
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import tensorwright as tw
from tensorwright.codegen.cpu.compile import compile_object
from tensorwright.codegen.cpu.link import link
from tensorwright.codegen.cpu.targets import target_named
from tensorwright.devices.cpu.code import ExecutableMemory
from tensorwright.devices.cpu.host import best_instruction_set

ROUNDS = 300
ROUND_SECONDS = 1e-3
LOOP = """
define void @loop(ptr %entry, ptr %context, i64 %count) nounwind {
start:
  br label %again
again:
  %round = phi i64 [ 0, %start ], [ %next, %again ]
  call void %entry(ptr %context)
  %next = add i64 %round, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %again, label %done
done:
  ret void
}
"""


def native_loop() -> tuple[ExecutableMemory, Callable[[int, int, int], None]]:
    """A function that calls the entry at an address on a context so many times, and the memory that it lies in."""
    target = target_named(best_instruction_set())
    image = link([compile_object(LOOP, target)])
    memory = ExecutableMemory(image.code)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    return memory, kind(memory.address + image.functions["loop"])


def tiny_plan(folder: Path) -> Path:
    """A network that adds one to four numbers."""
    builder = tw.Builder(tw.Logger(tw.Severity.ERROR))
    network = builder.create_network(1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    x = network.add_input("x", tw.float32, (4,))
    one = network.add_constant((4,), np.ones(4, np.float32)).get_output(0)
    total = network.add_elementwise(x, one, tw.ElementWiseOperation.SUM).get_output(0)
    network.mark_output(total)
    tw.build(network, threads=1, level=0, timing_cache="").save(folder / "tiny.plan")
    return folder / "tiny.plan"


def measure(plan: Path, threads: int) -> dict[str, float]:
    """Microseconds of one inference, by way of calling."""
    _, loop = native_loop()
    engine = tw.load(plan, threads=threads)
    rng = np.random.default_rng(0)
    inputs = {
        b.name: rng.standard_normal(b.type.tuning_shape).astype(b.type.dtype.numpy)
        for b in engine.bindings
        if b.mode == "input"
    }
    context = engine._default_context()  # The same memory for all, whose place alone makes a difference.
    outputs = context(inputs)
    addresses = [{**inputs, **outputs}[name].ctypes.data for name in engine]
    first = next(iter(inputs.values()))
    batch = first.shape[0] if engine.max_batch_size > 1 else 1
    context.execute(batch, addresses)
    executor = context._launcher.executor
    entry, state = ctypes.cast(engine._module.image.run, ctypes.c_void_p).value or 0, executor.context
    ways: dict[str, Callable[[int], None]] = {
        "native entry": lambda count: loop(entry, state, count),
        "engine({name: array})": _repeated(lambda: engine(inputs)),
        "context({name: array})": _repeated(lambda: context(inputs)),
        "context.execute(batch, addresses)": _repeated(lambda: context.execute(batch, addresses)),
    }
    if len(inputs) == 1:
        ways |= {"engine(array)": _repeated(lambda: engine(first))}
        ways |= {"context(array)": _repeated(lambda: context(first))}
    ways |= {"an empty function": _repeated(lambda: None)}
    return _best(ways)


def _repeated(call: Callable[[], object]) -> Callable[[int], None]:
    def run(count: int) -> None:
        for _ in range(count):
            call()

    return run


def _best(ways: dict[str, Callable[[int], None]]) -> dict[str, float]:
    counts, best = {}, dict.fromkeys(ways, float("inf"))
    for name, run in ways.items():
        run(10)
        start = time.perf_counter()
        run(10)
        counts[name] = max(1, int(ROUND_SECONDS / (time.perf_counter() - start) * 10))
    for _ in range(ROUNDS):
        for name, run in ways.items():
            start = time.perf_counter()
            run(counts[name])
            best[name] = min(best[name], (time.perf_counter() - start) / counts[name])
    return {name: 1e6 * seconds for name, seconds in best.items()}


def main(
    plans: Annotated[list[Path] | None, typer.Argument(help="Plans; a tiny network if none is given.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of an inference.")] = 1,
) -> None:
    """Measure what calls cost."""
    with tempfile.TemporaryDirectory() as folder:
        for plan in plans or [tiny_plan(Path(folder))]:
            found = measure(plan, threads)
            base = found["native entry"]
            table = Table("way", title=f"{plan.stem}, {threads} thread(s)")
            for heading in ("µs", "µs over the native entry"):
                table.add_column(heading, justify="right")
            for name, time_taken in found.items():
                over = "" if name in ("native entry", "an empty function") else f"{time_taken - base:.2f}"
                table.add_row(name, f"{time_taken:.2f}", over)
            Console().print(table)


if __name__ == "__main__":
    typer.run(main)
