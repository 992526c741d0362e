"""Language models whose feed-forward blocks are computed here, from the weights, with Z masked by hand.

Shares with the library nothing but the models: Z comes from formulas written out for each family, neurons from loops of numpy.
"""

import math

import numpy as np
import torch

RELU, ERF = torch.relu, lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def silu(x):
    return x / (1 + torch.exp(-x))


def tanh_gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {
    "gemma": tanh_gelu, "gemma2": tanh_gelu, "gemma3": tanh_gelu, "phi": tanh_gelu, "gpt2": tanh_gelu,
    "opt": RELU, "falcon": ERF, "gpt-neox": ERF,
}  # fmt: skip


def layers(family, model):
    """Return the modules that hold the projections, first layer first."""
    if family == "opt":
        return list(model.model.decoder.layers)
    if family == "gpt-neox":
        return [layer.mlp for layer in model.gpt_neox.layers]
    if family in ("falcon", "gpt2"):
        return [layer.mlp for layer in model.transformer.h]
    return [layer.mlp for layer in model.model.layers]


def projections(family, ff):
    """Return W_g or None, W_1, b_1, W_2, b_2 with neurons as the last axis of W_g and W_1 and the first of W_2."""
    if family == "phi3":
        gate, up = ff.gate_up_proj.weight.T.chunk(2, dim=1)
        return gate, up, 0.0, ff.down_proj.weight.T, 0.0
    if family == "gpt2":
        return None, ff.c_fc.weight, ff.c_fc.bias, ff.c_proj.weight, ff.c_proj.bias
    if family in ("phi", "opt"):
        return None, ff.fc1.weight.T, ff.fc1.bias, ff.fc2.weight.T, ff.fc2.bias
    if family in ("falcon", "gpt-neox"):
        up, down = ff.dense_h_to_4h, ff.dense_4h_to_h
        return (
            None,
            up.weight.T,
            up.bias if up.bias is not None else 0.0,
            down.weight.T,
            down.bias if down.bias is not None else 0.0,
        )
    assert family in ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3")
    return ff.gate_proj.weight.T, ff.up_proj.weight.T, 0.0, ff.down_proj.weight.T, 0.0


class Oracle:
    """A model with its blocks replaced; ``masks`` (D_FF,) or (B, S, D_FF) a layer multiply Z, ``z`` is what Z was."""

    def __init__(self, family, model):
        self.family, self.model = family, model
        self.masks, self.z = [None] * 2, [None] * 2
        for layer, ff in enumerate(layers(family, model)):
            if family == "opt":  # has no module of its own for the block
                ff.fc1.forward = lambda x: x
                ff.activation_fn = torch.nn.Identity()
                ff.fc2.forward = self.block(layer, ff)
            else:
                ff.forward = self.block(layer, ff)

    def block(self, layer, ff):
        act = ACTIVATIONS.get(self.family, silu)
        w_g, w_1, b_1, w_2, b_2 = projections(self.family, ff)

        def forward(x):
            z = act(x @ w_1 + b_1) if w_g is None else act(x @ w_g) * (x @ w_1 + b_1)
            self.z[layer] = z
            mask = self.masks[layer]
            masked = z if mask is None else (z.view(*mask.shape) * mask).view(z.shape) if mask.dim() == 3 else z * mask
            return masked @ w_2 + b_2

        return forward

    def run(self, ids, cache=None, attention_mask=None):
        places = {}
        if attention_mask is not None and self.family == "gpt2":  # the others count from the mask, or relatively
            places = {"position_ids": (attention_mask.cumsum(1) - 1).clamp_min(0)}
        with torch.no_grad():
            return self.model(input_ids=ids, past_key_values=cache, attention_mask=attention_mask, use_cache=True, **places)

    def activations(self, ids, attention_mask=None):
        """Return the full model's Z of each layer, (B, S, D_FF) numpy."""
        self.masks = [None] * 2
        self.run(ids, attention_mask=attention_mask)
        return [z.reshape(*ids.shape, -1).numpy() for z in self.z]

    def decode(self, prompt, tail, kept):
        """Return the logits of tail (T,) after prompt (S,), the prompt through everything, the rest through ``kept``."""
        self.masks = [None] * 2
        output = self.run(prompt[None])
        logits = [output.logits[0, -1]]
        neurons = self.z[0].shape[-1]
        self.masks = [
            torch.zeros(neurons, dtype=torch.float64).index_fill(0, torch.tensor(e, dtype=torch.long), 1.0) for e in kept
        ]
        for token in tail[:-1]:
            output = self.run(token[None, None], output.past_key_values)
            logits.append(output.logits[0, -1])
        return torch.stack(logits)


def statistic(z, valid=None):
    """Return s_b (B, D_FF) and S_b, by loops over tokens."""
    rows, lengths = [], []
    for b in range(z.shape[0]):
        total, length = np.zeros(z.shape[2]), 0
        for t in range(z.shape[1]):
            if valid is None or valid[b, t]:
                norm = math.sqrt((z[b, t].astype(float) ** 2).sum())
                total += (z[b, t] / norm) ** 2 if norm else 0.0
                length += 1
        rows.append(np.sqrt(total))
        lengths.append(length)
    return np.array(rows), lengths


def kept(z, k, valid=None):
    """Return the k neurons with the largest sum_b s_b / sqrt(S_b), sorted."""
    s, lengths = statistic(z, valid)
    pooled = sum(row / math.sqrt(length) for row, length in zip(s, lengths, strict=True))
    return sorted(sorted(range(len(pooled)), key=lambda i: -pooled[i])[:k])
