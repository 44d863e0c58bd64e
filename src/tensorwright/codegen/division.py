"""Division, remainders and integer powers that neither trap nor depend on a library."""

from __future__ import annotations

from tensorwright.codegen.rounding import trunc
from tensorwright.codegen.term import Term
from tensorwright.tensor.dtype import FLOAT32, FLOAT64


def integer_div(left: Term, right: Term) -> Term:
    """Rounded toward zero. A divisor of 0 counts as 1, and the least integer divided by -1 is itself."""
    opcode = "sdiv" if left.dtype.kind == "signed" else "udiv"
    return left._binary(opcode, _harmless(left, right))


def integer_mod(left: Term, right: Term) -> Term:
    """The remainder with the sign of the dividend; 0 for a divisor of 0."""
    opcode = "srem" if left.dtype.kind == "signed" else "urem"
    return left._binary(opcode, _harmless(left, right))


def integer_floor_mod(left: Term, right: Term) -> Term:
    """The remainder with the sign of the divisor; 0 for a divisor of 0."""
    rest = integer_mod(left, right)
    if left.dtype.kind == "unsigned":
        return rest
    return (rest.differs(0) & (rest ^ right).less(0)).choose(rest + right, rest)


def _harmless(left: Term, right: Term) -> Term:
    """The divisor, with 1 instead of those that trap."""
    trapping = right.equals(0)
    if left.dtype.kind == "signed":
        least = -(1 << (8 * left.dtype.size - 1))
        trapping = trapping | (right.equals(-1) & left.equals(least))
    return trapping.choose(right.constant(1), right)


def integer_power(base: Term, exponent: Term) -> Term:
    """Repeated squaring, wrapping around as NumPy does; a negative exponent gives the truncated quotient."""
    builder = base.builder
    one = base.constant(1)
    carried = [one.register, base.register, exponent.register]
    with builder.loop(0, 8 * base.dtype.size, carried=carried, at_least_once=True) as loop:
        result, square, rest = (Term(builder, register) for register in loop.carried)
        product = (rest & 1).differs(0).choose(result * square, result)
        loop.following = [product.register, (square * square).register, rest.logical_right(1).register]
    final = Term(builder, loop.final[0])
    if base.dtype.kind == "unsigned":
        return final
    even = (exponent & 1).equals(0)
    unit = base.equals(-1).choose(even.choose(one, base), base.equals(1).choose(one, 0))
    return exponent.less(0).choose(unit, final)


def float_mod(left: Term, right: Term) -> Term:
    """The remainder with the sign of the dividend, exact while the quotient is below 2**52; arbitrary beyond."""
    if left.dtype == FLOAT32:
        wide = float_mod(left.converted("fpext", FLOAT64), right.converted("fpext", FLOAT64))
        return wide.converted("fptrunc", FLOAT32)
    size, divisor = left.magnitude(), right.magnitude()
    quotient = trunc(size / divisor)
    product = quotient.exact_mul(divisor)
    rest = (size - product) - quotient.remainder_of_product(divisor, product)
    rest = rest.less(0.0).choose(rest + divisor, rest)
    rest = rest.at_least(divisor).choose(rest - divisor, rest)
    finite = size.less(divisor).choose(size, rest)
    return finite.with_sign_of(left)


def float_floor_mod(left: Term, right: Term) -> Term:
    """The remainder with the sign of the divisor, exact where `float_mod` is."""
    rest = float_mod(left, right)
    opposite = rest.less(0.0) ^ right.less(0.0)
    return rest.equals(0.0).choose(rest.magnitude().with_sign_of(right), opposite.choose(rest + right, rest))
