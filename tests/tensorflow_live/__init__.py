"""Graphs that TensorFlow itself builds, runs and freezes: one entry for every operator and attribute.

Each case is a function of a `Live` graph and its placeholders. TensorFlow is imported when a case is built, never
before, so the tables can be read where it is not installed.
"""

from tensorflow_live import arrays, convolutions, elementwise, images, programs  # noqa: F401  # They fill the table.
from tensorflow_live.graph import CASES, Case, answer

__all__ = ["CASES", "Case", "answer"]
