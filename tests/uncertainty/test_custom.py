"""Sets written in cvxpy, against the library's own sets of the same shape."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import ConvergenceError, FileFormatError, InvalidUncertaintyError, MissingDependencyError
from robust_rl.solvers import BellmanOperator, policy_value
from robust_rl.uncertainty.custom import describe_function
from tests.worlds import random_model

cp = pytest.importorskip("cvxpy")


def ellipsoid(weights):
    return lambda q, p: [cp.norm(cp.multiply(weights, q - p)) <= 0.1]


TWINS = {
    "tv": (lambda r, s: rr.CustomSet(lambda q, p: [cp.norm1(q - p) <= 2 * r], support=s), rr.TotalVariation),
    "l2": (lambda r, s: rr.CustomSet(lambda q, p: [cp.norm(q - p) <= r], support=s), rr.L2),
    "reverse-kl": (lambda r, s: rr.CustomSet(lambda q, p: [cp.sum(cp.rel_entr(p, q)) <= r], support=s), rr.ReverseKL),
}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("support", ["free", "nominal", "reachable"])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_backup_agrees_with_the_same_set_in_closed_form(name, support, sparse):
    """To a tenth of the tolerance that is claimed; one problem is compiled for each length of row."""
    custom, own = TWINS[name]
    model = random_model(2, sparse=sparse)
    value = np.random.default_rng(1).normal(size=5) * 100
    op = BellmanOperator(model, custom(0.2, support), 0.9)
    exact = BellmanOperator(model, own(0.2, support=support), 0.9)
    spread = np.ptp(0.9 * value) + np.ptp(model.rewards.data if sparse else model.rewards)
    np.testing.assert_allclose(op.q_values(value), exact.q_values(value), atol=1e-7 * spread)
    lengths = set(np.diff(op.layout.ptr)[op.layout.rows].tolist())
    assert set(op.rows._problems) == lengths
    kernel, rewards = op.worst_case(value)
    attained = np.asarray(kernel.multiply(rewards).sum(axis=1)).ravel() + 0.9 * (kernel @ value)
    np.testing.assert_allclose(attained[model.active_rows], op.q_values(value).ravel()[model.active_rows], atol=1e-7 * spread)
    assert op.rounding(value) >= 1e-6 * 0.9 * abs(value).max(), "certificates are widened by the tolerance"


@pytest.mark.parametrize("radius", [1e-4, 0.05, 0.9])
def test_values_are_as_exact_as_claimed(radius):
    rng = np.random.default_rng(0)
    custom = rr.CustomSet(lambda q, p: [cp.sum(cp.kl_div(q, p)) <= radius], support="nominal")
    for n in (2, 5, 9):
        p, z = rng.dirichlet(np.ones(n), size=10), rng.normal(size=(10, n)) * 1e3
        worst, exact = custom.worst_case(p, z), rr.KL(radius).worst_case(p, z)
        assert (abs(worst.value - exact.value) <= 1e-6 * np.ptp(z, axis=1)).all()
        assert np.isnan(worst.multiplier).all()
        np.testing.assert_allclose((worst.q * z).sum(axis=1), worst.value, rtol=1e-12)
        assert (worst.q >= 0).all()
        np.testing.assert_allclose(worst.q.sum(axis=1), 1, rtol=1e-14)


@pytest.mark.parametrize("arguments", [{"discount": 0.8}, {"horizon": 3}])
def test_a_solution_brackets_the_exact_optimum(arguments):
    model = random_model(0, states=4, actions=2)
    custom = rr.CustomSet(lambda q, p: [cp.norm1(q - p) <= 0.4], support="free")
    exact = rr.solve(model, rr.TotalVariation(0.2, support="free"), **arguments, tol=1e-9)
    solution = rr.solve(model, custom, **arguments, tol=1e-3)
    assert (solution.certificate.lower <= exact.value + 1e-9).all()
    assert (exact.value <= solution.certificate.upper + 1e-9).all()
    assert 1e-6 < solution.certificate.gap <= 1e-3
    worth = policy_value(model, solution.policy, custom, **arguments)
    assert (worth >= solution.certificate.lower - 1e-6).all()


def test_a_constant_z_and_other_solvers():
    custom = rr.CustomSet(lambda q, p: [cp.norm1(q - p) <= 0.4], support="free")
    assert custom.worst_case([0.5, 0.5], [3.0, 3.0]).value == 3.0
    scs = rr.CustomSet(lambda q, p: [cp.norm(q - p) <= 0.2], support="free", solver="SCS", tolerance=1e-3)
    exact = rr.L2(0.2, support="free").worst_case([0.5, 0.3, 0.2], [1.0, 2.0, 4.0]).value
    assert scs.worst_case([0.5, 0.3, 0.2], [1.0, 2.0, 4.0]).value == pytest.approx(exact, abs=3e-3)


def test_a_policy_file_keeps_a_description_and_predicts(tmp_path):
    """With discount 1, too, where a planner would ask the set how long an episode can last."""
    model = random_model(0, states=4, actions=2, masked=False, transition_rewards=False)
    p = 0.5 * model.transitions
    p[..., 0] += 0.5
    model = model.replace(transitions=p)
    for discount in (0.8, 1.0):
        ball = rr.CustomSet(lambda q, p: [cp.norm1(q - p) <= 0.2], support="nominal")
        agent = rr.RobustVI(model, rr.UncertainRewards(0.1, ball), discount=discount, tol=1e-2).learn()
        agent.save(tmp_path / "policy")
        loaded = rr.RobustVI.load(tmp_path / "policy")
        assert loaded.uncertainty == agent.uncertainty
        assert repr(loaded.uncertainty) == repr(agent.uncertainty)
        np.testing.assert_array_equal(loaded.predict(np.arange(4))[0], agent.predict(np.arange(4))[0])
        with pytest.raises(FileFormatError, match="holds only its description.*give CustomSet"):
            loaded.learn()


def test_sets_of_other_numbers_are_told_apart():
    """Two closures over different numbers have the same text; a checkpoint must not be continued with the other."""
    one, two = (rr.CustomSet(ellipsoid(np.array([1.0, 2.0, w])), support="free") for w in (3.0, 4.0))
    assert one != two
    assert one == rr.CustomSet(ellipsoid(np.array([1.0, 2.0, 3.0])), support="free")
    assert "array of shape (3,)" in describe_function(one.constraints)
    assert describe_function(len) == "len"


def test_without_cvxpy_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "robust-rl\[cvx\]"'):
        rr.CustomSet(lambda q, p: [], support="free")


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (lambda q, p: q == p, r"returned .*; return a list"),
        (lambda q, p: [True], "constraint 0 is True, not a cvxpy constraint"),
        (lambda q, p: [q >= 0, cp.norm(q - p) >= 0.1], r"constraint 1, .* is not convex"),
        (lambda q, p: [cp.sum(cp.multiply(cp.inv_pos(p), cp.square(q - p))) <= 1], r"constraint 0, .* breaks cvxpy's rules"),
        (lambda q, p: [q <= cp.Parameter(2, name="cap")], "constraint 0 has parameters besides p: cap"),
        (lambda q, p: [q >= 0.6], r"the constraints admit no distribution for row \(s=0, a=1\); they should hold"),
    ],
)
def test_constraints_that_will_not_do_are_named(constraints, message):
    model = rr.TabularMDP(np.full((2, 2, 2), 0.5), np.zeros((2, 2)), action_mask=np.array([[False, True], [True, True]]))
    with pytest.raises(InvalidUncertaintyError, match=message):
        rr.solve(model, rr.CustomSet(constraints, support="free"), discount=0.9)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rr.CustomSet([], support="free"), r"constraints is \[\]; give a function"),
        (lambda: rr.CustomSet(len), "CustomSet needs support"),
        (lambda: rr.CustomSet(len, support="free", solver="MOSEC"), "solver 'MOSEC' is not one of CLARABEL"),
        (lambda: rr.CustomSet(len, support="free", tolerance=0), r"tolerance is 0; it must be in \[1e-9, 1\)"),
        (
            lambda: rr.CustomSet(lambda q, p: [q >= 0.6], support="free").worst_case([[0.5, 0.5]], [0, 1]),
            r"no distribution for row \(0,\)",
        ),
    ],
)
def test_bad_arguments_are_named(build, message):
    with pytest.raises(InvalidUncertaintyError, match=message):
        build()


def test_a_set_too_thin_for_the_solver_is_refused():
    """A radius of 1e-12 has a price of 1e6: what the solver leaves open is worth more than the tolerance."""
    thin = rr.CustomSet(lambda q, p: [cp.sum(cp.kl_div(q, p)) <= 1e-12], support="nominal")
    with pytest.raises(ConvergenceError, match=r"tolerance"):
        thin.worst_case([0.5, 0.3, 0.2], [1.0, 2.0, 4.0])
