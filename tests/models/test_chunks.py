import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robust_rl as rr
from robust_rl.errors import InvalidModelError
from robust_rl.models import columns, validation


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), pieces=st.integers(1, 5), shuffled=st.booleans(), rewarded=st.booleans())
def test_any_order_and_cut_gives_what_adding_up_in_a_dense_array_gives(seed, pieces, shuffled, rewarded):
    rng = np.random.default_rng(seed)
    states, actions, count = 4, 2, 40
    s, a, t = rng.integers(states, size=count), rng.integers(actions, size=count), rng.integers(states, size=count)
    dense, paid = np.zeros((states, actions, states)), np.zeros((states, actions, states))
    weight, reward = rng.random(count), rng.normal(size=count)
    sums = np.zeros((states, actions))
    np.add.at(sums, (s, a), weight)
    p = weight / sums[s, a]
    np.add.at(dense, (s, a, t), p)
    np.add.at(paid, (s, a, t), p * reward)
    order = rng.permutation(count) if shuffled else np.lexsort((t, a, s))
    listed = [column[order] for column in (s, a, t, p, *([reward] * rewarded))]
    chunks = list(zip(*(np.array_split(column, pieces) for column in listed)))
    model = rr.TabularMDP.from_chunks(iter(chunks), states, actions)
    np.testing.assert_allclose(model.csr().toarray().reshape(dense.shape), dense, atol=1e-15)
    np.testing.assert_array_equal(model.action_mask, sums > 0)
    np.testing.assert_array_equal(model.terminal, ~(sums > 0).any(axis=1))
    if rewarded:
        np.testing.assert_allclose(model.expected_rewards(), paid.sum(axis=-1), atol=1e-12)
    else:
        assert not model.rewards.any()


def test_a_generator_is_read_as_it_comes_and_rewards_may_be_given_apart():
    given = []

    def stream():
        for s in range(3):
            given.append(s)
            yield s, [[0], [1]], [[s, 2]], 0.5

    model = rr.TabularMDP.from_chunks(stream(), 3, 2, rewards=np.arange(6.0).reshape(3, 2), start=[0, 1, 0])
    assert given == [0, 1, 2]
    np.testing.assert_array_equal(model.csr().toarray()[4], [0, 0, 1])
    assert model.rewards[2].tolist() == [4, 5]
    assert model.start[1] == 1
    assert model.transitions.indices.dtype == np.int32


def test_a_state_that_is_named_terminal_may_have_rows_or_none():
    model = rr.TabularMDP.from_chunks([([0, 1], 0, [1, 0], 1.0)], 3, 1, terminal=[1, 2])
    assert model.terminal.tolist() == [False, True, True]
    with pytest.raises(InvalidModelError, match="no action in state 2"):
        rr.TabularMDP.from_chunks([([0, 1], 0, [1, 0], 1.0)], 3, 1, terminal=[1])


def test_means_of_rewards_over_zero_probabilities_are_plain():
    model = rr.TabularMDP.from_chunks([([0, 0, 0], 0, [0, 1, 1], [1.0, 0.0, 0.0], [1.0, 2.0, 4.0])], 2, 1)
    assert model.csr().nnz == 1
    assert model.rewards.toarray()[0].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([], "no transitions"),
        ([(0, 0, 0)], "chunk 0 has 3 columns"),
        ([(0, 0, 0, 1.0), (0, 0, 0, 1.0, 1.0)], "chunk 1 holds a reward, unlike"),
        ([([0, 1], 0, [0, 1, 1], 1.0)], "columns of chunk 0 don't fit"),
        ([(0.5, 0, 0, 1.0)], "state of chunk 0 holds float64"),
        ([(0, 2, 0, 1.0)], r"action 2 of chunk 0 does not exist; they are 0\.\.1"),
        ([(0, 0, -1, 1.0)], "next_state -1 of chunk 0"),
        ([(0, 0, 0, -0.5)], r"probability -0.5 of \(s=0, a=0, s'=0\) in chunk 0"),
        ([(0, 0, 0, np.nan)], "probability nan of"),
        ([(0, 0, 0, 1.0, np.inf)], "reward inf of"),
        ([(0, 0, 0, 0.9)], r"P\[s=0, a=0\] sums to 0.9"),
        ([(0, 0, 0, 0.0)], r"P\[s=0, a=0\] sums to 0"),
    ],
)
def test_mistakes_are_named(chunks, message):
    with pytest.raises(InvalidModelError, match=message):
        rr.TabularMDP.from_chunks(chunks, 2, 2)


def test_rewards_in_two_places_are_refused():
    with pytest.raises(InvalidModelError, match="leave out rewards="):
        rr.TabularMDP.from_chunks([(0, 0, 0, 1.0, 1.0)], 1, 1, rewards=[[1.0]])


@pytest.mark.parametrize("seed", range(5))
def test_blocks_of_any_size_check_alike(seed, monkeypatch):
    """The checks go block by block: wherever a mistake is, it's found, and named as it would be in one block."""
    rng = np.random.default_rng(seed)
    model = rr.envs.domains.garnet(30, 3, 4, seed=seed)
    row = int(rng.integers(90))
    broken = model.csr().copy()
    broken.data[broken.indptr[row]] += 0.01
    for size in (1, 7, 50, 10**6):
        monkeypatch.setattr(validation.row_blocks, "__defaults__", (size,))
        monkeypatch.setattr(columns, "PIECE", size)
        assert sum(end - begin for begin, end in validation.row_blocks(model.csr())) == 90
        with pytest.raises(InvalidModelError, match=rf"P\[s={row // 3}, a={row % 3}\] sums to 1.01"):
            rr.TabularMDP(broken, model.rewards)
        with pytest.raises(InvalidModelError, match=rf"P\[s={row // 3}, a={row % 3}\] sums to 1.01"):
            rr.TabularMDP(broken.toarray().reshape(30, 3, 30), model.rewards)
        rounded = model.csr() * (1 + 4e-9)
        scaled = rr.TabularMDP(rounded, model.rewards)
        np.testing.assert_allclose(scaled.csr().sum(axis=1), 1, atol=1e-15)
        np.testing.assert_allclose(scaled.csr().data, model.csr().data, rtol=1e-6)
        entries = model.csr().tocoo()
        again = rr.TabularMDP.from_chunks([(*np.divmod(entries.row, 3), entries.col, entries.data)], 30, 3, rewards=model.rewards)
        np.testing.assert_array_equal(again.csr().toarray(), model.csr().toarray())
