"""The few numerical pieces that kernels share."""

import math

import numpy as np

from robust_rl._numba import dot, exp_and_expm1


def test_exponentials_agree_with_the_system_to_a_few_units_in_the_last_place():
    for x in -np.append(np.logspace(-300, math.log10(700), 5000), 0.0):
        for found, expected in zip(exp_and_expm1(x), (math.exp(x), math.expm1(x)), strict=True):
            assert abs(found - expected) <= 4 * np.spacing(abs(expected))
    assert exp_and_expm1(-800.0)[1] == -1.0


def test_dot_does_not_depend_on_alignment():
    rng = np.random.default_rng(0)
    store = rng.normal(size=(2, 110))
    for n in (1, 7, 64, 101):
        results = set()
        for shift in range(8):
            x, y = store[0, shift : shift + n], store[1, shift : shift + n]
            x[:], y[:] = np.arange(n) / 7, np.sin(np.arange(n))
            results.add(dot(x, y))
        assert len(results) == 1
