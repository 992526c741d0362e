"""Common adversary: certified Shapley iteration. Adversaries of their own: the zero-sum shortcut is wrong."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.equilibria import zero_sum
from robust_rl.errors import ConvergenceWarning, InvalidArgumentError
from robust_rl.solvers import DRNVISolver
from robust_rl.solvers.game_backup import GameBackup

TRAP_SEED = 0


def zero_sum_game(seed, states=4, horizon=None):
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=(states, 3, 3))
    return rr.MarkovGame(rng.dirichlet(np.full(states, 0.5), size=(states, 3, 3)), np.stack([rewards, -rewards]), horizon=horizon)


def test_bounds_hold_the_value_and_strategies_guarantee_them():
    """The strategies' worth against every answer comes from single-agent robust planning, on another path."""
    ball, discount = rr.TotalVariation(0.1, support="free"), 0.9
    for seed in range(5):
        game = zero_sum_game(seed)
        solution = rr.solve_zero_sum(game, ball, discount=discount, tol=1e-8)
        assert solution.certificate.gap <= 1e-8
        x, y = solution.policies
        # player 2 and the adversary answer x together: for each state, the worst column of the worst kernel
        value = np.zeros(4)
        for _ in range(400):
            q = ball.worst_case(game.transitions, value).value * discount + game.rewards[0]
            value = np.einsum("sa,sab->sb", x, q).min(axis=1)
        assert (value >= solution.certificate.lower - 1e-9).all()
        for _ in range(400):
            q = ball.worst_case(game.transitions, value).value * discount + game.rewards[0]
            value = np.einsum("sab,sb->sa", q, y).max(axis=1)
        assert (value <= solution.certificate.upper + 1e-9).all()


def test_one_action_of_the_opponent_leaves_a_robust_mdp():
    game = zero_sum_game(1)
    alone = game.replace(transitions=game.transitions[:, :, :1], rewards=game.rewards[..., :1])
    ball = rr.KL(0.1)
    solution = rr.solve_zero_sum(alone, ball, discount=0.9, tol=1e-8)
    expected = rr.solve(alone.stage(0, "player_0"), ball, discount=0.9, tol=1e-9)
    np.testing.assert_allclose(solution.value, expected.value, atol=1e-7)


def test_solving_the_first_player_s_game_as_zero_sum_has_a_positive_gap():
    """Each agent has an adversary of its own: Q_1 + Q_2 < 0, and equilibria are those of bimatrix games."""
    game, ball = zero_sum_game(TRAP_SEED, horizon=2), rr.TotalVariation(0.3, support="free")
    backup = GameBackup(game, ball)
    value, policy = np.zeros((2, 4)), np.zeros((2, 4, 3, 3))
    for h in (1, 0):
        q = backup.q_values(h, value)
        _, x, y = zero_sum(q[0])
        policy[h] = x[:, :, None] * y[:, None, :]
        value = np.einsum("sab,nsab->ns", policy[h], q)
    assert q.sum(axis=0).max() < -0.01
    assert rr.robust_gap(policy, game, ball, kind="ne").gap > 0.01
    solver = DRNVISolver(game, ball, equilibrium="ne")
    while not solver.done:
        solver.step()
    assert rr.robust_gap(solver.solution().policy, game, ball, kind="ne").gap <= 1e-8


def test_games_that_are_not_zero_sum_or_not_discounted_are_refused():
    game = zero_sum_game(0)
    rewards = game.rewards.copy()
    rewards[0, 2, 1, 0] += 1
    with pytest.raises(InvalidArgumentError, match=r"s=2, a=\(1, 0\)\) sum to 1"):
        rr.solve_zero_sum(game.replace(rewards=rewards), None, discount=0.9)
    with pytest.raises(InvalidArgumentError, match="has a horizon"):
        rr.solve_zero_sum(game.replace(horizon=3), None, discount=0.9)
    with pytest.raises(InvalidArgumentError, match="below 1"):
        rr.solve_zero_sum(game, None, discount=1.0)
    with pytest.warns(ConvergenceWarning, match="stopped"):
        rr.solve_zero_sum(game, None, discount=0.99, max_iterations=3)
