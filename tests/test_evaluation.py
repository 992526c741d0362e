from itertools import product

import gymnasium
import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import ConvergenceError, ConvergenceWarning, InvalidArgumentError
from tests.worlds import random_model

# expected return from the start, discount 0.99; computed while this was planned, by other code
CLIFF = {
    "0": ("-12.25", "-12.25", "-15.71"),
    "0.05": ("-28.0", "-26.9", "-17.83"),
    "0.1": ("-47.4", "-42.3", "-20.27"),
    # the plan printed -26.50 for the robust policy; its value is -26.49491 (see the linear solve below)
    "0.2": ("-102.1", "-75.4", "-26.49"),
    "0.3": ("-189.3", "-112.2", "-35.44"),
}
LAKE = {
    "1.0": (".878", ".878", ".878"),
    "0.95": (".671", ".825", ".825"),
    "0.9": (".501", ".765", ".770"),
    "0.8": (".255", ".622", ".646"),
    "0.7": (".113", ".461", ".509"),
    "0.6": (".043", ".302", ".364"),
    "0.5": (".014", ".167", ".224"),
}


def as_printed(number, pattern):
    """Round to the digits of the pattern."""
    return f"{number:.{len(pattern.split('.')[1]) if '.' in pattern else 0}f}".replace("0.", ".", 1 if abs(number) < 1 else 0)


def study(env_id, kwargs, shifts):
    ball = rr.TotalVariation(0.1, support="reachable")
    agent = rr.RobustVI(env_id, ball, discount=0.99, env_kwargs=kwargs).learn()
    nominal = rr.solve(agent.model, None, discount=0.99)
    return agent, rr.evaluate_shifts({"nominal": nominal, "robust": agent}, rr.envs.make(env_id, **kwargs), shifts)


def test_trained_in_still_air_walks_the_cliff_in_wind():
    agent, tables = study("CliffWalking-v1", {}, [("action_noise", [0, 0.05, 0.1, 0.2, 0.3]), ("is_slippery", [True])])
    table = tables["action_noise"]
    for column, (worst, best, robust) in CLIFF.items():
        cells = table["nominal", column], table["robust", column]
        assert [
            as_printed(x, y) for x, y in zip((cells[0].low, cells[0].high, cells[1].low), (worst, best, robust), strict=True)
        ] == [worst, best, robust]
    slippery = tables["is_slippery"]
    assert [
        f"{x:.0f}" for x in (slippery["nominal", "true"].low, slippery["nominal", "true"].high, slippery["robust", "true"].low)
    ] == ["-1800", "-1158", "-229"]
    assert agent.solution.certificate.gap <= 1e-6


def test_robust_cliff_value_at_noise_0_2_by_a_linear_solve():
    """Rebuilds the noisy chain from Gymnasium's raw table, in plain loops, and solves (I - gamma P) V = r."""
    agent, _ = study("CliffWalking-v1", {}, [])
    table = gymnasium.make("CliffWalking-v1").unwrapped.P
    p, r = np.zeros((48, 48)), np.zeros(48)
    for s in range(47):
        for a in range(4):
            weight = 0.2 / 4 + (0.8 if a == agent.solution.policy[s] else 0.0)
            for probability, t, reward, _ in table[s][a]:
                p[s, t] += weight * probability
                r[s] += weight * probability * reward
    assert np.linalg.solve(np.eye(48) - 0.99 * p, r)[36] == pytest.approx(-26.494907, abs=1e-6)


def test_trained_on_still_ice_crosses_the_slippery_lake():
    kwargs = {"map_name": "8x8", "is_slippery": True, "success_rate": 1.0}
    _, tables = study("FrozenLake-v1", kwargs, [("success_rate", [float(x) for x in LAKE])])
    table = tables["success_rate"]
    for column, expected in LAKE.items():
        found = table["nominal", column].low, table["nominal", column].high, table["robust", column].low
        assert tuple(as_printed(x, y) for x, y in zip(found, expected, strict=True)) == expected


@pytest.mark.parametrize("horizon", [None, 3])
def test_tie_range_equals_enumeration_of_all_tie_breaks(horizon):
    """A deterministic model full of ties, evaluated in a random world."""
    rng = np.random.default_rng(0)
    targets = np.array([[1, 2], [3, 3], [3, 3], [3, 0]])
    p = np.eye(4)[targets]
    model = rr.TabularMDP(p, np.array([[1.0, 1.0], [2.0, 2.0], [2.0, 2.0], [0.0, 0.0]]))
    world = model.replace(transitions=rng.dirichlet(np.ones(4), size=(4, 2)), rewards=rng.normal(size=(4, 2)))
    arguments = {"discount": 0.9} if horizon is None else {"horizon": horizon}
    solution = rr.solve(model, None, **arguments)
    found = rr.tie_range(solution, world)
    if horizon is None:
        choices = [np.flatnonzero(row) for row in solution.optimal_actions]
        values = np.array([rr.policy_value(world, np.array(policy), discount=0.9) for policy in product(*choices)])
        assert len(values) > 4
    else:
        rows = solution.optimal_actions.reshape(-1, 2)
        policies = product(*[np.flatnonzero(row) for row in rows])
        values = np.array([rr.policy_value(world, np.array(policy).reshape(horizon, 4), horizon=horizon) for policy in policies])
    np.testing.assert_allclose(found.lowest, values.min(axis=0), atol=1e-9)
    np.testing.assert_allclose(found.highest, values.max(axis=0), atol=1e-9)


def test_a_policy_of_stages_is_played_stage_by_stage():
    """Waiting pays 1 a step and leaving 5 once: with horizon 6 it is best to wait 5 times and then leave."""
    model = rr.TabularMDP(np.eye(2)[[[0, 1], [1, 1]]], np.array([[1.0, 5.0], [0, 0]]), terminal=[1])
    agent = rr.RobustVI(model, None, horizon=6).learn()

    class Hidden(gymnasium.Wrapper):
        """A wrapper that no table knows."""

    table = rr.evaluate({"agent": agent}, {"exact": model, "sampled": Hidden(model.to_env())}, horizon=6, episodes=5)
    assert table["agent", "exact"].middle == table["agent", "sampled"].middle == 10


def test_ties_are_told_in_the_unit_of_the_rewards():
    p = np.eye(3)[[[1, 2], [0, 2], [0, 1]]]
    rewards = np.array([[1e-7, 5e-7], [1e-7, 5e-7], [1e-7, 5e-7]])
    model = rr.TabularMDP(p, rewards)
    fine = rr.solve(model, None, discount=0.9, tol=1e-13)
    assert fine.optimal_actions.sum() == 3
    cell = rr.evaluate({"best": fine}, {"same": model}, discount=0.9)["best", "same"]
    assert cell.kind == "exact"
    with pytest.warns(ConvergenceWarning, match="too loosely to tell which actions tie"):
        rr.tie_range(rr.solve(random_model(0), None, discount=0.9, tol=5.0), random_model(0))


def test_policy_value_of_stages_whose_number_is_that_of_the_actions():
    """(H, S) integers and (S, A) probabilities can have the same shape; the type tells them apart."""
    p = np.eye(2)[[[0, 1], [0, 1]]]
    model = rr.TabularMDP(p, np.array([[1.0, 0.0], [0.0, 2.0]]))
    np.testing.assert_allclose(rr.policy_value(model, np.array([[0, 1], [1, 0]]), horizon=2)[0], [1, 2])
    solution = rr.solve(model, None, horizon=2)
    np.testing.assert_allclose(rr.policy_value(model, solution.policy, horizon=2), solution.value)


@pytest.mark.parametrize("seed", range(8))
def test_a_policy_that_never_ends_has_no_undiscounted_value(seed):
    """A singular system that rounding makes regular must not give a number."""
    p = np.random.default_rng(seed).dirichlet(np.ones(3), size=(3, 1))
    with pytest.raises(ConvergenceError, match="never ends from state 0"):
        rr.policy_value(rr.TabularMDP(p, np.ones((3, 1))), np.zeros(3, int), discount=1.0)


def test_large_chains_are_solved_without_fill_in():
    """A direct factorisation of this one takes minutes; the answer is checked by its own equation."""
    model = rr.envs.domains.garnet(20_000, 3, 8, seed=0)
    policy = np.zeros(20_000, int)
    value = rr.policy_value(model, policy, discount=0.999)
    kernel = model.csr()[np.arange(20_000) * 3]
    np.testing.assert_allclose(value, model.expected_rewards()[:, 0] + 0.999 * (kernel @ value), rtol=1e-11)


def test_a_world_without_a_table_is_sampled_with_an_interval():
    class Lean:
        """Push the cart to where the pole leans."""

        def predict(self, observation, state=None, deterministic=True):
            return int(observation[2] + 0.3 * observation[3] > 0), state

    base = gymnasium.make("CartPole-v1", max_episode_steps=200)
    worlds = {"0.5": base, "2.0": rr.envs.shift(base, length=2.0)}
    table = rr.evaluate({"lean": Lean()}, worlds, discount=1.0, episodes=30, seed=1)
    again = rr.evaluate({"lean": Lean()}, worlds, discount=1.0, episodes=30, seed=1)
    assert table == again, "same seed, same numbers"
    cell = table["lean", "0.5"]
    assert cell.kind == "interval"
    assert 100 < cell.low <= cell.middle <= cell.high <= 201
    assert "±" in str(cell) or cell.low == cell.high
    with pytest.raises(InvalidArgumentError, match="'array' has no predict"):
        rr.evaluate({"array": np.zeros(4, int)}, worlds, discount=1.0)


@pytest.mark.parametrize("seed", range(5))
def test_policy_value_of_randomised_policies_against_sweeps(seed):
    """Robust evaluation by the adversary's policy iteration equals 3,000 plain evaluation sweeps."""
    model = random_model(seed)
    rng = np.random.default_rng(seed)
    policy = rng.dirichlet(np.ones(3), size=5) * model.action_mask
    policy /= policy.sum(axis=1, keepdims=True)
    ball = rr.TotalVariation(0.2, support="reachable")
    backup = rr.solvers.BellmanOperator(model, ball, 0.95)
    value = np.zeros(5)
    for _ in range(1500):
        q = backup.q_values(value)
        value = np.where(model.terminal, 0.0, (policy * np.where(np.isneginf(q), 0.0, q)).sum(axis=1))
    np.testing.assert_allclose(rr.policy_value(model, policy, ball, discount=0.95), value, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: rr.policy_value(m, np.zeros(4, int), discount=0.9), r"shape \(4,\); expected integer actions \(5,\)"),
        (lambda m: rr.policy_value(m, np.full(5, 3), discount=0.9), "uses action 3; actions are 0..2"),
        (lambda m: rr.policy_value(m, np.full((5, 3), 0.4), discount=0.9), "not a probability vector"),
        (
            lambda m: rr.policy_value(m, (~m.action_mask).argmax(1), discount=0.9),
            r"uses action \d in state \d, where it is not available",
        ),
        (lambda m: rr.policy_value(m, np.zeros((2, 5), int), horizon=3), "has 2 stages; the horizon is 3"),
        (lambda m: rr.policy_value(m, np.full((5, 3), np.nan), discount=0.9), "not a probability vector"),
        (lambda m: rr.policy_value(m, np.zeros(5, int), discount=1.5), r"discount is 1.5; it must be a number in \[0, 1\]"),
        (lambda m: rr.policy_value(m, np.zeros(5, int), horizon=2.5), "horizon is 2.5"),
        (lambda m: rr.evaluate_shifts({}, m, []), "no policies"),
        (lambda m: rr.solve("FrozenLake-v1", None, discount=0.9), "not a TabularMDP; robust_rl.envs.tabular"),
        (lambda m: rr.solve(m, None, discount=0.9, device="cuda"), "device is 'cuda'"),
        (lambda m: rr.evaluate({}, {}), "exactly one of discount and horizon"),
        (lambda m: rr.evaluate({"x": rr.solve(m, None, discount=0.9)}, {"w": m}, discount=0.8), "for discount=0.9"),
        (lambda m: rr.tie_range(rr.solve(m, None, discount=0.9), rr.envs.tabular("FrozenLake-v1")), "must agree"),
    ],
)
def test_bad_arguments_are_named(call, message):
    if "cuda" in message:
        pytest.importorskip("torch")
    with pytest.raises(InvalidArgumentError, match=message):
        call(random_model(0))
