import inspect
import time

import numpy as np
import pytest

from robust_rl.envs import domains
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP

from .helpers import dense, dense_rewards, policy_iteration

ALL = [getattr(domains, name) for name in domains.__all__]


@pytest.mark.parametrize(
    ("model", "discount", "value"),
    [
        (domains.river_swim(), 0.99, 0.5),
        (domains.machine(), 0.99, -33.6379567),
        (domains.machine_replacement_craam(), 0.8, -1.76657963),
        (domains.river_swim_craam(), 0.9, 1530.964),
    ],
    ids=["RiverSwim-6", "machine20", "CRAAM machine", "CRAAM RiverSwim"],
)
def test_nominal_value_at_state_0_agrees_with_the_reference_table(model, discount, value):
    assert policy_iteration(model, discount)[0] == pytest.approx(value, rel=5e-9)


def test_best_nominal_value_of_river_swim_agrees_with_the_reference_table():
    assert policy_iteration(domains.river_swim(), 0.99).max() == pytest.approx(3.28805624, rel=5e-9)


@pytest.mark.parametrize("domain", ALL, ids=lambda domain: domain.__name__)
def test_every_domain_is_a_model_whose_numeric_arguments_are_checked(domain):
    model = domain()
    assert isinstance(model, TabularMDP)
    assert model.start.sum() == pytest.approx(1)
    assert not (model.start[model.terminal] > 0).any()
    for name in inspect.signature(domain).parameters:
        if name in ("num_states", "side", "goal", "num_actions", "branching"):
            with pytest.raises(InvalidArgumentError, match=name):
                domain(**{name: 0})
        if name in ("success", "stay", "advance", "win_probability", "fire", "spoilage"):
            with pytest.raises(InvalidArgumentError, match=name):
                domain(**{name: 1.5})


@pytest.mark.parametrize("domain", [domains.river_swim, domains.machine, domains.chain, domains.forest, domains.random_grid])
def test_large_models_turn_sparse_and_mean_the_same(domain, monkeypatch):
    expected = domain(7)
    monkeypatch.setattr("robust_rl.envs.domains.build.DENSE_ENTRIES", 0)
    model = domain(7)
    assert model.is_sparse
    assert not expected.is_sparse
    np.testing.assert_array_equal(dense(model), dense(expected))
    np.testing.assert_array_equal(model.expected_rewards(), expected.expected_rewards())


def test_river_swim_right_moves_as_specified():
    kernel = domains.river_swim().transitions[:, 1]
    np.testing.assert_allclose(kernel[0], [0.6, 0.4, 0, 0, 0, 0])
    np.testing.assert_allclose(kernel[2], [0, 0.35, 0.6, 0.05, 0, 0])
    np.testing.assert_allclose(kernel[5], [0, 0, 0, 0, 0.4, 0.6])


def test_craam_river_swim_pays_the_large_reward_only_for_staying():
    model = domains.river_swim_craam()
    assert model.rewards[5, 1].tolist() == [0, 0, 0, 0, 0, 10_000]
    np.testing.assert_allclose(model.transitions[5, 1, 4:], [0.7, 0.3])


def test_craam_machine_pays_by_the_state_entered_even_where_only_an_adversary_goes():
    rewards = domains.machine_replacement_craam().rewards
    np.testing.assert_array_equal(rewards, np.broadcast_to([0, 0, 0, 0, 0, 0, 0, -20, -10, -2], rewards.shape))


def test_inventory_matches_a_simulated_stock():
    model = domains.inventory(6, max_order=3, spoilage=0.2)
    demand = np.array([0.1, 0.2, 0.3, 0.2, 0.15, 0.05])
    for s in range(6):
        for a in range(4):
            stock = min(s + a, 5)
            stock -= int(0.2 * stock)
            mean = -sum(p * (0.5 * a + 0.1 * max(stock - d, 0) + max(d - stock, 0)) for d, p in enumerate(demand))
            assert model.expected_rewards()[s, a] == pytest.approx(mean)
            for left in range(1, 6):
                chance = demand[stock - left] if 0 <= stock - left < 6 else 0
                assert model.transitions[s, a, left] == pytest.approx(chance)


def test_perishable_loses_a_fifth_rounded_down_before_the_demand():
    model = domains.perishable(12, demand=[1.0])
    assert [int(model.transitions[s, 0].argmax()) for s in range(12)] == [s - s // 5 for s in range(12)]


def test_capacity_sells_at_most_what_is_left():
    model = domains.capacity(3)
    assert model.start.tolist() == [0, 0, 1]
    assert model.terminal.tolist() == [True, False, False]
    assert model.rewards[2, 4].tolist() == [10, 5, 0]
    poisson = np.exp(-1.5) * np.array([1, 1.5, 1.125, 0.5625, 0.2109375, 0.06328125])
    poisson /= poisson.sum()
    np.testing.assert_allclose(model.transitions[2, 4], [poisson[2:].sum(), poisson[1], poisson[0]])


def test_forest_is_the_toolbox_example():
    model = domains.forest(3)
    np.testing.assert_allclose(model.transitions[:, 0], [[0.1, 0.9, 0], [0.1, 0, 0.9], [0.1, 0, 0.9]])
    np.testing.assert_allclose(model.transitions[:, 1], [[1, 0, 0]] * 3)
    np.testing.assert_array_equal(model.rewards, [[0, 0], [0, 1], [4, 2]])


def test_gridworld_walks_to_the_goal_and_around_the_trap():
    model = domains.gridworld()
    steps = 8
    value = policy_iteration(model, 0.99)[0]
    assert value == pytest.approx(-0.01 * sum(0.99**t for t in range(steps - 1)) + 0.99 ** (steps - 1))
    assert model.transitions[15, 1, 20] == 1  # down from the fourth row enters the trap
    assert model.rewards[15, 1, 20] == -1


def test_gamblers_ruin_has_the_closed_form_value_under_timid_play():
    p, goal = 0.55, 10
    model = domains.gamblers_ruin(goal, win_probability=p)
    kernel, rewards = model.transitions[:, 0], model.expected_rewards()[:, 0]  # always stake 1
    live = ~model.terminal
    value = np.linalg.solve(np.eye(live.sum()) - kernel[np.ix_(live, live)], rewards[live])
    ratio = (1 - p) / p
    np.testing.assert_allclose(value, [(1 - ratio**s) / (1 - ratio**goal) for s in range(1, goal)])


def test_gamblers_stake_is_cut_to_what_is_held_and_what_is_lacking():
    model = domains.gamblers_ruin(10)
    assert np.flatnonzero(model.transitions[3, 4]).tolist() == [0, 6]
    assert np.flatnonzero(model.transitions[8, 4]).tolist() == [6, 10]


def test_random_grid_is_fixed_by_its_seed_and_pays_at_the_goal():
    one, same, other = (domains.random_grid(6, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.transitions, same.transitions)
    assert not np.array_equal(one.transitions, other.transitions)
    assert one.terminal.sum() == 1
    np.testing.assert_array_equal(dense_rewards(one)[0, 0], one.terminal)


def test_garnet_has_the_asked_branching_and_is_fixed_by_its_seed():
    model = domains.garnet(50, 4, 7, seed=3)
    assert (np.diff(model.transitions.indptr) == 7).all()
    assert all(len(set(row)) == 7 for row in model.transitions.indices.reshape(-1, 7))
    np.testing.assert_array_equal(model.transitions.data, domains.garnet(50, 4, 7, seed=3).transitions.data)
    assert ((model.rewards >= 0) & (model.rewards <= 1)).all()
    assert (domains.garnet(50, 4, 7, rewards="normal").rewards < 0).any()


def test_garnet_successors_are_uniform_subsets():
    rows, states, size = 20_000, 6, 3
    model = domains.garnet(states, rows // states + 1, size, seed=0)
    subsets = [tuple(row) for row in model.transitions.indices.reshape(-1, size)]
    _, counts = np.unique(subsets, axis=0, return_counts=True)
    assert len(counts) == 20
    expected = len(subsets) / 20
    assert ((counts - expected) ** 2 / expected).sum() < 45  # chi-square, 19 degrees of freedom: p < 0.001


def test_garnet_of_full_branching_and_wrong_branching():
    assert (np.diff(domains.garnet(5, 2, 5).transitions.indptr) == 5).all()
    assert (np.diff(domains.garnet(5, 2, 1).transitions.indptr) == 1).all()
    with pytest.raises(InvalidArgumentError, match="branching=6 exceeds num_states=5"):
        domains.garnet(5, 2, 6)


def test_garnet_of_a_million_entries_builds_in_seconds():
    begin = time.perf_counter()
    model = domains.garnet(20_000, 5, 10)
    assert model.nbytes < 14e6  # 12 bytes an entry
    assert time.perf_counter() - begin < 5


def test_wrong_demand_and_prices_are_named():
    with pytest.raises(InvalidArgumentError, match=r"demand sums to 0\.9"):
        domains.inventory(demand=[0.4, 0.5])
    with pytest.raises(InvalidArgumentError, match="2 prices and 1 rates"):
        domains.capacity(prices=[1, 2], rates=[3])
    with pytest.raises(InvalidArgumentError, match="sum to more than 1"):
        domains.river_swim(stay=0.7, advance=0.6)
