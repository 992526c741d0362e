import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers

from robust_rl.envs import domains, make, mix, shift, tabular, with_action_noise
from robust_rl.errors import InvalidArgumentError, MissingDependencyError, NoTableError, UnknownNameError
from tests.worlds import TAXI

from .helpers import policy_iteration


@pytest.mark.parametrize(("env_id", "value"), [("FrozenLake-v1", 0.542025932), ("FrozenLake8x8-v1", 0.414640362)])
def test_nominal_value_of_frozen_lake_agrees_with_the_reference_table(env_id, value):
    assert policy_iteration(tabular(env_id), 0.99)[0] == pytest.approx(value, rel=5e-9)


def test_a_model_an_environment_and_an_id_give_the_same_table():
    model = tabular("FrozenLake-v1")
    np.testing.assert_array_equal(tabular(gymnasium.make("FrozenLake-v1")).transitions, model.transitions)
    assert tabular(model) is model


def test_expected_rewards_on_request():
    model = tabular("FrozenLake-v1", rewards="expected")
    assert model.rewards.shape == (16, 4)
    np.testing.assert_array_equal(model.rewards, tabular("FrozenLake-v1").expected_rewards())
    with pytest.raises(InvalidArgumentError, match="rewards='mean'"):
        tabular("FrozenLake-v1", rewards="mean")


def test_wrappers_that_only_watch_are_passed():
    env = wrappers.RecordEpisodeStatistics(wrappers.Autoreset(gymnasium.make("FrozenLake-v1", max_episode_steps=3)))
    np.testing.assert_array_equal(tabular(env).transitions, tabular("FrozenLake-v1").transitions)


def test_wrappers_change_the_table_from_the_inside_out():
    class Double(gymnasium.Wrapper):
        def shift_table(self, model):
            return model.replace(rewards=2 * model.rewards)

    class AddOne(gymnasium.Wrapper):
        def shift_table(self, model):
            return model.replace(rewards=model.rewards + 1)

    assert tabular(AddOne(Double(domains.river_swim().to_env()))).rewards[5, 1] == 3
    assert tabular(Double(AddOne(domains.river_swim().to_env()))).rewards[5, 1] == 4


@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: wrappers.TransformReward(env, lambda reward: -reward),
        lambda env: wrappers.TimeAwareObservation(env),
        lambda env: wrappers.StickyAction(env, 0.2),
        lambda env: type("MyLimit", (wrappers.TimeLimit,), {})(env, 5),
    ],
    ids=["TransformReward", "TimeAwareObservation", "StickyAction", "MyLimit"],
)
def test_any_other_wrapper_is_refused_by_name_with_the_remedy(wrap, request):
    with pytest.raises(NoTableError, match=f"wrapper {request.node.callspec.id} does.*shift_table"):
        tabular(wrap(gymnasium.make("FrozenLake-v1")))


def test_the_table_of_a_shifted_environment_is_the_shifted_table():
    expected = with_action_noise(tabular(TAXI), 0.1)
    model = tabular(shift(TAXI, action_noise=0.1))
    np.testing.assert_array_equal(model.transitions.toarray(), expected.transitions.toarray())
    np.testing.assert_array_equal(model.rewards.toarray(), expected.rewards.toarray())


def test_real_tables_can_be_mixed():
    certain, slippery = (tabular("FrozenLake-v1", is_slippery=slips) for slips in (False, True))
    mixed = mix(certain, slippery, 0.5)
    np.testing.assert_allclose(mixed.transitions[0, 1, [4, 0, 1]], [2 / 3, 1 / 6, 1 / 6])
    assert mixed.rewards[14, 2, 15] == 1


def test_what_a_table_leaves_out_is_refused():
    with pytest.raises(NoTableError, match="fickle_passenger"):
        tabular(TAXI, fickle_passenger=True)
    assert tabular(TAXI, is_rainy=True).num_states == 501


@pytest.mark.parametrize("call", [tabular, shift])
def test_what_is_no_environment_is_refused(call):
    with pytest.raises(InvalidArgumentError, match="3 is no Gymnasium environment"):
        call(3)


def test_continuous_environments_have_no_table():
    with pytest.raises(NoTableError, match="CartPole-v1 has no transition table.*robust-rl envs"):
        tabular("CartPole-v1")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("CliffWalkin-v1", "CliffWalking-v1"),
        ("CliffWalking-v0", "CliffWalking-v1"),
        ("RiverSwim-v0", "robust_rl/RiverSwim-v0"),
        ("robust-rl/riverswim-v0", "robust_rl/RiverSwim-v0"),
        ("robust_rl/GridWord-v0", "robust_rl/GridWorld-v0"),
        ("FrozenLake", "FrozenLake-v1"),
        ("frozenlake-v1", "FrozenLake-v1"),
    ],
)
def test_unknown_ids_are_refused_with_the_nearest(wrong, right):
    with pytest.raises(UnknownNameError, match=f"'{wrong}'; did you mean {right}"):
        tabular(wrong)


@pytest.mark.parametrize("wrong", ["", "a b", "zzzzzzzzzz-v0", "no_such_module:X-v0"])
def test_hopeless_ids_are_refused_too(wrong):
    with pytest.raises(UnknownNameError):
        make(wrong)


def test_ids_may_name_their_module():
    assert tabular("robust_rl.envs:robust_rl/RiverSwim-v0").num_states == 6


def test_wrong_arguments_are_named_with_those_accepted():
    with pytest.raises(
        InvalidArgumentError, match="FrozenLake-v1 has no argument 'slippery'; did you mean is_slippery.*map_name"
    ):
        tabular("FrozenLake-v1", slippery=True)
    with pytest.raises(
        InvalidArgumentError, match="robust_rl/Garnet-v0 has no argument 'states'.*num_states, num_actions, branching"
    ):
        make("robust_rl/Garnet-v0", states=5)
    with pytest.raises(
        InvalidArgumentError, match="is_slippery: arguments of an environment go with an id, not with a TabularMDP"
    ):
        tabular(domains.river_swim(), is_slippery=True)


def test_missing_packages_are_named(monkeypatch):
    gymnasium.register("tests/Absent-v0", entry_point="no_such_package_here:Env")
    try:
        with pytest.raises(MissingDependencyError, match="tests/Absent-v0 needs a package.*no_such_package_here"):
            make("tests/Absent-v0")
    finally:
        del gymnasium.registry["tests/Absent-v0"]
