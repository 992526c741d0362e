import math
import warnings

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_rl.envs import domains, make, parse_env_arg, parse_shift, shift, tabular, with_action_noise
from robust_rl.errors import InvalidArgumentError, NoTableError, UnknownNameError
from robust_rl.models import TabularMDP


def after_steps(env, actions, seed=0):
    env.reset(seed=seed)
    return np.array([env.step(action)[0] for action in actions])


def test_cartpole_attributes_bring_their_derived_fields_along():
    inner = shift("CartPole-v1", length=1.0, masspole=0.3, masscart=2.0).unwrapped
    assert (inner.length, inner.masspole, inner.masscart) == (1.0, 0.3, 2.0)
    assert inner.total_mass == 2.3
    assert inner.polemass_length == 0.3


def test_cartpole_moves_by_the_equations_of_the_shifted_pole():
    env = shift("CartPole-v1", length=1.0, masspole=0.3, force_mag=5.0, gravity=9.0, tau=0.01)
    env.reset(seed=0)
    x, speed, angle, spin = env.unwrapped.state
    after, *_ = env.step(1)
    total = 1.3
    push = (5.0 + 0.3 * 1.0 * spin**2 * math.sin(angle)) / total
    turn = (9.0 * math.sin(angle) - math.cos(angle) * push) / (4 / 3 - 0.3 * math.cos(angle) ** 2 / total)
    drive = push - 0.3 * turn * math.cos(angle) / total
    np.testing.assert_allclose(
        after, [x + 0.01 * speed, speed + 0.01 * drive, angle + 0.01 * spin, spin + 0.01 * turn], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("env_id", "changes", "action"),
    [
        ("CartPole-v1", {"force_mag": 20}, 1),
        ("Acrobot-v1", {"LINK_LENGTH_1": 1.5}, 2),
        ("MountainCar-v0", {"force": 0.002}, 2),
        ("MountainCarContinuous-v0", {"power": 0.003}, np.ones(1, dtype=np.float32)),
        ("Pendulum-v1", {"m": 2.0}, np.ones(1, dtype=np.float32)),
        ("Pendulum-v1", {"g": 5.0}, np.ones(1, dtype=np.float32)),
    ],
)
def test_physical_shifts_change_the_motion_of_a_new_environment_only(env_id, changes, action):
    before = after_steps(gymnasium.make(env_id), [action] * 5)
    original = gymnasium.make(env_id)
    shifted = shift(original, **changes)
    assert not np.allclose(after_steps(shifted, [action] * 5), before)
    np.testing.assert_array_equal(after_steps(original, [action] * 5), before)


def test_a_stronger_pendulum_motor_can_be_used():
    env = shift("Pendulum-v1", max_torque=4.0)
    assert env.action_space.high.tolist() == [4.0]
    assert gymnasium.make("Pendulum-v1").action_space.high.tolist() == [2.0]


def test_frozen_lake_slips_as_often_as_success_rate_says():
    model = tabular(shift("FrozenLake-v1", success_rate=0.9))
    np.testing.assert_allclose(model.transitions[0, 1, [4, 0, 1]], [0.9, 0.05, 0.05])  # a slip to the left stays
    assert tabular("FrozenLake-v1", success_rate=0.9).transitions.tolist() == model.transitions.tolist()


def test_success_rate_without_slipping_warns_that_it_is_ignored():
    with pytest.warns(UserWarning, match="ignores success_rate unless is_slippery=True"):
        make("FrozenLake-v1", is_slippery=False, success_rate=0.9)
    with pytest.warns(UserWarning, match="ignores success_rate"):
        shift(gymnasium.make("FrozenLake-v1", is_slippery=False), success_rate=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make("FrozenLake-v1", success_rate=0.9)


def test_arguments_wrappers_and_earlier_shifts_stay():
    env = gymnasium.wrappers.TimeLimit(gymnasium.make("FrozenLake-v1", map_name="8x8", is_slippery=False), 7)
    noisy = shift(shift(env, action_noise=0.1), action_noise=0.2)
    assert noisy.spec.kwargs["map_name"] == "8x8"
    assert noisy.spec.kwargs["is_slippery"] is False
    assert "TimeLimit" in str(noisy)
    twice = with_action_noise(with_action_noise(tabular(env), 0.1), 0.2)
    np.testing.assert_allclose(tabular(noisy).transitions, twice.transitions)
    slippery = tabular(shift(noisy, is_slippery=True))
    np.testing.assert_allclose(
        slippery.transitions,
        with_action_noise(with_action_noise(tabular("FrozenLake-v1", map_name="8x8"), 0.1), 0.2).transitions,
    )
    pole = shift(shift("CartPole-v1", length=1.0), masspole=0.2).unwrapped
    assert (pole.length, pole.polemass_length) == (1.0, 0.2)


def test_a_shifted_environment_is_made_again_from_its_specification():
    env = shift("CartPole-v1", length=1.0, action_noise=0.3, observation_noise=0.01)
    again = gymnasium.make(env.spec)
    assert again.unwrapped.length == 1.0
    np.testing.assert_array_equal(after_steps(again, [0, 1] * 5), after_steps(env, [0, 1] * 5))


def test_arguments_of_our_domains_are_shifts_too():
    assert tabular(shift("robust_rl/RiverSwim-v0", num_states=9)).num_states == 9
    assert tabular(shift(make("robust_rl/Chain-v0"), success=0.5, action_noise=0.2)).transitions[3, 0, 2] == pytest.approx(0.5)


def test_models_and_environments_without_id_take_action_noise():
    model = domains.river_swim()
    noisy = shift(model, action_noise=0.2)
    assert isinstance(noisy, TabularMDP)
    env = shift(model.to_env(), action_noise=0.2)
    np.testing.assert_array_equal(tabular(env).transitions, noisy.transitions)
    assert shift(model) is model
    with pytest.raises(UnknownNameError, match="a TabularMDP has no 'length' to shift; it accepts action_noise"):
        shift(model, length=1)


@pytest.mark.parametrize(
    ("env_id", "name", "listed"),
    [
        (
            "CartPole-v1",
            "lenght",
            "did you mean length.*; it accepts action_noise, observation_noise, sutton_barto_reward, force_mag",
        ),
        ("CartPole-v1", "total_mass", "masscart"),
        ("CartPole-v1", "screen_width", "x_threshold"),
        ("CartPole-v1", "np_random_seed", "x_threshold"),
        ("FrozenLake-v1", "sucess_rate", "did you mean success_rate"),
        ("FrozenLake-v1", "ncol", "map_name"),
        ("robust_rl/Machine-v0", "length", "num_states, running_cost"),
    ],
)
def test_what_an_environment_does_not_have_is_refused_with_what_it_has(env_id, name, listed):
    with pytest.raises(UnknownNameError, match=f"{env_id} has no '{name}' to shift.*{listed}"):
        shift(env_id, **{name: 1})


@pytest.mark.parametrize(
    ("env_id", "changes", "message"),
    [
        ("CartPole-v1", {"length": 0}, "length=0 must be above 0"),
        ("CartPole-v1", {"gravity": float("inf")}, "gravity=inf is not a finite number"),
        ("CartPole-v1", {"gravity": True}, "gravity=True is not a finite number"),
        ("CartPole-v1", {"length": "long"}, "length='long' is not a finite number"),
        ("FrozenLake-v1", {"success_rate": 1.5}, "success_rate=1.5 is not a probability"),
        ("FrozenLake-v1", {"map_name": "9x9"}, "FrozenLake-v1 can't be made with map_name='9x9'"),
        ("robust_rl/Chain-v0", {"success": 1.5}, "success=1.5 is not a probability"),
    ],
)
def test_values_out_of_range_are_refused_by_name(env_id, changes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        shift(env_id, **changes)


def test_environments_that_cannot_be_made_again_say_so():
    class Bare(gymnasium.Env):
        pass

    with pytest.raises(InvalidArgumentError, match=r"wasn't made by gymnasium\.make"):
        shift(Bare(), action_noise=0.1)

    class Unrecorded(gymnasium.Wrapper):
        pass

    with pytest.raises(InvalidArgumentError, match="Unrecorded"):
        shift(Unrecorded(gymnasium.make("CartPole-v1")), length=1)


def test_an_environment_seen_through_noise_has_no_table():
    with pytest.raises(NoTableError, match="ObservationNoise"):
        tabular(shift("FrozenLake-v1", observation_noise=0.1))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("action_noise=0,0.05,0.1", ("action_noise", [0, 0.05, 0.1])),
        ("is_slippery=false,True", ("is_slippery", [False, True])),
        ("map_name=8x8", ("map_name", ["8x8"])),
        (" num_states = 5 , 10 ", ("num_states", [5, 10])),
        ("length=1e-1", ("length", [0.1])),
    ],
)
def test_shifts_are_read_from_text(text, parsed):
    assert parse_shift(text) == parsed
    assert [type(value) for value in parse_shift(text)[1]] == [type(value) for value in parsed[1]]


@pytest.mark.parametrize("text", ["length", "=1", "length=", "length=1,,2", "a b=1"])
def test_text_that_is_no_shift_is_refused(text):
    with pytest.raises(InvalidArgumentError, match=text):
        parse_shift(text)


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_arguments_are_read_back_as_written(value):
    name, parsed = parse_env_arg(f"x={value}")
    assert (name, parsed, type(parsed)) == ("x", value, type(value))
