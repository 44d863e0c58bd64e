"""What is right before it is changed: small models of every format, a plan, a timing cache, a calibration table."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnx

import native_plans
import tensorflow_cases
from importers.caffe import test_hostile as caffe
from importers.onnx.node_cases import node_cases
from importers.tensorflow import test_damage as tensorflow
from importers.uff import test_damage as uff
from networks.generate import network_of
from tensorflow_cases import Case
from tensorwright.base.errors import ImportFailure
from tensorwright.build.calibrate import Calibration
from tensorwright.compat.uff import from_tensorflow
from tensorwright.plan.file import serialize_plan
from tensorwright.tune.cache import serialize

LARGEST = 40_000
"""Bytes of a model of one node."""


@cache
def node_models() -> Sequence[bytes]:
    """One model for each case of an operator that the onnx package has."""
    return [case.model for cases in node_cases().values() for case in cases if len(case.model) < LARGEST]


def network_model(rng: np.random.Generator) -> bytes:
    """A random network of many nodes."""
    return network_of(int(rng.integers(1 << 40))).model().SerializeToString()


@cache
def light_models() -> Sequence[bytes]:
    """Well-known networks without their weights."""
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return [path.read_bytes() for path in sorted(folder.glob("light_*.onnx"))]


@cache
def frozen_graphs() -> Sequence[bytes]:
    groups = [group for group in vars(tensorflow_cases).values() if isinstance(group, tuple)]
    cases = [case for group in groups for case in group if isinstance(case, Case)]
    return [tensorflow.FILE, *(case.build()[0].bytes() for case in cases)]


@cache
def uff_models() -> Sequence[bytes]:
    found = [uff.FILE]
    for graph in frozen_graphs():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(from_tensorflow(graph, quiet=True))
        except ImportFailure:
            continue
    return found


def definitions() -> Sequence[bytes]:
    return caffe.TEXT, caffe.FIRST


@cache
def plan() -> bytes:
    return serialize_plan(native_plans.plan())


def timing_cache() -> bytes:
    return serialize({f"{key:032x}": 1e-6 * key for key in range(1, 5)}).encode()


def calibration_table() -> bytes:
    return Calibration("EntropyCalibration2", {"x": 1.5, "(Unnamed Layer* 0) [Convolution]_output": 127.0}).text()
