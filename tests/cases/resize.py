"""Resampling: every mode, coordinate transformation and rounding; up, down and by fractions; symbolic extents."""

from __future__ import annotations

from cases.case import Case, Operand, f32
from tensorwright.ops.resize import Resize
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT16, UINT8

BATCH = symbol("batch", 1, 2, 4)
WIDTH = symbol("width", 5, 7, 12)
EXTENT = symbol("extent", 1, 9, 20)
VALUES = {"batch": 2, "width": 8}
TRANSFORMATIONS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
CROP = {"coordinate_transformation": "tf_crop_and_resize", "roi": (0, 0, 0.25, 0.4, 1, 1, 0.75, 1.2)}


def resize(mode, shape, before, transformation="half_pixel", rounding="round_prefer_floor", **more) -> Resize:
    scales = tuple(after / extent for after, extent in zip(shape, before, strict=True))
    more.setdefault("coordinate_transformation", transformation)
    return Resize(mode, scales, shape, nearest_mode=rounding, **more)


SMALL, UP, DOWN = (1, 2, 4, 5), (1, 2, 8, 15), (1, 2, 3, 2)

CASES = (
    *(
        Case(f"nearest-{t}-{r}-{name}", resize("nearest", shape, SMALL, t, r), (f32(*SMALL),))
        for t in (*TRANSFORMATIONS, "tf_half_pixel_for_nn")
        for r in ROUNDINGS
        for name, shape in (("up", UP), ("down", DOWN))
    ),
    *(
        Case(f"{m}-{t}-{name}", resize(m, shape, SMALL, t), (f32(*SMALL),))
        for m in ("linear", "cubic")
        for t in TRANSFORMATIONS
        for name, shape in (("up", UP), ("down", DOWN), ("one", (1, 2, 1, 7)))
    ),
    Case("cubic-excluded", resize("cubic", UP, SMALL, exclude_outside=True, cubic_a=-0.5), (f32(*SMALL),)),
    Case("cubic-excluded-down", resize("cubic", DOWN, SMALL, exclude_outside=True), (f32(*SMALL),)),
    Case("one-axis", resize("linear", (3, 11), (3, 7)), (f32(3, 7),)),
    Case("three-axes", resize("linear", (1, 5, 3, 4), (1, 2, 4, 3)), (f32(1, 2, 4, 3),)),
    Case("nothing", resize("cubic", SMALL, SMALL), (f32(*SMALL),)),
    Case("scales-beside-shape", Resize("linear", (1.0, 1.3), (2, 9), "half_pixel"), (f32(2, 7),)),
    Case("scale-without-growth", Resize("nearest", (1.2,), (3,), "asymmetric", "floor"), (f32(3),)),
    Case("nearest-crop", resize("nearest", UP, SMALL, extrapolation_value=7.5, **CROP), (f32(*SMALL),)),
    Case("linear-crop", resize("linear", UP, SMALL, extrapolation_value=7.5, **CROP), (f32(*SMALL),)),
    Case("linear-crop-one", resize("linear", (1, 2, 1, 4), SMALL, **CROP), (f32(*SMALL),)),
    Case("nearest-uint8", resize("nearest", UP, SMALL), (Operand(UINT8, SMALL, 0, 250),)),
    Case("linear-float16", resize("linear", UP, SMALL), (Operand(FLOAT16, SMALL),)),
    Case(
        "nearest-symbolic", Resize("nearest", (1, 1, 2, 2), (BATCH, 3, 6, WIDTH * 2), "asymmetric", "floor"),
        (f32(BATCH, 3, 3, WIDTH),), symbols=VALUES,
    ),
    *(
        Case(
            f"{m}-symbolic-{t}", Resize(m, (1, 1, 2, 1.5), (BATCH, 3, 6, WIDTH * 3 // 2), t),
            (f32(BATCH, 3, 3, WIDTH),), symbols=VALUES,
        )
        for m in ("nearest", "linear", "cubic")
        for t in TRANSFORMATIONS
    ),
    *(
        Case(
            f"{m}-open-to-{extent}-{t}", Resize(m, (1, 1, None, None), (BATCH, 2, WIDTH, EXTENT), t),
            (f32(BATCH, 2, 1, WIDTH),), symbols={**VALUES, "extent": extent},
        )
        for m in ("nearest", "linear", "cubic")
        for t in TRANSFORMATIONS
        for extent in (1, 5, 17)
    ),
)  # fmt: skip
