"""The games' rules, written a second time in another way."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from pettingzoo.utils.conversions import turn_based_aec_to_parallel

from robust_rl import envs
from robust_rl.envs import games
from robust_rl.envs.games import nim_v0, soccer_v0


def soccer_by_hand(mine, yours, owner, first, second, order):
    """One joint move on complex numbers: real right, imaginary down. Returns (mine, yours, owner) or the scorer."""
    step = [-1j, 1, 1j, -1, 0]
    at, move = {0: complex(*mine[::-1]), 1: complex(*yours[::-1])}, {0: step[first], 1: step[second]}
    for who in order:
        to = at[who] + move[who]
        if who == owner and to.imag in (1, 2) and to.real == (5 if who == 0 else -1):
            return who
        if to == at[1 - who]:
            owner = 1 - who
        elif 0 <= to.real <= 4 and 0 <= to.imag <= 3:
            at[who] = to
    return (int(at[0].imag), int(at[0].real)), (int(at[1].imag), int(at[1].real)), owner


def test_soccer_follows_rules_written_independently():
    table = soccer_v0.parallel_env().P
    ends = soccer_v0.parallel_env(after_goal="end").P
    for state in range(760):
        (mine, yours), owner = soccer_v0.decode(state)
        for a, b in product(range(5), repeat=2):
            expected = {}
            for order in ((0, 1), (1, 0)):
                result = soccer_by_hand(mine, yours, owner, a, b, order)
                goal = isinstance(result, int)
                after = [((2, 1), (1, 3), ball) for ball in (0, 1)] if goal else [result]
                reward = (0, 0) if not goal else (1, -1) if result == 0 else (-1, 1)
                for place in after:
                    key = (soccer_v0.encode(soccer_v0.Position(place[:2], place[2])), reward)
                    expected[key] = expected.get(key, 0) + Fraction(1, 2 * len(after))
            assert {(s, r): p for p, s, r, _ in table[state][a, b]} == {key: float(p) for key, p in expected.items()}
            assert all(over == (reward[0] != 0) for _, _, reward, over in ends[state][a, b])


def test_soccer_looks_the_same_from_both_goals():
    """Turning the field by half a turn and swapping the players changes nothing but the sign of the reward."""
    turned = [2, 3, 0, 1, 4]

    def other(state):
        (mine, yours), owner = soccer_v0.decode(state)
        flip = lambda cell: (3 - cell[0], 4 - cell[1])  # noqa: E731
        return soccer_v0.encode(soccer_v0.Position((flip(yours), flip(mine)), 1 - owner))

    table = soccer_v0.parallel_env(slip=0.3).P
    for state in range(0, 760, 7):
        for a, b in product(range(5), repeat=2):
            here = {(s, r): p for p, s, r, _ in table[state][a, b]}
            there = {(other(s), r[::-1]): p for p, s, r, _ in table[other(state)][turned[b], turned[a]]}
            assert here.keys() == there.keys()
            assert all(here[key] == pytest.approx(there[key], abs=1e-14) for key in here)


def test_slips_replace_each_players_move_on_its_own():
    dry, wet = soccer_v0.parallel_env().P, soccer_v0.parallel_env(slip=0.4).P
    state, size = 321, 760
    kernel = np.zeros((5, 5, size))
    for (a, b), outcomes in dry[state].items():
        for p, successor, _, _ in outcomes:
            kernel[a, b, successor] += p
    each = 0.6 * kernel + 0.4 * kernel.mean(axis=0, keepdims=True)
    both = 0.6 * each + 0.4 * each.mean(axis=1, keepdims=True)
    for (a, b), outcomes in wet[state].items():
        found = np.bincount([s for _, s, _, _ in outcomes], [p for p, *_ in outcomes], size)
        np.testing.assert_allclose(found, both[a, b], atol=1e-14)


@pytest.mark.parametrize(("p", "action"), [(Fraction(49, 1000), 1), (Fraction(51, 1000), 0)])
def test_the_fishery_has_opposite_equilibria_on_both_sides_of_its_threshold(p, action):
    """In exact arithmetic, from the rules as told: the action is strictly dominant in every season."""
    catch, after = Fraction(1, 20), [Fraction(0), Fraction(0)]  # value of the seasons to come, to either fleet
    for _ in range(5):
        stage = {
            (a, b): [catch * own + (1 - p * (a + b)) + later for own, later in zip((a, b), after, strict=True)]
            for a, b in product((0, 1), repeat=2)
        }
        for other in (0, 1):
            assert stage[action, other][0] > stage[1 - action, other][0]
            assert stage[other, action][1] > stage[other, 1 - action][1]
        after = stage[action, action]
    import robust_rl as rr

    game = envs.tabular_game(games.make("fishery", p=float(p)))
    for kind in ("ne", "ce", "cce"):
        solution = rr.DRNVI(game, None, equilibrium=kind).learn().solution
        np.testing.assert_array_equal(solution.policy[::2, 0, action, action], 1.0)
        np.testing.assert_allclose(solution.value[:, 0, 0], [float(one) for one in after], atol=1e-12)


def test_robust_fleets_protect_on_both_sides():
    import robust_rl as rr

    for p in (0.049, 0.051):
        game = envs.tabular_game(games.make("fishery", p=p))
        for one in (rr.ChiSquare(0.01), rr.TotalVariation(0.01, support="nominal")):
            policy = rr.DRNVI(game, one, equilibrium="ne").learn().solution.policy
            np.testing.assert_array_equal(policy[::2, 0, 0, 0], 1.0)


def test_rock_paper_scissors_is_fair_with_and_without_adversaries():
    import robust_rl as rr

    game = envs.tabular_game(games.make("rock_paper_scissors"))
    uniform = np.full((2, 3, 3, 3), 1 / 9)
    for one in (None, rr.TotalVariation(0.2, support="free"), rr.TotalVariation(0.2, support="nominal")):
        assert rr.robust_gap(uniform, game, one, kind="ne").gap == pytest.approx(0, abs=1e-12)
        value = rr.robust_gap(uniform, game, one, kind="ne").value[:, 0]
        assert value[0] == pytest.approx(value[1], abs=1e-12)
        assert value[0] == pytest.approx(1.0) if one is None else value[0] < 1


def test_nim_is_lost_exactly_at_multiples_of_four():
    import robust_rl as rr

    game = envs.tabular_game(games.make("nim", stones=13), horizon=13)
    value = rr.DRNVI(game, None, equilibrium="ne").learn().solution.value[:, 0]
    for stones, mover in product(range(1, 14), (0, 1)):
        assert value[mover, 2 * stones + mover] == pytest.approx(-1 if stones % 4 == 0 else 1)


def test_nims_parallel_form_plays_as_its_aec_form():
    """The same seed and the same moves: PettingZoo's conversion against the AEC environment played by hand."""
    aec, parallel = nim_v0.env(stones=12, slip=0.3), turn_based_aec_to_parallel(nim_v0.raw_env(stones=12, slip=0.3))
    rng = np.random.default_rng(0)
    for seed in range(50):
        aec.reset(seed=seed)
        observations, _ = parallel.reset(seed=seed)
        total = dict.fromkeys(parallel.possible_agents, 0.0)
        while parallel.agents:
            assert aec.last()[0] == observations[aec.agent_selection]
            moves = {agent: int(rng.integers(3)) for agent in parallel.agents}
            mover = aec.agent_selection
            assert parallel.unwrapped.agent_selection == mover
            aec.step(moves[mover])
            observations, rewards, *_ = parallel.step(moves)
            assert rewards == aec.rewards
            total = {agent: total[agent] + rewards[agent] for agent in total}
        assert all(aec.terminations.values())
        assert sorted(total.values()) == [-1, 1]
