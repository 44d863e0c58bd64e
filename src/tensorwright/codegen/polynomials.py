"""Coefficients of `transcendental`, lowest power first.

Written by tools/fit_polynomials.py: change them there.
Errors are those of the polynomials in exact arithmetic, in units of 2**-24 (float32) and 2**-53 (float64).
"""

from __future__ import annotations

from collections.abc import Mapping

from tensorwright.tensor.dtype import FLOAT32, FLOAT64, DType

Table = Mapping[DType, tuple[float, ...]]

LN2: Table = {
    FLOAT32: (
        0.693145751953125,
        1.428606765330187e-06,
    ),
    FLOAT64: (
        0.6931471805601177,
        -1.7239444525614835e-13,
    ),
}

# exp(x), |x| <= ln(2) / 2; relative error: 0.073 (float32), 0.087 (float64).
EXP: Table = {
    FLOAT32: (
        1.0,
        1.0,
        0.4999999403953552,
        0.1666651964187622,
        0.04166839271783829,
        0.008368780836462975,
        0.001381449750624597,
    ),
    FLOAT64: (
        1.0,
        1.0,
        0.5000000000000011,
        0.1666666666666641,
        0.041666666666529135,
        0.008333333333495386,
        0.0013888888943935406,
        0.000198412695052822,
        2.4801492750743944e-05,
        2.7557586875779235e-06,
        2.7630382590817603e-07,
        2.5000114589019613e-08,
    ),
}
