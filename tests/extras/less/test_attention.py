"""The kept sets and outputs of every policy against a loop over tokens, and the identities that LESS must satisfy."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.extras.less import H2O, TOVA, LessKernels, StreamingLLM, Window
from robust_rl.extras.less import attention as less_module
from robust_rl.extras.less.attention import less_attention
from robust_rl.extras.less.cache import LessLayer
from robust_rl.extras.less.kernels import Geometry
from tests.extras.less import oracle
from tests.extras.less.driver import drive, held_positions, random_heads

POLICIES = [H2O(3, 2), H2O(4, 0), StreamingLLM(2, 3), TOVA(5), Window(4), H2O(1, 0)]


def kernels_for(heads, kv_heads, size=4, rank=3, seed=0, strength=1.0):
    """Kernels that matter: those of a fresh fit hardly do."""
    layer = LessKernels(Geometry(1, heads, kv_heads, size), rank=rank, hidden=6, seed=seed).double().of(0)
    with torch.no_grad():
        layer.c1.fill_(strength)
        layer.c2.fill_(0.5)
    return layer


def as_functions(layer):
    """phi and psi of the paper in numpy, written apart from the module."""
    w = {name: p.detach().numpy() for name, p in layer.named_parameters()}

    def gelu(x):
        from scipy.special import erf

        return x * 0.5 * (1 + erf(x / np.sqrt(2)))

    def phi(h, q):
        return np.abs(gelu(gelu(q @ w["A1"][h]) @ w["A2"][h]))

    def psi(c, k):
        g = np.abs(w["c1"][c, 0]) * gelu(gelu(k @ w["B1"][c]) @ w["B2"][c])
        return np.abs(g + (g @ w["B3"][c]) * w["c2"][c, 0])

    return phi, psi


@settings(max_examples=40, deadline=None)
@given(
    policy=st.sampled_from(POLICIES), groups=st.sampled_from([(2, 2), (4, 2), (3, 1)]), prompt=st.integers(1, 10),
    more=st.integers(0, 9), seed=st.integers(0, 99), learned=st.booleans(),
)  # fmt: skip
def test_outputs_and_kept_sets_are_those_of_a_loop_over_tokens(policy, groups, prompt, more, seed, learned):
    q, k, v = random_heads(*groups, prompt + more, seed=seed)
    layer = kernels_for(*groups, seed=seed) if learned else None
    functions = as_functions(layer) if learned else (None, None)
    with torch.no_grad():
        output, cache = drive(policy, q, k, v, prompt, layer)
    expected, held = oracle.run(policy, q[0].numpy(), k[0].numpy(), v[0].numpy(), prompt, *functions)
    np.testing.assert_allclose(output[0].numpy(), expected, rtol=0, atol=1e-12)
    assert held_positions(cache, k)[0] == held
    assert cache.keys.shape[2] == min(policy.budget, prompt + more)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_padding_is_dropped_first_never_folded_and_never_scored(policy):
    """Rows of 7 and 11 real tokens in one batch, against each row alone."""
    q, k, v = random_heads(4, 2, 11, batch=2, seed=5)
    layer = kernels_for(4, 2)
    mask = torch.ones(2, 11, dtype=torch.bool)
    mask[0, :4] = False
    with torch.no_grad():
        output, cache = drive(policy, q, k, v, 8, layer, mask)
    for row, pads in ((0, range(4)), (1, ())):
        arrays = (each[row].numpy() for each in (q, k, v))
        expected, held = oracle.run(policy, *arrays, 8, *as_functions(layer), pads=frozenset(pads))
        np.testing.assert_allclose(output[row, :, len(pads) :].numpy(), expected[:, len(pads) :], rtol=0, atol=1e-12)
        assert held_positions(cache, k)[row] == held


def test_blocks_of_queries_change_nothing(monkeypatch):
    q, k, v = random_heads(4, 2, 23, seed=1)
    whole = drive(H2O(3, 2), q, k, v, 20, kernels_for(4, 2))[1]
    monkeypatch.setattr(less_module, "BLOCK", 4)
    parts = drive(H2O(3, 2), q, k, v, 20, kernels_for(4, 2))[1]
    torch.testing.assert_close(whole.score, parts.score, rtol=0, atol=1e-12)
    assert torch.equal(whole.keys, parts.keys)


def test_several_tokens_at_once_after_an_eviction_see_each_other_and_the_state():
    """A second turn of a chat: its tokens attend causally among themselves, to what is held, and to what is not."""
    q, k, v = random_heads(2, 1, 12, seed=3)
    layer, policy = kernels_for(2, 1), StreamingLLM(1, 3)
    phi, psi = as_functions(layer)
    cache, module = LessLayer(policy, layer), SimpleNamespace(num_key_value_groups=2, is_causal=True)
    with torch.no_grad():
        for part in (slice(0, 8), slice(8, 12)):
            keys, values = cache.update(k[:, :, part], v[:, :, part])
            output, _ = less_attention(module, q[:, :, part], keys, values, None)
    gone, held = [1, 2, 3, 4], [0, 5, 6, 7]
    for h in range(2):
        for i in range(8, 12):
            see = [*held, *range(8, i + 1)]
            weight = {j: np.exp(q[0, h, i].numpy() @ k[0, 0, j].numpy() / 2) for j in see}
            weight |= {j: phi(h, q[0, h, i].numpy()) @ psi(0, k[0, 0, j].numpy()) for j in gone}
            expected = sum(w * v[0, 0, j].numpy() for j, w in weight.items()) / sum(weight.values())
            np.testing.assert_allclose(output[0, i - 8, h].numpy(), expected, rtol=0, atol=1e-12)


class ExactKernels:
    """Keys come from a set of n vectors; psi says which, phi holds the exponential of the query with each."""

    def __init__(self, vectors, scaling):
        self.vectors, self.scaling = vectors, scaling

    def phi(self, query):
        return (self.scaling * query @ self.vectors.T).exp()

    def psi(self, key):
        return (key[..., None, :] == self.vectors).all(-1).to(key.dtype)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("shift", [0.0, -60.0], ids=["common", "all logits strongly negative"])
def test_exact_kernels_give_full_attention_however_much_is_dropped(policy, shift):
    """Also where sums of exponentials are of size 1e-26, so that any epsilon in the normaliser would be all there is."""
    g = torch.Generator().manual_seed(0)
    vectors = torch.randn(6, 4, generator=g, dtype=torch.float64)
    vectors[:, 0] = 1.0
    q, _, v = random_heads(4, 2, 30, seed=2)
    q[..., 0] = 2 * shift  # each logit moves by shift
    k = vectors[torch.randint(6, (1, 2, 30), generator=g)]
    output, cache = drive(policy, q, k, v, 10, ExactKernels(vectors, 0.5))
    full = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(output, full, rtol=0, atol=1e-12)
    assert cache.keys.shape[2] == policy.budget
    assert cache.z.sum() == 2 * (30 - policy.budget)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_kernel_of_zero_is_the_policy_alone(policy):
    q, k, v = random_heads(4, 2, 15)
    zero = kernels_for(4, 2)
    with torch.no_grad():
        zero.c1.zero_()
        output, cache = drive(policy, q, k, v, 6, zero)
    assert torch.equal(output, drive(policy, q, k, v, 6)[0])
    assert not cache.z.any()


def test_values_of_one_come_out_as_one():
    q, k, v = random_heads(4, 2, 15)
    with torch.no_grad():
        output, _ = drive(H2O(2, 2), q, k, torch.ones_like(v), 6, kernels_for(4, 2, strength=3.0))
    torch.testing.assert_close(output, torch.ones_like(output), rtol=0, atol=1e-12)


def test_order_and_grouping_of_evictions_do_not_matter():
    _, k, v = random_heads(2, 2, 9)
    states = []
    for groups in ([[*range(9)]], [[j] for j in range(9)], [[8, 3], [0, 1, 2, 7], [4, 6, 5]]):
        cache = LessLayer(Window(1), kernels_for(2, 2))
        for group in groups:
            with torch.no_grad():
                cache.fold(k[:, :, group], v[:, :, group], torch.ones(1, 2, len(group), dtype=torch.bool))
        states.append((cache.H, cache.z))
    for H, z in states[1:]:
        torch.testing.assert_close(H, states[0][0], rtol=0, atol=1e-12)
        torch.testing.assert_close(z, states[0][1], rtol=0, atol=1e-12)


def test_without_evictions_nothing_is_folded_and_the_output_is_sdpa_bit_for_bit():
    q, k, v = random_heads(4, 2, 12)
    output, cache = drive(H2O(8, 8), q, k, v, 12, kernels_for(4, 2))
    full = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    assert torch.equal(output, full)
    assert cache.H is None
    assert cache.z is None


def test_half_precision_holds_its_scores_in_single():
    q, k, v = (each.to(torch.bfloat16) for each in random_heads(4, 2, 15))
    with torch.no_grad():
        output, cache = drive(H2O(2, 2), q, k, v, 6, kernels_for(4, 2).float())
    assert output.dtype == torch.bfloat16
    assert cache.score.dtype == cache.H.dtype == torch.float32
    assert output.isfinite().all()
