"""The encoder and the decoder of MATTE for sentences.

Encoder: word embeddings beside an embedding of the domain, a bidirectional LSTM, mean of the directions, maximum over time,
linear to mean and log-variance. Decoder: z beside every word, and mapped to the first cell state; h is its hidden state.
The authors' sizes are larger; their uniform first weights and their SGD for the decoder are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from robust_rl.extras.matte.config import MatteConfig
from robust_rl.extras.matte.search import State, beam_search
from robust_rl.extras.matte.vocabulary import END, PAD, START, UNKNOWN


class LSTMEncoder(nn.Module):
    """(token ids, u) -> mean and log-variance of z."""

    def __init__(self, config: MatteConfig, vocabulary: int, domains: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, config.embedding, padding_idx=PAD)
        self.domains = nn.Embedding(domains, config.domain_dim)
        self.lstm = nn.LSTM(config.embedding + config.domain_dim, config.enc_hidden, batch_first=True, bidirectional=True)
        self.out = nn.Linear(config.enc_hidden, 2 * (config.c_dim + config.s_dim), bias=False)

    def forward(self, data: Tensor, domain: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, (B, dc + ds) each."""
        lengths = (data != PAD).sum(1)
        told = self.domains(domain)[:, None].expand(-1, data.shape[1], -1)
        packed = pack_padded_sequence(
            torch.cat([self.words(data), told], dim=2), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        both, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        states = both.unflatten(2, (2, -1)).mean(2)
        padding = torch.arange(states.shape[1], device=data.device) >= lengths[:, None]
        mean, log_var = self.out(states.masked_fill(padding[:, :, None], -1.0).amax(1)).chunk(2, dim=1)
        return mean, log_var.clamp(-12, 4)


class LSTMDecoder(nn.Module):
    """z -> hidden states -> words. The fused LSTM has no forward-mode derivative; for one, the cell is played step by step."""

    def __init__(self, config: MatteConfig, vocabulary: int) -> None:
        super().__init__()
        code = config.c_dim + config.s_dim
        self.word_dropout, self.max_tokens = config.word_dropout, config.max_tokens
        self.fused = config.influence != "jacobian" or config.jacobian != "forward"
        self.words = nn.Embedding(vocabulary, config.embedding, padding_idx=PAD)
        self.first = nn.Linear(code, config.dec_hidden)
        self.cell = nn.LSTMCell(config.embedding + code, config.dec_hidden)
        self.out = nn.Linear(config.dec_hidden, vocabulary)

    def inputs(self, data: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the words before each place; with a generator, some hidden as unknown."""
        before = torch.cat([torch.full_like(data[:, :1], START), data[:, :-1]], dim=1)
        if self.word_dropout == 1:  # it never reads words, and must not when it writes
            return before.masked_fill(before > END, UNKNOWN)
        if generator is None or self.word_dropout == 0:
            return before
        hidden = torch.rand(before.shape, generator=generator).to(before.device) < self.word_dropout
        return before.masked_fill(hidden & (before > END), UNKNOWN)

    def distance(self, hidden: Tensor, other: Tensor) -> Tensor:
        """Return the total variation between the distributions of the word at each place, (B, T)."""
        here, there = (self.out(part).softmax(-1) for part in (hidden, other))
        found: Tensor = 0.5 * (here - there).abs().sum(-1)
        return found

    def hidden(self, z: Tensor, inputs: Tensor) -> Tensor:
        """Return h at each place, (B, T, n)."""
        seen = torch.cat([self.words(inputs), z[:, None].expand(-1, inputs.shape[1], -1)], dim=2)
        places = (inputs != PAD) & (inputs != END)  # of a word that is to be predicted; beyond the end h is 0
        states = self._fused(seen, self.start(z)) if self.fused else self._stepped(seen, self.start(z))
        masked: Tensor = states * places[:, :, None]
        return masked

    def _fused(self, seen: Tensor, start: State) -> Tensor:
        weights = [self.cell.weight_ih, self.cell.weight_hh, self.cell.bias_ih, self.cell.bias_hh]
        state = [part[None].contiguous() for part in start]
        found: Tensor = torch.lstm(seen, state, weights, True, 1, 0.0, self.training, False, True)[0]
        return found

    def _stepped(self, seen: Tensor, state: State) -> Tensor:
        states = []
        for step in seen.unbind(1):
            state = self.cell(step, state)
            states.append(state[0])
        return torch.stack(states, dim=1)

    def negative_log_likelihood(self, hidden: Tensor, data: Tensor) -> Tensor:
        """Return -log p(words | z), summed over the sentence."""
        return cross_entropy(self.out(hidden).transpose(1, 2), data, ignore_index=PAD, reduction="none").sum(1)

    def generate(self, z: Tensor, beams: int) -> tuple[Tensor, Tensor]:
        """Return the likeliest sentences (B, T) that beam search finds, and their log-probabilities."""

        def follow(word: Tensor, rows: Tensor, state: State) -> tuple[Tensor, State]:
            seen = word if self.word_dropout < 1 else word.masked_fill(word > END, UNKNOWN)
            state = self.cell(torch.cat([self.words(seen), z[rows]], dim=1), state)
            logits = self.out(state[0])
            logits[:, UNKNOWN] = -torch.inf  # a sentence is written in words
            return logits.log_softmax(1), state

        return beam_search(follow, self.start(z), len(z), beams, self.max_tokens)

    def start(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first hidden and cell state."""
        cell = self.first(z)
        return torch.tanh(cell), cell
