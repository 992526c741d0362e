"""Markov games: shapes, names of offenders, memory, files; and games estimated from draws."""

import numpy as np
import pytest
from scipy import sparse

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError, InvalidModelError
from robust_rl.models import empirical_game
from tests.games import random_game


def sparse_form(game):
    rows = game.num_states * game.num_joint_actions
    kernels = [sparse.csr_array(kernel.reshape(rows, -1)) for kernel in game.transitions]
    return game.replace(transitions=kernels)


def test_a_stage_is_the_model_of_one_agent_and_shares_memory():
    game = random_game(0, 3)
    model = game.stage(0, "player_1")
    a = tuple(size - 1 for size in game.num_actions)
    joint = np.ravel_multi_index(a, game.num_actions)
    assert model.rewards[-1, joint] == game.rewards[(1, 0, -1, *a)]
    np.testing.assert_array_equal(model.transitions[-1, joint], game.transitions[(0, -1, *a)])
    assert np.shares_memory(model.transitions, game.transitions)
    assert np.shares_memory(model.rewards, game.rewards)


def test_offenders_are_named_by_stage_state_and_joint_action():
    game = random_game(0, 2, smallest=2, states=4)
    broken = game.transitions.copy()
    broken[0, 0, 1, 0] *= 0.9
    for transitions in (broken, sparse_form(game).transitions):
        if isinstance(transitions, list):
            transitions[0] = transitions[0].copy()
            transitions[0].data[transitions[0].indptr[game.num_actions[1]]] += 0.1
        with pytest.raises(InvalidModelError, match=r"P\[h=0, s=0, a=\(1, 0\)\] sums to"):
            game.replace(transitions=transitions)
    rewards = game.rewards.copy()
    rewards[1, 0, 0, 1, 1] = np.nan
    with pytest.raises(InvalidModelError, match=r"player_1 at \(h=0, s=0, a=\(1, 1\)\)"):
        game.replace(rewards=rewards)
    with pytest.raises(InvalidModelError, match="don't agree in number"):
        game.replace(horizon=game.horizon + 1)
    with pytest.raises(InvalidModelError, match="different names"):
        game.replace(agents=["a", "a"])
    with pytest.raises(InvalidModelError, match="no agent 'x'"):
        game.stage(0, "x")


def test_too_many_joint_actions_are_refused_before_anything_is_allocated():
    shape = (10,) + (10,) * 14
    with pytest.raises(InvalidModelError, match=r"would take 8[\d.]* PB, and .* are available"):
        rr.MarkovGame(np.broadcast_to(0.1, (*shape, 10)), np.zeros((2, 10, 10, 10)))


@pytest.mark.parametrize("staged", [True, False])
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_a_saved_game_comes_back(tmp_path, staged, layout):
    game = random_game(4, 2, staged=staged).replace(terminal=[0], agents=["left", "right"])
    if layout == "csr":
        matrix = game.replace(transitions=game.transitions if staged else np.stack([game.transitions] * game.horizon))
        game = sparse_form(matrix) if staged else game.replace(transitions=sparse_form(matrix).transitions[0])
    again = rr.MarkovGame.load(game.save(tmp_path / "game"))
    assert repr(again) == repr(game)
    assert again.terminal[0]
    np.testing.assert_array_equal(again.rewards, game.rewards)
    for h in range(game.horizon):
        one, other = (
            sparse.csr_array(g.kernel(h).reshape(-1, g.num_states)) if layout == "dense" else g.kernel(h) for g in (game, again)
        )
        assert (one != other).nnz == 0


def test_files_of_something_else_are_refused(tmp_path):
    path = random_game(0, 1).stage(0, "player_0").save(tmp_path / "model")
    with pytest.raises(FileFormatError, match="Markov game"):
        rr.MarkovGame.load(path)


def test_draws_of_dense_and_sparse_games_are_the_same_and_unbiased():
    game = random_game(1, 2, states=5)
    once = empirical_game(game, 40, np.random.default_rng(3))
    again = empirical_game(sparse_form(game), 40, np.random.default_rng(3))
    for h in range(game.horizon):
        np.testing.assert_array_equal(once.kernel(h).reshape(-1, game.num_states), again.kernel(h).toarray())
    np.testing.assert_allclose(once.transitions * 40, np.rint(once.transitions * 40), atol=1e-9)
    large = empirical_game(game, 1_000_000, np.random.default_rng(0))
    assert abs(large.transitions - game.transitions).max() < 5 * 0.5e-3
    assert not large.transitions[game.transitions == 0].any()


class Die:
    """A simulator of one state that is left for another at random; terminal ones are never asked."""

    rewards = np.ones((2, 3, 2, 2))
    horizon = 2
    terminal = np.array([False, False, True])

    def __init__(self):
        self.rng, self.asked = np.random.default_rng(0), 0

    def sample(self, h, s, a, n):
        assert not self.terminal[s]
        self.asked += 1
        return self.rng.multinomial(n, [0.5, 0.3, 0.2])


def test_a_simulator_is_asked_once_for_every_stage_state_and_joint_action():
    die = Die()
    game = empirical_game(die, 1000, np.random.default_rng(0))
    assert die.asked == 2 * 2 * 4
    assert game.is_sparse
    assert abs(game.kernel(1).toarray()[:8] - [0.5, 0.3, 0.2]).max() < 0.1
    die.sample = lambda h, s, a, n: [n, 1, 0]
    with pytest.raises(InvalidArgumentError, match=r"h=0, s=0, a=\(0, 0\).*sums to 1001"):
        empirical_game(die, 1000, np.random.default_rng(0))
    with pytest.raises(InvalidArgumentError, match="no rewards, horizon, sample"):
        empirical_game(object(), 10, np.random.default_rng(0))
    with pytest.raises(InvalidArgumentError, match="samples is 0"):
        empirical_game(game, 0, np.random.default_rng(0))
