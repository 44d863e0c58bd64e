"""`tensorwright keygen`, `sign` and `verify`: who made a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from tensorwright.base.files import replacing
from tensorwright.cli.command import UsageError
from tensorwright.plan.file import open_plan, sign_file
from tensorwright.plan.signature import PRIVATE_MODE, generate_key

Plan = Annotated[Path, Argument(help="A plan.")]


def keygen(
    name: Annotated[Path, Argument(help="Where to write the private key; the public one gets the ending .pub.")],
) -> None:
    """Make a pair of keys: one to sign plans with, which stays secret, and one to trust."""
    public_path = name.with_name(f"{name.name}.pub")
    for path in (name, public_path):
        if path.exists():
            raise UsageError(f"{path} exists; choose another name: a key that is lost cannot be made again")
    private, public = generate_key()
    for path, content, mode in ((name, private, PRIVATE_MODE), (public_path, public, 0o666)):
        with replacing(path, mode) as file:
            file.write(content)
    print(f"{name}: the private key, keep it secret\n{public_path}: the public key")


def sign(plan: Plan, key: Annotated[Path, Option(help="The private key.")]) -> None:
    """Sign a plan; an earlier signature is replaced."""
    sign_file(plan, key)
    print(f"{plan}: signed")


def verify(
    plan: Plan, trusted: Annotated[list[Path], Option(help="A public key that is trusted. May be repeated.")]
) -> None:
    """Tell whether a plan is undamaged and signed with a trusted key."""
    open_plan(plan, trusted=trusted).verify()
    print(f"{plan}: signed with a trusted key")
