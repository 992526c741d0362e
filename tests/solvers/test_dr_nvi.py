"""DR-NVI against exact gaps, backward induction, a nominal solver of its own, and the theory's ranges and rates."""

from itertools import product

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidModelError, InvalidUncertaintyError, UnknownNameError
from robust_rl.models import empirical_game
from robust_rl.solvers import DRNVISolver, GameSolution
from tests.games import random_balls, random_game


def solved(game, uncertainty, kind="cce", selection="utilitarian"):
    solver = DRNVISolver(game, uncertainty, equilibrium=kind, selection=selection)
    while not solver.done:
        solver.step()
    return solver.solution()


@pytest.mark.parametrize("block", range(4))
def test_exact_gaps_of_200_random_games_are_within_the_certificate_and_1e_8(block):
    """Also NE within CE within CCE: a smaller set of policies is judged by the larger sets' gaps."""
    for seed in range(50 * block, 50 * block + 50):
        game = random_game(seed)
        balls = random_balls(seed, game)
        for kind, weaker in (("ne", ("ne", "ce", "cce")), ("ce", ("ce", "cce")), ("cce", ("cce",))):
            if kind == "ne" and game.num_agents > 2:
                continue
            solution = solved(game, balls, kind)
            for judged in weaker:
                found = rr.robust_gap(solution.policy, game, balls, kind=judged)
                assert found.gap <= 1e-8, (seed, kind, judged)
                assert found.gap <= solution.gap + 1e-12, (seed, kind, judged)
            assert abs(found.value - solution.value[:, 0]).max() <= 1e-12, (seed, kind)


def test_every_selection_rule_gives_an_equilibrium_and_utilitarian_the_most_in_one_stage():
    for seed in range(10):
        game = random_game(seed, 2, horizon=1)
        balls = random_balls(seed, game)
        totals = {}
        for rule in ("utilitarian", "maximin", "max_entropy", None):
            solution = solved(game, balls, "ce", rule)
            assert rr.robust_gap(solution.policy, game, balls, kind="ce").gap <= 1e-7, (seed, rule)
            totals[rule] = solution.value[:, 0].sum(axis=0)
        assert all((totals["utilitarian"] >= total - 1e-7).all() for total in totals.values()), seed


@pytest.mark.parametrize(
    "ball", [rr.TotalVariation(0.2, support="nominal"), rr.KL(0.2), rr.Contamination(0.1, support="free"), None]
)
def test_one_agent_is_robust_backward_induction(ball):
    for seed in range(10):
        game = random_game(seed, 1, staged=False)
        solution, model = solved(game, ball), game.stage(0, "player_0")
        expected = rr.solve(model, ball, horizon=game.horizon)
        assert abs(solution.value[0] - expected.value).max() <= 1e-12
        np.testing.assert_array_equal(solution.policy.argmax(axis=2), expected.policy)


def test_radius_zero_is_a_nominal_solver_that_shares_no_code():
    """Utilitarian CCE by scipy's linear program, stage by stage in plain loops; values of the rule are unique in one stage."""
    from scipy.optimize import linprog

    for seed in range(8):
        game = random_game(seed, 2, horizon=1, states=3)
        radius_zero = rr.TotalVariation(0.0, support="free")
        solution = solved(game, radius_zero)
        np.testing.assert_array_equal(solution.value, solved(game, None).value)
        for s in range(game.num_states):
            q = game.stage_rewards(0)[:, s]
            inequalities = []
            for i, own in enumerate(game.num_actions):
                for b in range(own):
                    kept = np.broadcast_to(np.take(q[i], [b], axis=i), q[i].shape)
                    inequalities.append((kept - q[i]).ravel())
            answer = linprog(-q.sum(axis=0).ravel(), inequalities, np.zeros(len(inequalities)), [np.ones(q[0].size)], [1.0])
            assert abs(solution.value[:, 0, s].sum() + answer.fun) <= 1e-8


def test_nominal_values_are_what_a_simulated_policy_collects():
    game = random_game(3, 2)
    solution = solved(game, None)
    value = np.zeros((2, game.num_states))
    for h in reversed(range(game.horizon)):
        following = np.zeros_like(value)
        for s in range(game.num_states):
            for a in np.ndindex(game.num_actions):
                for i in range(2):
                    future = game.transitions[(h, s, *a)] @ value[i]
                    following[i, s] += solution.policy[(h, s, *a)] * (game.rewards[(i, h, s, *a)] + future)
        value = following
    np.testing.assert_allclose(solution.value[:, 0], value, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 1.0])
def test_values_span_no_more_than_the_shrunken_range(sigma):
    """span V_h <= (1 - (1 - sigma)^(H-h)) / sigma, h from 0, for rewards in [0, 1]."""
    for seed in range(10):
        game = random_game(seed, 2)
        value = solved(game, rr.TotalVariation(sigma, support="free")).value
        stages = game.horizon - np.arange(game.horizon)
        assert (np.ptp(value, axis=2) <= (1 - (1 - sigma) ** stages) / sigma + 1e-12).all()


def test_dense_sparse_and_repeated_kernels_give_the_same():
    from scipy import sparse

    game = random_game(5, 2, staged=False, states=5, smallest=2)
    shape = (game.num_states * game.num_joint_actions, game.num_states)
    kernel = sparse.csr_array(game.transitions.reshape(shape))
    balls = random_balls(5, game)
    expected = solved(game, balls).value
    for transitions in (kernel, [kernel] * game.horizon, np.stack([game.transitions] * game.horizon)):
        np.testing.assert_allclose(solved(game.replace(transitions=transitions), balls).value, expected, atol=1e-12)


def test_terminal_states_are_worth_nothing_and_no_adversary_acts_there():
    game = random_game(12, 2, states=5).replace(terminal=[0])
    solution = solved(game, rr.TotalVariation(0.5, support="free"))
    assert not solution.value[:, :, 0].any()
    assert rr.robust_gap(solution.policy, game, rr.TotalVariation(0.5, support="free"), kind="cce").gap <= 1e-8


def test_solution_survives_its_arrays():
    game = random_game(2, 2)
    balls = {"player_0": rr.KL(0.1), "player_1": None}
    solution = solved(game, balls, "ce", "maximin")
    again = GameSolution.from_arrays(*solution.to_arrays())
    assert again.uncertainty == balls
    assert (again.equilibrium, again.selection, again.gap) == ("ce", "maximin", solution.gap)
    np.testing.assert_array_equal(again.policy, solution.policy)


def small_game(seed, *, common=False):
    """Random rewards for each, or their mean for both: equilibria of the rule may jump, their common value can't."""
    rng = np.random.default_rng(seed)
    transitions, rewards = rng.dirichlet(np.full(3, 0.5), size=(3, 3, 3)), rng.random((2, 3, 3, 3))
    if common:
        rewards[:] = rewards.mean(axis=0)
    return rr.MarkovGame(transitions, rewards, horizon=2)


def log_mean_slope(sizes, data):
    """Slope of the log of the mean over seeds against log N, and its 95% interval by resampling seeds."""
    picks = np.random.default_rng(0).integers(data.shape[1], size=(500, data.shape[1]))
    slopes = [np.polyfit(np.log(sizes), np.log(data[:, pick].mean(axis=1)), 1)[0] for pick in picks]
    return np.polyfit(np.log(sizes), np.log(data.mean(axis=1)), 1)[0], *np.quantile(slopes, [0.025, 0.975])


def test_mean_gap_and_value_error_fall_as_the_square_root_of_the_samples():
    """One random game a seed. Single gaps are often exactly zero: neither their median nor the mean of their logs would do."""
    sizes, seeds, ball = (50, 200, 800, 3200), 50, rr.TotalVariation(0.1, support="free")
    gaps, errors = np.zeros((2, len(sizes), seeds))
    for seed, (k, n) in product(range(seeds), enumerate(sizes)):
        game, shared = small_game(seed), small_game(seed, common=True)
        solution, other = (solved(empirical_game(g, n, np.random.default_rng([n, seed])), ball) for g in (game, shared))
        gaps[k, seed] = rr.robust_gap(solution.policy, game, ball, kind="cce").gap
        errors[k, seed] = abs(other.value[:, 0] - solved(shared, ball).value[:, 0]).max()
    for data in (gaps, errors):
        slope, low, high = log_mean_slope(sizes, data)
        assert -0.6 <= slope <= -0.4, (slope, low, high)
        assert low < -0.5 < high, (slope, low, high)


@pytest.mark.parametrize(
    ("uncertainty", "error", "message"),
    [
        ({"player_0": None, "player_2": None}, InvalidArgumentError, "'player_2'.*agents are player_0, player_1"),
        ({"player_0": None}, InvalidArgumentError, "no set is given for player_1|no uncertainty set is given for player_1"),
        ({"player_0": 0.1, "player_1": None}, InvalidUncertaintyError, "player_0"),
        (rr.SRectangular(rr.KL(0.1)), InvalidUncertaintyError, "rectangular in the joint|rectangular in joint"),
    ],
)
def test_unsuitable_sets_are_named_with_their_agent(uncertainty, error, message):
    with pytest.raises(error, match=message):
        DRNVISolver(random_game(0, 2), uncertainty)


def test_games_without_a_horizon_unknown_rules_and_policies_too_large_are_refused():
    game = random_game(0, 2, staged=False)
    with pytest.raises(InvalidArgumentError, match="no horizon"):
        DRNVISolver(game.replace(horizon=None), None)
    with pytest.raises(UnknownNameError, match="nash"):
        DRNVISolver(game, None, equilibrium="nash")
    with pytest.raises(UnknownNameError, match="fair"):
        DRNVISolver(game, None, selection="fair")
    with pytest.raises(InvalidModelError, match=r"would take .* (TB|PB|EB)"):
        DRNVISolver(game.replace(horizon=10**14), None)
