"""Attention equals its definition, for every configuration, instruction set and way to deal out tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest

from cases.case import Array
from kernels.regions import check
from kernels.test_matmul import vector_loops
from targets import SINGLE
from tensorwright.codegen.cpu.compile import compile_assembly, compile_object
from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.graph.graph import Value, apply, constant_value, input_value
from tensorwright.graph.region import Region, joined, region_of
from tensorwright.kernels.cpu.attention.tactic import Attention
from tensorwright.kernels.cpu.attention.write import UNROLL
from tensorwright.ops.activation import Relu
from tensorwright.ops.elementwise import Binary, ReplaceNan
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import Softmax
from tensorwright.ops.shape import Transpose
from tensorwright.tensor.dim import Dim, symbol
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import weights_of
from tensorwright.tune.cpu.kernel_runner import run_kernel

BATCH = symbol("batch", 1, 2, 8)
BATCHES = ({"batch": 1}, {"batch": 3})
PAST, LENGTH = symbol("past", 0, 20, 90), symbol("length", 1, 7, 40)
TOTAL = PAST + LENGTH
LENGTHS = tuple(
    {"batch": 2, "past": past, "length": length} for past, length in ((0, 1), (20, 7), (63, 1), (64, 40), (90, 40))
)
SWAPPED = (0, 2, 1, 3)


@dataclass(frozen=True)
class Heads:
    """q ``[*lead, rows, depth]``, k ``[*lead, columns, depth]``, v ``[*lead, columns, width]``.

    between: what follows the scores: "scale", "mask" (a variable of shape `mask`), "masked" (the columns from the third
    on get -inf in the last row and all get it in the first). after: what follows the result. turned: which of q, k, v
    and the output are read or written through a transposition of heads and rows ("T": of v's rows and width as well).
    guarded: NaNs of the softmax are replaced by 0.
    """

    lead: tuple[Dim, ...]
    rows: Dim
    columns: Dim
    depth: int
    width: int
    between: tuple[str, ...] = ()
    mask: tuple[Dim, ...] = ()
    after: tuple[str, ...] = ()
    turned: str = ""
    guarded: bool = False
    plain_keys: bool = False
    values_lead: tuple[Dim, ...] | None = None
    symbols: tuple[Mapping[str, int], ...] = field(default=({},))

    def region(self) -> Region:
        before: list[Region] = []

        def given(name: str, rows: Dim, columns: Dim, lead: tuple[Dim, ...]) -> Value:
            if name not in self.turned:
                return input_value(name, TensorType(FLOAT32, (*lead, rows, columns)))
            batch, heads = lead
            value = apply(Transpose(SWAPPED), input_value(name, TensorType(FLOAT32, (batch, rows, heads, columns))))
            before.append(region_of([value]))
            return value

        keys = (self.depth, self.columns) if self.plain_keys else (self.columns, self.depth)
        q, k = given("q", self.rows, self.depth, self.lead), given("k", *keys, self.lead)
        v = given("v", self.columns, self.width, self.lead if self.values_lead is None else self.values_lead)
        product = apply(MatMul(transpose_b=not self.plain_keys), q, k)
        values = [product]
        for step in self.between:
            values.append(self.followed(step, values[-1]))
        powers = apply(Softmax(values[-1].type.rank - 1), values[-1])
        softmax = [powers, *([apply(ReplaceNan(), powers)] if self.guarded else [])]
        result = apply(MatMul(), softmax[-1], v)
        finished = [result]
        for step in self.after:
            finished.append(self.followed(step, finished[-1]))
        stages = [region_of(values, product), region_of(softmax, powers), region_of(finished, result)]
        if "o" in self.turned:
            stages.append(region_of([apply(Transpose(SWAPPED), finished[-1])]))
        return joined([*before, *stages])

    def followed(self, step: str, value: Value) -> Value:
        rng = np.random.default_rng(7)
        match step:
            case "scale":
                return apply(Binary("mul"), value, constant_value(weights_of(np.float32(0.25))))
            case "mask":
                return apply(Binary("add"), value, input_value("mask", TensorType(FLOAT32, self.mask)))
            case "masked":
                return apply(Binary("add"), value, constant_value(weights_of(self.infinities())))
            case "bias":
                bias = rng.uniform(-2, 2, self.width).astype(np.float32)
                return apply(Binary("add"), value, constant_value(weights_of(bias)))
            case "relu":
                return apply(Relu(), value)
        raise ValueError(step)

    def infinities(self) -> Array:
        mask = np.zeros((self.rows, self.columns), np.float32)
        mask[0], mask[-1, 2:] = -np.inf, -np.inf
        return mask


HEADS = {
    "smallest": Heads((), 1, 2, 1, 2),
    "one-row": Heads((3,), 1, 5, 20, 32, after=("bias",)),
    "image": Heads((1, 2), 197, 197, 64, 64),
    "odd": Heads((2, 3), 7, 130, 20, 37, ("scale",), after=("bias", "relu")),
    "few-columns": Heads((2, 2), 21, 5, 32, 64, ("scale", "mask"), (2, 1, 1, 5)),
    "mask-of-rows": Heads((2, 3), 33, 40, 20, 20, ("mask",), (1, 1, 33, 40)),
    "mask-of-heads": Heads((2, 3), 9, 40, 20, 20, ("mask", "scale"), (3, 9, 1)),
    "masked": Heads((2,), 19, 37, 16, 24, ("masked",)),
    "guarded": Heads((2,), 19, 37, 16, 24, ("masked",), guarded=True),
    "long": Heads((2,), 30, 700, 8, 16),
    "keys-by-column": Heads((4,), 20, 50, 12, 20, plain_keys=True),
    "values-of-all": Heads((3, 2), 20, 50, 12, 20, values_lead=(1, 2)),
    "batch": Heads((BATCH, 3), 17, 20, 16, 32, ("mask",), (BATCH, 1, 1, 20), symbols=BATCHES),
    "past": Heads((BATCH, 3), LENGTH, TOTAL, 20, 37, ("scale", "mask"), (BATCH, 1, LENGTH, TOTAL), symbols=LENGTHS),
    "past-turned": Heads((BATCH, 2), LENGTH, TOTAL, 16, 16, ("scale",), turned="qo", guarded=True, symbols=LENGTHS),
    "past-by-column": Heads((2,), 5, TOTAL, 12, 20, after=("bias",), plain_keys=True, symbols=LENGTHS),
    "unknown-rows": Heads((BATCH, 2), LENGTH, 30, 20, 24, turned="qkvo", symbols=LENGTHS),
    "turned": Heads((2, 3), 33, 29, 20, 24, turned="qkvo", after=("bias",)),
    "turned-batch": Heads((BATCH, 4), 20, 20, 16, 16, ("scale",), turned="qkvo", symbols=BATCHES),
    "turned-inside": Heads((2, 3), 9, 29, 20, 24, turned="kv"),
    "turned-outside": Heads((2, 3), 9, 29, 20, 24, turned="qo"),
}


@pytest.mark.parametrize("target_name", SINGLE)
@pytest.mark.parametrize("name", HEADS)
def test_equals_reference(name: str, target_name: str, rng: np.random.Generator) -> None:
    region, target = HEADS[name].region(), TARGETS[target_name]
    configs = Attention().configs(region, target)
    assert configs
    for config in configs:
        with np.errstate(invalid="ignore"):
            check(region, Attention().emit(region, config, target), target, rng, *HEADS[name].symbols)


@pytest.mark.parametrize("target_name", SINGLE)
def test_large_scores(target_name: str, rng: np.random.Generator) -> None:
    """Scores beyond the range of exp give the values of the largest ones."""
    region, target = Heads((2,), 13, 37, 4, 5).region(), TARGETS[target_name]
    q, v = (rng.uniform(-2, 2, shape).astype(np.float32) for shape in ((2, 13, 4), (2, 37, 5)))
    k = (1e9 * rng.standard_normal((2, 37, 4))).astype(np.float32)
    largest = (q.astype(np.float64) @ k.astype(np.float64).swapaxes(1, 2)).argmax(-1)
    expected = np.take_along_axis(v, largest[..., None], 1)
    for config in Attention().configs(region, target):
        found = run_kernel(region, Attention().emit(region, config, target), target, [q, k, v])
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rows_without_an_answer(rng: np.random.Generator) -> None:
    """A row whose columns are all masked has no result, and the others have theirs."""
    heads, target = HEADS["masked"], TARGETS[SINGLE[0]]
    region = heads.region()
    arrays = [rng.uniform(-2, 2, (2, *shape)).astype(np.float32) for shape in ((19, 16), (37, 16), (37, 24))]
    q, k, v = (array.astype(np.float64) for array in arrays)
    scores = q @ k.swapaxes(1, 2) + heads.infinities()
    powers = np.exp(scores[:, 1:] - scores[:, 1:].max(-1, keepdims=True))
    expected = powers / powers.sum(-1, keepdims=True) @ v
    kernel = Attention().emit(region, Attention().configs(region, target)[0], target)
    found = run_kernel(region, kernel, target, [*arrays[:2], heads.infinities(), arrays[2]])
    assert np.isnan(found[:, 0]).all()
    np.testing.assert_allclose(found[:, 1:], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["odd", "batch", "turned"])
def test_compiles_for_aarch64(name: str) -> None:
    region, target = HEADS[name].region(), TARGETS["aarch64"]
    for config in Attention().configs(region, target)[:1]:
        assert compile_object(Attention().emit(region, config, target).code, target)


def test_products_keep_to_registers() -> None:
    region, target = HEADS["image"].region(), TARGETS["avx512"]
    for config in Attention().configs(region, target)[:2]:
        loops = vector_loops(compile_assembly(Attention().emit(region, config, target).code, target))
        products = [body for body in loops if not any("vscalef" in line for line in body)]
        assert len(products) > 4
        for body in products:
            assert sum("vfmadd" in line for line in body) % UNROLL == 0
            assert not any("rsp" in line and "zmm" in line for line in body)


def declined() -> list[Region]:
    x = input_value("x", TensorType(FLOAT32, (2, 9, 9)))
    scores = apply(MatMul(), x, x)
    columnwise, rowwise = apply(Softmax(1), scores), apply(Softmax(2), scores)
    wrong_axis = apply(MatMul(), columnwise, x)
    turned, second = apply(MatMul(True), rowwise, x), apply(MatMul(), x, rowwise)

    def chain(softmax: Value, result: Value) -> Region:
        return joined([region_of([scores], scores), region_of([softmax], softmax), region_of([result], result)])

    pair = joined([region_of([scores], scores), region_of([rowwise], rowwise)])
    return [chain(columnwise, wrong_axis), chain(rowwise, turned), chain(rowwise, second), pair]


@pytest.mark.parametrize("number", range(4))
def test_declines_what_is_no_attention(number: int) -> None:
    assert not Attention().configs(declined()[number], TARGETS["avx512"])
