"""DRVI-LCB against plain loops, against DROP on one-hot features, and its promise against the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.features import OneHot
from robust_rl.solvers import drvi_lcb
from tests.solvers.test_drop import ball, log, solved

SIZES = {"num_states": 5, "num_actions": 2}


def loops(data, radius, penalty, delta, horizon=3, states=5, actions=2):
    """The primal: mass taken off the top of the counts, one pair after another; episodes may end."""
    value = np.zeros((horizon + 1, states + 1))
    for h in reversed(range(horizon)):
        for s in range(states):
            choices = []
            for a in range(actions):
                rows = np.flatnonzero((data.stage == h) & (data.observations == s) & (data.actions == a))
                if not len(rows):
                    choices.append(0.0)
                    continue
                after = np.sort(np.where(data.terminations[rows], 0, value[h + 1, data.next_observations[rows]]))
                everywhere = value[h + 1] if data.terminations.any() else value[h + 1, :-1]
                left, total = radius * len(rows), 0.0
                for one in after[::-1]:
                    moved = min(left, 1.0)
                    left -= moved
                    total += (1 - moved) * one + moved * everywhere.min()
                doubt = (horizon - h) * np.sqrt(np.log(4 * states * actions * horizon / delta) / 2 / len(rows))
                choices.append(np.clip(data.rewards[rows].mean() + total / len(rows) - penalty * doubt, 0, horizon - h))
            value[h, s] = max(choices)
    return value[:-1, :-1]


def ended(data, seed):
    """The same log, some of whose episodes end early."""
    kept = np.ones(len(data), dtype=bool)
    ends = np.random.default_rng(seed).random(len(data)) < 0.15
    for row in np.flatnonzero(ends):
        later = (data.episode == data.episode[row]) & (data.stage > data.stage[row])
        kept[later] = False
    columns = (data.observations, data.actions, data.rewards, data.next_observations, ends, data.stage)
    return rr.datasets.OfflineDataset(*(column[kept] for column in columns))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.3, 1.0]), st.sampled_from([0.0, 0.1, 1.0]), st.booleans())
def test_it_is_value_iteration_on_counts_less_the_penalty(seed, radius, penalty, early):
    data = ended(log(seed), seed) if early else log(seed)
    found = drvi_lcb(data, ball(radius), horizon=3, penalty=penalty, delta=0.1, **SIZES)
    np.testing.assert_allclose(found.value, loops(data, radius, penalty, 0.1), rtol=0, atol=1e-12)
    assert found.visits.sum() == len(data)
    np.testing.assert_array_equal(np.isinf(found.penalty), found.visits == 0)
    if radius == 0:
        nominal = drvi_lcb(data, None, horizon=3, penalty=penalty, delta=0.1, **SIZES)
        np.testing.assert_allclose(nominal.value, found.value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_drop_on_one_hot_features_is_the_same_up_to_its_ridge(seed):
    """At the last stage the two penalties are one: c sqrt(log / 2) / sqrt(n) against gamma / sqrt(n + lambda)."""
    data = log(seed, episodes=400)
    found = drvi_lcb(data, ball(0.2), horizon=1, penalty=0.2, **SIZES)
    gamma = 0.2 * np.sqrt(np.log(4 * 10 / 0.05) / 2)
    drop = solved(data, 0.2, OneHot(5, 2), horizon=1, penalty=gamma, ridge=1e-9)
    np.testing.assert_allclose(found.value, drop.value(np.arange(5)), rtol=0, atol=1e-7)
    plain = drvi_lcb(data, ball(0.2), horizon=3, penalty=0.0, **SIZES)
    drop = solved(data, 0.2, OneHot(5, 2), penalty=0.0, ridge=1e-9)
    np.testing.assert_allclose(plain.value, drop.value(np.arange(5)), rtol=0, atol=1e-7)


def test_its_value_is_below_that_of_its_policy_as_often_as_promised():
    """The derivation's claim, at delta = 0.2 and on subsampled stages: in 100 logs it may fail in 20, and it hardly does."""
    rng = np.random.default_rng(0)
    kernel, rewards = rng.dirichlet(np.ones(3), size=(3, 2)), rng.random((3, 2))
    model = rr.TabularMDP(kernel, rewards, start=np.full(3, 1 / 3))
    above, plain_above, gaps = 0, 0, []
    for seed in range(100):
        data = _walked(kernel, rewards, 600, 3, seed)
        options = {"horizon": 3, "num_states": 3, "num_actions": 2, "delta": 0.2, "subsample": True, "trim": 0.5, "seed": seed}
        found, plain = (drvi_lcb(data, ball(0.1), penalty=c, **options) for c in (1.0, 0.0))
        truth = rr.policy_value(model, found.policy, ball(0.1), horizon=3)
        above += (found.value > truth + 1e-12).any()
        plain_above += (plain.value > rr.policy_value(model, plain.policy, ball(0.1), horizon=3) + 1e-12).any()
        gaps.append((truth - found.value)[0].mean())
    print(f"above the truth: {above} of 100 logs, without the penalty {plain_above}; mean gap {np.mean(gaps):.3f}")
    assert above <= 20
    assert plain_above > 60, "the penalty is what does it"
    assert np.mean(gaps) < 1.5, "and it isn't all clipped away: values are up to 3"


def _walked(kernel, rewards, episodes, horizon, seed):
    rng = np.random.default_rng(seed)
    states = np.zeros((episodes, horizon + 1), dtype=int)
    states[:, 0] = rng.integers(len(kernel), size=episodes)
    actions = rng.integers(kernel.shape[1], size=(episodes, horizon))
    for h in range(horizon):
        below = kernel[states[:, h], actions[:, h]].cumsum(axis=1) < rng.random((episodes, 1))
        states[:, h + 1] = np.minimum(below.sum(axis=1), len(kernel) - 1)
    return rr.datasets.from_arrays(states[:, :-1], actions, rewards[states[:, :-1], actions], states[:, 1:])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"horizon": 4}, InvalidArgumentError, "longest episode has 3"),
        ({"num_states": 3}, InvalidArgumentError, "there is no state"),
        ({"penalty": -1.0}, InvalidArgumentError, "penalty=-1.0"),
        ({"subsample": True}, InvalidArgumentError, "subsampling left no transition at stage 0"),
        ({"uncertainty": rr.KL(0.1)}, InvalidUncertaintyError, 'support="free"'),
        ({"uncertainty": ball(np.linspace(0, 1, 10))}, InvalidUncertaintyError, "one radius for all"),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    arguments = {"uncertainty": ball(0.1), "horizon": 3} | SIZES | options
    with pytest.raises(error, match=message):
        drvi_lcb(log(0), arguments.pop("uncertainty"), **arguments)
