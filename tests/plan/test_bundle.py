"""Several plans in one file: what fits a device is taken, and damage is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tensorwright as tw
from graphs import given, network, unary
from tensorwright.base.errors import PlanError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.cli.main import app
from tensorwright.plan.bundle import bundle
from tensorwright.plan.file import open_plan, read_plan, serialize_plan, write_plan
from tensorwright.plan.places import MAGIC, MOST_PLANS, places_of
from tensorwright.plan.plan import Plan
from tensorwright.plan.seal import digest, sealed

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    graph = network(unary("exp", given("x", 2, 3)))
    return {device: build(graph, BuildConfig(level=0, device=device, timing_cache="")) for device in ("cpu", "null")}


@pytest.fixture
def both(plans: dict[str, Plan], tmp_path: Path) -> Path:
    paths = [tmp_path / f"{device}.plan" for device in plans]
    for path, plan in zip(paths, plans.values(), strict=True):
        write_plan(plan, path)
    bundle(paths, tmp_path / "both.plan")
    return tmp_path / "both.plan"


def test_a_device_takes_the_first_plan_that_it_can_run(both: Path) -> None:
    for source in (both, both.read_bytes()):
        for device, kind in ((None, "cpu"), ("cpu", "cpu"), ("null:3", "null")):
            with tw.load(source, device=device) as engine:
                assert engine.device.name == kind
                np.testing.assert_allclose(engine(X)["out0"], np.exp(X), rtol=1e-6)
        with tw.load(source, devices=["null:1", "cpu"]) as pool:
            assert [engine.stamp.device for engine in pool.engines] == ["null", "cpu"]
            for found in pool.map([X] * 8):
                np.testing.assert_allclose(found["out0"], np.exp(X), rtol=1e-6)
    with tw.load(both, copy=True) as engine:
        np.testing.assert_allclose(engine(X)["out0"], np.exp(X), rtol=1e-6)


def test_what_fits_nowhere_says_why(plans: dict[str, Plan], tmp_path: Path) -> None:
    abroad = [replace(plans["cpu"], stamp=replace(plans["cpu"].stamp, architecture=name)) for name in ("vax", "pdp")]
    paths = [tmp_path / "vax.plan", tmp_path / "pdp.plan"]
    for plan, path in zip(abroad, paths, strict=True):
        write_plan(sealed(plan), path)
    bundle(paths, tmp_path / "old.plan")
    with pytest.raises(PlanError, match=r"no plan for 'network' can run here \(.*vax.*; .*pdp"):
        tw.load(tmp_path / "old.plan")


def test_one_plan_is_wanted_where_one_is_read(both: Path) -> None:
    for read in (read_plan, open_plan):
        with pytest.raises(PlanError, match=r"both.plan holds plans for several targets \(.*, .*\), expected one"):
            read(both)


def test_the_command(both: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["bundle", str(tmp_path / "null.plan"), str(tmp_path / "cpu.plan"), "-o", str(tmp_path / "again.plan")]
    )
    assert done.exit_code == 0, done.output
    with tw.load(tmp_path / "again.plan") as engine:
        assert engine.device.name == "null"


def test_what_cannot_be_bundled_is_said(plans: dict[str, Plan], tmp_path: Path) -> None:
    target, path, other = tmp_path / "all.plan", tmp_path / "one.plan", tmp_path / "other.plan"
    write_plan(plans["null"], path)
    write_plan(build(network(unary("exp", given("z", 3))), BuildConfig(level=0, device="null", timing_cache="")), other)
    with pytest.raises(PlanError, match=r"the same inputs and outputs, found .*input x.*input z"):
        bundle([path, other], target)
    with pytest.raises(PlanError, match="found none"):
        bundle([], target)
    with pytest.raises(PlanError, match=f"at most {MOST_PLANS} plans, found {MOST_PLANS + 1}"):
        bundle([path] * (MOST_PLANS + 1), target)
    assert not target.exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda b: b[:12], "expected 16 bytes and more"),
        (lambda b: b[:8] + b"\x02" + b[9:], "bundle of version 2, expected 1"),
        (lambda b: b[:12] + b"\xff" + b[13:], "expected 1 to 64 plans, found 255"),
        (lambda b: b[:20] + b"\x01" + b[21:], "does not match its digest"),
        (lambda b: b[:40], "does not match its digest"),
        (lambda b: b + b"more", "expected .* bytes, found"),
        (lambda b: b[:-1], "expected a plan at byte"),
        (lambda b: b[:100] + b"\x01" + b[101:], "expected a plan at byte 4096"),
        (lambda b: _with_place(b, 4096 + 8), "expected a plan at byte 4096, found 4104"),
        (lambda b: b[:5000] + bytes([b[5000] ^ 1]) + b[5001:], "plan 0"),
    ],
)
def test_damage_is_noticed(both: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    content = both.read_bytes()
    assert content.startswith(MAGIC)
    assert len(places_of(memoryview(content), "it") or ()) == 2
    with pytest.raises(PlanError, match=message):
        tw.load(spoil(content))
    both.write_bytes(spoil(content))
    with pytest.raises(PlanError, match=message):
        tw.load(both)


def test_a_plan_is_no_bundle(plans: dict[str, Plan]) -> None:
    assert places_of(memoryview(serialize_plan(plans["null"])), "it") is None


def _with_place(content: bytes, offset: int) -> bytes:
    header = content[:16] + offset.to_bytes(8, "little") + content[24:48]
    return header + digest(header) + content[64:]
