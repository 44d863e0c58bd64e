"""The command `convert-to-uff`, in the form of its first versions and in the later one.

::

    convert-to-uff tensorflow -o model.uff --input-file frozen.pb -O fc2/Relu
    convert-to-uff tensorflow --input-file frozen.pb -l
    convert-to-uff frozen.pb -o model.uff -O fc2/Relu
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from tensorwright.base.errors import TensorwrightError
from tensorwright.compat.uff.conversion import from_tensorflow_frozen_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in ("tensorflow", "tensorflow_frozen_model"):
        options = _early_form().parse_args(given[1:])
    else:
        options = _later_form().parse_args(given)
    try:
        _run(options)
    except TensorwrightError as error:
        sys.stderr.write(f"convert-to-uff: {error}\n")
        return 1
    return 0


def _run(options: Namespace) -> None:
    source = Path(options.input_file)
    target = Path(options.output) if options.output else source.with_suffix(".uff")
    from_tensorflow_frozen_model(
        source,
        options.output_node,
        options.preprocessor,
        output_filename=target,
        text=options.text,
        quiet=options.quiet,
        debug_mode=options.debug,
        write_preprocessed=options.write_preprocessed,
        list_nodes=options.list_nodes,
        input_nodes=options.input_node,
    )


def _later_form() -> ArgumentParser:
    parser = ArgumentParser("convert-to-uff", description="Convert a frozen TensorFlow graph to UFF.")
    parser.add_argument("input_file", help="the frozen graph (.pb)")
    return _with_options(parser)


def _early_form() -> ArgumentParser:
    parser = ArgumentParser("convert-to-uff tensorflow", description="Convert a frozen TensorFlow graph to UFF.")
    parser.add_argument("--input-file", "--input_file", required=True, help="the frozen graph (.pb)")
    return _with_options(parser)


def _with_options(parser: ArgumentParser) -> ArgumentParser:
    parser.add_argument("-l", "--list-nodes", action="store_true", help="list the nodes of the graph and stop")
    parser.add_argument("-t", "--text", action="store_true", help="also write a readable form, .pbtxt")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing")
    parser.add_argument("-d", "--debug", action="store_true", help="say more")
    parser.add_argument("-o", "--output", help="the file to write; the input's name with .uff by default")
    parser.add_argument(
        "-O", "--output-node", action="append", default=[], help="a node to compute; may be given several times"
    )
    parser.add_argument(
        "-I",
        "--input-node",
        action="append",
        default=[],
        metavar="NAME,NEW_NAME,DTYPE,DIM1,...",
        help="put an input in place of a node; may be given several times",
    )
    parser.add_argument("-p", "--preprocessor", help="a file that defines preprocess(dynamic_graph)")
    parser.add_argument("--write_preprocessed", action="store_true", help="also write the graph as it is converted")
    return parser
