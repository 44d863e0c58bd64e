"""Reads files of models, and says what a file is that is no model."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tensorwright.base.errors import ImportFailure
from tensorwright.plan.file import MAGIC

LARGEST_FILE = (1 << 31) - 1
"""Bytes of the largest message that protocol buffers can hold."""
HEAD = 1 << 16
"""Bytes from which it is seen what a file is."""
SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
FREEZE_SAVED_MODEL = (
    "freeze it: function = tf.saved_model.load(folder).signatures['serving_default'], then frozen = "
    "convert_variables_to_constants_v2(function) of tensorflow.python.framework.convert_to_constants, and give "
    "frozen.graph, or write frozen.graph.as_graph_def().SerializeToString() to a .pb file"
)


@dataclass(frozen=True)
class Stranger:
    """A kind of file that is no model by itself: what it is, how it is known by its first bytes, and what to do."""

    what: str
    is_it: Callable[[bytes], bool]
    advice: str


STRANGERS = (
    Stranger(
        "a Git LFS pointer, which only names the file",
        lambda head: head.startswith(b"version https://git-lfs.github.com/spec/"),
        "run `git lfs pull` where it comes from, or download the file itself",
    ),
    Stranger("a plan", lambda head: head.startswith(MAGIC), "load it with tensorwright.load"),
    Stranger(
        "a SavedModel's own file",
        lambda head: head[:3] == b"\x08\x01\x12" and _inside(head, 2)[:1] == b"\x0a",
        FREEZE_SAVED_MODEL,
    ),
    Stranger(
        "HDF5",
        lambda head: head.startswith(b"\x89HDF\r\n\x1a\n"),
        "a Caffe model has to be saved with snapshot_format: BINARYPROTO; a Keras model is frozen with "
        "convert_variables_to_constants_v2",
    ),
    Stranger(
        "a ZIP archive, as torch.save and Keras write",
        lambda head: head.startswith(b"PK\x03\x04"),
        "export the model to ONNX with torch.onnx.export, or freeze it with convert_variables_to_constants_v2",
    ),
    Stranger(
        "a pickle of Python objects, as older torch.save wrote",
        lambda head: head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"),
        "export the model to ONNX with torch.onnx.export",
    ),
    Stranger("a TensorFlow Lite model", lambda head: head[4:8] == b"TFL3", "give the graph that it was converted from"),
    Stranger(
        "a UFF model as text, which leaves the weights out",
        lambda head: b"descriptor_core_version" in head[:256],
        "give the .uff file",
    ),
    Stranger(
        "an ONNX model as text",
        lambda head: head.lstrip().startswith(b"ir_version:"),
        "read it with onnx.load(path, format='textproto') and give the loaded model",
    ),
    Stranger("compressed with gzip", lambda head: head.startswith(b"\x1f\x8b"), "unpack it"),
    Stranger(
        "a web page",
        lambda head: head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")),
        "the download went wrong: download the file again",
    ),
)


def refuse_strangers(data: bytes, label: str, what: str) -> None:
    """Say what some bytes are that cannot be a model.

    Raises:
        ImportFailure: they are something that is known.
    """
    for stranger in STRANGERS:
        if stranger.is_it(data[:HEAD]):
            raise ImportFailure(f"{label}: expected {what}, found {stranger.what}; {stranger.advice}")


def read_bytes(path: str | os.PathLike[str], what: str, largest: int = LARGEST_FILE) -> bytes:
    """The bytes of a file.

    Args:
        path: where it is.
        what: what it should be, as messages call it ("a Caffe model").
        largest: more bytes than this are not read.

    Raises:
        ImportFailure: it cannot be read, is no ordinary file, is too large, or is known to be something else.
    """
    size = ordinary_size(path, what)
    if size > largest:
        raise ImportFailure(f"{path}: expected {what} of at most {largest} bytes, found {size}; is it the right file?")
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise _unreadable(path, what, error) from None
    refuse_strangers(data, str(path), what)
    return data


def read_head(path: str | os.PathLike[str], what: str) -> bytes:
    """The first bytes of a file; see `read_bytes`."""
    ordinary_size(path, what)
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD)
    except (OSError, ValueError) as error:
        raise _unreadable(path, what, error) from None
    refuse_strangers(head, str(path), what)
    return head


def ordinary_size(path: str | os.PathLike[str], what: str) -> int:
    """The bytes of a file.

    Raises:
        ImportFailure: there is none, or it is no ordinary file, which may not be read: a pipe never ends.
    """
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        raise _unreadable(path, what, error) from None
    if stat.S_ISDIR(status.st_mode):
        raise ImportFailure(f"{path}: expected {what}, found {_folder(Path(path))}")
    if not stat.S_ISREG(status.st_mode):
        raise ImportFailure(f"{path}: expected {what}, found something that is not an ordinary file")
    return status.st_size


def _folder(path: Path) -> str:
    if any((path / name).exists() for name in SAVED_MODEL):
        return f"the folder of a SavedModel; {FREEZE_SAVED_MODEL}"
    return "a folder; give the file"


def _unreadable(path: object, what: str, error: OSError | ValueError) -> ImportFailure:
    reason = error.strerror if isinstance(error, OSError) else error
    return ImportFailure(f"{path}: cannot be read ({reason}); expected {what}")


def _inside(head: bytes, at: int) -> bytes:
    """What stands in the field of a protocol buffer whose tag, for bytes, is at an offset."""
    return field_at(head, at)[1]


def field_at(head: bytes, at: int) -> tuple[int, bytes, int]:
    """Number, content (as far as it is there) and end of the field of bytes at an offset; number 0 for none."""
    tag, at = varint(head, at)
    size, at = varint(head, at)
    return (tag >> 3, head[at : at + size], at + size) if tag & 7 == 2 else (0, b"", at)


def varint(head: bytes, at: int) -> tuple[int, int]:
    """A number as protocol buffers write it, and where it ends; 0 where it is cut off."""
    number = 0
    for place, byte in enumerate(head[at : at + 10]):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, at + place + 1
    return 0, len(head)
