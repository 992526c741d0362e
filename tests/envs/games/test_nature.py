"""Nature as a player: the kernel it induces stays in the ball it was given, and its reward is the players' loss."""

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

import robust_rl as rr
from robust_rl.envs import games, tabular_game
from robust_rl.envs.games.table_game import TableGame
from robust_rl.errors import InvalidArgumentError

GAMES = {"soccer": {}, "fishery": {}, "random_game": {"num_agents": 2, "num_actions": (2, 3)}}


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("radius", [0.0, 0.15, 1.0])
def test_every_row_is_in_the_contamination_ball(name, radius):
    """Against the definition, dense: q >= (1 - rho) p on p's support, and both ends of the ball are met."""
    game = games.make(name, **GAMES[name])
    played = games.with_nature(game, radius, against="player_0")
    sizes = [game.action_space(agent).n for agent in game.possible_agents]
    states = range(0, len(game.P), max(1, len(game.P) // 20))
    moved = 0.0
    for state in states:
        for joint in np.ndindex(*sizes):
            p = {outcome[1:]: outcome[0] for outcome in game.P[state][joint]}
            for k in range(played.outcomes):
                q = {(s, rewards[:-1], ends): mass for mass, s, rewards, ends in played.P[state][(*joint, k)]}
                assert sum(q.values()) == pytest.approx(1, abs=1e-12)
                assert set(q) <= set(p), "nominal support"
                assert all(q.get(outcome, 0.0) >= (1 - radius) * mass - 1e-12 for outcome, mass in p.items())
                distance = sum(abs(q.get(outcome, 0.0) - mass) for outcome, mass in p.items()) / 2
                assert distance <= radius + 1e-12
                moved = max(moved, distance)
    # an outcome of probability p is brought to 1 - rho + rho p by moving rho (1 - p), and no other does more
    rarest = min(outcome[0] for state in states for outcomes in game.P[state].values() for outcome in outcomes)
    assert moved == pytest.approx(radius * (1 - rarest), abs=1e-9)


def test_radius_0_plays_the_game_itself():
    plain, played = games.make("soccer"), games.with_nature(games.make("soccer"), 0.0, against="player_0")
    rng = np.random.default_rng(0)
    seen, shown = plain.reset(seed=3)[0], played.reset(seed=3)[0]
    for _ in range(100):
        assert {agent: shown[agent] for agent in plain.possible_agents} == seen
        actions = {agent: int(rng.integers(5)) for agent in plain.possible_agents}
        seen, rewards, *_ = plain.step(actions)
        shown, paid, *_ = played.step(actions | {"nature": int(rng.integers(played.outcomes))})
        assert {agent: paid[agent] for agent in plain.possible_agents} == rewards
        assert paid["nature"] == -paid["player_0"]


def test_it_is_a_pettingzoo_environment():
    def made():
        return games.with_nature(games.make("fishery"), 0.3, against=["player_1"])

    parallel_api_test(made(), num_cycles=200)
    parallel_seed_test(made, num_cycles=100)


def test_the_best_response_of_nature_is_the_contaminated_worst_case():
    """One player without a choice to hide: nature's optimum, solved as an MDP, equals the robust evaluation of the player."""
    rng, states, radius, discount = np.random.default_rng(4), 4, 0.2, 0.9
    kernel, pay = rng.dirichlet(np.ones(states), size=states), rng.normal(size=(states, states))
    table = {s: {(0,): [(kernel[s, t], t, (pay[s, t],), False) for t in range(states)]} for s in range(states)}
    game = TableGame(table, np.full(states, 1 / states), [1], max_cycles=None, render_mode=None)
    exact = tabular_game(games.with_nature(game, radius, against="player_0"))
    shape = (states, states)  # (state, nature's action)
    nature = rr.TabularMDP(np.asarray(exact.transitions).reshape(*shape, states), np.asarray(exact.rewards)[-1].reshape(shape))
    player = rr.TabularMDP(kernel[:, None], pay[:, None])
    robust = rr.solve(player, rr.Contamination(radius, support="nominal"), discount=discount, tol=1e-9)
    worst = rr.solve(nature, None, discount=discount, tol=1e-9)
    np.testing.assert_allclose(-worst.value, robust.value, atol=1e-7)


def test_bad_arguments_say_what_to_do():
    with pytest.raises(InvalidArgumentError, match="did you mean player_0"):
        games.with_nature(games.make("soccer"), 0.1, against="player0")
    with pytest.raises(InvalidArgumentError, match=r"radius=1\.5"):
        games.with_nature(games.make("soccer"), 1.5, against="player_0")
    with pytest.raises(InvalidArgumentError, match="without wrappers"):
        games.with_nature(games.soccer_v0.env(), 0.1, against="player_0")
