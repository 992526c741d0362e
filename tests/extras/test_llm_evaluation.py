"""Fidelity against numbers computed by numpy from one forward pass without a cache."""

import math

import numpy as np
import pytest
import scipy.special

pytest.importorskip("transformers")

import torch
from transformers import DynamicCache

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.llm_evaluation import Fidelity, continuation_logits, fidelity, held_bytes, step_times
from tests.extras.tiny_llm import make, tokens


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
@pytest.mark.parametrize("chunk", [1, 3, None])
@pytest.mark.parametrize("length", [1, 7])
def test_logits_are_those_of_one_forward_pass_over_everything(family, chunk, length):
    model, prompt, tail = make(family), tokens(9), tokens(length, seed=1)
    with torch.no_grad():
        whole = model(torch.cat([prompt, tail])[None]).logits[0, 8:-1]
    logits = continuation_logits(model, prompt, tail.tolist(), chunk=chunk)
    torch.testing.assert_close(logits, whole, rtol=0, atol=1e-12)


def test_fidelity_equals_the_definitions():
    rng = np.random.default_rng(0)
    full, other, y = rng.normal(size=(5, 11)) * 3, rng.normal(size=(5, 11)) * 3, rng.integers(11, size=5)
    full[:2] = other[:2]
    found = fidelity(torch.tensor(full), torch.tensor(other), y.tolist())
    p, q = scipy.special.softmax(full, 1), scipy.special.softmax(other, 1)
    np.testing.assert_allclose(found.full_nll, [-math.log(p[t, y[t]]) for t in range(5)])
    np.testing.assert_allclose(found.nll, [-math.log(q[t, y[t]]) for t in range(5)])
    np.testing.assert_allclose(found.kl, scipy.special.rel_entr(p, q).sum(1), atol=1e-14)
    np.testing.assert_array_equal(found.agree, p.argmax(1) == q.argmax(1))
    assert (found.kl[:2] == 0).all()
    assert (found.kl[2:] > 0).all()
    one, two = (fidelity(torch.tensor(full[s]), torch.tensor(other[s]), y[s]) for s in (slice(2), slice(2, 5)))
    assert Fidelity.pooled([one, two]).summary() == found.summary()
    assert found.summary()["perplexity"] == pytest.approx(np.prod(q[np.arange(5), y]) ** (-1 / 5))


def test_step_times_decode_greedily_after_the_prompt():
    model, cache = make("llama"), DynamicCache()
    times = step_times(model, tokens(6), 4, cache=cache, warm_up=2)
    assert times.wall.shape == times.cpu.shape == (4,)
    assert (times.wall > 0).all()
    assert cache.get_seq_length() == 6 + 2 + 4


def test_held_bytes_counts_memory_rather_than_views():
    model, cache = make("llama"), DynamicCache()
    continuation_logits(model, tokens(6), tokens(3), cache=cache)
    assert held_bytes(cache) == 2 * 2 * 2 * 8 * 8 * 8  # layers, keys and values, heads, tokens, head size, float64
    block = torch.zeros(100, dtype=torch.float32)
    assert held_bytes(block[:3], block[50:]) == 400
    assert held_bytes(block, device="meta") == 0
    # buffers of rotary embeddings beside the parameters
    assert held_bytes(model) >= sum(p.numel() * 8 for p in model.parameters())
    assert held_bytes(model, model) == held_bytes(model)


def test_what_cannot_be_measured_is_refused():
    model, cache = make("llama"), DynamicCache()
    with pytest.raises(InvalidArgumentError, match="prompt has shape"):
        continuation_logits(model, [], [1])
    with pytest.raises(InvalidArgumentError, match="continuation has shape"):
        continuation_logits(model, [1], tokens(2, 2))
    with pytest.raises(InvalidArgumentError, match="chunk=0"):
        continuation_logits(model, [1], [1], chunk=0)
    with pytest.raises(InvalidArgumentError, match="steps=0"):
        step_times(model, [1], 0)
    continuation_logits(model, [5, 4, 3], [1, 2], cache=cache)
    with pytest.raises(InvalidArgumentError, match="holds 4 tokens already"):
        continuation_logits(model, [1], [1], cache=cache)
    with pytest.raises(InvalidArgumentError, match=r"logits \(2, 3\)"):
        fidelity(torch.zeros(2, 3), torch.zeros(2, 3), [1])
    with pytest.raises(InvalidArgumentError, match="no continuation"):
        Fidelity.pooled([])
