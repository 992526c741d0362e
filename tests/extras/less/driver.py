"""Drives one LESS layer as a model would, without a model."""

from types import SimpleNamespace

import torch

from robust_rl.extras.less.attention import less_attention
from robust_rl.extras.less.cache import LessLayer


def drive(policy, q, k, v, prompt, kernels=None, mask=None, scaling=None):
    """Return outputs (B, H, S, D) and the layer. ``mask`` (B, S) is False at padding."""
    layer = LessLayer(policy, kernels)
    module = SimpleNamespace(num_key_value_groups=q.shape[1] // k.shape[1], is_causal=True, layer_idx=0)
    outputs = []
    for start, stop in [(0, prompt), *((t, t + 1) for t in range(prompt, q.shape[2]))]:
        held = layer.get_mask_sizes(stop - start)[0]
        attention_mask = None
        if mask is not None:  # what sdpa_mask makes of it
            padding = torch.ones(len(mask), held, dtype=torch.bool)
            padding[:, held - (stop - start) :] = mask[:, start:stop]
            causal = torch.ones(stop - start, held, dtype=torch.bool).tril(held - (stop - start))
            attention_mask = padding[:, None, None] & causal
        keys, values = layer.update(k[:, :, start:stop], v[:, :, start:stop])
        output, weights = less_attention(module, q[:, :, start:stop], keys, values, attention_mask, scaling=scaling)
        assert weights is None
        outputs.append(output.transpose(1, 2))
    return torch.cat(outputs, 2), layer


def held_positions(layer, k):
    """Return the positions of the slots that hold tokens, found by their keys: [batch][head] -> list."""
    found = []
    for b in range(k.shape[0]):
        found.append([])
        for c in range(k.shape[1]):
            same = (layer.keys[b, c][:, None] == k[b, c][None]).all(-1)
            assert same.any(1).all()
            found[-1].append(same.int().argmax(1)[layer.valid[b, c]].tolist())
    return found


def random_heads(heads, kv_heads, length, size=4, batch=1, seed=0, scale=1.5):
    g = torch.Generator().manual_seed(seed)
    shapes = [(batch, heads, length, size), (batch, kv_heads, length, size), (batch, kv_heads, length, size)]
    return [scale * torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes]
