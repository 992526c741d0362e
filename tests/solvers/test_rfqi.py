"""RFQI: tables against exact robust dynamic programming on the empirical model, networks against a closed form."""

from itertools import pairwise

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.solvers import rfqi_problem

torch = pytest.importorskip("torch")

from robust_rl.solvers.rfqi import RFQISolver  # noqa: E402

EXACT = {"hidden": (), "batch_size": 5000, "last_share": 0.001, "behaviour_threshold": 0.0}
TABLE = EXACT | {"learning_rate": 0.03, "dual_learning_rate": 0.03, "updates": 30, "dual_updates": 30}
FINE = EXACT | {"learning_rate": 0.01, "dual_learning_rate": 0.01, "updates": 50, "dual_updates": 50}


def ball(radius):
    return rr.TotalVariation(radius, support="free")


def draws(model, count, seed=0):
    """Transitions from states and actions drawn uniformly, each an episode of its own that is cut off unless it ended."""
    rng = np.random.default_rng(seed)
    states, actions = model.num_states, model.num_actions
    s, a = rng.choice(np.flatnonzero(~model.terminal), size=count), rng.integers(actions, size=count)
    kernel = model.csr().toarray().reshape(states, actions, states)
    to = np.array([rng.choice(states, p=kernel[x, y]) for x, y in zip(s, a, strict=True)])
    rewards = model.expected_rewards()[s, a]
    return rr.datasets.from_arrays(*(column[:, None] for column in (s, a, rewards, to, model.terminal[to])))


def empirical(data, states, actions, *, fail=False, terminal=None):
    """The model of the relative frequencies, with an absorbing state without rewards if one is asked for."""
    counts, rewards = np.zeros((states, actions, states)), np.zeros((states, actions))
    np.add.at(counts, (data.observations, data.actions, data.next_observations), 1)
    np.add.at(rewards, (data.observations, data.actions), data.rewards)
    seen = counts.sum(axis=2)
    p, r = counts / np.maximum(seen, 1)[..., None], rewards / np.maximum(seen, 1)
    ends = np.zeros(states, bool) if terminal is None else terminal
    p[ends, :, np.flatnonzero(ends)] = 1.0
    if fail:
        p = np.pad(p, ((0, 1), (0, 0), (0, 1)))
        p[-1, :, -1] = 1.0
        r, ends = np.pad(r, ((0, 1), (0, 0))), np.append(ends, False)
    return rr.TabularMDP(p, r, terminal=ends)


def solved(data, uncertainty, problem, **options):
    solver = RFQISolver(rfqi_problem(data, uncertainty, **problem), data, **options)
    while not solver.done:
        metrics = solver.step()
    return solver.solution(), metrics


RIVER = rr.envs.tabular("robust_rl/RiverSwim-v0")


@pytest.mark.parametrize("radius", [0.1, 0.3])
def test_tables_reproduce_exact_robust_dynamic_programming_with_a_fail_state(radius):
    """Within 5 % in every state, though the last state of RiverSwim is worth 30 times as much as the first."""
    data = draws(RIVER, 1500)
    exact = rr.solve(empirical(data, 6, 2, fail=True), ball(radius), discount=0.95)
    found, _ = solved(data, ball(radius), {"discount": 0.95, "v_min": 0.0}, **TABLE, iterations=60)
    np.testing.assert_allclose(found.value(np.arange(6)), exact.value[:6], rtol=0.05)
    np.testing.assert_array_equal(found.policy(np.arange(6)), exact.policy[:6])


def test_tables_reproduce_exact_robust_dynamic_programming_where_the_worst_state_is_learned():
    """The model as it is: its least value is found along the way, and an error in that comes back 1 / (1 - gamma) times."""
    data = draws(RIVER, 1500)
    exact = rr.solve(empirical(data, 6, 2), ball(0.1), discount=0.95)
    found, metrics = solved(data, ball(0.1), {"discount": 0.95, "states": np.arange(6)}, **FINE, iterations=90)
    np.testing.assert_allclose(found.value(np.arange(6)), exact.value, rtol=0.05)
    np.testing.assert_array_equal(found.policy(np.arange(6)), exact.policy)
    assert metrics["solve/v_min"] == pytest.approx(exact.value.min(), rel=0.05)


def test_minibatches_reproduce_exact_robust_dynamic_programming_with_ends():
    """A termination is worth 0, and the adversary may end every episode or undo an end, so nothing below 0 is in its reach."""
    rng = np.random.default_rng(1)
    ends = np.array([False] * 5 + [True])
    kernel = rng.dirichlet(np.full(6, 0.5), size=(6, 3))
    model = rr.TabularMDP(kernel, rng.random((6, 3)), terminal=ends)
    data = draws(model, 2000)
    exact = rr.solve(empirical(data, 6, 3, terminal=ends), ball(0.2), discount=0.9)
    options = TABLE | {"batch_size": 512}
    found, metrics = solved(data, ball(0.2), {"discount": 0.9, "states": np.arange(6)}, **options, iterations=40)
    assert metrics["solve/v_min"] == 0.0 == exact.value.min()
    np.testing.assert_allclose(found.value(np.arange(5)), exact.value[:5], rtol=0.05)
    best, second = np.sort(exact.action_values[:5], axis=1)[:, :-3:-1].T
    clear = best - second > 0.05
    assert clear.any()
    np.testing.assert_array_equal(found.policy(np.arange(5))[clear], exact.policy[:5][clear])


def test_without_radius_it_is_fitted_q_iteration_on_counts():
    data = draws(RIVER, 1500)
    exact = rr.solve(empirical(data, 6, 2), None, discount=0.9)
    found, metrics = solved(data, ball(0.0), {"discount": 0.9}, **TABLE, iterations=60)
    np.testing.assert_allclose(found.value(np.arange(6)), exact.value, rtol=0.01)
    assert "solve/dual_loss" not in metrics
    assert found.eta == []


def test_radius_zero_and_no_set_give_the_same_bits_and_another_seed_others():
    data = draws(RIVER, 500)
    options = {"hidden": (8,), "iterations": 2, "updates": 5, "batch_size": 64}
    none, zero, again, other = (
        solved(data, chosen, {}, **options, seed=seed)[0].action_values(np.arange(6))
        for chosen, seed in ((None, 0), (ball(0.0), 0), (None, 0), (None, 1))
    )
    np.testing.assert_array_equal(none, zero)
    np.testing.assert_array_equal(none, again)
    assert (none != other).any()


@pytest.mark.parametrize("radius", [0.05, 0.4])
def test_a_poorly_fitted_dual_never_promises_too_much(radius):
    data = draws(RIVER, 1000)
    exact = rr.solve(empirical(data, 6, 2, fail=True), ball(radius), discount=0.9)
    options = TABLE | {"dual_updates": 1, "dual_learning_rate": 0.2}
    found, _ = solved(data, ball(radius), {"discount": 0.9, "v_min": 0.0}, **options, iterations=30)
    value = found.value(np.arange(6))
    assert (value <= exact.value[:6] * 1.01 + 1e-3).all()
    assert (value < exact.value[:6] * 0.9).any()  # poor indeed


def test_values_fall_in_the_radius():
    data = draws(RIVER, 1000)
    radii = (0.05, 0.4, 1.0)
    values = [
        solved(data, ball(radius), {"discount": 0.9, "v_min": 0.0}, **TABLE, iterations=30)[0].value(np.arange(6))
        for radius in radii
    ]
    for more, less in pairwise(values):
        assert (less <= more * 1.02).all()
    reward = empirical(data, 6, 2).expected_rewards().max(axis=1)
    np.testing.assert_allclose(values[-1], reward, atol=2e-3)  # radius 1: all that follows is the fail state


def uniform_log(count, seed=0):
    """s and s' are independent and uniform in [0, 1], in units of 10; action 1 pays s, action 0 pays 0.5."""
    rng = np.random.default_rng(seed)
    s, a = rng.random(count), rng.integers(2, size=count)
    rewards = np.where(a == 1, s, 0.5)
    return rr.datasets.from_arrays(10 * s[:, None, None], a[:, None], rewards[:, None], 10 * rng.random((count, 1, 1)))


@pytest.mark.parametrize(("radius", "v_min"), [(0.0, 0.0), (0.1, 0.0), (0.4, 0.25)])
def test_networks_reproduce_a_closed_form_on_continuous_states(radius, v_min):
    """V(s) = max(s, 1/2) + gamma c with c = rho m + (1 - rho) (mean of the lowest 1 - rho of max(s', 1/2) + gamma c)."""
    gamma, kept = 0.8, 1 - radius
    lowest = np.maximum(np.linspace(0, kept, 100_001), 0.5).mean()
    c = (radius * v_min + kept * lowest) / (1 - gamma * kept)
    found, _ = solved(
        uniform_log(4000), ball(radius), {"discount": gamma, "v_min": v_min},
        hidden=(32,), iterations=25, updates=60, dual_updates=60, learning_rate=1e-2, dual_learning_rate=1e-2,
    )  # fmt: skip
    s = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(found.value(10 * s[:, None]), np.maximum(s, 0.5) + gamma * c, rtol=0.05)
    np.testing.assert_array_equal(found.policy(np.array([[1.0], [9.0]])), [0, 1])


def test_a_cut_episode_goes_on_and_a_terminated_one_is_worth_nothing_more():
    rows = {"observations": [0] * 4, "actions": [0] * 4, "rewards": [1.0] * 4, "next_observations": [0] * 4}
    ended = np.ones(4, bool)
    cut = rr.datasets.from_arrays(**rows, truncations=ended)
    over = rr.datasets.from_arrays(**rows, terminations=ended)
    problem = {"discount": 0.9, "v_min": 0.0}
    going_on, ending = (solved(data, ball(0.1), problem, **TABLE, iterations=60)[0].value([0])[0] for data in (cut, over))
    assert going_on == pytest.approx(1 / (1 - 0.9 * 0.9), rel=0.01)
    assert ending == pytest.approx(1.0, rel=0.01)


def test_where_values_can_lie_is_where_they_lie():
    """Eq. (1) of rfqi_problem: the upper end is attained by a state that pays the most and stays, the lower by the fail state."""
    data = draws(RIVER, 50)
    low, high = rfqi_problem(data, ball(0.2), discount=0.9, v_min=-1.0, reward_bounds=(-2.0, 1.0)).bounds
    model = rr.TabularMDP(np.eye(2)[:, None], [[1.0], [-0.1]])  # 1 stays and pays, the other is worth -0.1 / (1 - 0.9) = -1
    np.testing.assert_allclose(rr.solve(model, ball(0.2), discount=0.9).value, [high, low], atol=1e-5)
    assert rfqi_problem(data, ball(0.2), discount=0.9, v_min="observed").bounds == pytest.approx((0, 10))


def test_rarely_logged_actions_are_never_taken_below_the_threshold():
    """Action 1 pays more but is logged a fifth as often as action 0, action 2 never; both states alike."""
    rng = np.random.default_rng(0)
    s, a = rng.integers(2, size=1200), (rng.random(1200) < 1 / 6).astype(int)
    data = rr.datasets.from_arrays(*(x[:, None] for x in (s, a, 0.5 + 0.5 * a, rng.integers(2, size=1200))))
    problem = {"discount": 0.5, "v_min": 0.0, "num_actions": 3}
    for threshold, taken, allowed in ((0.1, 1, [True, True, False]), (0.4, 0, [True, False, False]), (0.0, 1, [True] * 3)):
        found, _ = solved(data, ball(0.1), problem, **(TABLE | {"behaviour_threshold": threshold}), iterations=30)
        np.testing.assert_array_equal(np.isfinite(found.action_values([0, 1])), [allowed] * 2)
        np.testing.assert_array_equal(found.policy([0, 1]), [taken] * 2)
        assert found.value([0])[0] == pytest.approx((1.0 if taken else 0.5) / (1 - 0.5 * 0.9), rel=0.03)


DATA = rr.datasets.from_arrays([0, 1, 0], [0, 1, 0], [0.0, 1.0, 0.0], [1, 0, 1])
CONTINUOUS = rr.datasets.from_arrays([0.0, 1.0], [0.5, 0.1], [0.0, 1.0], [1.0, 0.0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rfqi_problem(DATA, rr.KL(0.1), v_min=0.0), InvalidUncertaintyError, "TotalVariation"),
        (lambda: rfqi_problem(DATA, rr.TotalVariation(0.1, support="nominal")), InvalidUncertaintyError, 'support="free"'),
        (lambda: rfqi_problem(DATA, ball(np.full((2, 2), 0.1)), v_min=0.0), InvalidUncertaintyError, "give one number"),
        (lambda: rfqi_problem(DATA, ball(-0.1), v_min=0.0), InvalidUncertaintyError, "-0.1 is outside"),
        (lambda: rfqi_problem(DATA, ball(0.1)), InvalidArgumentError, "give v_min=0.0"),
        (lambda: rfqi_problem(DATA, ball(0.1), v_min="worst"), InvalidArgumentError, "v_min='worst'"),
        (lambda: rfqi_problem(DATA, ball(0.1), v_min=-1.0), InvalidArgumentError, "v_min=-1, but"),
        (lambda: rfqi_problem(DATA, ball(0.1), v_min=float("nan")), InvalidArgumentError, "v_min=nan"),
        (lambda: rfqi_problem(DATA, ball(0.1), v_min=0.0, reward_bounds=(0, 0.5)), InvalidArgumentError, r"rewards\[1\] is 1"),
        (lambda: rfqi_problem(DATA, ball(0.1), v_min=0.0, discount=1.0), InvalidArgumentError, "discount is 1"),
        (lambda: rfqi_problem(DATA, ball(0.1), states=[0]), InvalidArgumentError, "observation 1 is no state"),
        (lambda: rfqi_problem(DATA, None, num_actions=1), InvalidArgumentError, "actions range from 0 to 1"),
        (lambda: rfqi_problem(CONTINUOUS, None), InvalidArgumentError, "round continuous actions"),
        (lambda: RFQISolver(rfqi_problem(DATA, None), DATA, updates=0), InvalidArgumentError, "updates is 0"),
        (lambda: RFQISolver(rfqi_problem(DATA, None), DATA, hidden=(4, -1)), InvalidArgumentError, r"hidden\[1\] is -1"),
        (lambda: RFQISolver(rfqi_problem(DATA, None), DATA, learning_rate=0.0), InvalidArgumentError, "learning_rate=0"),
        (
            lambda: RFQISolver(rfqi_problem(DATA, None), DATA, behaviour_threshold=1.0),
            InvalidArgumentError,
            "behaviour_threshold",
        ),
        (lambda: RFQISolver(rfqi_problem(DATA, None), DATA, device="gpu"), InvalidArgumentError, "device is 'gpu'"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("device", [torch.device("cpu"), "cuda"])
def test_runs_on_a_device(device):
    if device == "cuda" and not torch.cuda.is_available():
        with pytest.raises(InvalidArgumentError, match="finds no CUDA GPU"):
            RFQISolver(rfqi_problem(DATA, None), DATA, device=device)
        return
    found, _ = solved(DATA, ball(0.1), {"v_min": 0.0}, device=device, iterations=2, updates=3, behaviour_threshold=0.1)
    assert found.action_values([0, 1]).shape == (2, 2)
