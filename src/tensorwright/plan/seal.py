"""The seal of a plan: a digest over all that has to fit together, made by the builder and carried along unchanged.

The digests of a file find damage. The seal finds parts that were not made for each other: another code or other weights
under a manifest, or a manifest of which something was changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import xxhash

from tensorwright.plan.manifest import document_of
from tensorwright.plan.plan import Json, Plan

FREE = frozenset({"name", "batch_symbol", "threads", "report", "seal"})
"""What may differ without the code knowing: all else is sealed."""


def digest(content: bytes | memoryview) -> bytes:
    """XXH3-128."""
    return xxhash.xxh3_128(content).digest()


def seal_of(document: Mapping[str, Json], code: bytes, weights: bytes) -> str:
    """The seal of a manifest and the parts with these digests, as hexadecimal digits."""
    sealed = {key: document[key] for key in sorted(document) if key not in FREE}
    text = json.dumps(sealed, separators=(",", ":"), sort_keys=True).encode()
    return digest(text + code + weights).hex()


def sealed(plan: Plan) -> Plan:
    """The plan with the seal that fits it."""
    return replace(plan, seal=seal_of(document_of(plan), digest(plan.executable.code), digest(plan.weights)))
