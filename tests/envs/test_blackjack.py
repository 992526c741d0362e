from collections import Counter, defaultdict

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text.blackjack import draw_hand
from scipy.stats import binom

from robust_rl.envs import tabular
from robust_rl.envs.blackjack import blackjack_table

from .helpers import dense, dense_rewards, optimal_value

RULES = [{"natural": False, "sab": False}, {"natural": True, "sab": False}, {"natural": False, "sab": True}]
LABELS = ["plain", "natural", "sab"]
SHAPE, NATURALS = (32, 11, 2), 704


@pytest.mark.parametrize(("rules", "value"), [(RULES[0], -0.04656), (RULES[1], None), (RULES[2], None)], ids=LABELS)
def test_optimal_value_is_the_known_one_and_better_for_the_player_under_kinder_rules(rules, value):
    model = tabular("Blackjack-v1", **rules)
    found = optimal_value(model, 1.0) @ model.start
    if value is not None:
        assert found == pytest.approx(value, abs=5e-6)
    else:
        assert -0.0465 < found < 0


@pytest.mark.parametrize("rules", RULES, ids=LABELS)
def test_states_that_no_hand_has_are_terminal_and_others_are_distributions(rules):
    model = blackjack_table(**rules)
    live = ~model.terminal
    assert live.sum() == 10 * (18 + 10) + 10  # hard 4..21, soft 12..21 and naturals against ten cards
    assert live[: 44 * 2].sum() == 0  # totals 0 to 3
    np.testing.assert_allclose(dense(model)[live].sum(axis=2), 1)
    ends = NATURALS + 10
    assert model.terminal[ends:].all()
    assert (dense_rewards(model)[live][:, :, ends : ends + 3] == [-1, 0, 1]).all()
    assert not dense(model)[:, :, model.terminal][:, :, : (model.terminal[:ends]).sum()].any()


def test_a_lost_hand_is_the_worst_successor_of_every_hand():
    model = blackjack_table()
    z = dense_rewards(model) + optimal_value(model, 1.0)
    assert (z[~model.terminal].argmin(axis=2) == NATURALS + 10).all()


@pytest.mark.parametrize(("rules", "hands"), [(RULES[0], 200_000), (RULES[1], 60_000), (RULES[2], 60_000)], ids=LABELS)
def test_the_played_game_agrees_with_the_table(rules, hands, monkeypatch):
    rng = np.random.default_rng(0)
    cards = iter(np.minimum(rng.integers(1, 14, 8 * hands), 10).tolist())
    monkeypatch.setattr("gymnasium.envs.toy_text.blackjack.draw_card", lambda np_random: next(cards))  # ten times as fast
    model = tabular("Blackjack-v1", **rules)
    env = gymnasium.make("Blackjack-v1", **rules).unwrapped
    first_end = NATURALS + 10
    starts, outcomes = Counter(), defaultdict(Counter)
    hits = rng.random(8 * hands)
    for hand in range(hands):
        env.dealer, env.player = draw_hand(env.np_random), draw_hand(env.np_random)  # reset() draws suits besides
        total, dealer, ace = env._get_obs()
        state = NATURALS + dealer - 1 if total == 21 else np.ravel_multi_index((total, dealer, ace), SHAPE)
        starts[state] += 1
        done = False
        while not done:
            action = int(hits[hand * 8 + len(env.player) % 8] < (0.9 if total < 14 else 0.5))
            (total, dealer, ace), reward, done, _, _ = env.step(action)
            after = first_end + 1 + int(np.sign(reward)) + (reward == 1.5) if done else (total * 11 + dealer) * 2 + ace
            outcomes[state, action][int(after)] += 1
            state = after
    kernel = dense(model)
    check(starts, model.start)
    pairs = [pair for pair, seen in outcomes.items() if seen.total() >= 100]
    assert len(pairs) > 100
    for state, action in pairs:
        check(outcomes[state, action], kernel[state, action])


def check(counts, probabilities):
    """Every outcome within its binomial interval of one in a million; none that the table calls impossible."""
    total = counts.total()
    assert all(probabilities[outcome] > 0 for outcome, seen in counts.items() if seen)
    for outcome in np.flatnonzero(probabilities):
        low, high = binom.interval(1 - 1e-6, total, probabilities[outcome])
        assert low <= counts[outcome] <= high
