"""The statistic and the rules, against numpy and counting."""

import math

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.griffin import SELECTIONS, griffin
from robust_rl.extras.griffin import selection as chosen
from tests.extras.griffin import oracle
from tests.extras.griffin.test_generation import by_layer, generated
from tests.extras.tiny_llm import make, tokens


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 9), st.integers(1, 12), st.booleans())
def test_a_prompt_s_squares_add_up_to_its_length(seed, rows, length, neurons, split):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, length, neurons)) * 10.0 ** rng.integers(-8, 8, size=(rows, length, 1))
    valid = rng.random((rows, length)) < 0.7
    found = chosen.squares(torch.tensor(z), torch.tensor(valid))
    np.testing.assert_allclose(found.sum(1), valid.sum(1), atol=1e-12)
    expected, _ = oracle.statistic(z, valid)
    np.testing.assert_allclose(found.sqrt(), expected, atol=1e-12)
    lengths = torch.tensor(valid.sum(1))
    shares = (found / lengths.clamp_min(1)[:, None]).sum(1)
    np.testing.assert_allclose(shares, valid.any(1), atol=1e-12)
    np.testing.assert_allclose(
        chosen.pooled(found, lengths), sum(s / math.sqrt(max(n, 1)) for s, n in zip(expected, valid.sum(1)))
    )


def test_long_prompts_are_summed_in_pieces(monkeypatch):
    z, valid = torch.randn(2, 10, 5, generator=seeded()), torch.ones(2, 10, dtype=torch.bool)
    whole = chosen.squares(z, valid)
    monkeypatch.setattr(chosen, "CHUNK", 3)
    torch.testing.assert_close(chosen.squares(z, valid), whole)


def test_half_precision_is_summed_in_single():
    z = torch.full((1, 3000, 2), 300.0, dtype=torch.float16)  # 300^2 is above what float16 holds
    found = chosen.squares(z, torch.ones(1, 3000, dtype=torch.bool))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((1, 2), 1500.0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", SELECTIONS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), neurons=st.integers(1, 30), keep=st.floats(0, 1))
def test_every_rule_returns_sorted_distinct_neurons(name, seed, neurons, keep):
    rng = np.random.default_rng(seed)
    k = chosen.count(neurons, keep)
    kept = chosen.select(name, torch.tensor(rng.random(neurons)), k, seeded(seed))
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert len(kept) == k == math.floor(neurons * keep + 1e-9)
    assert not k or 0 <= kept[0] <= kept[-1] < neurons


def test_count_is_not_one_short_for_rounding():
    assert [chosen.count(100, keep) for keep in (0.29, 0.57, 0.58, 0.999, 1.0)] == [29, 57, 58, 99, 100]


def test_topk_keeps_the_largest_and_half_of_topk_sample_are_those():
    s = torch.rand(40, generator=seeded())
    order = np.argsort(-s.numpy())
    assert chosen.select("topk", s, 9, seeded()).tolist() == sorted(order[:9])
    drawn = [set(chosen.select("topk_sample", s, 9, seeded(i)).tolist()) for i in range(30)]
    assert all(set(order[:4]) <= each for each in drawn)
    assert len(set.union(*drawn)) > 20


def test_draws_have_the_probabilities_they_should():
    s, draws = torch.tensor([0.0, 1.0, 2.0, 5.0]), 4000
    first = np.bincount([int(chosen.select("sample", s, 1, seeded(i))) for i in range(draws)], minlength=4) / draws
    spread = 4 * np.sqrt(np.array([0, 1, 2, 5]) / 8 * (1 - np.array([0, 1, 2, 5]) / 8) / draws)
    assert (np.abs(first - np.array([0, 1, 2, 5]) / 8) <= spread).all()
    # without replacement: P({1, 2}) = 1/8 2/7 + 2/8 1/6
    pairs = np.mean([chosen.select("sample", s, 2, seeded(i)).tolist() == [1, 2] for i in range(draws)])
    exact = 1 / 8 * 2 / 7 + 2 / 8 * 1 / 6
    assert abs(pairs - exact) <= 4 * math.sqrt(exact * (1 - exact) / draws)
    uniform = np.bincount(np.concatenate([chosen.select("random", s, 2, seeded(i)).numpy() for i in range(draws)])) / draws
    assert (np.abs(uniform - 0.5) <= 4 * 0.5 / math.sqrt(draws)).all()


def test_controls_in_a_model():
    model, one, other = make("llama"), tokens(1, 6), tokens(1, 6, seed=8)
    with griffin(model, 0.5, "magnitude") as g:
        generated(model, one, 2)
        by_weights = by_layer(g)
        generated(model, other, 2)
        assert by_layer(g) == by_weights
    for layer, kept in zip(model.model.layers, by_weights, strict=True):
        gate, up = (np.linalg.norm(each.weight.detach().numpy(), axis=1) for each in (layer.mlp.gate_proj, layer.mlp.up_proj))
        assert kept == sorted(np.argsort(-gate * up)[:24])
    opt = make("opt")
    with griffin(opt, 0.5, "magnitude") as g:
        generated(opt, one, 2)
    norms = np.linalg.norm(opt.model.decoder.layers[0].fc1.weight.detach().numpy(), axis=1)
    assert by_layer(g)[0] == sorted(np.argsort(-norms)[:24])
    phi, gpt = make("phi3"), make("gpt2")
    with griffin(phi, 0.5, "magnitude") as g, griffin(gpt, 0.5, "magnitude") as h:
        generated(phi, one, 2)
        generated(gpt, one, 2)
    gate, up = np.split(np.linalg.norm(phi.model.layers[1].mlp.gate_up_proj.weight.detach().numpy(), axis=1), 2)
    assert by_layer(g)[1] == sorted(np.argsort(-gate * up)[:24])
    norms = np.linalg.norm(gpt.transformer.h[1].mlp.c_fc.weight.detach().numpy(), axis=0)
    assert by_layer(h)[1] == sorted(np.argsort(-norms)[:24])
    for name in ("random", "sample"):
        with griffin(model, 0.5, name, seed=3) as g:
            generated(model, one, 2)
            first = by_layer(g)
            generated(model, one, 2)
            assert by_layer(g) != first, "drawn anew for each prompt"
        with g:
            generated(model, one, 2)
            assert by_layer(g) == first, "and again from the seed"


def test_unknown_rules_are_refused():
    with pytest.raises(InvalidArgumentError, match="no selection 'topp'; did you mean topk"):
        griffin(make("llama"), 0.5, "topp")
