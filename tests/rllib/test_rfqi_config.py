"""RFQI under Tune gives what it gives alone, and a trial's checkpoint can be made an agent."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError

pytest.importorskip("torch")
pytest.importorskip("ray")

from robust_rl.rllib import RFQIConfig

SETTINGS = {"v_min": 0.0, "hidden": (), "iterations": 12, "updates": 5, "dual_updates": 5, "learning_rate": 0.03}


@pytest.fixture
def logged(tmp_path):
    return rr.datasets.collect("robust_rl/RiverSwim-v0", None, 5, seed=0, horizon=50).save(tmp_path / "logs.npz")


def test_trials_give_what_the_agent_gives_alone(logged, tmp_path, ray_session):
    """Trials of two radii, made and called as Tune does, stopped after 6 of 12 iterations and made up from their checkpoints."""
    config = RFQIConfig(logged, None, **SETTINGS)
    states, values = np.unique(rr.datasets.load(logged).observations), []
    for radius in (0.0, 0.3):
        changes = {"uncertainty": rr.TotalVariation(radius, support="free"), "seed": 3}
        trial = config.trainable()(changes)
        results = [trial.train() for _ in range(6)]
        assert results[-1]["training_iteration"] == 6
        assert not results[-1]["done"]
        trial.save(str(tmp_path / f"{radius}"))
        agent, alone = config.restore(tmp_path / f"{radius}", **changes), config.build(**changes).learn()
        assert np.array_equal(agent.solution.action_values(states), alone.solution.action_values(states))
        assert agent.solver.iteration == 12
        values.append(alone.solution.value(states))
        trial.stop()
    assert not np.allclose(*values)


def test_what_does_not_fit_is_refused_before_any_trial(logged, tmp_path):
    with pytest.raises(InvalidArgumentError, match="v_min"):
        RFQIConfig(logged, rr.TotalVariation(0.1, support="free"))
    with pytest.raises(FileFormatError):
        RFQIConfig(tmp_path / "nothing.npz", None)
