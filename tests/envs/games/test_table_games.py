"""Every game: PettingZoo's own tests, play against the table, pictures, and errors. A new game joins by being in the package."""

import warnings

import numpy as np
import pytest
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test
from scipy import stats

from robust_rl import envs
from robust_rl.envs import games
from robust_rl.errors import InvalidArgumentError, UnknownNameError

NAMES = list(games.game_names())
ARGUMENTS = {"soccer": {"slip": 0.2}, "nim": {"slip": 0.3}, "random_game": {"num_agents": 3, "num_actions": (2, 3, 2)}}


def module(name):
    return getattr(games, f"{name}_v0")


def made(name, **arguments):
    return games.make(name, **ARGUMENTS.get(name, {}), **arguments)


@pytest.mark.parametrize("name", NAMES)
def test_parallel_form_passes_pettingzoos_tests(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        parallel_api_test(made(name), num_cycles=200)
        parallel_seed_test(lambda: made(name), num_cycles=100)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:Observation is not a NumPy array")
def test_aec_form_passes_pettingzoos_tests(name):
    api_test(module(name).env(**ARGUMENTS.get(name, {})), num_cycles=100)
    seed_test(lambda: module(name).env(**ARGUMENTS.get(name, {})), num_cycles=100)


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_whole_and_their_rows_distributions(name):
    env = made(name).unwrapped
    sizes = [env.action_space(agent).n for agent in env.possible_agents]
    assert env.initial_state_distrib.sum() == pytest.approx(1)
    for state in range(len(env.P)):
        assert set(env.P[state]) == set(np.ndindex(*sizes))
        for outcomes in env.P[state].values():
            assert sum(outcome[0] for outcome in outcomes) == pytest.approx(1, abs=1e-12)
            assert len({outcome[1:] for outcome in outcomes}) == len(outcomes), "each outcome once"


@pytest.mark.parametrize("name", NAMES)
def test_play_has_the_tables_frequencies(name):
    """Chi-square at a thousandth, seed fixed: outcomes of one state and joint action that has several."""
    env = made(name)
    table = env.unwrapped.P
    state, joint = max(((s, a) for s in table for a in table[s]), key=lambda key: len(table[key[0]][key[1]]))
    expected = {outcome[1:]: outcome[0] for outcome in table[state][joint]}
    counts = dict.fromkeys(expected, 0)
    draws = 4000
    env.reset(seed=7)
    for _ in range(draws):
        env.reset(options={"state": state})
        seen, rewards, over, _, _ = env.step(dict(zip(env.possible_agents, joint, strict=True)))
        agents = env.possible_agents
        counts[int(seen[agents[0]]), tuple(rewards[agent] for agent in agents), over[agents[0]]] += 1
    likely = [key for key in expected if expected[key] * draws >= 5]
    observed = [counts[key] for key in likely] + [draws - sum(counts[key] for key in likely)]
    rest = 1 - sum(expected[key] for key in likely)
    p = [expected[key] for key in likely] + [rest]
    if rest < 1e-9:
        observed, p = observed[:-1], p[:-1]
    assert len(p) > 1
    assert stats.chisquare(observed, np.array(p) / sum(p) * draws).pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_first_states_have_their_distribution(name):
    env = made(name)
    start = env.unwrapped.initial_state_distrib
    env.reset(seed=3)
    seen = np.bincount([int(env.reset()[0]["player_0"]) for _ in range(1000)], minlength=len(start))
    assert not seen[start == 0].any()
    if (start > 0).sum() > 1:
        assert stats.chisquare(seen[start > 0], start[start > 0] * 1000).pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_every_observation_is_the_state(name):
    env = made(name)
    seen, _ = env.reset(seed=0)
    while env.agents:
        assert set(seen.values()) == {int(env.state())}
        seen, *_ = env.step({agent: env.action_space(agent).sample() for agent in env.agents})


@pytest.mark.parametrize("name", NAMES)
def test_states_show_as_different_texts_and_pictures(name):
    text, picture = made(name, render_mode="ansi"), made(name, render_mode="rgb_array")
    shown = []
    for state in range(min(len(text.unwrapped.P), 3)):
        text.reset(options={"state": state + 2 * (name == "nim")})
        picture.reset(options={"state": state + 2 * (name == "nim")})
        image = picture.render()
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        shown.append((text.render(), image.tobytes()))
    assert len({one[0] for one in shown}) == len({one[1] for one in shown}) == len(shown)
    silent = made(name)
    silent.reset()
    assert silent.render() is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: games.make("socer"), "did you mean soccer"),
        (lambda: games.make("no.such.module"), "no.such.module"),
        (lambda: games.make("soccer", slipp=0.1), "did you mean slip"),
        (lambda: games.make("soccer", slip=1.5), "slip=1.5 is not a probability"),
        (lambda: games.make("soccer", after_goal="stop"), "expected 'restart' or 'end'"),
        (lambda: games.make("soccer", max_cycles=0), "max_cycles=0"),
        (lambda: games.make("soccer", render_mode="human"), "render_mode='human'"),
        (lambda: games.make("fishery", p=0.6), "p=0.6 is above 0.5"),
        (lambda: games.make("rock_paper_scissors", lead=-1), "lead=-1"),
        (lambda: games.make("random_game", num_agents=1), "num_agents=1"),
        (lambda: games.make("random_game", num_actions=(2, 3, 4)), "gives 3 numbers; there are 2 agents"),
        (lambda: games.make("random_game", successors=9), "successors=9, but there are 5 states"),
        (lambda: games.make("random_game", num_agents=30, num_actions=10), r"\d GB"),
        (lambda: games.make("nim", stones=0), "stones=0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((InvalidArgumentError, UnknownNameError), match=message):
        make()


def test_bad_actions_and_states_are_named():
    env = made("soccer")
    env.reset(seed=0)
    with pytest.raises(InvalidArgumentError, match="player_1 has no action"):
        env.step({"player_0": 0})
    with pytest.raises(InvalidArgumentError, match=r"player_1 plays 5; its actions are 0..4"):
        env.step({"player_0": 0, "player_1": 5})
    with pytest.raises(InvalidArgumentError, match=r"state 760 does not exist; states are 0..759"):
        env.reset(options={"state": 760})


def test_a_shifted_game_keeps_its_other_arguments():
    env = games.make("soccer", after_goal="end", max_cycles=7)
    shifted = envs.shift(env, slip=0.2)
    assert shifted.unwrapped.P != env.unwrapped.P
    assert shifted.unwrapped.P == games.make("soccer", after_goal="end", slip=0.2).unwrapped.P
    assert shifted.unwrapped.max_cycles == 7
    assert envs.shift(games.make("nim", stones=5), slip=0.5).unwrapped.P == games.make("nim", stones=5, slip=0.5).unwrapped.P
    with pytest.raises(InvalidArgumentError, match="has no argument 'wind'"):
        envs.shift(env, wind=1)


def test_the_same_seed_draws_the_same_random_game():
    one, two, three = (games.make("random_game", seed=seed, successors=2).P for seed in (1, 1, 2))
    assert one == two
    assert one != three
    assert all(len(outcomes) == 2 for by_action in one.values() for outcomes in by_action.values())
