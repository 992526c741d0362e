"""The backup over a whole model against plain loops and a linear program for each row."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidUncertaintyError
from robust_rl.solvers import BellmanOperator
from tests.worlds import random_model

from .cases import CASES, Case
from .oracle import minimise

SUPPORTS = ["free", "nominal", "reachable", "mask"]
by_support = pytest.mark.parametrize("support", SUPPORTS)


def a_mask(model, seed=0):
    p = model.csr().toarray().reshape(model.num_states, model.num_actions, -1)
    return (p > 0) | (np.random.default_rng(seed).random(p.shape) < 0.3)


def plain_rows(model, support, value, discount):
    """Yield (s, a, p, z, allowed) of every active row, by loops, from the definitions alone."""
    states, actions = model.num_states, model.num_actions
    p = model.csr().toarray().reshape(states, actions, states)
    r = model.rewards.toarray() if model.is_sparse and model.has_transition_rewards else model.rewards
    r = r.reshape(states, actions, states) if model.has_transition_rewards else np.repeat(r[..., None], states, axis=2)
    for s in range(states):
        open_actions = [a for a in range(actions) if model.action_mask[s, a]]
        for a in open_actions if not model.terminal[s] else []:
            z = np.zeros(states)
            for t in range(states):
                reaching = [b for b in open_actions if p[s, b, t] > 0]
                unreached = min((r[s, b, t] for b in reaching), default=r[s, a, t])
                reward = r[s, a, t] if p[s, a, t] > 0 or not model.has_transition_rewards else unreached
                z[t] = reward + discount * value[t]
            reachable = np.array([any(p[s, b, t] > 0 for b in open_actions) for t in range(states)])
            allowed = {"free": np.ones(states, bool), "nominal": p[s, a] > 0, "reachable": reachable, "mask": a_mask(model)[s, a]}
            yield s, a, p[s, a], z, allowed[support]


def lowest(case: Case, rows, radius):
    """The set's own oracle for each row."""
    if case.constraints:
        return minimise([(z, allowed, case.constraints(p, radius)) for _, _, p, z, allowed in rows])
    return [case.dual(p, z, radius, allowed) for _, _, p, z, allowed in rows]


@by_support
@pytest.mark.parametrize("case", [case for case in CASES if case.name != "interval"], ids=lambda case: case.name)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("transition_rewards", [False, True], ids=["r(s,a)", "r(s,a,s')"])
def test_backup_agrees_with_the_definition(case, support, sparse, transition_rewards):
    """Interval, whose bounds are arrays, has a test of its own."""
    if not case.supports and support != case.support:
        return
    model = random_model(2 * sparse + transition_rewards, sparse=sparse, transition_rewards=transition_rewards)
    value = np.random.default_rng(100).normal(size=model.num_states) * 5
    uncertainty = case.build(np.empty(model.num_states), 0.15, a_mask(model) if support == "mask" else support)
    q = BellmanOperator(model, uncertainty, 0.9).q_values(value)
    rows = list(plain_rows(model, support, value, 0.9))
    expected = np.where(model.terminal[:, None] & np.ones_like(q, bool), 0.0, -np.inf)
    expected[[row[0] for row in rows], [row[1] for row in rows]] = lowest(case, rows, 0.15)
    np.testing.assert_allclose(q, expected, atol=max(1e-9, 20 * case.tolerance))


@by_support
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("transition_rewards", [False, True], ids=["r(s,a)", "r(s,a,s')"])
def test_worst_kernel_attains_the_backup(support, sparse, transition_rewards):
    for seed in range(5):
        model = random_model(seed, sparse=sparse, transition_rewards=transition_rewards)
        value = np.random.default_rng(seed).normal(size=model.num_states)
        backup = BellmanOperator(model, rr.TotalVariation(0.3, support=a_mask(model) if support == "mask" else support), 0.8)
        kernel, rewards = backup.worst_case(value)
        paid = np.asarray(kernel.multiply(rewards).sum(axis=1)) if transition_rewards else rewards
        attained = paid.ravel() + 0.8 * (kernel @ value)
        active = model.active_rows
        np.testing.assert_allclose(attained[active], backup.q_values(value).ravel()[active], atol=1e-12)
        np.testing.assert_allclose(np.asarray(kernel.sum(axis=1)).ravel(), active.astype(float), atol=1e-12)
        distance = abs(kernel - model.csr()).sum(axis=1)[active] / 2
        assert (distance <= 0.3 + 1e-12).all()


def test_interval_with_sparse_bounds_equals_dense_bounds():
    from scipy.sparse import csr_array

    for seed in range(5):
        model, sparse_model = random_model(seed), random_model(seed, sparse=True)
        p = model.csr().toarray()
        lower, upper = 0.5 * p, np.minimum(1.4 * p, 1.0)
        value = np.random.default_rng(seed).normal(size=model.num_states)
        shape = (model.num_states, model.num_actions, model.num_states)
        dense = BellmanOperator(model, rr.Interval(lower.reshape(shape), upper.reshape(shape)), 0.9).q_values(value)
        sparse = BellmanOperator(sparse_model, rr.Interval(csr_array(lower), csr_array(upper)), 0.9).q_values(value)
        np.testing.assert_allclose(dense, sparse, atol=1e-12)
        rows = rr.Interval(lower[model.active_rows], upper[model.active_rows]).worst_case(
            p[model.active_rows], rr_z(model, value)[model.active_rows]
        )
        np.testing.assert_allclose(dense.ravel()[model.active_rows], rows.value, atol=1e-12)


def rr_z(model, value):
    return model.rewards.reshape(-1, model.num_states) + 0.9 * value


def test_radii_per_state_and_action():
    model = random_model(1)
    radii = np.random.default_rng(0).random((model.num_states, model.num_actions))
    value = np.arange(model.num_states, dtype=float)
    together = BellmanOperator(model, rr.TotalVariation(radii, support="free"), 0.9).q_values(value)
    for s, a in np.argwhere(model.action_mask & ~model.terminal[:, None]):
        alone = BellmanOperator(model, rr.TotalVariation(radii[s, a], support="free"), 0.9).q_values(value)
        assert together[s, a] == alone[s, a]


def test_radius_zero_and_no_uncertainty_give_the_same_bits():
    for sparse in (False, True):
        model = random_model(2, sparse=sparse)
        value = np.random.default_rng(0).normal(size=model.num_states)
        nominal = BellmanOperator(model, None, 0.9).q_values(value)
        np.testing.assert_array_equal(
            BellmanOperator(model, rr.TotalVariation(0, support="nominal"), 0.9).q_values(value), nominal
        )


@pytest.mark.parametrize(
    "build",
    [
        rr.KL,
        rr.ChiSquare,
        lambda r: rr.ReverseKL(r, support="nominal"),
        lambda r: rr.ReverseKL(r, support="free"),
        lambda r: rr.L2(min(r, 1.4), support="nominal"),
        lambda r: rr.L2(min(r, 1.4), support="free"),
    ],
    ids=["kl", "chi2", "reverse-kl", "reverse-kl-free", "l2", "l2-free"],
)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_sweeps_agree_with_worst_cases_at_radii_of_every_size(build, sparse):
    """A sweep stops at the dual's value, the worst case at that of a member of the set; within 1e-12 of the size of z each."""
    for radius in [*10.0 ** np.arange(-28, 3, 2), 3e-13, 0.3]:
        model = random_model(5, states=7, sparse=sparse, transition_rewards=False)
        backup, value = BellmanOperator(model, build(radius), 0.9), np.random.default_rng(6).normal(size=7) * 10
        for scale in (1.0, 1.0 + 1e-9, 3.0, 1e-3):  # warm starts from near, far and very far
            q, exact = backup.q_values(scale * value), backup.rows.worst_case(scale * value, backup.layout.rows).values
            active = model.active_rows
            np.testing.assert_allclose(q.ravel()[active], exact[active], rtol=0, atol=2e-12 * (1 + abs(scale * value).max()))


def test_readonly_arrays_are_accepted():
    model = random_model(3, transition_rewards=False)
    model.transitions.flags.writeable = model.rewards.flags.writeable = False
    assert np.isfinite(rr.solve(model, rr.TotalVariation(0.1, support="free"), discount=0.9).value).all()


@pytest.mark.parametrize(
    ("uncertainty", "message"),
    [
        (lambda m: rr.TotalVariation(0.1, support=np.ones((2, 2), bool)), r"support mask has shape \(2, 2\)"),
        (
            lambda m: rr.TotalVariation(0.1, support=np.zeros((5, 3, 5), bool)),
            r"excludes s'=\d+, a nominal successor of \(s=1, a=0\)",
        ),
        (
            lambda m: rr.TotalVariation(np.full((2, 2), 0.1), support="free"),
            r"radii of shape \(2, 2\), which don't fit rows of shape \(5, 3\)",
        ),
        (lambda m: rr.Interval(0.0, 0.1), r"row \(s=1, a=0\) admits no distribution"),
        (lambda m: rr.Interval(0.4, 0.5), r"row \(s=1, a=0\) admits no distribution: lower bounds sum to 2"),
        (
            lambda m: rr.WeightedL1(0.1, weights=np.ones(4), support="free"),
            r"weights have shape \(4,\), .* 15 rows over 5 states",
        ),
        (lambda m: rr.WeightedL1(0.1, weights=np.ones((5, 1, 5)), support="free"), r"weights have shape \(5, 1, 5\)"),
        (lambda m: rr.Wasserstein(0.1, metric=1 - np.eye(4)), r"the metric is on 4 states, but there are 5"),
        (lambda m: rr.Wasserstein(np.ones((2, 2)), metric=1 - np.eye(5)), r"radii of shape \(2, 2\)"),
        (lambda m: 0.1, r"0.1 is not an uncertainty set"),
    ],
)
def test_sets_that_do_not_fit_the_model_are_named(uncertainty, message):
    model = random_model(0, masked=False)
    with pytest.raises(InvalidUncertaintyError, match=message):
        rr.solve(model, uncertainty(model), discount=0.9)
