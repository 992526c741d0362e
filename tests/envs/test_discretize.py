"""Discretised control: the table against plain loops, and what its solution earns in the continuous environment."""

import math
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

import robust_rl as rr
from robust_rl.envs import discretize, make, shift, tabular
from robust_rl.errors import InvalidArgumentError, NoTableError

from .helpers import dense

CONTROL = ("CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1", "Pendulum-v1")


def mountain_car(position, velocity, action):
    """The car's equations, as its documentation states them."""
    velocity += (action - 1) * 0.001 - math.cos(3 * position) * 0.0025
    velocity = min(max(velocity, -0.07), 0.07)
    position = min(max(position + velocity, -1.2), 0.6)
    if position == -1.2 and velocity < 0:
        velocity = 0.0
    return position, velocity, position >= 0.5 and velocity >= 0


def test_the_table_is_the_car_tried_from_the_centre_of_every_cell():
    bins, low, high = (6, 4), (-1.2, -0.07), (0.6, 0.07)
    model = tabular(discretize("MountainCar-v0", bins, interpolate=False))
    width = [(high[j] - low[j]) / bins[j] for j in range(2)]
    expected = np.zeros((25, 3, 25))
    for i in range(6):
        for j in range(4):
            for a in range(3):
                x, v, over = mountain_car(low[0] + (i + 0.5) * width[0], low[1] + (j + 0.5) * width[1], a)
                column = min(int((x - low[0]) / width[0]), 5) * 4 + min(int((v - low[1]) / width[1]), 3)
                expected[i * 4 + j, a, 24 if over else column] = 1.0
    np.testing.assert_allclose(dense(model), expected)
    assert expected[:, :, 24].any()
    np.testing.assert_array_equal(model.expected_rewards()[:24], -1.0)
    assert np.flatnonzero(model.terminal).tolist() == [24]


def test_interpolation_keeps_the_mean_of_where_the_car_goes():
    env = discretize("MountainCar-v0", (12, 8))
    model, grid = tabular(env), env.grid
    centres = grid.corners() + grid.width / 2
    kernel = dense(model)
    checked = 0
    for cell, (position, velocity) in enumerate(centres):
        for a in range(3):
            x, v, over = mountain_car(position, velocity, a)
            if not over and (centres[0] <= (x, v)).all() and ((x, v) <= centres[-1]).all():
                np.testing.assert_allclose(kernel[cell, a, :96] @ centres, (x, v), atol=1e-6)
                checked += 1
    assert checked > 200


@pytest.mark.parametrize("interpolate", [True, False])
@pytest.mark.parametrize("env_id", CONTROL)
def test_rows_are_distributions_whatever_the_environment(env_id, interpolate):
    env = discretize(env_id, 3, samples=2, interpolate=interpolate)
    model = tabular(env)
    cells = env.observation_space.n
    assert model.num_states - cells == (0 if env_id == "Pendulum-v1" else 1)  # a pendulum's episodes never end by themselves
    assert model.num_actions == env.action_space.n
    np.testing.assert_allclose(model.csr().sum(axis=1)[model.active_rows], 1)
    assert model.start.sum() == pytest.approx(1)


@pytest.mark.parametrize("env_id", CONTROL)
def test_the_wrapper_passes_gymnasiums_checker(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version.*")
        check_env(discretize(env_id, 4), skip_render_check=True)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "Acrobot-v1"])
def test_angles_are_read_from_their_cosine_and_sine(env_id):
    env = discretize(env_id, 8)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        cell, *_ = env.step(int(rng.integers(env.action_space.n)))
        state = np.array(env.unwrapped.state, dtype=float)
        angles = env.angles
        state[:angles] = (state[:angles] + np.pi) % (2 * np.pi) - np.pi
        assert cell == env.grid.cells(state[None])[0]


def test_pendulums_torques_are_divided_evenly_or_given():
    np.testing.assert_allclose(discretize("Pendulum-v1", 3).controls.ravel(), [-2, -1, 0, 1, 2])
    np.testing.assert_allclose(discretize("Pendulum-v1", 3, actions=[[-2.0], [0.5]]).controls.ravel(), [-2, 0.5])
    env = discretize("Pendulum-v1", 3, actions=2)
    env.reset(seed=0)
    env.step(1)
    assert env.unwrapped.last_u == 2


def test_sampling_the_table_leaves_the_running_episode_alone():
    env, twin = (discretize("CartPole-v1", 3) for _ in range(2))
    env.reset(seed=3)
    twin.reset(seed=3)
    for step in range(6):
        tabular(twin)
        assert env.step(step % 2)[:4] == twin.step(step % 2)[:4]
        np.testing.assert_array_equal(env.unwrapped.state, twin.unwrapped.state)


def test_same_seed_same_table():
    one, same, other = (tabular(discretize("CartPole-v1", 3, samples=3, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(dense(one), dense(same))
    assert abs(dense(one) - dense(other)).max() > 0


@pytest.mark.parametrize(
    ("env_id", "changes"),
    [
        ("CartPole-v1", {"length": 1.5}),
        ("CartPole-v1", {"masspole": 0.8}),
        ("CartPole-v1", {"force_mag": 4.0}),
        ("MountainCar-v0", {"gravity": 0.002}),
        ("Pendulum-v1", {"g": 5.0}),
        ("Acrobot-v1", {"LINK_LENGTH_1": 1.5}),
    ],
)
def test_a_shifted_environment_has_the_table_of_the_shifted_environment(env_id, changes):
    env = discretize(env_id, 4)
    shifted = tabular(shift(env, **changes))
    np.testing.assert_array_equal(dense(shifted), dense(tabular(discretize(shift(env_id, **changes), 4))))
    assert abs(dense(shifted) - dense(tabular(env))).max() > 0.01


def test_noise_outside_changes_the_table_exactly_and_inside_is_sampled():
    env = discretize("MountainCar-v0", 4, interpolate=False)
    outside = dense(tabular(shift(env, action_noise=0.3)))
    np.testing.assert_allclose(outside, dense(rr.envs.with_action_noise(tabular(env), 0.3)))
    inside = discretize(shift("MountainCar-v0", action_noise=0.3), 4, samples=300, interpolate=False)
    same_points = discretize("MountainCar-v0", 4, samples=300, interpolate=False)
    expected = rr.envs.with_action_noise(tabular(same_points), 0.3)
    assert abs(dense(tabular(inside)) - dense(expected)).max() < 5 * math.sqrt(0.25 / 300)


def test_a_specification_rebuilds_the_discretised_environment():
    env = discretize("Pendulum-v1", (5, 7), actions=3, samples=2, seed=4)
    again = gymnasium.make(env.spec)
    np.testing.assert_array_equal(dense(tabular(again)), dense(tabular(env)))


@pytest.mark.parametrize(
    ("env_id", "bins", "options", "discount", "least"),
    [
        ("MountainCar-v0", 30, {}, 0.995, -135),  # a random car never arrives, -200
        ("Pendulum-v1", 25, {}, 0.98, -220),  # a random one earns about -1200, torque kept from turning it too
        # of at most 500; a random one falls after 20, and one that balances but drifts off the track earns about 240
        *(("CartPole-v1", (3, 5, 9, 9), {"samples": 4, "seed": seed}, 0.99, 200) for seed in range(3)),
    ],
)
def test_the_solution_of_the_table_does_well_in_the_continuous_world(env_id, bins, options, discount, least):
    env = discretize(env_id, bins, **options)
    agent = rr.RobustVI(env, None, discount=discount, tol=0.01).learn()
    assert rr.evaluation.rollout(env, agent.predict, 20, seed=0).mean() > least
    poor = rr.RobustVI(discretize(env_id, 2), None, discount=discount, tol=0.01).learn()  # a table this coarse is no help
    assert rr.evaluation.rollout(discretize(env_id, 2), poor.predict, 20, seed=0).mean() < least


def test_evaluation_plays_the_world_itself_and_not_its_table():
    env = discretize("MountainCar-v0", 20)
    agent = rr.RobustVI(env, None, discount=0.99, tol=0.01).learn()
    table = rr.evaluation.evaluate_shifts(
        {"nominal": agent}, env, [("force", [0.001, 0.0])], episodes=3, horizon=200, discount=None
    )
    (able, powerless) = table["force"].cells[0]
    assert able.kind == powerless.kind == "interval"
    assert powerless.middle == -200  # without force no car arrives, whatever a table of 400 cells may say
    assert able.middle > -200


def test_robust_values_fall_with_the_radius_and_save_and_load_with_the_agent(tmp_path):
    env = discretize("CartPole-v1", 3, samples=4)
    sets = [None, rr.TotalVariation(0.05, support="nominal"), rr.TotalVariation(0.2, support="nominal")]
    agents = [rr.RobustVI(env, uncertainty, discount=0.95).learn() for uncertainty in sets]
    values = [float(agent.model.start @ agent.solution.value) for agent in agents]
    assert values[0] > values[1] > values[2]
    loaded = rr.RobustVI.load(agents[1].save(tmp_path / "policy"))
    observation = env.observation([0.0, 0.1, -0.02, 0.3])
    assert loaded.predict(observation) == agents[1].predict(observation)


class Hidden(gymnasium.Env):
    """Observes something other than its state."""

    observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.array([0.3, 0.1, 0.2])
        return self.state[:2].astype(np.float32), {}

    def step(self, action):
        return self.state[:2].astype(np.float32), 0.0, False, False, {}


def test_environments_that_cannot_be_set_say_what_to_do():
    with pytest.raises(NoTableError, match=r"Hidden doesn't observe a state that can be set.*from_counts"):
        discretize(Hidden(), 4)
    with pytest.raises(NoTableError, match=r"FrozenLakeEnv observes Discrete\(16\).*envs\.tabular"):
        discretize("FrozenLake-v1", 4)
    with pytest.raises(NoTableError, match="doesn't observe a state"):
        discretize(shift("CartPole-v1", observation_noise=0.1), 4)


@pytest.mark.parametrize(
    ("env_id", "bins", "options", "message"),
    [
        ("CartPole-v1", (3, 3), {}, "has 2 entries; the state has 4 axes"),
        ("CartPole-v1", (3, 3, 0, 3), {}, "bins=0"),
        ("CartPole-v1", 2.5, {}, "bins=2.5"),
        ("CartPole-v1", 3, {"high": (1, 2)}, r"high=\(1, 2\) has shape \(2,\); the state has 4 axes"),
        ("CartPole-v1", 3, {"high": (1, np.inf, 1, 1)}, "axis 1 of the state runs from -3 to inf"),
        ("MountainCar-v0", 3, {"low": (0.7, -1)}, "axis 0 of the state runs from 0.7 to 0.6"),
        ("CartPole-v1", 3, {"samples": 0}, "samples=0"),
        ("Pendulum-v1", 3, {"actions": 1}, "actions=1"),
        ("Pendulum-v1", 3, {"actions": [[0.0], [3.0]]}, r"\[3\.0\].* not in Box"),
        ("Pendulum-v1", 3, {"actions": [0.0, 1.0]}, "not in Box"),
    ],
)
def test_options_that_do_not_fit_are_named(env_id, bins, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        discretize(env_id, bins, **options)


def test_no_such_action_and_too_large_a_table_are_refused():
    env = discretize(make("CartPole-v1"), 3)
    env.reset(seed=0)
    with pytest.raises(InvalidArgumentError, match=r"no action 2; actions are 0\.\.1"):
        env.step(2)
    with pytest.raises(rr.errors.InvalidModelError, match="use fewer bins or samples"):
        tabular(discretize("CartPole-v1", 1000))
