"""RFQI under Tune gives what it gives alone, and a trial's checkpoint can be made an agent."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError

pytest.importorskip("torch")
pytest.importorskip("ray")

from ray import tune

from robust_rl.rllib import RFQIConfig

SETTINGS = {"v_min": 0.0, "hidden": (), "iterations": 12, "updates": 5, "dual_updates": 5, "learning_rate": 0.03}


@pytest.fixture
def logged(tmp_path):
    return rr.datasets.collect("robust_rl/RiverSwim-v0", None, 5, seed=0, horizon=50).save(tmp_path / "logs.npz")


def test_trials_give_what_the_agent_gives_alone(logged, tmp_path, ray_session):
    """Radii side by side, each stopped after 6 of 12 iterations and made up from its checkpoint."""
    config = RFQIConfig(logged, None, **SETTINGS)
    balls = [rr.TotalVariation(radius, support="free") for radius in (0.0, 0.3)]
    run = tune.RunConfig(
        stop={"training_iteration": 6}, storage_path=str(tmp_path / "tune"), verbose=0,
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
    )  # fmt: skip
    space = {"uncertainty": tune.grid_search(balls), "seed": 3}
    results = tune.Tuner(config.trainable(), param_space=space, run_config=run).fit()
    assert len(results) == 2
    assert not results.errors
    states = np.arange(6)
    values = {}
    for result in results:
        assert result.metrics["training_iteration"] == 6
        agent = config.restore(result.checkpoint.path, **result.config)
        alone = config.build(**result.config).learn()
        assert np.array_equal(agent.solution.action_values(states), alone.solution.action_values(states))
        values[result.config["uncertainty"].radius] = alone.solution.value(states)
    assert (values[0.3] < values[0.0]).all()


def test_what_does_not_fit_is_refused_before_any_trial(logged, tmp_path):
    with pytest.raises(InvalidArgumentError, match="v_min"):
        RFQIConfig(logged, rr.TotalVariation(0.1, support="free"))
    with pytest.raises(FileFormatError):
        RFQIConfig(tmp_path / "nothing.npz", None)
