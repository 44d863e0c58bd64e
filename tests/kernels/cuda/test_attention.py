"""Attention on GPUs: errors, masks of the lowest number, registers, and when it is offered."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from cases.case import Array
from kernels.cuda.test_compile import check
from ptx.run import run_on_machine
from regions.attention import HALF, HEADS, Heads
from tensorwright.codegen.cuda.compile import compile_ptx
from tensorwright.codegen.cuda.targets import CUDA_TARGETS, CudaTarget
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.attention import tactic as tactics
from tensorwright.kernels.cuda.attention.tactic import Attention, AttentionOfHeads, WarpOptions
from tensorwright.kernels.tactic import Config, Tactic
from tensorwright.tensor.dtype import BFLOAT16, FLOAT16, FLOAT32, DType

NEWEST = CUDA_TARGETS["sm_90"]
FROM_AMPERE = [target for target in CUDA_TARGETS.values() if target.capability >= 80]
TWO_BYTES = (Attention(), AttentionOfHeads())
SPLIT = (tactics.SplitAttention(), tactics.SplitAttentionOfHeads())
TF32 = (tactics.Tf32Attention(), tactics.Tf32AttentionOfHeads())
MASKED = Heads((1, 2), 20, 50, 64, 64, "mask", (1, 1, 1, 50), turned="qkvo")
BERT = Heads((1, 12), 128, 128, 64, 64, "half mask", (1, 1, 1, 128), turned="qkvo")

Tactics = tuple[Tactic[CudaTarget, WarpOptions], ...]


def computed(
    tactic: Tactic[CudaTarget, WarpOptions], region: Region, config: Config[WarpOptions], arrays: list[Array]
) -> Array:
    kernel = tactic.emit(region, config, NEWEST)
    return run_on_machine(region, kernel, compile_ptx(kernel.code, NEWEST), arrays, {})


def drawn(region: Region, rng: np.random.Generator) -> list[Array]:
    """Queries, keys, values and a mask; scores are about 4."""
    q, *others = (rng.standard_normal(value.type.shape).astype(np.float32) for value in region.inputs)
    return [q / 2, *others]


def expected(arrays: list[Array]) -> Array:
    """Of the same, with turned heads, in float64."""
    q, k, v, mask = (array.astype(np.float64) for array in arrays)
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) + mask
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhqk,bkhw->bqhw", powers / powers.sum(-1, keepdims=True), v)


@pytest.mark.parametrize(("kinds", "least", "most"), [(SPLIT, 1e-9, 5e-6), (TF32, 2e-5, 5e-3)], ids=["split", "tf32"])
def test_errors_are_those_of_float32_or_of_tf32(
    kinds: Tactics, least: float, most: float, rng: np.random.Generator
) -> None:
    region = MASKED.region(rng)
    arrays = drawn(region, rng)
    wanted = expected(arrays)
    for tactic in kinds:
        configs = tactic.configs(region, NEWEST)
        assert len(configs) > 1
        for config in configs:
            error = np.abs(computed(tactic, region, config, arrays) - wanted).max() / np.abs(wanted).max()
            assert least < error < most, (tactic.name, config)


@pytest.mark.parametrize(
    ("dtype", "kinds", "most"), [(FLOAT32, SPLIT, 1e-6), (BFLOAT16, TWO_BYTES, 0.01)], ids=["float32", "bfloat16"]
)
def test_where_all_columns_have_the_lowest_score_they_count_alike(
    dtype: DType, kinds: Tactics, most: float, rng: np.random.Generator
) -> None:
    """As networks mask that add the lowest number: its multiple by the logarithm of e is no number."""
    region = replace(MASKED, dtype=dtype).region(rng)
    q, k, v, mask = (array.astype(dtype.numpy) for array in drawn(region, rng))
    mask[:] = ml_dtypes.finfo(dtype.numpy).min
    wanted = v.astype(np.float64).mean(1, keepdims=True)
    for tactic in kinds:
        for config in tactic.configs(region, NEWEST):
            found = computed(tactic, region, config, [q, k, v, mask]).astype(np.float64)
            np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), rtol=0, atol=most)


@pytest.mark.parametrize("tactic", SPLIT, ids=lambda tactic: tactic.name)
def test_masked_columns_do_not_count(tactic: Tactic[CudaTarget, WarpOptions], rng: np.random.Generator) -> None:
    region = MASKED.region(rng)
    q, k, v, mask = drawn(region, rng)
    mask[..., 30:] = -np.inf
    wanted = expected([q, k[:, :30], v[:, :30], mask[..., :30]])
    for config in tactic.configs(region, NEWEST):
        np.testing.assert_allclose(computed(tactic, region, config, [q, k, v, mask]), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", HALF)
def test_attention_of_two_bytes_compiles(name: str, rng: np.random.Generator) -> None:
    region = HALF[name].region(rng)
    for tactic in TWO_BYTES:
        configs = tactic.configs(region, NEWEST)
        assert configs
        for config in configs[:2]:
            check(tactic, region, config, NEWEST)


@pytest.mark.parametrize("target", FROM_AMPERE, ids=lambda target: target.name)
def test_attention_of_float32_keeps_to_registers(target: CudaTarget, rng: np.random.Generator) -> None:
    """With rows of 256 bytes, the longest there are, as BERT and ViT have them."""
    for region in (BERT.region(rng), HEADS["image"].region(rng)):
        for tactic in (*SPLIT, *TF32):
            configs = tactic.configs(region, target)
            assert configs or isinstance(tactic, AttentionOfHeads)
            for config in configs if target == NEWEST else configs[:1]:
                check(tactic, region, config, target)


def test_float32_needs_ampere_and_rows_of_256_bytes(rng: np.random.Generator) -> None:
    region, deeper = BERT.region(rng), replace(BERT, depth=68).region(rng)
    for tactic in (*SPLIT, *TF32):
        assert tactic.configs(region, CUDA_TARGETS["sm_80"])
        assert not tactic.configs(region, CUDA_TARGETS["sm_75"])
        assert not tactic.configs(deeper, NEWEST)
    for tactic in TWO_BYTES:
        assert not tactic.configs(region, NEWEST)


@pytest.mark.parametrize(("dtype", "oldest"), [(FLOAT16, "sm_75"), (BFLOAT16, "sm_80")])
def test_two_byte_types_need_turing_or_ampere(dtype: DType, oldest: str, rng: np.random.Generator) -> None:
    region = replace(BERT, dtype=dtype).region(rng)
    offering = [name for name, target in CUDA_TARGETS.items() if Attention().configs(region, target)]
    assert offering == list(CUDA_TARGETS)[list(CUDA_TARGETS).index(oldest) :]


def test_attention_of_heads_needs_copies_beside_threads_and_room_for_all_keys(rng: np.random.Generator) -> None:
    plain = HALF["plain"].region(rng)
    assert not AttentionOfHeads().configs(plain, CUDA_TARGETS["sm_75"])
    long = Heads((2,), 30, 1000, 64, 64, dtype=FLOAT16).region(rng)
    assert Attention().configs(long, NEWEST)
    assert not AttentionOfHeads().configs(long, NEWEST)


@pytest.mark.parametrize(("dtype", "kinds"), [(FLOAT16, TWO_BYTES), (FLOAT32, SPLIT)], ids=["float16", "float32"])
def test_attention_of_heads_is_preferred_where_heads_fill_the_gpu(
    dtype: DType, kinds: Tactics, rng: np.random.Generator
) -> None:
    shares = []
    for batch in (1, 12):
        region = Heads((batch, 12), 128, 128, 64, 64, dtype=dtype).region(rng)
        first, second = (
            max(tactic.efficiency(region, config) for config in tactic.configs(region, NEWEST)) for tactic in kinds
        )
        shares.append(second > first)
    assert shares == [False, True]


def test_rounded_factors_are_thought_to_be_faster_than_split_ones(rng: np.random.Generator) -> None:
    region = BERT.region(rng)
    for split, rounded in zip(SPLIT, TF32, strict=True):
        (config, *_) = split.configs(region, NEWEST)
        assert split.efficiency(region, config) < rounded.efficiency(region, config)


@pytest.mark.parametrize("columns", [37, 40])
def test_masks_of_odd_numbers_of_columns_are_declined(columns: int, rng: np.random.Generator) -> None:
    region = Heads((2,), 8, columns, 16, 16, "mask", (1, 1, columns), dtype=FLOAT16).region(rng)
    assert bool(Attention().configs(region, NEWEST)) == (columns % 2 == 0)
