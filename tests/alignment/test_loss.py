"""The VPO loss against a DPO written separately, closed forms, and torch's derivatives."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_rl.alignment import calibration_term, vpo_loss
from robust_rl.envs import SegmentPreferences, tabular
from robust_rl.errors import InvalidArgumentError

ARMS = 10


def log_softmax(theta):
    return theta - np.log(np.exp(theta - theta.max()).sum()) - theta.max()


def instance(seed, pairs=20):
    """Log-probabilities of a policy and a reference over ten arms, a calibration distribution, and pairs of arms."""
    rng = np.random.default_rng(seed)
    policy, reference, calibration = log_softmax(rng.normal(size=(ARMS))), log_softmax(rng.normal(size=ARMS)), rng.random(ARMS)
    winners, losers = rng.integers(ARMS, size=(2, pairs))
    return policy, reference, calibration / calibration.sum(), winners, losers


def loss_of(policy, reference, calibration, winners, losers, **options):
    return vpo_loss(
        policy[winners], policy[losers], reference[winners], reference[losers], policy, reference,
        calibration_weights=calibration, **options,
    )  # fmt: skip


def separate_dpo(policy, reference, winners, losers, beta):
    """DPO in plain loops, from its definition."""
    total = 0.0
    for i, j in zip(winners, losers, strict=True):
        margin = beta * (policy[i] - reference[i] - policy[j] + reference[j])
        total -= np.log(1 / (1 + np.exp(-margin)))
    return total


@pytest.mark.parametrize("seed", range(20))
def test_value_of_a_calibrated_reward_is_minus_beta_times_the_calibration_mean(seed):
    """J*(r) = -beta E_cal[log pi_r - log pi_ref] once E_cal r = 0: what lets the loss do without a reward model."""
    _, reference, calibration, _, _ = instance(seed)
    beta = float(np.random.default_rng(seed).uniform(0.1, 2.0))
    reward = np.random.default_rng(seed + 1).random(ARMS)
    reward -= calibration @ reward
    partition = np.exp(reference) @ np.exp(reward / beta)
    best_policy = reference + reward / beta - np.log(partition)
    best_value = np.exp(best_policy) @ reward - beta * np.exp(best_policy) @ (best_policy - reference)
    assert best_value == pytest.approx(beta * np.log(partition), abs=1e-12)
    for mode, sign in (("online", 1), ("offline", -1)):
        term = calibration_term(best_policy, reference, beta=beta, alpha=1.0, mode=mode, weights=calibration)
        assert abs(sign * term + best_value) <= 1e-12


@given(
    seed=st.integers(0, 10**6), beta=st.floats(0.01, 5.0), pairs=st.integers(1, 50), mode=st.sampled_from(["offline", "online"])
)
def test_alpha_zero_is_dpo(seed, beta, pairs, mode):
    policy, reference, calibration, winners, losers = instance(seed, pairs)
    expected = separate_dpo(policy, reference, winners, losers, beta)
    options = {"beta": beta, "alpha": 0.0, "mode": mode}
    assert loss_of(policy, reference, calibration, winners, losers, scaling="sum", **options) == pytest.approx(
        expected, abs=1e-10
    )
    mean = loss_of(policy, reference, calibration, winners, losers, scaling="batch_mean", **options)
    assert mean == pytest.approx(expected / pairs, abs=1e-10)


def test_alpha_zero_ignores_calibration_responses_of_no_probability():
    pair = np.log([0.5]), np.log([0.5]), np.log([0.5]), np.log([0.5])
    assert vpo_loss(*pair, np.array([-np.inf]), alpha=0.0) == pytest.approx(np.log(2))


@given(seed=st.integers(0, 10**6), alpha=st.floats(0.0, 20.0), mode=st.sampled_from(["offline", "online"]))
def test_sum_with_n_alpha_is_n_times_the_batch_mean(seed, alpha, mode):
    arrays = instance(seed, pairs=13)
    total = loss_of(*arrays, beta=0.3, alpha=13 * alpha, mode=mode, scaling="sum")
    mean = loss_of(*arrays, beta=0.3, alpha=alpha, mode=mode, scaling="batch_mean")
    assert total == pytest.approx(13 * mean, rel=1e-12, abs=1e-10)


@given(seed=st.integers(0, 10**6), mode=st.sampled_from(["offline", "online"]), scaling=st.sampled_from(["sum", "batch_mean"]))
def test_weights_are_repetitions_and_order_does_not_matter(seed, mode, scaling):
    policy, reference, _, winners, losers = instance(seed, pairs=6)
    rng = np.random.default_rng(seed)
    counts, arms = rng.integers(1, 4, size=6), rng.integers(ARMS, size=9)
    options = {"beta": 0.2, "alpha": 0.7, "mode": mode, "scaling": scaling}

    def loss(w, j, cal, **weights):
        return vpo_loss(policy[w], policy[j], reference[w], reference[j], policy[cal], reference[cal], **weights, **options)

    repeated = rng.permutation(np.repeat(np.arange(6), counts))
    shares = np.bincount(arms, minlength=ARMS) / 9
    weighted = loss(winners, losers, np.arange(ARMS), pair_weights=counts, calibration_weights=shares)
    assert loss(winners[repeated], losers[repeated], arms) == pytest.approx(weighted, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_reference_for_calibration_shifts_the_loss_and_nothing_else(seed, mode):
    torch = pytest.importorskip("torch")
    policy, reference, *_ = map(torch.as_tensor, instance(seed))
    policy.requires_grad_()
    pair = policy[:4], policy[4:8], reference[:4], reference[4:8]
    with_reference = vpo_loss(*pair, policy, reference, mode=mode)
    without = vpo_loss(*pair, policy, mode=mode)
    sign = {"online": 1, "offline": -1}[mode]
    assert (with_reference - without).item() == pytest.approx(-sign * 0.1 * 0.1 * reference.mean().item(), abs=1e-14)
    gradients = [torch.autograd.grad(loss, policy)[0] for loss in (with_reference, without)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("scaling", ["sum", "batch_mean"])
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_torch_and_numpy_agree_and_derivatives_are_finite_differences(mode, scaling):
    torch = pytest.importorskip("torch")
    arrays = instance(3)
    options = {"beta": 0.4, "alpha": 1.5, "mode": mode, "scaling": scaling}
    policy, *rest = map(torch.as_tensor, arrays)
    policy.requires_grad_()
    loss = loss_of(policy, *rest, **options)
    loss.backward()
    assert loss.item() == pytest.approx(loss_of(*arrays, **options), abs=1e-12)
    for arm, step in enumerate(1e-6 * np.eye(ARMS)):
        up, down = (loss_of(arrays[0] + sign * step, *arrays[1:], **options) for sign in (1, -1))
        assert policy.grad[arm].item() == pytest.approx((up - down) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_step_of_descent_moves_calibration_samples_as_the_table_says(mode):
    """Online they become less likely, offline more; with alpha = 0 a pair that isn't among them decides alone."""
    torch = pytest.importorskip("torch")
    theta = torch.zeros(ARMS, dtype=torch.float64, requires_grad=True)
    before = torch.log_softmax(theta, 0)
    reference, cal = before.detach(), torch.tensor([7, 8, 9])
    loss = vpo_loss(before[:1], before[1:2], reference[:1], reference[1:2], before[cal], reference[cal], alpha=10.0, mode=mode)
    loss.backward()
    moved = (torch.log_softmax(theta - 0.01 * theta.grad, 0) - before)[cal].detach()
    assert (moved < 0).all() if mode == "online" else (moved > 0).all()


def test_segments_of_play_teach_a_policy_through_the_loss():
    """Preferences of a wrapped environment, log-probabilities summed over each segment: the better move becomes likelier."""
    torch = pytest.importorskip("torch")
    env = SegmentPreferences(gymnasium.make("robust_rl/Chain-v0"), segment_length=8, temperature=0.05)
    env.action_space.seed(0)
    env.reset(seed=0)
    pairs = []
    while len(pairs) < 150:
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        pairs += [info["preference"]] if "preference" in info else []
        if terminated or truncated:
            env.reset()
    theta = torch.zeros(env.observation_space.n, env.action_space.n, dtype=torch.float64, requires_grad=True)
    uniform = torch.full((len(pairs),), -8 * np.log(2), dtype=torch.float64)
    optimiser = torch.optim.Adam([theta], lr=0.1)

    def logps(log_pi, segments):
        return torch.stack([log_pi[segment.states, segment.actions].sum() for segment in segments])

    for _ in range(20):
        log_pi = torch.log_softmax(theta, -1)
        won, lost = (logps(log_pi, segments) for segments in zip(*pairs, strict=True))
        loss = vpo_loss(won, lost, uniform, uniform, won, uniform, beta=0.5, alpha=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model = tabular(env.unwrapped)

    def value(policy):
        kernel = np.einsum("sa,sat->st", policy, model.transitions)
        rewards = (policy * model.expected_rewards()).sum(axis=1)
        return model.start @ np.linalg.solve(np.eye(len(kernel)) - 0.9 * kernel, rewards)

    learned, before = value(torch.softmax(theta, -1).detach().numpy()), value(np.full(theta.shape, 0.5))
    assert learned > 1.2 * before


def test_far_tails_stay_finite_and_exact():
    chosen, zero = np.array([-5000.0]), np.array([0.0])
    assert vpo_loss(chosen, zero, zero, zero, zero, beta=1.0, alpha=0.0) == 5000.0
    assert vpo_loss(zero, chosen, zero, zero, zero, beta=1.0, alpha=0.0) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "beta=0.0"),
        ({"beta": float("inf")}, "beta=inf"),
        ({"alpha": -0.1}, "mode= sets the direction"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"mode": "optimism"}, "mode='optimism'"),
        ({"scaling": "mean"}, "scaling='mean' is not one of 'sum', 'batch_mean'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    x = np.zeros(1)
    with pytest.raises(InvalidArgumentError, match=message):
        vpo_loss(x, x, x, x, x, **options)


def test_importing_the_package_loads_neither_torch_nor_trl():
    heavy = ("torch", "trl", "transformers")
    code = f"import sys, robust_rl.alignment as a; a.vpo_loss; print([n for n in {heavy} if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
