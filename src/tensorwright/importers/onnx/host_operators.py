"""Operators for the host that the onnx package defines, but has no reference implementation of, or a narrower one.

Their meaning: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_tfidf_vectorizer import TfIdfVectorizer as CountedGrams

Array = npt.NDArray[Any]
ML = "ai.onnx.ml"


class Multinomial(OpRun):
    """Draws classes by unnormalised logarithms of probabilities ``[N, C]``; one seed gives the same in every call."""

    op_domain = ""

    def _run(
        self, x: Array, dtype: int | None = None, sample_size: int | None = None, seed: float | None = None
    ) -> tuple[Array]:
        rng = np.random.default_rng(None if seed is None else abs(hash(float(seed))))
        odds = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
        borders = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)
        drawn = rng.random((len(x), sample_size or 1, 1))
        chosen = np.minimum((drawn >= borders[:, None, :]).sum(axis=2), x.shape[1] - 1)
        return (chosen.astype(helper.tensor_dtype_to_np_dtype(dtype or TensorProto.INT32)),)


class MaxRoiPool(OpRun):
    """The maximum in each cell of regions ``[R, 5]`` (image, left, top, right, bottom) of images ``[N, C, H, W]``."""

    op_domain = ""

    def _run(
        self, x: Array, regions: Array, pooled_shape: Sequence[int] = (1, 1), spatial_scale: float | None = None
    ) -> tuple[Array]:
        rows, columns = pooled_shape
        result = np.zeros((len(regions), x.shape[1], rows, columns), x.dtype)
        for number, region in enumerate(regions):
            corners = np.floor(region[1:].astype(np.float64) * (spatial_scale or 1.0) + 0.5).astype(int)
            tall = _cells(corners[1], corners[3], rows, x.shape[2])
            wide = _cells(corners[0], corners[2], columns, x.shape[3])
            for i, j in np.ndindex(rows, columns):
                cell = x[int(region[0]), :, tall[i], wide[j]]
                if cell.size:
                    result[number, :, i, j] = cell.max(axis=(1, 2))
        return (result,)


class Compress(OpRun):
    """The elements where a condition holds; what it says beyond the end of the axis has no meaning."""

    op_domain = ""

    def _run(self, x: Array, condition: Array, axis: int | None = None) -> tuple[Array]:
        extent = x.size if axis is None else x.shape[axis]
        return (np.compress(condition.reshape(-1)[:extent], x, axis),)


class TfIdfVectorizer(CountedGrams):
    """The onnx package's, which tries every distance up to the longest: beyond the last item there is nothing.

    Raises:
        ValueError: ``ngram_counts`` says that grams begin or end where the pool has no items.
    """

    op_domain = ""

    def __init__(self, node: NodeProto, run_params: dict[str, Any]) -> None:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        items = len(given.get("pool_int64s") or given.get("pool_strings") or ())
        bounds = [0, *given.get("ngram_counts", ()), items]
        if bounds != sorted(bounds):
            raise ValueError(f"ngram_counts: expected ascending numbers from 0 to {items}, found {bounds[1:-1]}")
        super().__init__(node, run_params)  # type: ignore[no-untyped-call]

    def _run(self, X: Array, **attributes: Any) -> tuple[Array]:  # type: ignore[override]  # noqa: ANN401
        attributes["max_skip_count"] = min(attributes.get("max_skip_count") or 0, max(X.shape, default=1))
        return super()._run(X, **attributes)  # type: ignore[no-untyped-call, no-any-return]


class RegexFullMatch(OpRun):
    """Which texts a pattern matches as a whole, in the syntax of RE2, whose time grows with the text's length alone."""

    op_domain = ""

    def _run(self, x: Array, pattern: str | None = None) -> tuple[Array]:
        try:
            import re2
        except ImportError as error:
            raise ImportError("it needs the package google-re2: pip install 'tensorwright[text]'") from error
        matching = re2.compile(pattern or "")
        return (np.array([matching.fullmatch(text) is not None for text in x.flat], bool).reshape(x.shape),)


class ZipMap(OpRun):
    """Rows of scores ``[N, C]`` as one map for each, by the names or numbers of the classes."""

    op_domain = ML

    def _run(
        self,
        x: Array,
        classlabels_int64s: Sequence[int] | None = None,
        classlabels_strings: Sequence[str] | None = None,
    ) -> tuple[list[dict[int | str, float]]]:
        labels: list[int | str] = [*(classlabels_strings or ()), *(classlabels_int64s or ())]
        return ([dict(zip(labels, map(float, row), strict=True)) for row in np.atleast_2d(x)],)


class CategoryMapper(OpRun):
    """Names of categories as numbers, or numbers as names."""

    op_domain = ML

    def _run(
        self,
        x: Array,
        cats_int64s: Sequence[int] = (),
        cats_strings: Sequence[str] = (),
        default_int64: int | None = None,
        default_string: str | None = None,
    ) -> tuple[Array]:
        if np.issubdtype(x.dtype, np.integer):
            names = dict(zip(cats_int64s, cats_strings, strict=True))
            otherwise = "_Unused" if default_string is None else default_string
            return (np.array([names.get(int(v), otherwise) for v in x.flat], object).reshape(x.shape),)
        numbers = dict(zip(cats_strings, cats_int64s, strict=True))
        missing = -1 if default_int64 is None else default_int64
        return (np.array([numbers.get(str(v), missing) for v in x.flat], np.int64).reshape(x.shape),)


def _cells(low: int, high: int, count: int, extent: int) -> list[slice]:
    """The cells of an axis between two positions, both included; they may overlap."""
    size = max(high - low + 1, 1) / count
    starts = [int(np.floor(n * size)) + low for n in range(count)]
    ends = [int(np.ceil((n + 1) * size)) + low for n in range(count)]
    return [slice(min(max(a, 0), extent), min(max(b, 0), extent)) for a, b in zip(starts, ends, strict=True)]


OPERATORS: list[type[OpRun]] = [
    Compress,
    Multinomial,
    MaxRoiPool,
    RegexFullMatch,
    TfIdfVectorizer,
    ZipMap,
    CategoryMapper,
]
