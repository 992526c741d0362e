"""VPO on bandits: gradients against torch, values against sums, signs, and the claim of few pairs; and the agent's contract."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl import envs
from robust_rl.alignment import BanditLearner, VPOBandit, tabular, vpo_loss
from robust_rl.alignment.optimisers import Moments, adamw, bounded_minimum
from robust_rl.envs import PreferenceBandit
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.training import RunDirectory

BANDIT = "robust_rl/PreferenceBandit-v0"
MODES = ["offline", "online"]


def problem(seed, contexts=3, arms=4, pairs=12):
    """Logits, reference logits, counts of pairs, and a calibration distribution."""
    rng = np.random.default_rng(seed)
    theta, reference = rng.normal(size=(2, contexts, arms))
    wins = tabular.count_pairs((contexts, arms), rng.integers(contexts, size=pairs), *rng.integers(arms, size=(2, pairs)))
    return theta, reference, wins, rng.dirichlet(np.ones(contexts * arms)).reshape(contexts, arms)


def learned(**options):
    learner = BanditLearner(**options)
    while not learner.done:
        learner.step()
    return learner


def bandits(seeds, **options):
    return [PreferenceBandit(seed=seed, **options) for seed in seeds]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(4))
def test_closed_form_gradient_is_torchs_derivative_of_the_same_function(mode, seed):
    torch = pytest.importorskip("torch")
    theta, reference, wins, calibration = problem(seed)
    leaf = torch.tensor(theta, requires_grad=True)
    log_pi, log_ref = torch.log_softmax(leaf, -1), torch.log_softmax(torch.tensor(reference), -1)
    x, winner, loser = (torch.as_tensor(index) for index in np.nonzero(wins))
    total = vpo_loss(
        log_pi[x, winner], log_pi[x, loser], log_ref[x, winner], log_ref[x, loser], log_pi.ravel(), log_ref.ravel(),
        beta=0.3, alpha=2.0, mode=mode, scaling="sum",
        pair_weights=torch.tensor(wins)[x, winner, loser], calibration_weights=torch.tensor(calibration.ravel()),
    )  # fmt: skip
    total.backward()
    options = {"beta": 0.3, "alpha": 2.0, "mode": mode}
    np.testing.assert_allclose(tabular.gradient(theta, reference, wins, calibration, **options), leaf.grad.numpy(), atol=1e-13)
    assert tabular.loss(theta, reference, wins, calibration, **options) == pytest.approx(total.item(), abs=1e-12)


@given(seed=st.integers(0, 10**6), mode=st.sampled_from(MODES), beta=st.floats(0.05, 3.0), alpha=st.floats(0.0, 20.0))
@settings(max_examples=30, deadline=None)
def test_gradient_is_the_finite_difference_and_runs_do_not_mix(seed, mode, beta, alpha):
    runs = [problem(seed + k) for k in range(2)]
    stacked = [np.stack(arrays) for arrays in zip(*runs, strict=True)]
    options = {"beta": beta, "alpha": alpha, "mode": mode}
    slopes = tabular.gradient(*stacked, **options)
    for run, (theta, *rest) in enumerate(runs):
        step = np.random.default_rng(seed).normal(size=theta.shape)
        up, down = (tabular.loss(theta + sign * 1e-5 * step, *rest, **options) for sign in (1, -1))
        assert (slopes[run] * step).sum() == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-6)
    assert tabular.loss(*stacked, **options) == pytest.approx(sum(tabular.loss(*run, **options) for run in runs), rel=1e-12)


def separate_dpo_gradient(theta, reference, wins, beta):
    """DPO in plain loops: each pair pushes its winner's logit up and its loser's down; normalisers cancel."""
    slope = np.zeros_like(theta)
    for x, i, j in np.argwhere(wins):
        margin = beta * (theta[x, i] - theta[x, j] - reference[x, i] + reference[x, j])
        push = wins[x, i, j] * beta / (1 + np.exp(margin))
        slope[x, i] -= push
        slope[x, j] += push
    return slope


@pytest.mark.parametrize("mode", MODES)
def test_without_alpha_training_is_dpo(mode):
    """Along AdamW's 1,000 updates the gradient is a separate DPO's; so are the ends of 1,000 plain steps, to 1e-10.

    AdamW's own ends can't agree so well: it divides a gradient of 0, or of one rounding error, by 1e-8.
    """
    bandit = PreferenceBandit(seed=4, contexts=2)
    learner = BanditLearner([bandit], [4], mode="offline", alpha=0.0, beta=0.2, pairs=30)
    wins, anything = learner.wins[0], np.full(bandit.reference.shape, 0.05)

    def slope(theta):
        return tabular.gradient(theta, bandit.reference, wins, anything, beta=0.2, alpha=0.0, mode=mode)

    while not learner.done:
        learner.step()
        theta = learner.theta[0]
        assert abs(slope(theta) - separate_dpo_gradient(theta, bandit.reference, wins, 0.2)).max() <= 1e-12
    ours = theirs = bandit.reference
    for _ in range(1000):
        ours, theirs = ours - 0.5 * slope(ours), theirs - 0.5 * separate_dpo_gradient(theirs, bandit.reference, wins, 0.2)
    assert abs(ours - theirs).max() <= 1e-10
    assert abs(ours - bandit.reference).max() > 1


def test_adamw_is_torchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(3, 4))
    leaf = torch.tensor(theta, requires_grad=True)
    theirs, moments = torch.optim.AdamW([leaf], lr=0.01, weight_decay=0.1), Moments.zeros(theta.shape)
    for slope in rng.normal(size=(50, 3, 4)):
        leaf.grad = torch.tensor(slope)
        theirs.step()
        theta = adamw(theta, slope, moments, rate=0.01, decay=0.1)
    np.testing.assert_allclose(theta, leaf.detach().numpy(), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_suboptimality_is_beta_times_the_divergence_from_the_best_policy(seed):
    """J* - J(pi) = beta KL(pi || pi_r), with pi_r written out; and no other policy does better."""
    bandit = PreferenceBandit(seed=seed, contexts=3, weights=[0.5, 0.3, 0.2])
    beta, rng = 0.3, np.random.default_rng(seed)
    learner = BanditLearner([bandit], [0], mode="offline", alpha=0.0, beta=beta)
    best = np.exp(bandit.reference + bandit.rewards / beta)
    best /= best.sum(axis=1, keepdims=True)
    for theta in (bandit.reference, rng.normal(size=(3, 10)), np.log(best)):
        learner.theta = theta[None]
        pi = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
        expected = beta * bandit.weights @ (pi * np.log(pi / best)).sum(axis=1)
        assert learner.suboptimality()[0] == pytest.approx(expected, abs=1e-12)
    assert learner.suboptimality()[0] == pytest.approx(0, abs=1e-12)


def test_bounded_solver_finds_the_minimum_that_a_grid_finds():
    """One context, three arms: shifts don't matter, so a grid over two differences covers the convex problem."""
    reference = np.array([[0.2, -0.3, 0.0]])
    wins = tabular.count_pairs((1, 3), [0, 0, 0, 0], [0, 0, 1, 2], [1, 2, 0, 1])
    calibration, options = np.full((1, 3), 1 / 3), {"beta": 0.5, "alpha": 1.0, "mode": "offline"}
    found = bounded_minimum([reference], reference, wins, calibration, bound=5.0, **options)
    grid = np.linspace(-5, 5, 81)
    lowest = min(tabular.loss(np.array([[a, b, 0.0]]), reference, wins, calibration, **options) for a in grid for b in grid)
    reached = tabular.loss(found, reference, wins, calibration, **options)
    assert lowest - 0.01 <= reached <= lowest
    assert abs(tabular.gradient(found, reference, wins, calibration, **options)).max() <= 1e-4


def test_bounded_solver_stays_within_its_bound_where_the_loss_has_no_minimum():
    learner = learned(
        bandits=bandits([0]), seeds=[0], mode="online", alpha=50.0, beta=1.0, optimiser="bounded", rounds=5, bound=3.0
    )
    assert abs(learner.theta).max() == 3.0
    assert learner.calibration_logps()[0] < -3.0


ALPHAS = [0.0, 0.5, 2.0, 10.0]


@pytest.mark.parametrize("calibration", ["reference", "chosen"])
def test_pessimism_raises_calibration_responses_as_alpha_grows(calibration):
    """After 1,000 updates, strictly in alpha, for each of ten seeds."""
    seeds = list(range(10)) * len(ALPHAS)
    runs = {"bandits": bandits(seeds), "seeds": seeds, "alpha": np.repeat(ALPHAS, 10), "beta": 0.1}
    logps = learned(mode="offline", calibration=calibration, **runs).calibration_logps()
    assert (np.diff(logps.reshape(-1, 10), axis=0) > 0).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(5))
def test_minimisers_move_calibration_responses_with_alpha_by_the_modes_sign(mode, seed):
    """E_cal log pi of a minimiser falls in alpha online and rises offline: monotone comparative statics, in a box."""
    _, reference, wins, calibration = problem(seed)
    found = [reference]
    for alpha in ALPHAS:  # later starts include earlier minimisers, as the online loss has several
        options = {"beta": 0.5, "alpha": alpha, "mode": mode, "bound": 4.0}
        found.append(bounded_minimum(found, reference, wins, calibration, **options))
    moved = np.diff([(calibration * tabular.log_softmax(theta)).sum() for theta in found[1:]])
    assert (moved <= 1e-4).all() if mode == "online" else (moved >= -1e-4).all()
    assert abs(moved.sum()) > 0.1


@pytest.mark.parametrize("mode", MODES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_one_small_step_moves_calibration_responses_with_alpha_by_the_modes_sign(mode, seed):
    theta, *rest = problem(seed)
    after = [theta - 1e-3 * tabular.gradient(theta, *rest, beta=0.5, alpha=alpha, mode=mode) for alpha in ALPHAS]
    moved = np.diff([(rest[-1] * tabular.log_softmax(one)).sum() for one in after])
    assert (moved < 0).all() if mode == "online" else (moved > 0).all()


def paired_interval(differences):
    """Mean of paired differences, and its 95 % interval by Student's t."""
    from scipy import stats

    mean, error = differences.mean(), stats.sem(differences)
    return mean, mean - error * stats.t.ppf(0.975, len(differences) - 1), mean + error * stats.t.ppf(0.975, len(differences) - 1)


def test_pessimism_beats_dpo_on_twenty_pairs():
    """Alpha chosen on 50 seeds; on 100 others, paired, mean suboptimality is lower with an interval that excludes 0."""
    alphas = [0.0, 1.0, 10.0, 30.0]

    def gaps(seeds, alphas):
        settings = {"mode": "offline", "beta": 0.1, "pairs": 20}
        runs = [seed for _ in alphas for seed in seeds]
        done = learned(bandits=bandits(runs), seeds=runs, alpha=np.repeat(alphas, len(seeds)), **settings)
        return done.suboptimality().reshape(len(alphas), -1)

    chosen = alphas[int(gaps(range(50), alphas).mean(axis=1).argmin())]
    assert chosen > 0
    dpo, vpo = gaps(range(1000, 1100), [0.0, chosen])
    mean, _, high = paired_interval(vpo - dpo)
    assert mean < high < 0


@pytest.mark.parametrize("seed", range(3))
def test_much_data_leads_to_the_best_policy_whatever_alpha(seed):
    learner = learned(
        bandits=bandits([seed] * 2, arms=3), seeds=[seed] * 2, mode="offline", alpha=[0.0, 5.0], beta=0.5,
        pairs=20_000, optimiser="bounded",
    )  # fmt: skip
    assert learner.suboptimality().max() < 0.02
    start = BanditLearner(bandits([seed], arms=3), [seed], mode="offline", alpha=0.0, beta=0.5).suboptimality()[0]
    assert learner.suboptimality().max() < start


def test_online_pairs_are_duels_of_the_policy_with_itself():
    """In the first round the reference plays: frequencies over 300 runs, and one pair a round; regret sums what was played."""
    bandit = PreferenceBandit(arms=3, contexts=2, seed=1, weights=[0.3, 0.7])
    learner = BanditLearner([bandit] * 300, range(300), mode="online", alpha=0.0, beta=0.1, rounds=4)
    before = learner.suboptimality()
    learner.step()
    np.testing.assert_array_equal(learner.wins.sum(axis=(1, 2, 3)), 1)
    np.testing.assert_array_equal(learner.regret, before)
    drawn = (learner.wins.sum(axis=2) + learner.wins.sum(axis=3)).sum(axis=0) / 600
    expected = bandit.weights[:, None] * np.exp(bandit.reference) / np.exp(bandit.reference).sum(axis=1, keepdims=True)
    assert abs(drawn - expected).max() < 4 * np.sqrt(0.25 / 300)
    after = learner.suboptimality()
    learner.step()
    np.testing.assert_allclose(learner.regret, before + after)
    np.testing.assert_array_equal(learner.wins.sum(axis=(1, 2, 3)), 2)


def test_runs_are_independent_of_what_runs_beside_them():
    settings = {"mode": "online", "beta": 0.1, "rounds": 10}
    together = learned(bandits=bandits([0, 1]), seeds=[5, 6], alpha=[1.0, 3.0], **settings)
    alone = learned(bandits=bandits([1]), seeds=[6], alpha=3.0, **settings)
    np.testing.assert_allclose(together.theta[1], alone.theta[0], atol=1e-12)
    np.testing.assert_array_equal(together.wins[1], alone.wins[0])


def test_the_square_root_schedule_multiplies_alpha():
    settings = {"bandits": bandits([0]), "seeds": [0], "mode": "offline", "beta": 0.1, "pairs": 25}
    np.testing.assert_array_equal(learned(alpha=1.0, schedule="sqrt", **settings).theta, learned(alpha=5.0, **settings).theta)


# the agent


@pytest.mark.parametrize("mode", MODES)
def test_the_agent_keeps_the_contract_of_agents(mode, tmp_path):
    agent = VPOBandit(BANDIT, mode=mode, rounds=5, seed=3, env_kwargs={"contexts": 3, "seed": 2}).learn()
    loaded = VPOBandit.load(agent.save(tmp_path / "policy"))
    np.testing.assert_array_equal(loaded.policy, agent.policy)
    assert (loaded.mode, loaded.alpha, loaded.beta) == (mode, 1.0, 0.1)
    assert (loaded.env_id, loaded.env_kwargs) == (BANDIT, {"contexts": 3, "seed": 2})
    assert (loaded.observation_space, loaded.action_space) == (agent.observation_space, agent.action_space)
    for context in range(3):
        assert agent.predict(context) == loaded.predict(context) == (agent.policy[context].argmax(), None)
    np.testing.assert_array_equal(agent.predict(np.arange(3))[0], agent.policy.argmax(axis=1))
    drawn, _ = agent.predict(np.zeros(4000, dtype=int), deterministic=False)
    shares = np.bincount(drawn, minlength=10) / 4000
    assert abs(shares - agent.policy[0]).max() < 4 * np.sqrt(0.25 / 4000)
    with pytest.raises(InvalidArgumentError, match="no bandit to learn from"):
        loaded.learn()


@pytest.mark.parametrize("optimiser", ["adamw", "bounded"])
def test_a_run_stops_resumes_and_leaves_metrics_and_policy(optimiser, tmp_path):
    def make(**options):
        return VPOBandit(BANDIT, mode="online", optimiser=optimiser, rounds=8, **options)

    make().learn(3, run=tmp_path / "run", checkpoint_every=1)
    agent, whole = make().learn(run=tmp_path / "run"), make().learn()
    np.testing.assert_array_equal(agent.policy, whole.policy)
    run = RunDirectory(tmp_path / "run")
    assert [line["step"] for line in run.metrics()] == list(range(1, 9))
    names = {"train/loss", "vpo/suboptimality", "vpo/calibration_logps", "vpo/value", "vpo/regret"}
    assert names <= set(run.metrics()[-1])
    assert run.metrics()[-1]["vpo/suboptimality"] == pytest.approx(agent.suboptimality, abs=1e-15)
    np.testing.assert_array_equal(VPOBandit.load(run.result / "policy").policy, agent.policy)
    with pytest.raises(InvalidArgumentError, match="another problem: its alpha"):
        make(alpha=2.0).learn(run=tmp_path / "run")


def test_logged_pairs_can_be_given():
    logged = ([0, 0, 1], [0, 0, 2], [1, 2, 0])
    agent = VPOBandit(BANDIT, data=logged, env_kwargs={"contexts": 2, "arms": 3})
    expected = np.zeros((2, 3, 3))
    expected[0, 0, 1] = expected[0, 0, 2] = expected[1, 2, 0] = 1
    np.testing.assert_array_equal(agent.learner.wins[0], expected)
    assert agent.learn().predict(1) == (2, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "sideways"}, "mode='sideways'"),
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"beta": 0.0}, "beta=0.0"),
        ({"calibration": "uniform"}, "calibration='uniform'"),
        ({"calibration": np.ones((1, 10))}, "no distribution over responses"),
        ({"optimiser": "sgd"}, "optimiser='sgd' is not one of 'adamw', 'bounded'"),
        ({"schedule": "log"}, "schedule='log'"),
        ({"pairs": 0}, "pairs=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"reward_bound": -1.0}, "reward_bound=-1.0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"data": ([0], [0], [1]), "mode": "online"}, "data is for mode='offline'"),
        ({"data": ([0], [10], [1])}, "winners go from 10 to 10"),
        ({"data": ([0, 0], [1], [1])}, "three equal rows"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        VPOBandit(BANDIT, **options)


def test_other_environments_and_files_are_refused(tmp_path):
    for env in ("FrozenLake-v1", gymnasium.make("FrozenLake-v1"), object()):
        with pytest.raises(InvalidArgumentError, match="no PreferenceBandit"):
            VPOBandit(env)
    with pytest.raises(FileFormatError, match="cannot read"):
        VPOBandit.load(tmp_path / "nothing")
    assert VPOBandit(envs.make(BANDIT, seed=7)).env_kwargs == {"seed": 7}


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_bounded_rewards_keep_the_implicit_reward_within_their_bound(beta):
    learner = learned(
        bandits=bandits([0], contexts=2), seeds=[0], mode="online", alpha=20.0, beta=beta, optimiser="bounded", rounds=4,
        reward_bound=0.7,
    )  # fmt: skip
    implicit = beta * (learner.theta - learner.reference)
    assert abs(implicit).max() == pytest.approx(0.7, abs=1e-12)


def test_a_response_that_met_itself_leaves_the_minimum_where_it_is():
    """Every round solved anew ends at the same loss as one that skips pairs which say nothing."""
    settings = {"bandits": bandits([1], arms=3), "seeds": [2], "mode": "online", "beta": 1.0, "optimiser": "bounded"}
    learner = learned(alpha=1.0, rounds=12, reward_bound=1.0, **settings)
    wins = learner.wins[0, 0]
    assert np.trace(wins) > 0
    told = wins - np.diag(np.diag(wins))
    options = {"beta": 1.0, "alpha": 1.0, "mode": "online"}
    fixed = learner.reference[0], told[None], learner.calibration()[0]
    anew = bounded_minimum([learner.theta[0], learner.reference[0]], *fixed, bound=1.0, around=learner.reference[0], **options)
    assert tabular.loss(learner.theta[0], *fixed, **options) <= tabular.loss(anew, *fixed, **options) + 1e-6
