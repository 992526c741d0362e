"""What holds of the Wasserstein ball beyond the contract of all sets: any metric, near neighbours, large models."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog
from scipy.sparse.csgraph import shortest_path

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.solvers import BellmanOperator
from tests.worlds import expected_rewards, random_model

from .cases import transport
from .oracle import minimise
from .test_backup import plain_rows
from .test_worst_case import random_instances


def random_metric(rng, n, *, cut=False):
    """In the plane, on a line with ties, along a weighted graph, or discrete; cut off at some distance, to infinity."""
    kind = rng.integers(4)
    if kind == 0:
        x = rng.normal(size=(n, 2))
        d = np.linalg.norm(x[:, None] - x, axis=-1)
    elif kind == 1:
        x = rng.permutation(n).astype(float)
        d = abs(x[:, None] - x)
    elif kind == 2:
        d = shortest_path(np.triu(rng.integers(1, 5, (n, n)).astype(float), 1), directed=False)
    else:
        d = 1.0 - np.eye(n)
    return np.where(d > np.quantile(d, 0.6), np.inf, d) if cut else d


def listed(metric):
    return sparse.csr_array(np.where(np.isfinite(metric), metric, 0.0))


def diameter(metric):
    return float(np.where(np.isfinite(metric), metric, 0.0).max())


def cost_to_move(q, p, metric):
    """W1(q, p), by HiGHS."""
    n, near = len(p), np.isfinite(metric)
    balance = np.vstack([np.kron(np.eye(n), np.ones((1, n))), np.kron(np.ones((1, n)), np.eye(n))])
    bounds = [(0, None if open_ else 0) for open_ in near.ravel()]
    found = linprog(np.where(near, metric, 0.0).ravel(), A_eq=balance, b_eq=np.append(p, q), bounds=bounds)
    assert found.status == 0, found.message
    return found.fun


def test_agrees_with_the_transport_problem_for_any_metric():
    """An envelope that misses a crossing of two lines of the same source, or begins elsewhere than at it, shows above 1e-9."""
    rng = np.random.default_rng(0)
    instances, answers = [], []
    for p, z, share, _ in random_instances(1000, seed=10):
        metric = random_metric(rng, len(p), cut=rng.random() < 0.4)
        radius = diameter(metric) * (rng.choice([0.0, 1e-12, 1.0, 2.0]) if rng.random() < 0.3 else share)
        given = listed(metric) if rng.random() < 0.5 else metric
        answers.append(rr.Wasserstein(radius, metric=given).worst_case(p, z))
        instances.append((p, z, radius, metric))
    expected = minimise([(z, np.ones(len(p), bool), transport(p, radius, metric)) for p, z, radius, metric in instances])
    for k, (answer, value, (p, z, radius, metric)) in enumerate(zip(answers, expected, instances, strict=True)):
        assert abs(answer.value - value) < 1e-9 * (1 + abs(z).max())
        assert abs(answer.q.sum() - 1) < 1e-12
        assert (answer.q >= 0).all()
        assert abs(answer.q @ z - answer.value) <= 1e-12 * (1 + abs(z).max())
        if k % 10 == 0:
            assert cost_to_move(answer.q, p, metric) <= radius + 1e-9 * (1 + diameter(metric))


@pytest.mark.parametrize("near", [False, True], ids=["dense metric", "sparse metric"])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("transition_rewards", [False, True], ids=["r(s,a)", "r(s,a,s')"])
def test_backup_agrees_with_the_transport_problem(near, is_sparse, transition_rewards):
    for seed in range(4):
        model = random_model(seed, sparse=is_sparse, transition_rewards=transition_rewards)
        rng = np.random.default_rng(seed)
        metric, value = random_metric(rng, model.num_states, cut=near), rng.normal(size=model.num_states) * 5
        radius = 0.2 * diameter(metric)
        ball = rr.Wasserstein(radius, metric=listed(metric) if near else metric)
        operator = BellmanOperator(model, ball, 0.9)
        q = operator.q_values(value)
        rows = list(plain_rows(model, "free", value, 0.9))
        expected = minimise([(z, allowed, transport(p, radius, metric)) for *_, p, z, allowed in rows])
        np.testing.assert_allclose([q[s, a] for s, a, *_ in rows], expected, atol=1e-8)
        kernel, rewards = operator.worst_case(value)
        attained = expected_rewards(kernel, rewards) + 0.9 * (kernel @ value)
        for s, a, p, *_ in rows:
            i = s * model.num_actions + a
            assert attained[i] == pytest.approx(q[s, a], abs=1e-12)
            assert cost_to_move(kernel[[i]].toarray()[0], p, metric) <= radius * (1 + 1e-9)


@pytest.mark.parametrize("states", [7, 64, 150])
def test_sweeps_agree_with_single_rows(states):
    """Full rows find their place in the order of segments by products, short rows by a heap: both as the worst case itself does.

    150 states have several strides of segments; the radii send each row to another place.
    """
    rng = np.random.default_rng(states)
    p = rng.dirichlet(np.full(states, 0.3), size=(states, 3))
    metric, value = random_metric(rng, states), rng.normal(size=states)
    for threshold in (0.0, np.quantile(p, 0.97)):
        kept = np.where(p >= min(threshold, p.max(axis=-1).min()), p, 0.0)
        model = rr.TabularMDP(kept / kept.sum(-1, keepdims=True), rng.normal(size=(states, 3)))
        radii = rng.uniform(0, 0.5, (states, 3)) * diameter(metric) * (rng.random((states, 3)) < 0.9)
        backup = BellmanOperator(model, rr.Wasserstein(radii, metric=metric), 0.9)
        alone = rr.Wasserstein(radii, metric=metric).worst_case(model.transitions, 0.9 * value).value + model.rewards
        np.testing.assert_allclose(backup.q_values(value), alone, rtol=0, atol=1e-12)
        best, greedy = backup(value)
        np.testing.assert_allclose(best, alone.max(axis=1), rtol=0, atol=1e-12)
        np.testing.assert_array_equal(greedy, alone.argmax(axis=1))


def test_mass_goes_by_way_of_the_envelope():
    """From state 0, one step gains 3 and a second one 1/2. A dual with crossings of 0's own line alone misses the second."""
    metric = rr.graph_metric([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    for radius, q, multiplier in ((0.4, [0.6, 0.4, 0], 3), (1.5, [0, 0.5, 0.5], 0.5), (2.0, [0, 0, 1], 0.5), (9.0, [0, 0, 1], 0)):
        worst = rr.Wasserstein(radius, metric=metric).worst_case([1.0, 0.0, 0.0], [3.5, 0.5, 0.0])
        np.testing.assert_allclose(worst.q, q, atol=1e-15)
        assert worst.multiplier == multiplier


def test_the_discrete_metric_is_total_variation():
    for p, z, radius, _ in random_instances(300, seed=11):
        ball = rr.Wasserstein(radius, metric=1 - np.eye(len(p)))
        expected = rr.TotalVariation(radius, support="free").worst_case(p, z)
        assert ball.worst_case(p, z).value == pytest.approx(expected.value, abs=1e-12 * (1 + abs(z).max()))


def test_states_may_be_renamed_and_distances_rescaled():
    rng = np.random.default_rng(2)
    for p, z, radius, _ in random_instances(200, seed=12):
        metric, order = random_metric(rng, len(p), cut=rng.random() < 0.5), rng.permutation(len(p))
        worst = rr.Wasserstein(radius, metric=metric).worst_case(p, z).value
        renamed = rr.Wasserstein(radius, metric=metric[np.ix_(order, order)]).worst_case(p[order], z[order]).value
        rescaled = rr.Wasserstein(7 * radius, metric=7 * metric).worst_case(p, z).value
        assert max(abs(renamed - worst), abs(rescaled - worst)) < 1e-11 * (1 + abs(z).max())


def test_large_models_with_near_neighbours_stay_sparse():
    """A ring of 20,000 states: written out in full, its rows would take 6 GB. Checked on rows of its own, cut out around them."""
    count = 20_000
    at = np.arange(count)
    columns = np.stack([at, (at + 1) % count, (at - 1) % count], axis=1)
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=2 * count)
    transitions = sparse.csr_array((p.ravel(), np.repeat(columns, 2, axis=0).ravel(), np.arange(0, 6 * count + 1, 3)))
    model = rr.TabularMDP(transitions, np.zeros((count, 2)))
    metric = rr.graph_metric(model, cutoff=2)
    assert metric.nnz == 4 * count
    backup = BellmanOperator(model, rr.Wasserstein(0.4, metric=metric), 0.9)
    assert len(backup.layout.p) == 7 * 2 * count
    value = np.random.default_rng(1).normal(size=count)
    q = backup.q_values(value)
    steps = np.arange(11)
    line = abs(steps[:, None] - steps).astype(float)
    line[line > 2] = np.inf
    for s in range(5, count - 6, 1111):
        here = slice(s - 5, s + 6)
        alone = rr.Wasserstein(0.4, metric=line).worst_case(transitions[[2 * s]].toarray()[0, here], 0.9 * value[here])
        assert q[s, 0] == pytest.approx(float(alone.value), abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (np.ones((2, 3)), r"shape \(2, 3\); give the distance of every two states"),
        ("far", r"'far' is not an array of numbers"),
        ([[0, np.nan], [1, 0]], r"d\(0, 1\) is nan"),
        ([[0, -1], [-1, 0]], r"d\(0, 1\) is -1; distances are not negative"),
        ([[0, 1], [1, 2]], r"d\(1, 1\) is 2; a state is at distance 0 from itself"),
        ([[0, 0], [0, 0]], r"d\(0, 1\) is 0; different states are apart; merge them"),
        ([[0, 1], [2, 0]], r"d\(0, 1\) is 1 but d\(1, 0\) is 2; a metric is symmetric"),
        ([[0, 1], [np.inf, 0]], r"d\(0, 1\) is 1 but d\(1, 0\) is inf"),
        ([[0, 1, 5], [1, 0, 2], [5, 2, 0]], r"d\(0, 2\) is 5, but 3 by way of 1, .*shortest_path"),
        (sparse.csr_array(np.array([[0, 1.0], [0, 0]])), r"d\(0, 1\) is 1 but d\(1, 0\) is inf"),
        (sparse.csr_array((np.array([1.0, 1.0, 0.0]), ([0, 1, 1], [1, 0, 2])), shape=(3, 3)), r"d\(1, 2\) is 0; different"),
        (sparse.csr_array(np.array([[0, 1.0, 5.0], [1.0, 0, 2.0], [5.0, 2.0, 0]])), r"d\(0, 2\) is 5, but 3 by way of 1"),
    ],
)
def test_what_is_not_a_metric_is_named(metric, message):
    with pytest.raises(InvalidUncertaintyError, match=message):
        rr.Wasserstein(0.1, metric=metric)


def test_a_metric_may_be_cut_off_and_large_ones_are_sampled():
    rr.Wasserstein(0.1, metric=[[0, 1, np.inf], [1, 0, 1], [np.inf, 1, 0]])
    steps = np.arange(700)
    wrong = 1.0 + abs(steps[:, None] - steps) / 700
    np.fill_diagonal(wrong, 0.0)
    rr.Wasserstein(0.1, metric=wrong)
    with pytest.raises(InvalidUncertaintyError, match="triangle inequality"):
        rr.Wasserstein(0.1, metric=wrong**3)


def test_steps_between_states():
    """In an open grid they are the Manhattan distance; a model's terminal states lead nowhere, so that ways around are longer."""
    cells = np.array([(i, j) for i in range(4) for j in range(4)])
    manhattan = abs(cells[:, None] - cells).sum(-1)
    adjacent = manhattan == 1
    model = rr.envs.tabular("FrozenLake-v1")
    lake = rr.graph_metric(model)
    edge = adjacent & ~(model.terminal[:, None] & model.terminal)
    np.testing.assert_array_equal(lake == 1, edge)
    np.testing.assert_array_equal(lake, shortest_path(edge.astype(float)))
    grid = rr.graph_metric(adjacent)
    np.testing.assert_array_equal(grid, manhattan)
    for cutoff in (1, 2, 3, 99):
        cut = rr.graph_metric(sparse.csr_array(adjacent.astype(float)), cutoff=cutoff)
        np.testing.assert_array_equal(cut.toarray(), np.where(manhattan <= cutoff, manhattan, 0))
    with pytest.raises(InvalidArgumentError, match=r"cutoff 0 is not a positive number of steps"):
        rr.graph_metric(adjacent, cutoff=0)
    with pytest.raises(InvalidArgumentError, match=r"the graph has shape \(2, 3\)"):
        rr.graph_metric(np.ones((2, 3)))


def test_a_certificate_holds_and_the_worst_kernel_attains_it():
    model = rr.envs.tabular("FrozenLake-v1")
    solution = rr.solve(model, rr.Wasserstein(0.1, metric=rr.graph_metric(model)), discount=0.95)
    assert solution.certificate.gap <= 1e-6
    worst = rr.policy_value(model, solution.policy, discount=0.95)
    assert (solution.certificate.lower <= worst + 1e-9).all()
    wider = rr.solve(model, rr.Wasserstein(0.2, metric=rr.graph_metric(model)), discount=0.95)
    assert (wider.value <= solution.value + 1e-6).all()
