"""Signatures of plans: who made a file, and that nothing in it was changed since.

Behind the plan stand 104 bytes: a magic number, the signer's public key, and the Ed25519 signature (RFC 8032) of a
context and the SHA-256 of all bytes before them. Keys are files in PEM, as OpenSSL writes them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from tensorwright.base.errors import PlanError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    PrivateKey: TypeAlias = str | os.PathLike[str] | bytes | Ed25519PrivateKey
    PublicKey: TypeAlias = str | os.PathLike[str] | bytes | Ed25519PublicKey

MAGIC = b"\x89TWSIGN\n"
CONTEXT = b"tensorwright plan signature 1\n"
TRUSTED = "TENSORWRIGHT_TRUSTED"
"""The environment variable that names files of public keys, separated as in PATH: only plans that one of them has
signed are read where the program says nothing else.
"""
PRIVATE_MODE = 0o600

_TRAILER = struct.Struct("<8s32s64s")
BYTES = _TRAILER.size


def sign(parts: Iterable[bytes | memoryview], key: PrivateKey) -> bytes:
    """What has to stand behind a plan that consists of these parts.

    Raises:
        PlanError: the key is no private key of Ed25519, or `cryptography` is not installed.
    """
    private = _private(key)
    return _TRAILER.pack(MAGIC, _raw(private.public_key()), private.sign(_message(parts)))


def is_signature(tail: bytes | memoryview) -> bool:
    """Whether bytes behind a plan have the form of a signature."""
    return len(tail) == BYTES and bytes(tail[: len(MAGIC)]) == MAGIC


def require_trusted(
    parts: Iterable[bytes | memoryview], tail: bytes | memoryview, trusted: Sequence[PublicKey], where: str
) -> None:
    """Refuse a plan that nobody of the trusted has signed.

    Raises:
        PlanError: there is no signature, it is somebody else's, or plan or signature were changed; or a key is no
            public key of Ed25519, or `cryptography` is not installed.
    """
    if isinstance(trusted, str | bytes | os.PathLike):
        raise PlanError(f"trusted: expected a list of public keys, found {type(trusted).__name__}; pass [key]")
    known = {_raw(found): found for found in map(_public, trusted)}
    if not is_signature(tail):
        raise PlanError(f"{where} is not signed; sign it with `tensorwright sign`, or do not ask for a trusted signer")
    _, signer, signature = _TRAILER.unpack(bytes(tail))
    if signer not in known:
        raise PlanError(
            f"{where} is signed with the key {signer.hex()}, which is none of the {len(known)} trusted ones; check "
            "where it comes from, or trust that key"
        )
    from cryptography.exceptions import InvalidSignature

    try:
        known[signer].verify(signature, _message(parts))
    except InvalidSignature:
        raise PlanError(f"{where} was changed after it was signed: its signature does not fit; copy it again") from None


def trusted_here() -> tuple[str, ...] | None:
    """The files of public keys that the environment names; None if it says nothing."""
    names = os.environ.get(TRUSTED)
    return None if names is None else tuple(name for name in names.split(os.pathsep) if name)


def generate_key() -> tuple[bytes, bytes]:
    """A new private key, and the public key that belongs to it, in PEM.

    Raises:
        PlanError: `cryptography` is not installed.
    """
    _require_library()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private, public


def _message(parts: Iterable[bytes | memoryview]) -> bytes:
    from hashlib import sha256

    hasher = sha256()
    for part in parts:
        hasher.update(part)
    return CONTEXT + hasher.digest()


def _private(key: PrivateKey) -> Ed25519PrivateKey:
    _require_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    found: object = key
    if isinstance(key, str | os.PathLike | bytes):
        try:
            found = load_pem_private_key(_content(key), None)
        except (ValueError, TypeError) as error:
            raise PlanError(f"{_name(key)}: expected a private key in PEM without a password: {error}") from None
    if not isinstance(found, Ed25519PrivateKey):
        raise PlanError(f"{_name(key)}: expected a private key of Ed25519, found {type(found).__name__}")
    return found


def _public(key: PublicKey) -> Ed25519PublicKey:
    _require_library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    found: object = key
    if isinstance(key, str | os.PathLike | bytes):
        try:
            found = load_pem_public_key(_content(key))
        except (ValueError, TypeError) as error:
            raise PlanError(f"{_name(key)}: expected a public key in PEM: {error}") from None
    if not isinstance(found, Ed25519PublicKey):
        raise PlanError(f"{_name(key)}: expected a public key of Ed25519, found {type(found).__name__}")
    return found


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()


def _content(key: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(key, bytes):
        return key
    with open(key, "rb") as file:  # noqa: PTH123 - loading a plan imports as little as it can
        return file.read()


def _name(key: object) -> str:
    return f"key {os.fspath(key)}" if isinstance(key, str | os.PathLike) else "the key"


def _require_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise PlanError("signatures need the package cryptography: pip install 'tensorwright[signing]'") from None
