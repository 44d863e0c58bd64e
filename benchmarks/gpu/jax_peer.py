"""JAX on the same networks: ``python -m benchmarks.gpu.jax_peer resnet50:1:f16 … --json FILE``.

A network is one function compiled by `jax.jit`, with inputs and weights on the device, in the memory layouts that XLA
asks for. Products of float32 have the precision "highest", those of tf32 the default one. JAX has neither events nor
streams, so the host's clock is read, in two ways, of which the faster one counts: calls that are enqueued in a row and
waited for together; and a loop on the device, each of whose inferences is fed an input that the output of the one
before goes into, one element of it, times 0. Both are medians, divided by the number of inferences.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.gpu.networks import Task, task
from benchmarks.gpu.waiting import Measure, parser, take_part

IN_A_ROW, IN_A_LOOP = 20, 100
"""More in a loop, since starting one takes the host as long as a short network takes the GPU."""
ROUNDS, FEWEST = 100, 7
SECONDS = 0.5
"""What one figure may take."""


def prepared(item: str) -> Measure:
    """Work out what a network has to compute; it is compiled when it is measured, since XLA times algorithms."""
    return partial(measure, task(item))


def measure(task: Task) -> Mapping[str, Any]:
    """The microseconds of both ways, and the larger of their errors."""
    import jax

    from benchmarks.gpu.jax_network import jax_function

    with jax.default_matmul_precision("default" if task.type == "tf32" else "highest"):
        run, weights = jax_function(task.graph)
        once = compiled(run, weights, task.given)
        loop = compiled(looped(run, IN_A_LOOP), weights, task.given)

    def in_a_row() -> None:
        for result in [once() for _ in range(IN_A_ROW)]:
            result.block_until_ready()

    row = {
        "in_a_row_us": median_us(in_a_row) / IN_A_ROW,
        "in_a_loop_us": median_us(lambda: jax.block_until_ready(loop())) / IN_A_LOOP,
        "error": max(task.error(np.asarray(output)) for output in (once(), loop()[1])),
    }
    return {"us": min(row["in_a_row_us"], row["in_a_loop_us"]), **row}


def compiled(run: Callable[..., Any], weights: list[Any], given: Any) -> Callable[[], Any]:
    """A call of the compiled function on arrays that are on the device in the layouts that the compiler chose."""
    import jax
    from jax.experimental.layout import Format, Layout

    arguments = weights, given
    shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), arguments)
    executable = jax.jit(run, in_shardings=Format(Layout.AUTO)).lower(*shapes).compile()
    formats, _ = executable.input_formats
    placed = jax.block_until_ready(jax.tree.map(jax.device_put, arguments, formats))
    return lambda: executable(*placed)


def looped(run: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Many inferences, one after the other on the device; gives the last input, which is the first, and output."""
    import jax.numpy as jnp
    from jax import eval_shape, lax

    def many(weights: Any, x: Any) -> Any:
        def step(_: Any, state: Any) -> Any:
            x, _ = state
            output = run(weights, x)
            corner = lax.slice(x, (0,) * x.ndim, (1,) * x.ndim) + 0 * output.ravel()[0].astype(x.dtype)
            return lax.dynamic_update_slice(x, corner, (0,) * x.ndim), output

        output = eval_shape(run, weights, x)
        return lax.fori_loop(0, count, step, (x, jnp.zeros(output.shape, output.dtype)))

    return many


def median_us(run: Callable[[], object]) -> float:
    """The median of microseconds, by the host's clock, of something that waits for its end."""
    run()
    began, times = time.perf_counter(), list[float]()
    while len(times) < ROUNDS and (len(times) < FEWEST or time.perf_counter() - began < SECONDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def problem() -> str:
    """Why JAX cannot take part; empty if it can."""
    if importlib.util.find_spec("jax") is None:
        return "it is not installed"
    import jax

    return "" if jax.default_backend() == "gpu" else "it finds no GPU"


def main() -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # Others prepare on the same GPU.
    options = parser().parse_args()
    if found := problem():
        print(f"JAX is left out: {found}", flush=True)
    else:
        take_part(options, prepared)


if __name__ == "__main__":
    main()
