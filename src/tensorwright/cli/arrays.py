"""Arrays for the inputs of an engine, from files or random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tensorwright.base.errors import ExecutionError
from tensorwright.cli.command import UsageError, named
from tensorwright.plan.plan import Binding
from tensorwright.runtime.bindings import bare_symbol
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import evaluate, symbols_of
from tensorwright.tensor.dtype import DType

Array = npt.NDArray[np.generic]


def read_inputs(engine: Engine, options: Sequence[str]) -> dict[str, Array]:
    """Arrays from files: ``NAME=FILE.npy``, ``FILE.npy`` for an engine of one input, ``FILE.npz`` for several.

    Raises:
        UsageError: an option does not say which input it is for, or a file holds something else.
    """
    names = [binding.name for binding in engine.bindings if binding.mode == "input"]
    found: dict[str, Array] = {}
    for option in options:
        name, path = ("", option) if Path(option).exists() else named(option)
        loaded = _load(Path(path))
        if isinstance(loaded, dict):
            found.update(loaded if not name else {name: _only(loaded, path)})
        elif name or len(names) == 1:
            found[name or names[0]] = loaded
        else:
            raise UsageError(f"'{option}': the engine has the inputs {', '.join(names)}; say which with NAME=FILE")
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise UsageError(f"the engine has no input {', '.join(unknown)}; it has {', '.join(names)}")
    return found


def complete_inputs(engine: Engine, given: Mapping[str, Array], batch: int | None, seed: int) -> dict[str, Array]:
    """Given arrays, and random ones for all other inputs.

    Dimensions that the given arrays and `batch` leave open take the value that the plan was tuned for. Floats are
    normally distributed; integers are 0 or 1, which any table of a network has.
    """
    inputs = [binding for binding in engine.bindings if binding.mode == "input"]
    values = {s.name: s.opt for b in inputs for dim in b.type.shape for s in symbols_of(dim)}
    if batch is not None:
        values |= _batch_values(inputs, batch)
    for binding in inputs:
        if binding.name in given:
            values |= _values(binding, given[binding.name])
    rng = np.random.default_rng(seed)
    return {b.name: given[b.name] if b.name in given else _random(b, values, rng) for b in inputs}


def _batch_values(inputs: Sequence[Binding], batch: int) -> dict[str, int]:
    leading = [bare_symbol(binding.type.shape[0]) for binding in inputs if binding.type.shape]
    found = {symbol.name: batch for symbol in leading if symbol is not None}
    if not found:
        raise UsageError("--batch: the first dimensions of the inputs are fixed; build with --shape to leave them open")
    return found


def _values(binding: Binding, array: Array) -> dict[str, int]:
    """What the shape of an array says about symbols; whether it fits is checked when it is run."""
    pairs = zip(map(bare_symbol, binding.type.shape), array.shape, strict=False)
    return {symbol.name: extent for symbol, extent in pairs if symbol is not None}


def random_array(dtype: DType, shape: Sequence[int], rng: np.random.Generator) -> Array:
    """Normally distributed floats; integers and truth values of 0 and 1."""
    if dtype.is_float:
        return rng.standard_normal(tuple(shape), np.float32).astype(dtype.numpy)
    return rng.integers(0, 2, tuple(shape)).astype(dtype.numpy)


def _random(binding: Binding, values: Mapping[str, int], rng: np.random.Generator) -> Array:
    return random_array(binding.type.dtype, [evaluate(dim, values) for dim in binding.type.shape], rng)


def _load(path: Path) -> Array | dict[str, Array]:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UsageError(f"{path}: expected arrays as numpy.save or numpy.savez write them ({error})") from None
    if isinstance(loaded, np.ndarray):
        return np.ascontiguousarray(loaded)
    with loaded:
        return {name: np.ascontiguousarray(loaded[name]) for name in loaded.files}


def _only(arrays: Mapping[str, Array], path: str) -> Array:
    if len(arrays) != 1:
        raise ExecutionError(f"{path}: expected one array for NAME=FILE, found {', '.join(arrays)}")
    return next(iter(arrays.values()))
