"""Any encoder-decoder of transformers in the place of the LSTMs, z as a prefix that its decoder attends to.

The encoder's states, averaged over the sentence, and an embedding of the domain give mean and log-variance. z is mapped to
``PREFIX`` vectors, which stand where the decoder looks for the encoder's states. h is the decoder's last hidden state. Token ids
are those of the tokenizer plus 1, so that 0 is padding whatever the tokenizer's is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from robust_rl.errors import loadable
from robust_rl.extras.matte.config import MatteConfig
from robust_rl.extras.matte.search import State, beam_search
from robust_rl.extras.matte.vocabulary import PAD
from robust_rl.training.optional import require

PREFIX = 4
"""Vectors that z is mapped to."""


def load_backbone(name: str | Path, *, weights: bool = True) -> tuple[Any, Any]:
    """Return an encoder-decoder and its tokenizer.

    Parameters
    ----------
    name
        A folder, or a name on the Hugging Face hub. Code that comes with a model is not run, and its weights are read from
        safetensors alone.
    weights
        False makes the network alone, for weights that come from elsewhere.

    Raises
    ------
    InvalidArgumentError
        There is no such model, or it is no encoder-decoder.
    MissingDependencyError
        transformers is not installed.
    """
    transformers = require("transformers", "robust-rl[llm]")
    ours = {"trust_remote_code": False}
    plain = ours | {"attn_implementation": "eager"}  # the only one with a forward-mode derivative
    with loadable(name, "an encoder-decoder with a tokenizer"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **ours)
        kind = transformers.AutoModelForSeq2SeqLM
        if weights:
            model = kind.from_pretrained(name, dtype=torch.float32, use_safetensors=True, **plain)
        else:
            model = kind.from_config(transformers.AutoConfig.from_pretrained(name, **ours), **plain)
    return model.eval(), tokenizer


class BackboneVocabulary:
    """A tokenizer, its numbers moved up by one."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, texts: Sequence[str], max_tokens: int) -> Tensor:
        """Return token ids with the tokenizer's marks, padded with 0, (n, T)."""
        found = self.tokenizer(list(texts), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
        ids: Tensor = (found["input_ids"] + 1) * found["attention_mask"]
        return ids

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        """Return the sentence."""
        text: str = self.tokenizer.decode([int(number) - 1 for number in ids if number], skip_special_tokens=True)
        return text.strip()


class BackboneEncoder(nn.Module):
    """(token ids, u) -> mean and log-variance of z."""

    def __init__(self, config: MatteConfig, model: Any, domains: int) -> None:
        super().__init__()
        self.encoder = model.get_encoder()
        self.domains = nn.Embedding(domains, config.domain_dim)
        self.out = nn.Linear(model.config.hidden_size + config.domain_dim, 2 * (config.c_dim + config.s_dim))

    def forward(self, data: Tensor, domain: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, (B, dc + ds) each."""
        here = data != PAD
        states = self.encoder(input_ids=(data - 1).clamp(min=0), attention_mask=here.long()).last_hidden_state
        pooled = (states * here[:, :, None]).sum(1) / here.sum(1, keepdim=True)
        mean, log_var = self.out(torch.cat([pooled, self.domains(domain)], dim=1)).chunk(2, dim=1)
        return mean, log_var.clamp(-12, 4)


class BackboneDecoder(nn.Module):
    """z -> hidden states -> tokens."""

    def __init__(self, config: MatteConfig, model: Any) -> None:
        super().__init__()
        self.model, self.max_tokens, self.word_dropout = model, config.max_tokens, config.word_dropout
        self.start, self.end = model.config.decoder_start_token_id + 1, model.config.eos_token_id + 1
        self.prefix = nn.Linear(config.c_dim + config.s_dim, PREFIX * model.config.hidden_size)
        self.scale = model.config.d_model**-0.5 if getattr(model.config, "scale_decoder_outputs", False) else 1.0

    def inputs(self, data: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the tokens before each place; with a generator, some replaced by the start mark."""
        before = torch.cat([torch.full_like(data[:, :1], self.start), data[:, :-1]], dim=1)
        if generator is None or self.word_dropout == 0:
            return before
        hidden = torch.rand(before.shape, generator=generator).to(before.device) < self.word_dropout
        return before.masked_fill(hidden & (before != PAD), self.start)

    def hidden(self, z: Tensor, inputs: Tensor) -> Tensor:
        """Return h at each place, (B, T, n), 0 at padding."""
        prefix = self.prefix(z).unflatten(1, (PREFIX, -1))
        ids = (inputs - 1).clamp(min=0)
        states = self.model.get_decoder()(input_ids=ids, encoder_hidden_states=prefix, use_cache=False).last_hidden_state
        masked: Tensor = states * (inputs != PAD)[:, :, None]
        return masked

    def negative_log_likelihood(self, hidden: Tensor, data: Tensor) -> Tensor:
        """Return -log p(tokens | z), summed over the sentence."""
        wanted = (data - 1).masked_fill(data == PAD, -100)
        return cross_entropy(self._logits(hidden).transpose(1, 2), wanted, reduction="none").sum(1)

    def distance(self, hidden: Tensor, other: Tensor) -> Tensor:
        """Return the total variation between the distributions of the token at each place, (B, T)."""
        here, there = (self._logits(part).softmax(-1) for part in (hidden, other))
        found: Tensor = 0.5 * (here - there).abs().sum(-1)
        return found

    def generate(self, z: Tensor, beams: int) -> tuple[Tensor, Tensor]:
        """Return the likeliest sentences (B, T) that beam search finds, and their log-probabilities."""

        def follow(word: Tensor, rows: Tensor, state: State) -> tuple[Tensor, State]:
            so_far = torch.cat([state[0], word[:, None]], dim=1)
            logits = self._logits(self.hidden(z[rows], so_far.clamp(min=1))[:, -1])
            moved_up = torch.nn.functional.pad(logits.log_softmax(1), (1, 0), value=-torch.inf)
            return moved_up, (so_far,)

        nothing = torch.empty(len(z), 0, dtype=torch.long)
        return beam_search(follow, (nothing,), len(z), beams, self.max_tokens, start=self.start, end=self.end)

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.model.lm_head(self.scale * hidden)
        bias = getattr(self.model, "final_logits_bias", None)
        return logits if bias is None else logits + bias
