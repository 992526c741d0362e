import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo.utils import BaseParallelWrapper, aec_to_parallel

import robust_rl as rr
from robust_rl.envs import games, tabular_game
from robust_rl.envs.games import fishery_v0, soccer_v0
from robust_rl.envs.games.table_game import TableGame
from robust_rl.errors import InvalidArgumentError, InvalidModelError, NoTableError


def by_loops(table, agents, sizes, extra=0):
    """Kernel and mean rewards of a table without ends, entry by entry."""
    states = len(table) + extra
    kernel, rewards = np.zeros((states, *sizes, states)), np.zeros((agents, states, *sizes))
    for s, by_action in table.items():
        for joint, outcomes in by_action.items():
            for p, successor, reward, over in outcomes:
                kernel[(s, *joint, states - 1 if over and extra else successor)] += p
                rewards[(slice(None), s, *joint)] += p * np.array(reward)
    return kernel, rewards


@pytest.mark.parametrize("name", ["fishery", "rock_paper_scissors", "random_game"])
def test_tables_become_games_entry_by_entry(name):
    env = games.make(name)
    game = tabular_game(env)
    kernel, rewards = by_loops(env.P, 2, game.num_actions)
    np.testing.assert_allclose(game.transitions, kernel, atol=1e-15)
    np.testing.assert_allclose(game.rewards, rewards, atol=1e-15)
    assert game.horizon == env.max_cycles
    assert tabular_game(env, horizon=3).horizon == 3
    assert tabular_game(game) is game


def test_large_games_are_sparse_and_goals_that_end_lead_to_one_more_state():
    restart, end = (soccer_v0.parallel_env(after_goal=rule) for rule in ("restart", "end"))
    game = tabular_game(restart)
    assert game.is_sparse
    kernel, rewards = by_loops(restart.P, 2, (5, 5))
    np.testing.assert_allclose(game.transitions.toarray(), kernel.reshape(-1, 760), atol=1e-15)
    game = tabular_game(end)
    assert game.num_states == 761
    assert np.flatnonzero(game.terminal).tolist() == [760]
    kernel, rewards = by_loops(end.P, 2, (5, 5), extra=1)
    np.testing.assert_allclose(game.transitions.toarray()[: 760 * 25], kernel.reshape(-1, 761)[: 760 * 25], atol=1e-15)
    np.testing.assert_allclose(game.rewards, rewards, atol=1e-15)


def test_states_entered_by_ends_alone_are_terminal_and_keep_their_indices():
    game = tabular_game(games.make("nim", stones=4))
    assert game.num_states == 10
    assert np.flatnonzero(game.terminal).tolist() == [0, 1]
    assert game.horizon is None


def test_wrappers_are_passed_honoured_or_refused():
    class Double(BaseParallelWrapper):
        def shift_table(self, game):
            return game.replace(rewards=2 * game.rewards)

    class Unknown(BaseParallelWrapper):
        pass

    env = games.make("fishery")
    game = tabular_game(env)
    np.testing.assert_array_equal(tabular_game(BaseParallelWrapper(env)).rewards, game.rewards)
    np.testing.assert_array_equal(tabular_game(aec_to_parallel(fishery_v0.raw_env())).rewards, game.rewards)
    np.testing.assert_array_equal(tabular_game(BaseParallelWrapper(Double(env))).rewards, 2 * game.rewards)
    np.testing.assert_array_equal(rr.DRNVI(Double(env), None).model.rewards, 2 * game.rewards)
    with pytest.raises(NoTableError, match=r"wrapper Unknown does; remove the wrapper"):
        tabular_game(Unknown(Double(env)))
    with pytest.raises(NoTableError, match="wrapper Unknown"):
        rr.DRNVI(Unknown(env), None)


class Lazy(dict):
    """A table that is made up as it is read."""

    def __getitem__(self, key):
        return self if isinstance(key, int) else [(1.0, 0, (0.0,) * len(key), False)]

    def __len__(self):
        return 10


def played(table, sizes=(2, 2)):
    return TableGame(table, np.eye(1, len(table))[0], sizes, max_cycles=5, render_mode=None)


def test_a_game_too_large_for_memory_says_how_large_before_anything_is_made():
    with pytest.raises(InvalidModelError, match=r"10 states and .* = 1000000000000 joint actions would take .* [PTE]B"):
        tabular_game(played(Lazy(), (10,) * 12))


def test_what_is_wrong_is_named():
    class Continuous(TableGame):
        def action_space(self, agent):
            return spaces.Box(0, 1) if agent == "player_1" else super().action_space(agent)

    fine = games.make("fishery").P
    with pytest.raises(InvalidModelError, match=r"player_1 has the action space Box.*must be Discrete"):
        tabular_game(Continuous(fine, [1, 0, 0], (2, 2), max_cycles=5, render_mode=None))
    with pytest.raises(InvalidModelError, match=r"no entry P\[1\]\[\(0, 1\)\]"):
        tabular_game(played(fine | {1: {(0, 0): fine[1][0, 0]}}))
    with pytest.raises(InvalidModelError, match=r"P\[2\]\[\(0, 0\)\] leads to state 7; states are 0..2"):
        tabular_game(played(fine | {2: {joint: [(1.0, 7, (0, 0), False)] for joint in fine[2]}}))
    with pytest.raises(InvalidModelError, match=r"holds 3 rewards; there are 2 agents"):
        tabular_game(played(fine | {2: {joint: [(1.0, 1, (0, 0, 0), False)] for joint in fine[2]}}))
    with pytest.raises(InvalidModelError, match="sums to 0.5"):
        tabular_game(played(fine | {2: {joint: [(0.5, 1, (0, 0), False)] for joint in fine[2]}}))
    with pytest.raises(NoTableError, match="no transition table"):
        tabular_game(_without_table())
    with pytest.raises(InvalidArgumentError, match="AEC form"):
        tabular_game(fishery_v0.env())
    with pytest.raises(InvalidArgumentError, match="no PettingZoo parallel environment"):
        tabular_game("soccer")


def _without_table():
    from pettingzoo import ParallelEnv

    class Bare(ParallelEnv):
        metadata = {"name": "bare_v0"}
        possible_agents = ["player_0"]

    return Bare()
