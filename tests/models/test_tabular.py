import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError, InvalidModelError, NoTableError
from robust_rl.models import unroll
from tests.worlds import TAXI, random_model

P = np.array([[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.25, 0.75]]])
R = np.array([[1.0, 0.0], [0.0, 2.0]])


def changed(position, value):
    p = P.copy()
    p[position] = value
    return p


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rr.TabularMDP(changed((1, 1, 0), 0.23), R), r"P\[s=1, a=1\] sums to 0.98; rows must sum to 1 within 1e-08"),
        (lambda: rr.TabularMDP(changed((0, 1, 1), np.nan), R), r"P\[s=0, a=1, s'=1\] is nan"),
        (lambda: rr.TabularMDP(changed((0, 0), [-0.5, 1.5]), R), r"P\[s=0, a=0, s'=0\] is -0.5"),
        (lambda: rr.TabularMDP(csr_array(changed((1, 1, 0), 0.23).reshape(4, 2)), R), r"P\[s=1, a=1\] sums to 0.98"),
        (lambda: rr.TabularMDP(csr_array(changed((0, 0), [-0.5, 1.5]).reshape(4, 2)), R), r"P\[s=0, a=0, s'=0\] is -0.5"),
        (lambda: rr.TabularMDP(P, np.array([[1, np.inf], [0, 0]])), r"reward of \(s=0, a=1\) is NaN or infinite"),
        (lambda: rr.TabularMDP(P, np.zeros((2, 3))), r"rewards have shape \(2, 3\); expected \(2, 2\) or \(2, 2, 2\)"),
        (lambda: rr.TabularMDP(P[:, :, :1], R), r"transitions have shape \(2, 2, 1\)"),
        (lambda: rr.TabularMDP(P[0], R), r"transitions have shape \(2, 2\)"),
        (lambda: rr.TabularMDP(csr_array(np.eye(3)), R), r"rewards have shape"),
        (lambda: rr.TabularMDP("P", R), "not an array of numbers"),
        (lambda: rr.TabularMDP(P, R, start=[0.5, 0.4]), "start sums to 0.9"),
        (lambda: rr.TabularMDP(P, R, start=[1.5, -0.5]), "start has an entry that is negative"),
        (lambda: rr.TabularMDP(P, R, start=[1.0]), r"start has shape \(1,\)"),
        (lambda: rr.TabularMDP(P, R, terminal=[2]), "terminal state 2 does not exist; states are 0..1"),
        (lambda: rr.TabularMDP(P, R, terminal=[True]), r"terminal has shape \(1,\)"),
        (lambda: rr.TabularMDP(P, R, terminal=np.array([0, 0])), "lists a state twice; a mask of 0 and 1 must have dtype bool"),
        (lambda: rr.TabularMDP(P, R, terminal=[0.9]), "array of float64"),
        (lambda: rr.TabularMDP(P, R, action_mask=np.full((2, 2), np.nan)), "entry other than True and False"),
        (lambda: rr.TabularMDP(P, R, action_mask=[[False, False], [True, True]]), "no action in state 0"),
        (lambda: rr.TabularMDP(P, R, action_mask=[True]), "action_mask has shape"),
    ],
)
def test_inconsistent_arrays_are_named(build, message):
    with pytest.raises(InvalidModelError, match=message):
        build()


def test_rows_of_terminal_states_and_masked_actions_may_be_anything():
    p = changed((0, 0), [np.nan, -3.0])
    rr.TabularMDP(p, R, action_mask=[[False, True], [True, True]])
    rr.TabularMDP(changed((0,), 0.0), np.array([[np.nan, np.nan], [0, 0]]), terminal=[0])
    model = rr.TabularMDP(p, R, action_mask=[[False, True], [True, True]])
    for uncertainty in (None, rr.TotalVariation(0.2, support="free"), rr.TotalVariation(0.2, support="reachable")):
        assert np.isfinite(rr.solve(model, uncertainty, discount=0.9).value).all()


def test_the_callers_arrays_are_not_changed():
    matrix = csr_array((np.array([0.5, 0.5, 1.0]), np.array([1, 0, 0]), np.array([0, 2, 3])), shape=(2, 2))
    before = matrix.indices.copy()
    rr.TabularMDP(matrix, np.zeros((2, 1)))
    np.testing.assert_array_equal(matrix.indices, before)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("transition_rewards", [False, True])
def test_save_and_load(sparse, transition_rewards, tmp_path):
    model = random_model(3, sparse=sparse, transition_rewards=transition_rewards)
    loaded = rr.TabularMDP.load(model.save(tmp_path / "model"))
    assert repr(loaded) == repr(model)
    np.testing.assert_array_equal(loaded.csr().toarray(), model.csr().toarray())
    np.testing.assert_array_equal(loaded.expected_rewards(), model.expected_rewards())
    for name in ("start", "terminal", "action_mask"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))


def test_corrupt_foreign_and_newer_files_are_refused(tmp_path):
    path = random_model(0).save(tmp_path / "model")
    good = path.read_bytes()
    path.write_bytes(good[:100])
    with pytest.raises(FileFormatError, match="model.npz"):
        rr.TabularMDP.load(path)
    np.savez(path, x=1)
    with pytest.raises(FileFormatError, match="not a robust-rl tabular model"):
        rr.TabularMDP.load(path)
    np.savez(path, format="robust-rl tabular model", version=99)
    with pytest.raises(FileFormatError, match="version 99, newer than 1: upgrade"):
        rr.TabularMDP.load(path)
    np.savez(path, format="robust-rl tabular model", version=1)
    with pytest.raises(FileFormatError, match="incomplete: 'start'"):
        rr.TabularMDP.load(path)
    np.savez(path, format=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FileFormatError, match="model.npz"):
        rr.TabularMDP.load(path)
    with pytest.raises(FileFormatError, match="no model file"):
        rr.TabularMDP.load(tmp_path / "nowhere.npz")


def test_names_with_dots_are_kept(tmp_path):
    one, two = (rr.TabularMDP(P, R * scale).save(tmp_path / "new" / f"model-0.{scale}") for scale in (1, 2))
    assert one != two
    assert rr.TabularMDP.load(tmp_path / "new" / "model-0.2").rewards[0, 0] == 2


def test_every_corruption_of_a_file_is_refused_or_harmless(tmp_path):
    """Any flipped byte gives our error, or the same model: never another model, never a foreign exception."""
    model = random_model(0)
    path = model.save(tmp_path / "model")
    good = path.read_bytes()
    for position in range(0, len(good), 7):
        path.write_bytes(good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :])
        try:
            loaded = rr.TabularMDP.load(path)
        except FileFormatError:
            continue
        np.testing.assert_array_equal(loaded.transitions, model.transitions)
        np.testing.assert_array_equal(loaded.rewards, model.rewards)


def test_counts_give_frequencies_and_unvisited_pairs_are_named():
    counts = np.array([[[3, 1], [0, 0]], [[2, 2], [0, 5]]])
    with pytest.raises(InvalidModelError, match=r"\(s=0, a=1\) was never visited \(1 such pairs\); choose unvisited="):
        rr.TabularMDP.from_counts(counts, R)
    with pytest.raises(InvalidModelError, match="negative"):
        rr.TabularMDP.from_counts(-counts, R)
    with pytest.raises(InvalidArgumentError, match="unvisited='guess'"):
        rr.TabularMDP.from_counts(counts, R, unvisited="guess")
    expected = {"uniform": [0.5, 0.5], "stay": [1.0, 0.0], "mask": None}
    for layout in (counts, csr_array(counts.reshape(4, 2))):
        for choice, row in expected.items():
            model = rr.TabularMDP.from_counts(layout, R, unvisited=choice)
            p = model.csr().toarray()
            np.testing.assert_allclose(p[[0, 2, 3]], [[0.75, 0.25], [0.5, 0.5], [0, 1]])
            if row is None:
                assert not model.action_mask[0, 1]
            else:
                np.testing.assert_allclose(p[1], row)


def test_counts_of_a_terminal_state_need_no_visits():
    counts = np.array([[[3, 1]], [[0, 0]]])
    assert rr.TabularMDP.from_counts(counts, np.zeros((2, 1)), terminal=[1]).terminal[1]


def test_gymnasium_tables_drop_zero_probabilities_and_average_repeated_successors():
    lake = rr.TabularMDP.from_env(gymnasium.make("FrozenLake-v1", is_slippery=True, success_rate=1.0))
    assert (np.diff(lake.csr().indptr)[lake.active_rows] == 1).all(), "with rate 1 every row has one successor"
    cliff = rr.TabularMDP.from_env(gymnasium.make("CliffWalking-v1", is_slippery=True))
    # in the start cell, going down slips right into the cliff (back to start, -100), or stays (-1) twice
    assert cliff.transitions[36, 2, 36] == pytest.approx(1.0)
    assert cliff.rewards[36, 2, 36] == pytest.approx((-100 - 1 - 1) / 3)
    assert cliff.expected_rewards()[36, 2] == pytest.approx(-34)


def test_taxi_ends_in_an_extra_state_because_its_goal_is_also_passed_through():
    taxi = rr.TabularMDP.from_env(gymnasium.make(TAXI))
    assert taxi.num_states == 501
    assert taxi.terminal.nonzero()[0].tolist() == [500]
    assert rr.solve(taxi, None, discount=0.99).value[:500].max() == pytest.approx(20.0, abs=1e-6)


def test_an_environment_without_a_table_says_what_to_do():
    with pytest.raises(NoTableError, match=r"CartPole-v1 has no transition table.*pass a TabularMDP"):
        rr.TabularMDP.from_env(gymnasium.make("CartPole-v1"))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), sparse=st.booleans(), transition_rewards=st.booleans())
def test_to_env_and_back_is_the_same_model(seed, sparse, transition_rewards):
    model = random_model(seed, sparse=sparse, transition_rewards=transition_rewards)
    assert rr.TabularMDP.from_env(model.to_env()) is model


def test_to_env_passes_gymnasiums_checker_and_samples_the_model():
    model = random_model(5, masked=False)
    check_env(model.to_env(), skip_render_check=True)
    env, hits, total = model.to_env(), np.zeros(5), 0.0
    for i in range(20_000):
        env.reset(seed=0 if i == 0 else None, options={"state": 2})
        state, reward, terminated, truncated, _ = env.step(1)
        hits[state] += 1
        total += reward
        assert terminated == model.terminal[state]
        assert not truncated
    p = model.transitions[2, 1]
    assert (abs(hits / 20_000 - p) <= 4 * np.sqrt(p * (1 - p) / 20_000)).all(), "beyond 4 standard errors"
    assert hits[p == 0].sum() == 0
    deviation = np.sqrt(p @ model.rewards[2, 1] ** 2 - (p @ model.rewards[2, 1]) ** 2)
    assert abs(total / 20_000 - p @ model.rewards[2, 1]) <= 4 * deviation / np.sqrt(20_000)


def test_to_env_refuses_what_the_model_does_not_have():
    model = random_model(0)
    s, a = np.argwhere(~model.action_mask)[0]
    env = model.to_env()
    env.reset(options={"state": int(s)})
    with pytest.raises(InvalidArgumentError, match=f"action {a} is not available in state {s}"):
        env.step(int(a))
    with pytest.raises(InvalidArgumentError, match="state 7 does not exist"):
        env.reset(options={"state": 7})


def test_unrolling_a_horizon_gives_the_same_values():
    model = random_model(4)
    finite = rr.solve(model, None, horizon=4)
    flat = rr.solve(unroll([model] * 4), None, discount=1.0)
    np.testing.assert_allclose(flat.value[: 4 * 5].reshape(4, 5), finite.value, atol=1e-6)
