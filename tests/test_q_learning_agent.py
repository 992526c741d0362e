"""What RobustQLearning does beyond the contract that all agents keep (test_agents.py)."""

import gymnasium
import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError, InvalidUncertaintyError, UnknownNameError
from robust_rl.solvers import EpisodicQLearning, QLearning
from robust_rl.training import RunDirectory
from tests.worlds import random_model

FREE = rr.Contamination(0.1, support="free")
TV = rr.TotalVariation(0.1, support="free")


class Corridor(gymnasium.Env):
    """Walk right to the exit past a door that jams: an environment without a table. Rooms and actions count from 1."""

    observation_space = gymnasium.spaces.Discrete(4, start=1)
    action_space = gymnasium.spaces.Discrete(2, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.room = 1
        return self.room, {}

    def step(self, action):
        moved = self.np_random.random() < 0.8
        self.room = max(self.room + (1 if action == 2 else -1) * moved, 1)
        return min(self.room, 4), float(self.room == 4), self.room == 4, False, {}

    @staticmethod
    def model():
        """The same as arrays; the exit is terminal."""
        p = np.zeros((4, 2, 4))
        for room in range(3):
            p[room, :, room] = 0.2
            p[room, 0, max(room - 1, 0)] += 0.8
            p[room, 1, room + 1] = 0.8
        p[3, :, 3] = 1
        rewards = np.zeros((4, 2))
        rewards[2, 1] = 0.8
        return rr.TabularMDP(p, rewards, terminal=[3])


def test_an_environment_without_a_table_is_played():
    agent = rr.RobustQLearning(Corridor(), FREE, discount=0.9).learn(3)
    assert isinstance(agent.learner, EpisodicQLearning)
    exact = rr.solve(Corridor.model(), FREE, discount=0.9)
    assert abs(agent.solution.value[:3] - exact.value[:3]).max() <= 0.05 * np.ptp(exact.value)
    assert [agent.predict(room)[0] for room in (1, 2, 3)] == [2, 2, 2]
    with pytest.raises(InvalidUncertaintyError, match="needs repeated draws at one state and action"):
        rr.RobustQLearning(Corridor(), TV, discount=0.9)


def test_epsilon_chooses_episodes_where_there_is_a_table():
    assert isinstance(rr.RobustQLearning("FrozenLake-v1", FREE, discount=0.9).learner, QLearning)
    assert isinstance(rr.RobustQLearning("FrozenLake-v1", FREE, discount=0.9, epsilon=0.2).learner, EpisodicQLearning)
    model = random_model(0)
    assert isinstance(rr.RobustQLearning(model, FREE, discount=0.9).learner, QLearning)
    assert isinstance(rr.RobustQLearning(model, FREE, discount=0.9, epsilon=0.2).learner, EpisodicQLearning)


def test_a_seed_fixes_everything_and_another_changes_it():
    def learned(**options):
        return rr.RobustQLearning(random_model(0), TV, discount=0.9, **options).learn(1).solution.value

    np.testing.assert_array_equal(learned(seed=1), learned(seed=1))
    assert (learned(seed=1) != learned(seed=2)).any()


def test_a_run_leaves_metrics_and_policy_and_goes_on(tmp_path):
    def make():
        return rr.RobustQLearning(random_model(0), TV, discount=0.9)

    run = RunDirectory(tmp_path / "run")
    make().learn(1, run=run)
    agent = make().learn(2, run=tmp_path / "run", checkpoint_every=1)
    np.testing.assert_array_equal(agent.solution.action_values, make().learn(2).solution.action_values)
    updates = [line["train/updates"] for line in run.metrics()]
    assert updates == [1000 * random_model(0).active_rows.sum() * step for step in (1, 2)]
    assert rr.RobustQLearning.load(run.result / "policy").predict(1) == agent.predict(1)
    with pytest.raises(InvalidArgumentError, match="another problem: its model"):
        rr.RobustQLearning(random_model(1), TV, discount=0.9).learn(3, run=tmp_path / "run")


def test_is_evaluated_like_any_policy():
    model = random_model(0)
    agent = rr.RobustQLearning(model, TV, discount=0.9).learn(1)
    table = rr.evaluate({"learned": agent}, {"world": model}, discount=0.9)
    expected = model.start @ rr.policy_value(model, agent.solution.policy, discount=0.9)
    assert table["learned", "world"].middle == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: rr.RobustQLearning("FrozenLak-v1", None, discount=0.9), UnknownNameError, "did you mean FrozenLake-v1"),
        (lambda path: rr.RobustQLearning("CartPole-v1", None, discount=0.9), InvalidArgumentError, "no finite list of states"),
        (lambda path: rr.RobustQLearning(object(), None, discount=0.9), InvalidArgumentError, "is no simulator"),
        (lambda path: rr.RobustQLearning(object(), None, discount=0.9, epsilon=0.1), InvalidArgumentError, "is no environment"),
        (lambda path: rr.RobustQLearning(Corridor(), None, discount=0.9).predict(1), InvalidArgumentError, "call learn()"),
        (lambda path: rr.RobustQLearning(Corridor(), None, discount=0.9).learn(0), InvalidArgumentError, "total_steps is 0"),
        (lambda path: rr.RobustVI.load(_saved(path)), FileFormatError, "holds a RobustQLearning, not a RobustVI"),
        (lambda path: rr.RobustQLearning.load(_saved(path)).learn(), InvalidArgumentError, "nothing to learn from"),
    ],
)
def test_bad_arguments_are_named(make, error, message, tmp_path):
    with pytest.raises(error, match=message):
        make(tmp_path)


def _saved(path):
    return rr.RobustQLearning(random_model(0), None, discount=0.5).learn(1).save(path / "policy")
