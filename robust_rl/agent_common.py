"""What agents share: how they learn, where their environment comes from, and how observations become actions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from robust_rl import envs, policy_file
from robust_rl.errors import InvalidArgumentError
from robust_rl.training import Callback, RunDirectory, Trainable, Trainer


def fit(
    trainable: Trainable,
    total_steps: int | None,
    callbacks: Sequence[Callback],
    run: RunDirectory | str | Path | None,
    checkpoint_every: int | None,
    progress: bool,
) -> tuple[RunDirectory | None, bool]:
    """Step until done, or ``total_steps`` are; return the run directory, and whether a signal ended it.

    Raises
    ------
    InvalidArgumentError
        If ``total_steps`` isn't positive.
    """
    if total_steps is not None and total_steps < 1:
        raise InvalidArgumentError(f"total_steps is {total_steps}; it must be at least 1")
    directory = RunDirectory(run) if isinstance(run, (str, Path)) else run
    trainer = Trainer(directory, max_steps=total_steps, callbacks=callbacks, checkpoint_every=checkpoint_every, progress=progress)
    trainer.fit(trainable)
    return directory, trainer.interrupted


def make_env(env: Any, env_kwargs: dict[str, Any]) -> gymnasium.Env:
    """Return the environment of an id, or the environment itself."""
    return envs.make(env, **env_kwargs) if isinstance(env, str) else env


def origin(made: gymnasium.Env) -> tuple[str | None, dict[str, Any]]:
    """Return the id and arguments from which an environment can be made again; no id for one with wrappers of its own.

    Raises
    ------
    InvalidArgumentError
        If an argument can't be saved with a policy.
    """
    spec = made.spec if made.spec is not None and not made.spec.additional_wrappers else None
    if spec is None:
        return None, {}
    return spec.id, {name: _plain(name, value) for name, value in spec.kwargs.items()}


def act(
    policy: NDArray[Any],
    observation: Any,
    observation_space: spaces.Space,
    action_space: Any,
    rng: np.random.Generator | None = None,
) -> Any:
    """Return the action of a policy for an observation, or an array of actions for an integer array of them.

    The policy is actions (S,) or probabilities (S, A), from which ``rng`` draws; without it the likeliest is taken. Worlds that
    this library plays hand out plain state indices whatever the original space, so those are taken too.

    Raises
    ------
    InvalidArgumentError
        If the observation isn't in the space.
    """
    first = int(action_space.start)
    if isinstance(observation, np.ndarray) and observation.ndim == 1 and isinstance(observation_space, spaces.Discrete):
        return _chosen(policy[_checked(observation - int(observation_space.start), len(policy))], rng) + first
    if isinstance(observation, (int, np.integer)) and not isinstance(observation_space, spaces.Discrete):
        index = int(_checked(np.asarray(observation), len(policy)))
    else:
        index = envs.state_index(observation_space, observation)
    return int(_chosen(policy[[index]], rng)[0]) + first


def _chosen(rows: NDArray[Any], rng: np.random.Generator | None) -> NDArray[np.intp]:
    """Return the actions of a policy at some states: its own (n,), or those of probabilities (n, A)."""
    if rows.ndim == 1:
        return rows
    if rng is None:
        return np.asarray(rows.argmax(axis=1))
    drawn = rng.random((len(rows), 1)) * rows.sum(axis=1, keepdims=True)
    return np.asarray((rows.cumsum(axis=1) > drawn).argmax(axis=1))


def as_batch(observation: Any, shape: tuple[int, ...]) -> tuple[NDArray[Any], bool]:
    """Return observations as a batch (n, ...), and whether it was a single one, given the shape of one in the data.

    Raises
    ------
    InvalidArgumentError
        If it is neither one nor a batch.
    """
    given = np.asarray(observation)
    single = given.shape == shape
    if not single and given.shape[1:] != shape:
        raise InvalidArgumentError(f"the observation has shape {given.shape}; in the data it was {shape}")
    return (given[None] if single else given), single


def describe_spaces(agent: Any) -> dict[str, Any]:
    """Return an agent's environment and spaces as JSON, to be saved with its policy."""
    return {
        "env_id": agent.env_id,
        "env_kwargs": agent.env_kwargs,
        "observation_space": policy_file.describe_space(agent.observation_space),
        "action_space": policy_file.describe_space(agent.action_space),
    }


def restore_spaces(agent: Any, metadata: dict[str, Any]) -> None:
    """Inverse of :func:`describe_spaces`."""
    agent.env_id, agent.env_kwargs = metadata["env_id"], metadata["env_kwargs"]
    agent.observation_space = policy_file.space_from_description(metadata["observation_space"])
    agent.action_space = policy_file.space_from_description(metadata["action_space"])


def _checked(indices: NDArray[Any], states: int) -> NDArray[Any]:
    if not np.issubdtype(indices.dtype, np.integer):
        raise InvalidArgumentError(f"observations are an array of {indices.dtype}; they must be integers")
    wrong = indices[(indices < 0) | (indices >= states)]
    if wrong.size:
        raise InvalidArgumentError(f"there is no state {wrong.flat[0]}; states are 0..{states - 1}")
    return indices


def _plain(name: str, value: Any) -> Any:
    """Return an environment's argument as JSON knows it, so that the policy can be saved; checked before anything is solved."""
    plain = value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
    try:
        json.dumps(plain)
    except TypeError:
        raise InvalidArgumentError(
            f"the environment's argument {name}={value!r} can't be saved with a policy; pass the model instead: envs.tabular(...)"
        ) from None
    return plain
