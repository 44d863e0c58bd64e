"""The arithmetic of rooflines, on a machine whose numbers are round."""

from __future__ import annotations

import pytest

from tensorwright.cli.roofline import findings, roof_of, standing

REPORT = {
    "machine": {
        "peak_gflops": 100.0,
        "memory": [
            {"name": "L1", "bytes": 1000, "gigabytes_per_second": 200.0},
            {"name": "L3", "bytes": 100_000, "gigabytes_per_second": 50.0},
            {"name": "memory", "bytes": 0, "gigabytes_per_second": 10.0},
        ],
    }
}


def step(flops, activations, constants):
    return {"work": {"flops": flops, "activation_bytes": activations, "constant_bytes": constants}}


@pytest.mark.parametrize(
    ("work", "footprint", "milliseconds", "bound", "share"),
    [
        ((1_000_000, 900, 0), 0, 0.02, "arithmetic", 0.5),
        ((0, 800, 0), 0, 8e-6, "L1", 0.5),
        ((0, 50_000, 0), 0, 1e-3, "L3", 1.0),
        ((0, 0, 50_000), 90_000, 2e-3, "L3", 0.5),
        ((0, 1000, 50_000), 200_000, 5.005e-3, "memory", 1.0),
        ((10_000, 0, 50_000), 200_000, 1e-2, "memory", 0.5),
    ],
)
def test_a_step_stands_where_arithmetic_says(work, footprint, milliseconds, bound, share):
    found = standing(step(*work), milliseconds, roof_of(REPORT, footprint))
    assert (found.bound, found.share) == (bound, pytest.approx(share))
    assert found.gigabytes_per_second == pytest.approx((work[1] + work[2]) / milliseconds * 1e-6)


@pytest.mark.parametrize(
    ("footprint", "speed", "bound", "milliseconds"),
    [
        (90_000, None, "L3", 1e-3),
        (90_000, 40.0, "L3", 1.25e-3),
        (90_000, 20.0, "memory", 2.5e-3),
        (200_000, 12.5, "memory", 4e-3),
        (200_000, 40.0, "memory", 1.25e-3),
        (500, 190.0, "L1", 50_000 / 190e6),
    ],
)
def test_constants_come_as_fast_as_all_of_an_inference_is_read(footprint, speed, bound, milliseconds):
    found = standing(step(0, 0, 50_000), milliseconds, roof_of(REPORT, footprint, speed))
    assert (found.bound, found.share) == (bound, pytest.approx(1.0))


@pytest.mark.parametrize(
    "report", [{}, {"machine": {"peak_gflops": 1.0}}, {"machine": {"memory": [], "peak_gflops": 1.0}}]
)
def test_reports_without_measurements_have_no_roof(report):
    assert roof_of(report, 1) is None
    assert standing(step(1, 1, 1), 1.0, None) is None


def test_findings_are_slow_and_matter():
    roof = roof_of(REPORT, 0)
    times = [10.0, 20.0, 0.1, 40.0]
    shares = [0.69, 0.2, 0.1, 0.71]
    rows = [standing(step(int(s * t * 1e8), 0, 0), t, roof) for s, t in zip(shares, times, strict=True)]
    assert findings(rows, times) == [1, 0]
    assert findings([None, *rows[1:]], times) == [1]


def test_products_of_narrow_types_have_a_peak_of_their_own():
    roof = roof_of(REPORT, 0, gains={"float16": 16.0})
    found = {name: standing({**step(1_000_000, 900, 0), "precision": name}, 0.02, roof) for name in ("float16", "int8")}
    assert (found["float16"].bound, found["int8"].bound) == ("arithmetic", "arithmetic")
    assert found["float16"].share == pytest.approx(0.5 / 16)
    assert found["int8"].share == pytest.approx(0.5)
