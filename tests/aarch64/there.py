"""Runs on the other machine: loads every plan in a folder, runs it, and says which outputs are wrong.

Its only arguments are the folder and how many processes share the work, and the number of this one.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np

from tensorwright.base.errors import TensorwrightError
from tensorwright.runtime.load import load


def main() -> None:
    folder, parts, number = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for path in sorted(folder.glob("*.plan"))[number::parts]:
        with np.load(path.with_suffix(".npz")) as known:
            label = str(known["label"])
            try:
                found = outcome(path, known)
            except (TensorwrightError, ArithmeticError, LookupError, TypeError, ValueError) as error:
                found = f"{type(error).__name__}: {error}"
        sys.stdout.write(f"{label}\t{found}\n")
        sys.stdout.flush()


def outcome(path: Path, known: np.lib.npyio.NpzFile) -> str:
    """What is wrong, or "right"; twice, with memory that holds the results of the first run."""
    expected = known["expected"].astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The plan was tuned for no processor.
        engine = load(path)
    with engine:
        names = [binding.name for binding in engine.bindings if binding.mode == "input"]
        inputs = {n: known[n].astype(named(t)) for n, t in zip(names, known["types"], strict=True)}
        for _ in range(2):
            (found,) = engine(inputs).values()
            if found.shape != expected.shape:
                return f"shape {found.shape}, expected {expected.shape}"
            largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
            wide = found.astype(np.float64)
            close = np.isclose(wide, expected, rtol=0, atol=float(known["tolerance"]) * largest, equal_nan=True)
            if not close.all():
                return f"{np.count_nonzero(~close)} of {close.size} elements are wrong"
    return "right"


def named(dtype: np.str_) -> np.dtype[np.generic]:
    return np.dtype(getattr(ml_dtypes, str(dtype), str(dtype)))


if __name__ == "__main__":
    main()
