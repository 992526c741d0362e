"""Robust DQN's loss on a fixed batch against one computed by hand; what it refuses; what its checkpoints hold."""

import json
import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.uncertainty import Nominal

torch = pytest.importorskip("torch")
pytest.importorskip("ray")

from robust_rl.rllib import RobustDQNConfig  # noqa: E402
from robust_rl.rllib._compat import DQNConfig  # noqa: E402

TV, CONTAMINATION = rr.TotalVariation(0.2, support="free"), rr.Contamination(0.2, support="free")
MODULE, SIZE, GAMMA, FLOOR = "default_policy", 24, 0.9, -3.0


def learner(config, width=4, **training):
    """A learner whose target network differs from the online one, its weights the same in each test."""
    config.training(**{"gamma": GAMMA} | training).rl_module(model_config={"fcnet_hiddens": [32]})
    made = config.build_learner(spaces={MODULE: (gymnasium.spaces.Box(-1.0, 1.0, (width,)), gymnasium.spaces.Discrete(2))})
    for name, weights in made.module[MODULE].named_parameters():
        torch.manual_seed(sum(map(ord, name)))
        weights.data = 0.5 * torch.randn(weights.shape)
    return made


def robust(uncertainty, value_floor=FLOOR, width=4, **training):
    return learner(RobustDQNConfig().training(uncertainty=uncertainty, value_floor=value_floor), width, **training)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {
        "obs": torch.as_tensor(rng.normal(size=(SIZE, 4)), dtype=torch.float32),
        "new_obs": torch.as_tensor(rng.normal(size=(SIZE, 4)), dtype=torch.float32),
        "actions": torch.as_tensor(rng.integers(2, size=SIZE)),
        "rewards": torch.as_tensor(rng.normal(size=SIZE), dtype=torch.float32),
        "terminateds": torch.as_tensor(rng.random(SIZE) < 0.3),
        "weights": torch.as_tensor(rng.uniform(0.5, 1.5, SIZE), dtype=torch.float32),
        "n_step": torch.ones(SIZE),
    }


def loss_of(made, batch):
    out = made.module[MODULE].forward_train(batch)
    loss = made.compute_loss_for_module(module_id=MODULE, config=made.config, batch=batch, fwd_out=out)
    return loss, out


def by_hand(made, batch, worst, huber=True, double_q=True):
    """The loss in plain Python, one transition after another, and the mean of the dual's objective."""
    out = {name: values.detach().double().numpy() for name, values in made.module[MODULE].forward_train(batch).items()}
    rows = {name: values.double().numpy() for name, values in batch.items()}
    losses, objective = [], []
    for i in range(SIZE):
        chosen = np.argmax(out["qf_next_preds"][i] if double_q else out["qf_target_next_preds"][i])
        following = 0.0 if rows["terminateds"][i] else out["qf_target_next_preds"][i, chosen]
        action = int(rows["actions"][i])
        value = worst(following, out["dual"][i, action] if "dual" in out else None)
        error = abs(rows["rewards"][i] + GAMMA * value - out["qf_preds"][i, action])
        loss = error**2 if not huber else (error**2 / 2 if error <= 1 else error - 0.5)
        losses.append(rows["weights"][i] * loss)
        objective.append(rows["weights"][i] * value)
    return np.mean(losses) - (np.mean(objective) if "dual" in out else 0.0)


def of_contamination(following, dual):
    return 0.8 * following + 0.2 * FLOOR


def of_total_variation(following, dual):
    return min(following, dual[0]) - 0.2 * (dual[0] - FLOOR)


def of_kl(following, dual):
    lam = np.log1p(np.exp(dual[1])) + 0.01
    x = (dual[0] - following) / lam
    weight = np.exp(x) if x < np.log(20) else 20 * (1 + x - np.log(20))
    return dual[0] + lam - 0.2 * lam - lam * weight


@pytest.mark.parametrize(
    ("uncertainty", "worst"), [(CONTAMINATION, of_contamination), (TV, of_total_variation), (rr.KL(0.2), of_kl)],
    ids=["contamination", "tv", "kl"],
)  # fmt: skip
@pytest.mark.parametrize(("huber", "double_q"), [(True, True), (False, False)])
def test_loss_is_the_one_computed_by_hand(uncertainty, worst, huber, double_q, batch):
    made = robust(uncertainty, td_error_loss_fn="huber" if huber else "mse", double_q=double_q)
    assert float(loss_of(made, batch)[0].detach()) == pytest.approx(by_hand(made, batch, worst, huber, double_q), rel=1e-5)


@pytest.mark.parametrize("uncertainty", [None, Nominal(), rr.TotalVariation(0.0, support="free"), rr.KL(0.0)])
def test_without_a_radius_it_is_rllibs_dqn(uncertainty, batch):
    ours, rllibs = robust(uncertainty, None), learner(DQNConfig())
    assert {n for n, _ in ours.module[MODULE].named_parameters()} == {n for n, _ in rllibs.module[MODULE].named_parameters()}
    assert float(loss_of(ours, batch)[0]) == float(loss_of(rllibs, batch)[0])


def test_contamination_is_a_shorter_discount_and_a_shifted_reward(batch):
    shifted = batch | {"rewards": batch["rewards"] + GAMMA * 0.2 * FLOOR}
    rllibs = loss_of(learner(DQNConfig(), gamma=0.8 * GAMMA), shifted)[0]
    assert float(loss_of(robust(CONTAMINATION), batch)[0]) == pytest.approx(float(rllibs), rel=1e-6)


def test_total_variation_is_contamination_where_nothing_is_random(batch):
    """With one next state for each state the best eta is its value, and min(eta, v) = v."""
    batch = batch | {"obs": torch.eye(SIZE), "new_obs": torch.eye(SIZE).roll(1, 0)}
    made = robust(TV, width=SIZE)
    dual = [weights for name, weights in made.module[MODULE].named_parameters() if name.startswith("dual")]
    optimizer = torch.optim.Adam(dual, lr=0.03)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    for _ in range(800):
        optimizer.zero_grad()
        loss_of(made, batch)[0].backward()
        optimizer.step()
        schedule.step()
    loss, out = loss_of(made, batch)
    eta = out["dual"][torch.arange(SIZE), batch["actions"], 0]
    following = out["qf_target_next_preds"].gather(1, out["qf_next_preds"].argmax(1, True))[:, 0] * ~batch["terminateds"]
    assert following.abs().max() > 1
    assert (eta - following).abs().max() < 1e-3
    dual_loss = -(batch["weights"] * (torch.minimum(following, eta) - 0.2 * (eta - FLOOR))).mean()
    contaminated = loss_of(robust(CONTAMINATION, width=SIZE), batch)[0]
    assert (loss - dual_loss - contaminated).abs() < 1e-3 * contaminated


def test_each_loss_moves_its_own_network(batch):
    """The dual's objective has no gradient in Q, nor Q's loss in the dual."""
    made = robust(TV)
    weights = {name: values for name, values in made.module[MODULE].named_parameters() if values.requires_grad}
    assert not any(name.startswith("_target") for name in weights)
    loss, out = loss_of(made, batch)
    following = out["qf_target_next_preds"].gather(1, out["qf_next_preds"].argmax(1, True))[:, 0] * ~batch["terminateds"]
    eta = out["dual"][torch.arange(SIZE), batch["actions"], 0]
    dual_loss = -(batch["weights"] * (torch.minimum(following.detach(), eta) - 0.2 * (eta - FLOOR))).mean()
    for part, of_dual in ((dual_loss, True), (loss - dual_loss, False)):
        found = torch.autograd.grad(part, list(weights.values()), allow_unused=True, retain_graph=True)
        for name, gradient in zip(weights, found, strict=True):
            size = 0.0 if gradient is None else float(gradient.abs().max())
            assert size > 1e-4 if name.startswith("dual") == of_dual else size < 1e-6, name


@pytest.mark.parametrize(
    ("training", "error", "match"),
    [
        ({"uncertainty": TV, "value_floor": 0.0, "n_step": 3}, InvalidArgumentError, "n_step=3"),
        ({"uncertainty": TV, "value_floor": 0.0, "n_step": (1, 3)}, InvalidArgumentError, "n_step"),
        ({"uncertainty": TV, "value_floor": 0.0, "num_atoms": 10}, InvalidArgumentError, "num_atoms=10"),
        ({"uncertainty": TV, "value_floor": 0.0, "burn_in_len": 4}, InvalidArgumentError, "burn_in_len"),
        ({"uncertainty": TV}, InvalidArgumentError, "value_floor=0.0 if no reward is negative"),
        ({"uncertainty": CONTAMINATION, "value_floor": float("nan")}, InvalidArgumentError, "value_floor=nan"),
        ({"uncertainty": 0.1}, InvalidUncertaintyError, "give a set"),
        ({"uncertainty": rr.ChiSquare(0.1)}, InvalidUncertaintyError, "Contamination, KL, TotalVariation"),
        ({"uncertainty": rr.TotalVariation(0.1, support="nominal")}, InvalidUncertaintyError, 'support="free"'),
        ({"uncertainty": rr.KL(np.full((2, 2), 0.1))}, InvalidUncertaintyError, "shape"),
    ],
)  # fmt: skip
def test_what_the_derivation_forbids_is_refused_with_the_reason(training, error, match):
    with pytest.raises(error, match=match):
        RobustDQNConfig().environment("CartPole-v1").training(**training).validate()


def test_a_memory_is_refused_where_there_is_a_dual_network():
    config = RobustDQNConfig().environment("CartPole-v1").training(uncertainty=TV, value_floor=0.0)
    with pytest.raises(InvalidArgumentError, match="use_lstm"):
        config.rl_module(model_config={"use_lstm": True}).validate()


def test_what_is_forbidden_to_robust_targets_is_allowed_without_a_radius():
    RobustDQNConfig().environment("CartPole-v1").training(uncertainty=rr.KL(0.0), n_step=3).validate()


def test_a_floor_above_the_end_of_an_episode_is_refused(batch):
    with pytest.raises(InvalidArgumentError, match="worth 0"):
        loss_of(robust(CONTAMINATION, value_floor=1.0), batch)


RESTORED = """
import json, sys, torch
import ray
from ray.rllib.algorithms.algorithm import Algorithm
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
algo = Algorithm.from_checkpoint(sys.argv[1])
learner = algo.learner_group._learner
torch.save(learner.module["default_policy"].state_dict(), sys.argv[2])
print(json.dumps({
    "class": type(algo).__name__, "uncertainty": repr(algo.config.uncertainty), "value_floor": algo.config.value_floor,
    "gamma": algo.config.gamma, "buffer": algo.local_replay_buffer.get_num_timesteps(),
    "clocks": dict(learner.last_update_ts_by_mid), "steps": algo.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime")),
    "runner": [name for name, _ in algo.get_module().named_parameters() if "dual" in name or "target" in name],
}))
"""


def test_a_fresh_process_restores_weights_and_configuration(tmp_path, ray_session):
    """And not the buffer nor the clock of target updates, as the documentation says."""
    config = RobustDQNConfig().environment("CartPole-v1").training(
        uncertainty=TV, value_floor=0.0, gamma=0.95, num_steps_sampled_before_learning_starts=64, target_network_update_freq=64,
    ).env_runners(num_env_runners=0, rollout_fragment_length=16).debugging(seed=3)  # fmt: skip
    algo = config.reporting(min_sample_timesteps_per_iteration=160).build_algo()
    assert algo.local_replay_buffer.rng.random() == np.random.default_rng(3).random(), "the seed reaches what is replayed"
    algo.train()
    learned = algo.learner_group._learner
    assert learned.last_update_ts_by_mid[MODULE] > 0
    assert algo.local_replay_buffer.get_num_timesteps() >= 160
    algo.save_to_path(str(tmp_path / "checkpoint"))
    algo.stop()
    command = [sys.executable, "-c", RESTORED, str(tmp_path / "checkpoint"), str(tmp_path / "weights.pt")]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert result.returncode == 0, result.stderr[-3000:]
    restored = json.loads(result.stdout.splitlines()[-1])
    assert restored == {
        "class": "RobustDQN", "uncertainty": repr(TV), "value_floor": 0.0, "gamma": 0.95, "buffer": 0, "clocks": {},
        "steps": restored["steps"], "runner": [],
    }  # fmt: skip
    assert restored["steps"] >= 160
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    for name, value in learned.module[MODULE].state_dict().items():
        assert torch.equal(weights[name], value), name
