import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import robust_rl as rr
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.uncertainty import Nominal

from .cases import CASES
from .oracle import minimise

by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
RADII = [0.0, 1e-12, 1e-3, 0.05, 0.2, 0.5, 0.9, 1.0]


def random_instances(count, seed):
    """Rows with zeros, z with ties, extreme radii."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n = rng.integers(2, 13)
        p = rng.dirichlet(np.full(n, 0.5)) * (rng.random(n) < 0.7)
        p = np.eye(n)[rng.integers(n)] if p.sum() == 0 else p / p.sum()
        z = rng.normal(size=n) * 10.0 ** rng.integers(-1, 3)
        z = np.round(z, rng.integers(0, 3)) if rng.random() < 0.5 else z
        radius = rng.choice(RADII) if rng.random() < 0.5 else rng.random()
        allowed = (p > 0) | (rng.random(n) < 0.3)
        yield (
            p,
            z,
            float(radius),
            {"free": np.ones(n, bool), "nominal": p > 0, "mask": allowed}[rng.choice(["free", "nominal", "mask"])],
        )


@by_case
def test_agrees_with_an_independent_oracle_on_random_instances(case):
    """A wrong closed form, tie rule, root or edge at radius 0 or 1 shows as a difference of more than the stated precision."""
    instances = list(random_instances(case.instances, seed=1))
    if not case.supports:
        instances = [(p, z, r, p > 0) for p, z, r, _ in instances]
    if case.dual:  # below 1e-6 the duals themselves cancel; a test of their own covers those radii
        instances = [(p, z, max(r, 1e-6) if r else 0.0, allowed) for p, z, r, allowed in instances]
    answers = [case.build(p, r, "free").worst_case(p, z, allowed=allowed) for p, z, r, allowed in instances]
    if case.constraints:
        expected = minimise([(z, allowed, case.constraints(p, r)) for p, z, r, allowed in instances])
    else:
        expected = np.array([case.dual(p, z, r, allowed) for p, z, r, allowed in instances])
    found = np.array([float(answer.value) for answer in answers])
    scale = np.array([1 + abs(z).max() for _, z, _, _ in instances])
    np.testing.assert_array_less(abs(found - expected), case.tolerance * scale)
    for answer, (p, z, r, allowed) in zip(answers, instances, strict=True):
        assert_attained(answer, p, z, r, allowed, case)


def assert_attained(answer, p, z, radius, allowed, case):
    """q is a distribution in the set, and attains the value."""
    q = answer.q
    assert (q >= 0).all()
    assert (q[~allowed] == 0).all()
    assert abs(q.sum() - 1) < 1e-12
    assert abs(q @ z - answer.value) <= 1e-12 * (1 + abs(z).max())
    if case.constraints is None:
        assert case.distance(q, p) <= radius * (1 + 1e-9) + 1e-13
        return
    rules = case.constraints(p, radius)
    assert (q >= rules.lower - 1e-12).all()
    assert (q <= rules.upper + 1e-12).all()
    if len(rules.b):
        aux = abs(q - p)
        assert (rules.a @ np.concatenate([q, aux]) <= rules.b + 1e-12).all()


@by_case
@pytest.mark.parametrize("support", ["free", "nominal"])
def test_batches_agree_with_single_rows(case, support):
    rng = np.random.default_rng(2)
    p = rng.dirichlet(np.ones(6), size=(4, 3)) * (rng.random((4, 3, 6)) < 0.8)
    p = np.where(p.sum(-1, keepdims=True) == 0, 1 / 6, p)
    p /= p.sum(-1, keepdims=True)
    z = rng.normal(size=(4, 3, 6))
    batch = case.build(p, 0.2, support).worst_case(p, z)
    for index in np.ndindex(4, 3):
        single = case.build(p[index], 0.2, support).worst_case(p[index], z[index])
        assert batch.value[index] == single.value
        np.testing.assert_array_equal(batch.q[index], single.q)


# Properties of section "verification" of the literature: any lower expectation has them.
sizes = st.integers(2, 8)


@st.composite
def rows(draw):
    n = draw(sizes)
    weights = draw(arrays(np.float64, n, elements=st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0])))
    p = np.eye(n)[0] if weights.sum() == 0 else weights / weights.sum()
    numbers = st.floats(-10, 10, allow_nan=False).map(lambda x: round(x, 3))
    return p, draw(arrays(np.float64, n, elements=numbers)), draw(arrays(np.float64, n, elements=numbers)), draw(st.floats(0, 1))


def value(case, p, z, radius, support="free"):
    return float(case.build(p, radius, support).worst_case(p, z).value)


@by_case
@settings(max_examples=60, deadline=None)
@given(data=rows())
def test_is_a_coherent_lower_expectation(case, data):
    p, z, other, radius = data
    worst = value(case, p, z, radius)
    assert z.min() - 1e-12 <= worst <= p @ z + 1e-9
    assert worst <= value(case, p, np.maximum(z, other), radius) + 1e-9, "monotone"
    assert value(case, p, z + 3.25, radius) == pytest.approx(worst + 3.25, abs=1e-9), "translation"
    assert value(case, p, 2.5 * z, radius) == pytest.approx(2.5 * worst, abs=1e-9), "scaling"
    middle = value(case, p, (z + other) / 2, radius)
    assert middle >= (worst + value(case, p, other, radius)) / 2 - 1e-9, "concave"


@by_case
@settings(max_examples=40, deadline=None)
@given(data=rows(), seed=st.integers(0, 99))
def test_states_may_be_renamed_and_split(case, data, seed):
    p, z, _, radius = data
    order = np.random.default_rng(seed).permutation(len(p))
    worst = value(case, p, z, radius)
    assert value(case, p[order], z[order], radius) == pytest.approx(worst, abs=1e-9)
    if case.splits:
        halves = np.append(p, p[0] / 2)
        halves[0] /= 2
        assert value(case, halves, np.append(z, z[0]), radius) == pytest.approx(worst, abs=1e-9)


@by_case
@settings(max_examples=40, deadline=None)
@given(data=rows(), larger=st.floats(0, 1))
def test_grows_with_radius_and_support(case, data, larger):
    p, z, _, radius = data
    low, high = sorted((radius, larger))
    at_low, at_high = value(case, p, z, low), value(case, p, z, high)
    assert at_high <= at_low + 1e-9
    if case.convex:
        assert value(case, p, z, (low + high) / 2) <= (at_low + at_high) / 2 + 1e-9, "convex in the radius"
    if case.supports:
        assert value(case, p, z, radius, "free") <= value(case, p, z, radius, "nominal") + 1e-9


@pytest.mark.parametrize("case", [case for case in CASES if case.zero], ids=lambda case: case.name)
def test_radius_zero_is_the_nominal_row_to_the_bit(case):
    rng = np.random.default_rng(3)
    for _ in range(50):
        p, z = rng.dirichlet(np.ones(7)), rng.normal(size=7)
        nominal = float(Nominal().worst_case(p, z).value)
        assert value(case, p, z, 0.0) == nominal


@pytest.mark.parametrize("case", [case for case in CASES if case.price], ids=lambda case: case.name)
def test_multiplier_is_minus_the_derivative_in_the_radius(case):
    """Away from kinks, which a step of 1e-7 meets with probability of about 1e-6 an instance; the step's own error is 1e-6."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        p, z, radius = rng.dirichlet(np.ones(6)), rng.normal(size=6), rng.uniform(0.01, 0.6)
        slope = (value(case, p, z, radius + 1e-7) - value(case, p, z, radius)) / 1e-7
        multiplier = case.build(p, radius, "free").worst_case(p, z).multiplier
        assert case.price * multiplier == pytest.approx(-slope, abs=3e-6, rel=1e-5)


def test_total_variation_is_minimum_plus_conditional_value_at_risk():
    """value = sigma min z + (1 - sigma) CVaR_{1-sigma}(z), CVaR computed by sorting."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        p, z, sigma = rng.dirichlet(np.ones(5)), rng.normal(size=5), rng.uniform(0, 0.95)
        order, left, tail = np.argsort(z), 1 - sigma, 0.0
        for i in order:
            mass = min(p[i], left)
            tail += mass * z[i]
            left -= mass
        expected = sigma * z.min() + tail
        assert rr.TotalVariation(sigma, support="free").worst_case(p, z).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("radius", [1e-12, 1e-9, 1e-7])
def test_small_divergences_cost_standard_deviations(radius):
    """E z - sqrt(2 sigma Var z) for both KL balls, E z - sqrt(sigma Var z) for chi-square; the next term is of order sigma."""
    rng = np.random.default_rng(7)
    for _ in range(100):
        p, z = rng.dirichlet(np.ones(6)), rng.normal(size=6)
        mean = p @ z
        deviation = np.sqrt(p @ (z - mean) ** 2)
        third = abs(p @ (z - mean) ** 3) / deviation**2
        for uncertainty, factor in ((rr.KL(radius), 2), (rr.ReverseKL(radius, support="nominal"), 2), (rr.ChiSquare(radius), 1)):
            loss = mean - float(uncertainty.worst_case(p, z).value)
            assert loss == pytest.approx(np.sqrt(factor * radius) * deviation, abs=3 * radius * (third + deviation) + 1e-15)


def test_balls_lie_inside_each_other():
    """Pinsker: KL sigma lies in total variation sqrt(sigma / 2), chi-square sigma in sqrt(sigma) / 2; KL <= log(1 + chi2)."""
    rng = np.random.default_rng(8)
    for _ in range(300):
        p, z, sigma = rng.dirichlet(np.ones(5)), rng.normal(size=5), rng.uniform(0, 1)
        kl, chi2 = (float(ball.worst_case(p, z).value) for ball in (rr.KL(sigma), rr.ChiSquare(sigma)))
        tv = [rr.TotalVariation(r, support="nominal").worst_case(p, z).value for r in (np.sqrt(sigma / 2), np.sqrt(sigma) / 2)]
        assert kl >= tv[0] - 1e-12
        assert chi2 >= tv[1] - 1e-12
        assert rr.KL(np.log1p(sigma)).worst_case(p, z).value <= chi2 + 1e-12
        assert (
            rr.LInfinity(0.1, support="free").worst_case(p, z).value
            >= rr.L2(0.1 * np.sqrt(5), support="free").worst_case(p, z).value - 1e-9
        )


def test_contamination_lies_inside_total_variation():
    rng = np.random.default_rng(6)
    for _ in range(200):
        p, z, radius = rng.dirichlet(np.ones(5)), rng.normal(size=5), rng.random()
        inner = rr.Contamination(radius, support="free").worst_case(p, z).value
        assert inner >= rr.TotalVariation(radius, support="free").worst_case(p, z).value - 1e-12


def test_kernel_accepts_a_total_variation_above_one():
    """The constructor refuses it, the kernel gives the minimum: nothing is left to move."""
    ball = rr.TotalVariation(1.0, support="free")
    ball.radius = 1.7
    assert ball.worst_case([0.5, 0.5], [1.0, 2.0]).value == 1.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rr.TotalVariation(1.01, support="free"), r"TotalVariation: radius 1.01 is outside \[0, 1\] \(total variation"),
        (lambda: rr.TotalVariation(-0.1, support="free"), r"radius -0.1 is outside"),
        (lambda: rr.TotalVariation(float("nan"), support="free"), r"radius nan is outside"),
        (lambda: rr.TotalVariation("wide", support="free"), r"radius 'wide' is not a number"),
        (lambda: rr.TotalVariation(0.1), r'TotalVariation needs support=.*"reachable".*"nominal".*"free"'),
        (lambda: rr.Contamination(0.1, support="everywhere"), r"Contamination needs support=.*Got 'everywhere'"),
        (lambda: rr.LInfinity(2, support="free"), r"LInfinity: radius 2 is outside \[0, 1\]"),
        (lambda: rr.L1(2.1, support="free"), r"L1: radius 2.1 is outside \[0, 2\] \(L1 distance"),
        (lambda: rr.L2(1.5, support="free"), r"L2: radius 1.5 is outside"),
        (lambda: rr.L2(0.1), r"L2 needs support"),
        (lambda: rr.KL(-0.1), r"KL: radius -0.1 is outside \[0, inf\)"),
        (lambda: rr.KL(np.inf), r"KL: radius inf is outside"),
        (lambda: rr.ChiSquare(np.nan), r"ChiSquare: radius nan is outside"),
        (lambda: rr.ReverseKL(0.1), r"ReverseKL needs support"),
        (lambda: rr.CVaR(0), r"CVaR: level 0 is outside \(0, 1\]"),
        (lambda: rr.CVaR(1.5), r"CVaR: level 1.5 is outside"),
        (lambda: rr.Interval(0.5, 0.2), r"lower exceeds upper"),
        (lambda: rr.Interval(-0.1, 0.2), r"lower has an entry outside \[0, 1\]"),
        (lambda: rr.Interval(0, 0.1).worst_case([0.5, 0.5], [1, 2]), "row p admits no distribution: .* upper to 0.2"),
        (
            lambda: rr.Interval([0.8, 0.8], 1).worst_case([[0.5, 0.5]], [1, 2]),
            r"row \(0,\) admits no distribution: lower bounds sum to 1.6",
        ),
        (lambda: rr.Interval([0.1, 0.1, 0.1], 1).worst_case([0.5, 0.5], [1, 2]), r"lower has shape \(3,\)"),
        (lambda: rr.TotalVariation(0.1, support="free").worst_case([0.5, 0.4], [0, 1]), r"not a probability vector"),
        (lambda: rr.TotalVariation(0.1, support="free").worst_case([0.5, 0.5], [0, np.inf]), r"NaN or infinite"),
        (lambda: rr.TotalVariation(0.1, support="free").worst_case([0.5, 0.5], [0, 1, 2]), r"same states"),
        (lambda: rr.TotalVariation(0.1, support="reachable").worst_case([0.5, 0.5], [0, 1]), r"give allowed="),
        (lambda: rr.TotalVariation([0.1, 0.2], support="free").worst_case([0.5, 0.5], [0, 1]), r"radii of shape \(2,\)"),
        (
            lambda: rr.TotalVariation(0.1, support="free").worst_case([0.5, 0.5], [0, 1], allowed=[True, False]),
            r"excludes a state that p reaches",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(InvalidUncertaintyError, match=message):
        build()


def test_repr_tells_whatever_changes_the_answer():
    assert repr(rr.TotalVariation(0.1, support="free")) == "TotalVariation(radius=0.1, support='free')"
    assert "shape (4, 3)" in repr(rr.TotalVariation(np.full((4, 3), 0.1), support="nominal"))


def test_sets_are_equal_when_their_arguments_are():
    radii = np.full((40, 30), 0.1)
    changed = radii.copy()
    changed[20, 20] += 1e-10
    assert rr.TotalVariation(radii, support="free") == rr.TotalVariation(radii.copy(), support="free")
    assert rr.TotalVariation(radii, support="free") != rr.TotalVariation(changed, support="free")
    assert rr.TotalVariation(0.1, support="free") != rr.TotalVariation(0.1, support="nominal")
    assert rr.TotalVariation(0.1, support="free") != rr.LInfinity(0.1, support="free")


def test_chi_square_at_the_radius_that_just_leaves_all_mass_on_the_lowest():
    """1/p - 1 = 0.2 for p = 5/6, but not in floating point: the threshold then comes out as 0 and all entries are clipped."""
    for p in ([1 / 6, 5 / 6], [5 / 6, 1 / 6]):
        worst = rr.ChiSquare(0.2).worst_case(p, [2.0, 0.5] if p[1] > p[0] else [0.5, 2.0])
        assert float(worst.value) == pytest.approx(0.5, abs=1e-12)
        assert worst.q.max() == pytest.approx(1, abs=1e-12)
