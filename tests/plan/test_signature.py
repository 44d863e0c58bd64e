"""Plans that have to be signed are refused before anything is made of them, unless a trusted key signed all of them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import native_plans
import tensorwright as tw
from tensorwright.base.errors import PlanError
from tensorwright.cli.main import app
from tensorwright.devices.cpu import executor
from tensorwright.plan.file import parse_plan, read_plan, serialize_plan, sign_file, write_plan
from tensorwright.plan.signature import BYTES, TRUSTED, generate_key

pytest.importorskip("cryptography", reason="signatures need cryptography: pip install 'tensorwright[signing]'")

PLAN = native_plans.plan()
PRIVATE, PUBLIC = generate_key()
SIGNED = serialize_plan(PLAN, PRIVATE)


@pytest.fixture
def unmapped(monkeypatch):
    """No code may be made executable."""
    monkeypatch.setattr(executor, "CodeImage", lambda *_: pytest.fail("code was mapped"))


def works(engine, rng):
    x = rng.standard_normal((3, native_plans.WIDTH), np.float32)
    np.testing.assert_array_equal(engine(x)["y"], native_plans.expected(x))
    engine.close()


@pytest.mark.parametrize("copy", [False, True])
def test_a_signed_plan_is_loaded_by_who_trusts_and_by_who_does_not_ask(rng, tmp_path, copy):
    path = tmp_path / "a.plan"
    with tw.load(serialize_plan(PLAN)) as engine:
        engine.save(path, key=PRIVATE)
        assert engine.serialize(key=PRIVATE) == SIGNED
    assert path.read_bytes() == SIGNED
    assert SIGNED[:-BYTES] == serialize_plan(PLAN)
    (tmp_path / "key.pub").write_bytes(PUBLIC)
    other = generate_key()[1]
    for trusted in (None, [PUBLIC], [tmp_path / "key.pub"], (other, str(tmp_path / "key.pub"))):
        works(tw.load(path, copy=copy, trusted=trusted), rng)
        works(tw.load(SIGNED, copy=copy, trusted=trusted), rng)
    assert read_plan(path) == PLAN


def test_who_trusts_nobody_in_it_refuses(unmapped, tmp_path):
    path = tmp_path / "a.plan"
    write_plan(PLAN, path)
    with pytest.raises(PlanError, match=r"a\.plan is not signed"):
        tw.load(path, trusted=[PUBLIC])
    sign_file(path, PRIVATE)
    for trusted in ([], [generate_key()[1]]):
        with pytest.raises(PlanError, match=f"which is none of the {len(trusted)} trusted ones"):
            tw.load(path, trusted=trusted)
    with pytest.raises(PlanError, match="not signed"):
        tw.load(SIGNED[:-BYTES], trusted=[PUBLIC])


def test_another_plan_under_a_signature_is_refused(unmapped):
    other = serialize_plan(native_plans.plan(name="other"))
    with pytest.raises(PlanError, match="was changed after it was signed"):
        tw.load(other + SIGNED[-BYTES:], trusted=[PUBLIC])


def test_every_changed_byte_is_refused(unmapped, rng):
    """Every byte of the signature, and of the parts of the plan some; their digests are set right nowhere."""
    places = [*range(len(SIGNED) - BYTES, len(SIGNED)), *map(int, rng.integers(0, len(SIGNED), 100))]
    for place in places:
        changed = bytearray(SIGNED)
        changed[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(PlanError):
            tw.load(bytes(changed), trusted=[PUBLIC])


@pytest.mark.parametrize("tail", [SIGNED[-BYTES:-1], SIGNED[-BYTES:] + b"x", b"x" * BYTES, SIGNED[-BYTES:] * 2])
def test_what_is_no_signature_may_not_follow(tail):
    with pytest.raises(PlanError, match="followed by something else"):
        parse_plan(SIGNED[:-BYTES] + tail)


def test_a_signature_is_replaced(tmp_path):
    path = tmp_path / "a.plan"
    path.write_bytes(SIGNED)
    path.chmod(0o640)
    private, public = generate_key()
    sign_file(path, private)
    assert len(path.read_bytes()) == len(SIGNED)
    assert path.stat().st_mode & 0o777 == 0o640
    tw.load(path, trusted=[public]).close()


def test_a_machine_may_ask_for_signatures(rng, tmp_path, monkeypatch):
    (tmp_path / "key.pub").write_bytes(PUBLIC)
    plain = serialize_plan(PLAN)
    monkeypatch.setenv(TRUSTED, f"{tmp_path / 'key.pub'}:")
    works(tw.load(SIGNED), rng)
    for read in (tw.load, parse_plan, tw.Runtime().deserialize_engine):
        with pytest.raises(PlanError, match="not signed"):
            read(plain)
    write_plan(PLAN, tmp_path / "a.plan")
    with pytest.raises(PlanError, match="not signed"):
        tw.load(tmp_path / "a.plan")
    sign_file(tmp_path / "a.plan", PRIVATE)
    works(tw.load(tmp_path / "a.plan"), rng)
    monkeypatch.setenv(TRUSTED, "")
    with pytest.raises(PlanError, match="none of the 0 trusted"):
        tw.load(SIGNED)
    monkeypatch.setenv(TRUSTED, str(tmp_path / "missing.pub"))
    with pytest.raises(FileNotFoundError):
        tw.load(SIGNED)


@pytest.mark.parametrize("key", [b"no key", PUBLIC, b""])
def test_what_is_no_private_key_signs_nothing(tmp_path, key):
    with pytest.raises(PlanError, match="expected a private key"):
        write_plan(PLAN, tmp_path / "a.plan", key)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("trusted", [[b"no key"], [PRIVATE], [3], PUBLIC, "key.pub"])
def test_what_is_no_public_key_is_refused(unmapped, trusted):
    with pytest.raises(PlanError, match=r"expected a (public key|list of public keys)"):
        tw.load(SIGNED, trusted=trusted)


def test_without_the_library_signatures_say_so(monkeypatch, rng):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(PlanError, match="need the package cryptography"):
        serialize_plan(PLAN, PRIVATE)
    with pytest.raises(PlanError, match="need the package cryptography"):
        tw.load(SIGNED, trusted=[PUBLIC])
    works(tw.load(SIGNED), rng)


def test_the_commands(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    key, plan = tmp_path / "key", tmp_path / "a.plan"
    write_plan(PLAN, plan)
    assert run("keygen", key).exit_code == 0
    assert key.stat().st_mode & 0o777 == 0o600
    assert "exists" in run("keygen", key).stderr
    assert "is not signed" in run("verify", plan, "--trusted", f"{key}.pub").stderr
    assert run("sign", plan, "--key", key).exit_code == 0
    result = run("verify", plan, "--trusted", f"{key}.pub")
    assert (result.exit_code, "signed with a trusted key" in result.stdout) == (0, True)
