"""Models made from other models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from robust_rl.models.tabular import TabularMDP
from robust_rl.models.tabular_env import entry_rewards


def with_kernel(model: TabularMDP, kernel: sparse.csr_array, rewards: Any) -> TabularMDP:
    """Return the model under another kernel, CSR of shape (S*A, S), and its rewards: r(s, a, s') alike, or r(s, a), (S, A).

    Rows that sum to 1 up to rounding are made exact; empty ones, of terminal states and masked actions, stay empty.
    """
    sums = np.asarray(kernel.sum(axis=1)).ravel()
    return model.replace(transitions=sparse.diags_array(1 / np.where(sums > 0, sums, 1.0)) @ kernel, rewards=rewards)


def unroll(stages: Sequence[TabularMDP]) -> TabularMDP:
    """Return one stationary model of a finite-horizon one: state h*S + s is state s at stage h.

    After the last stage the process is in a terminal copy of its state, as it is after a terminal state. All stages share
    states and actions.
    """
    first, horizon = stages[0], len(stages)
    rows = first.num_states * first.num_actions
    shape = (rows * (horizon + 1), first.num_states * (horizon + 1))
    transitions = _shifted_blocks([stage.csr() for stage in stages], shape)
    rewards = _shifted_blocks([_reward_rows(stage) for stage in stages], shape)
    alive = [stage.terminal for stage in stages]
    masks = [stage.action_mask for stage in stages]
    return TabularMDP(
        transitions,
        rewards,
        start=np.concatenate([first.start, np.zeros(first.num_states * horizon)]),
        terminal=np.concatenate([*alive, np.ones(first.num_states, dtype=bool)]),
        action_mask=np.concatenate([*masks, first.action_mask]),
    )


def _shifted_blocks(blocks: Sequence[sparse.csr_array], shape: tuple[int, int]) -> sparse.csr_array:
    """Put block h on rows of stage h and columns of stage h + 1."""
    rows, columns = blocks[0].shape
    coordinates = [sparse.coo_array(block) for block in blocks]
    row = np.concatenate([block.row + h * rows for h, block in enumerate(coordinates)])
    column = np.concatenate([block.col + (h + 1) * columns for h, block in enumerate(coordinates)])
    return sparse.csr_array((np.concatenate([block.data for block in coordinates]), (row, column)), shape=shape)


def _reward_rows(model: TabularMDP) -> sparse.csr_array:
    rows = model.csr()
    return sparse.csr_array((entry_rewards(model, rows), rows.indices, rows.indptr), shape=rows.shape)
