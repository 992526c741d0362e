"""DROP and DROP-V against oracles that share no code with them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.features import OneHot, Table, Tiles
from robust_rl.solvers import DROPSolver, DROPVSolver, drop_dual, linear_problem
from robust_rl.solvers.drop_dual import exact_dual
from robust_rl.solvers.trimming import trimmed_rows


def log(seed, episodes=60, horizon=3, states=5, actions=2):
    """Episodes of a random stationary MDP under the uniform policy, rewards in [0, 1]."""
    rng = np.random.default_rng(seed)
    kernel = rng.dirichlet(np.full(states, 0.5), size=(states, actions))
    rewards = rng.random((states, actions))
    s = np.zeros((episodes, horizon + 1), dtype=int)
    a = rng.integers(actions, size=(episodes, horizon))
    s[:, 0] = rng.integers(states, size=episodes)
    for h in range(horizon):
        s[:, h + 1] = [rng.choice(states, p=kernel[x, y]) for x, y in zip(s[:, h], a[:, h], strict=True)]
    return rr.datasets.from_arrays(s[:, :-1], a, rewards[s[:, :-1], a], s[:, 1:])


def ball(radius):
    return rr.TotalVariation(radius, support="free")


ENTERED = rr.datasets.from_arrays([0, 1], [0, 0], [0.0, 0.0], [1, 2])  # state 2 is never left


def solved(data, radius, features, horizon=3, kind=DROPSolver, problem=None, **options):
    asked = linear_problem(data, ball(radius), features=features, horizon=horizon, **(problem or {}))
    solver = kind(asked, data, **options)
    while not solver.done:
        solver.step()
    return solver.solution()


def simplex_table(seed, states=5, actions=2, dimension=4):
    return Table(np.random.default_rng(seed).dirichlet(np.full(dimension, 0.7), size=(states, actions)))


def tabular_values(data, radius, horizon, states, actions, penalty, ridge):
    """Robust value iteration on counts n / (n + ridge), whose worst case takes mass off the top: plain loops, the primal."""
    value = np.zeros((horizon + 1, states))
    for h in reversed(range(horizon)):
        q = np.zeros((states, actions))
        for s in range(states):
            for a in range(actions):
                rows = (data.stage == h) & (data.observations == s) & (data.actions == a)
                n = rows.sum()
                p = np.bincount(data.next_observations[rows], minlength=states) / (n + ridge)
                left = radius
                total = data.rewards[rows].sum() / (n + ridge) - penalty / np.sqrt(n + ridge)
                for t in np.argsort(-value[h + 1]):
                    moved = min(left, p[t])
                    left -= moved
                    total += (p[t] - moved) * value[h + 1, t] + moved * value[h + 1].min()
                q[s, a] = np.clip(total, 0, horizon - h)
        value[h] = q.max(axis=1)
    return value[:-1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.3, 1.0]), st.sampled_from([0.0, 0.2]), st.sampled_from([1.0, 0.1]))
def test_one_hot_features_are_tabular_robust_value_iteration_on_shrunk_counts(seed, radius, penalty, ridge):
    data = log(seed)
    found = solved(data, radius, OneHot(5, 2), penalty=penalty, ridge=ridge)
    oracle = tabular_values(data, radius, 3, 5, 2, penalty, ridge)
    np.testing.assert_allclose(found.value(np.arange(5)), oracle, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_without_radius_and_penalty_it_is_least_squares_value_iteration(seed):
    data, phi = log(seed), simplex_table(seed)
    found = solved(data, 0.0, phi, penalty=0.0, ridge=0.3)
    value = np.zeros(5)
    for h in (2, 1, 0):
        rows = data.stage == h
        x = np.vstack([phi.phi[data.observations[rows], data.actions[rows]], np.sqrt(0.3) * np.eye(4)])
        y = np.concatenate([data.rewards[rows] + value[data.next_observations[rows]], np.zeros(4)])
        value = np.clip(phi.phi @ np.linalg.lstsq(x, y, rcond=None)[0], 0, 3 - h).max(axis=1)
        np.testing.assert_allclose(found.value(np.arange(5))[h], value, rtol=0, atol=1e-11)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0, 1), st.floats(0, 2), st.floats(0, 2))
def test_tabular_values_fall_in_radius_and_penalty(seed, one, other, light, heavy):
    data = log(seed, episodes=20)
    states = np.arange(5)
    low = solved(data, min(one, other), OneHot(5, 2), penalty=min(light, heavy)).value(states)
    assert (solved(data, max(one, other), OneHot(5, 2), penalty=min(light, heavy)).value(states) <= low + 1e-12).all()
    assert (solved(data, min(one, other), OneHot(5, 2), penalty=max(light, heavy)).value(states) <= low + 1e-12).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 2), st.floats(0, 2))
def test_values_of_the_last_stage_fall_in_the_penalty_for_any_features(seed, light, heavy):
    """Earlier stages regress values that fell with weights that may be negative, so no such law holds there."""
    data, states = log(seed, episodes=20), np.arange(5)
    low, high = (
        solved(data, 0.1, simplex_table(seed), penalty=p).value(states)[-1] for p in sorted((light, heavy), reverse=True)
    )
    assert (low <= high + 1e-12).all()


def dual_instances(count, seed):
    """Yield regressions of d=4, K=60, lambda=.1, whose weights are often negative."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        phi = rng.dirichlet(np.ones(4), size=60)
        values = np.round(3 * rng.random(60), rng.integers(1, 4))  # with ties
        inverse = np.linalg.inv(0.1 * np.eye(4) + phi.T @ phi)
        lowest = values.min() * rng.random()
        yield phi, values, inverse, rng.uniform(0.01, 0.6, size=4), lowest


def negated(alpha, weights, values, radius, lowest):
    return radius * (alpha[0] - lowest) - np.minimum(values, alpha[0]) @ weights


def test_exact_dual_is_never_below_a_grid_on_a_thousand_problems():
    negative = 0
    for phi, values, inverse, radius, lowest in dual_instances(250, 0):  # of four coordinates each
        nu, weights = exact_dual(phi, values, inverse, radius, lowest), inverse @ phi.T
        negative += (weights < 0).any(axis=1).sum()
        grid = np.linspace(lowest, 3.0, 4001)
        capped = np.minimum(values, grid[:, None]) @ weights.T - (grid[:, None] - lowest) * radius
        assert (nu >= capped.max(axis=0) - 1e-10).all()
        ends = np.append(values, lowest)  # attained: it is the value at some breakpoint
        attained = np.minimum(values, ends[:, None]) @ weights.T - (ends[:, None] - lowest) * radius
        np.testing.assert_allclose(nu, attained.max(axis=0), rtol=0, atol=1e-10)
    assert negative == 1000


def test_exact_dual_beats_bounded_nelder_mead_where_that_stops_at_a_local_maximum():
    worse, coordinates = 0, 0
    for phi, values, inverse, radius, lowest in dual_instances(75, 1):
        nu, weights = exact_dual(phi, values, inverse, radius, lowest), inverse @ phi.T
        for i in range(4):
            problem = (weights[i], values, radius[i], lowest)
            options = {"xatol": 1e-9, "fatol": 1e-9}
            found = minimize(negated, [1.5], args=problem, method="Nelder-Mead", bounds=[(lowest, 3.0)], options=options)
            assert nu[i] >= -found.fun - 1e-9
            worse, coordinates = worse + (-found.fun < nu[i] - 1e-6), coordinates + 1
    print(f"Nelder-Mead was below the exact maximum in {worse} of {coordinates} problems")
    assert worse >= 0.1 * coordinates


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from([1e-3, 0.1, 10.0]), st.booleans())
def test_dual_in_blocks_is_the_maximum_over_every_breakpoint(seed, size, ridge, indicators):
    """Blocks of a few transitions each, of which most are passed over; weights that are often negative."""
    rng = np.random.default_rng(seed)
    phi = np.eye(5)[rng.integers(5, size=80)] if indicators else rng.dirichlet(np.full(5, 0.5), size=80)
    values = np.round(3 * rng.random(80), rng.integers(1, 6)) + phi @ rng.random(5)
    precision = rng.random(80) + 0.1
    inverse = np.linalg.inv(ridge * np.eye(5) + (phi * precision[:, None]).T @ phi)
    radius, lowest = rng.random(5) * rng.integers(2, size=5), values.min() * rng.random()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drop_dual, "FEWEST", size)
        nu = exact_dual(phi, values, inverse, radius, lowest, precision)
    ends, weights = np.append(values, lowest), inverse @ (phi * precision[:, None]).T
    every = np.minimum(values, ends[:, None]) @ weights.T - (ends[:, None] - lowest) * radius
    np.testing.assert_allclose(nu, np.where(radius == 0, weights @ values, every.max(axis=0)), rtol=0, atol=1e-11)


def test_drop_v_with_unit_variances_is_drop_on_its_half():
    """Rewards in [0, 1] over three stages leave variances below the floor of 1; then only the ridge, 1/9, differs."""
    data = log(3, episodes=80)
    weighted = solved(data, 0.2, OneHot(5, 2), kind=DROPVSolver, penalty=0.1, seed=7)
    half = data.split(2, np.random.default_rng(7))[1]
    plain = solved(half, 0.2, OneHot(5, 2), penalty=0.1, ridge=1 / 9)
    np.testing.assert_allclose(weighted.weights, plain.weights, rtol=0, atol=1e-13)


def test_drop_v_weights_by_the_regressed_variance():
    """A lottery seen at the first of ten stages: the variance of what follows it is far above 1, that of the sure thing 0."""
    rng = np.random.default_rng(0)
    n, horizon = 400, 10
    won = rng.random(n) < 0.5
    a = np.zeros((n, horizon), dtype=int)
    a[:, 0] = rng.integers(2, size=n)
    states = np.zeros((n, horizon + 1), dtype=int)
    states[:, 1:] = np.where(a[:, 0] == 0, 3, np.where(won, 1, 2))[:, None]
    rewards = np.where(states[:, :-1] == 1, 1.0, np.where(states[:, :-1] == 3, 0.5, 0.0))
    data = rr.datasets.from_arrays(states[:, :-1], a, rewards, states[:, 1:])
    asked = linear_problem(data, None, features=OneHot(4, 2), horizon=horizon)
    solver = DROPVSolver(asked, data, penalty=0.0, preliminary_penalty=0.0)
    while solver.remaining > 1 or not solver.preliminary.done:
        solver.step()
    phi = asked.features(np.zeros(2, dtype=int), np.array([0, 1]))
    sure, lottery = solver._variance(phi, 0)
    assert sure == pytest.approx(1.0, abs=0.5)
    first = solver.preliminary
    after = first.solution().value(np.array([1, 2]))[1]
    wins = (first.data.next_observations == 1)[(first.data.stage == 0) & (first.data.actions == 1)]
    shrink = len(wins) / (len(wins) + 1)
    mean, square = (shrink * (wins.mean() * after[0] ** k + (1 - wins.mean()) * after[1] ** k) for k in (1, 2))
    assert lottery == pytest.approx(square - mean**2, rel=1e-9)
    assert lottery > 10


def test_known_worst_states_enter_by_the_chosen_rule():
    """State 4 is never seen and worth nothing; only who is told of it fears it."""
    rng = np.random.default_rng(0)
    s = rng.integers(4, size=(50, 3))
    data = rr.datasets.from_arrays(s[:, :2], np.zeros((50, 2), dtype=int), np.ones((50, 2)), s[:, 1:])
    groups = rr.features.Aggregation(np.arange(5), 1)
    states = np.arange(4)
    exact = solved(data, 0.3, groups, horizon=2, penalty=0.0)
    fail = solved(data, 0.3, groups, horizon=2, penalty=0.0, problem={"v_min": 0.0})
    seen = solved(data, 0.3, groups, horizon=2, penalty=0.0, problem={"v_min": "observed"})
    assert exact.lowest.tolist() == fail.lowest.tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(exact.value(states), fail.value(states))
    possible = solved(data, 0.3, groups, horizon=2, penalty=0.0, problem={"v_min": "possible", "reward_bounds": (-2, 1)})
    assert possible.lowest.tolist() == [-2.0, 0.0]  # one reward of -2 is left after the first stage
    assert seen.lowest[0] > 0.8
    assert (seen.value(states)[0] > exact.value(states)[0]).all()


def test_ends_of_episodes_are_worth_nothing():
    """An action that ends the episode forgoes the reward of the second stage."""
    s, a = np.zeros((200, 2), dtype=int), np.tile([[0, 0], [1, 0]], (100, 1))
    data = rr.datasets.from_arrays(s, a, np.ones((200, 2)), s, terminations=a == 1)
    q = solved(data, 0.0, OneHot(1, 2), horizon=2, penalty=0.0).action_values([0], 0)[0]
    shrink = 100 / 101
    np.testing.assert_allclose(q, [shrink + shrink * shrink, shrink], atol=1e-12)


def test_rewards_beyond_the_unit_interval_scale():
    """DROP-V too: floor, clipping and ridge are in the rewards' unit."""
    data, states = log(5), np.arange(5)
    tenfold = rr.datasets.OfflineDataset(
        data.observations, data.actions, 10 * data.rewards, data.next_observations, data.terminations, data.stage
    )
    for kind, options in ((DROPSolver, {"penalty": "theory"}), (DROPVSolver, {"penalty": 0.05, "preliminary_penalty": 0.0})):
        small = solved(data, 0.1, OneHot(5, 2), kind=kind, **options)
        large = solved(tenfold, 0.1, OneHot(5, 2), kind=kind, problem={"reward_bounds": (0, 10)}, **options)
        np.testing.assert_allclose(large.value(states), 10 * small.value(states), atol=1e-11)
    costs = solved(log(5), 0.1, OneHot(5, 2), problem={"reward_bounds": (-1, 1)}, penalty=50.0).value(states)
    assert costs.min() == -3.0


def test_trimming_keeps_what_the_other_half_vouches_for():
    data = log(1, episodes=3000, states=3)
    main, aux = data.split(2, np.random.default_rng(0))
    kept = trimmed_rows(main, aux, 3, delta=0.1, trim=1.0, rng=np.random.default_rng(1))
    for h in range(3):
        for s in range(3):
            n = ((aux.stage == h) & (aux.observations == s)).sum()
            mine = (main.stage == h) & (main.observations == s)
            allowed = np.floor(max(n - np.sqrt(n * np.log(3000 * 3 / 0.1)), 0))
            assert kept[mine].sum() == min(allowed, mine.sum())
    assert solved(data, 0.1, OneHot(3, 2), subsample=True, trim=1.0).used.tolist() == [
        part.sum() for part in (_kept_of(data) & (_main_of(data).stage == h) for h in range(3))
    ]


def _main_of(data):
    return data.split(2, np.random.default_rng(0))[0]


def _kept_of(data):
    rng = np.random.default_rng(0)
    main, aux = data.split(2, rng)
    return trimmed_rows(main, aux, 3, delta=0.05, trim=1.0, rng=rng)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda data: solved(data, 0.1, OneHot(5, 2), horizon=4), InvalidArgumentError, "longest episode has 3"),
        (lambda data: solved(data, 0.1, OneHot(5, 2), horizon=0), InvalidArgumentError, "positive integer"),
        (lambda data: solved(data, 0.1, OneHot()), InvalidArgumentError, "weren't told every state"),
        (lambda data: solved(data, 0.1, Tiles(3)), InvalidArgumentError, "v_min=0.0"),
        (lambda data: solved(data, 0.1, Tiles), InvalidArgumentError, "must be a FeatureMap"),
        (lambda data: solved(data, 0.1, Tiles(3), problem={"states": []}), InvalidArgumentError, "states have shape"),
        (lambda data: linear_problem(ENTERED, None, features=OneHot(2, 1), horizon=2), InvalidArgumentError, "no state 2"),
        (lambda data: solved(data, [0.1, 0.2], OneHot(5, 2)), InvalidUncertaintyError, "3 stages and 10 features"),
        (lambda data: solved(data, 0.1, OneHot(5, 2), penalty=-1.0), InvalidArgumentError, "penalty=-1.0"),
        (lambda data: solved(data, 0.1, OneHot(5, 2), penalty="theorem"), InvalidArgumentError, "penalty='theorem'"),
        (lambda data: solved(data, 0.1, OneHot(5, 2), ridge=0.0), InvalidArgumentError, "ridge=0.0"),
        (lambda data: solved(data, 0.1, OneHot(5, 2), delta=1.0), InvalidArgumentError, "delta=1.0"),
        (lambda data: solved(data, 0.1, OneHot(5, 2), subsample=True), InvalidArgumentError, "left no transition at stage 0"),
        (lambda data: solved(data, 0.1, OneHot(5, 2), problem={"v_min": "seen"}), InvalidArgumentError, "v_min='seen'"),
        (
            lambda data: solved(data, 0.1, OneHot(5, 2), problem={"reward_bounds": (0, 0.5)}),
            InvalidArgumentError,
            "reward_bounds",
        ),
        (
            lambda data: linear_problem(data, rr.TotalVariation(0.1, support="nominal"), features=OneHot(5, 2), horizon=3),
            InvalidUncertaintyError,
            'support="free"',
        ),
        (
            lambda data: DROPSolver(linear_problem(data, None, features=OneHot(5, 2), horizon=3), data).solution(),
            InvalidArgumentError,
            "3 of 3 stages",
        ),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make(log(0))
