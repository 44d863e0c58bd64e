"""What a user may say of a model that is read: each option is said here, once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from tensorwright.base.options import About, Options
from tensorwright.importers.inputs import Shapes


@dataclass(frozen=True, kw_only=True)
class ReadOptions(Options):
    """What a user may say of a model. Formats name those of these options that they take."""

    shapes: Annotated[
        Shapes | None,
        About(
            'what unknown dimensions of a model are: ``{"batch": (1, 8, 32)}`` is min, opt (to tune for) and max of a '
            'named dimension, ``{"batch": 4}`` fixes it, ``{"x": (("n", 1, 8, 32), 3, 224, 224)}`` says all axes of an '
            "input; None or -1 there keeps what the model says. Without, first dimensions range from 1 to 16, others "
            "from 1 to 512. TensorFlow's graphs do not name unknown dimensions: first ones are called ``batch``, "
            'others ``<input>_<axis>``. A Caffe network keeps the batch of its definition unless ``"batch"`` is given.',
            spelt=("--shape",),
            help="NAME=D1xD2x... for an input, NAME=D for a named dimension; MIN:OPT:MAX for a range. May be repeated.",
        ),
    ] = None
    outputs: Annotated[
        Sequence[str] | None,
        About(
            "what to compute: nodes (``name``) or tensors (``name:number``) of a TensorFlow graph, nodes of a UFF "
            "model, blobs of a Caffe network; None for all that nothing takes, or that the file marks.",
            spelt=("-O", "--output-node"),
            help="A node of TensorFlow or UFF, or a blob of Caffe, to compute; by default all that no other takes.",
        ),
    ] = None
    constants: Annotated[
        Mapping[str, object] | None,
        About(
            'values that take the place of inputs, or of nodes of a TensorFlow graph: ``{"is_training": False, '
            '"keep_prob": 1.0}``.',
            spelt=("--constant",),
            help="NAME=VALUE, a number, true or false in place of an input, such as keep_prob=1. May be repeated.",
        ),
    ] = None
    weights: Annotated[
        str | os.PathLike[str] | bytes | None,
        About(
            "the weights of a Caffe network: the path of a caffemodel file, or its bytes; None for the file beside the "
            "definition that has its name, or else random weights, with a warning.",
            help="The caffemodel of a Caffe definition; by default the one beside it that has its name.",
        ),
    ] = None
