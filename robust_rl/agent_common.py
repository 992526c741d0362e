"""What agents share: how they learn, where their environment comes from, and how observations become actions."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from robust_rl import envs, policy_file
from robust_rl.errors import InvalidArgumentError
from robust_rl.training import Callback, RunDirectory, Trainable, Trainer


class Agent(ABC):
    """How every agent learns: its Trainable is stepped by the shared Trainer, and what comes of it is taken over and saved.

    Attributes
    ----------
    interrupted : bool
        Whether a signal ended the last ``learn``.
    """

    default_steps: ClassVar[int | None] = None
    """Steps of ``learn()`` without a number; ``None``: until the Trainable is done."""

    interrupted: bool = False

    def learn(
        self,
        total_steps: int | None = None,
        callbacks: Sequence[Callback] = (),
        run: RunDirectory | str | Path | None = None,
        *,
        checkpoint_every: int | None = None,
        progress: bool = False,
    ) -> Self:
        """Learn until done; after fewer steps a second call goes on.

        Parameters
        ----------
        total_steps : int, optional
            At most so many steps in total; the class says what a step is.
        callbacks
            Called after every step, see :mod:`robust_rl.training`.
        run : RunDirectory or path, optional
            Where to log, checkpoint, and leave ``result/policy.safetensors``. A run that was killed is resumed.
        checkpoint_every : int, optional
            Steps between checkpoints.
        progress : bool
            Show a progress bar on stderr.

        Returns
        -------
        Agent
            Itself.

        Raises
        ------
        InvalidArgumentError
            Before anything is learned, if ``total_steps`` isn't positive, the agent was loaded without what it learned from, or
            its policy couldn't be saved in the run.
        """
        steps = self.default_steps if total_steps is None else total_steps
        if steps is not None and steps < 1:
            raise InvalidArgumentError(f"total_steps is {steps}; it must be at least 1")
        trainable = self._trainable(saved=run is not None)
        directory = RunDirectory(run) if isinstance(run, (str, Path)) else run
        trainer = Trainer(directory, max_steps=steps, callbacks=callbacks, checkpoint_every=checkpoint_every, progress=progress)
        trainer.fit(trainable)
        self.interrupted = trainer.interrupted
        if self._take_over() and directory is not None:
            self.save(directory.result / "policy")
        return self

    @abstractmethod
    def _trainable(self, saved: bool) -> Trainable:
        """Return what is stepped; raise InvalidArgumentError if there is nothing to learn from, or nothing could be saved."""

    @abstractmethod
    def _take_over(self) -> bool:
        """Take what was learned; return whether that is a policy."""

    @abstractmethod
    def save(self, path: str | Path) -> Path:
        """Write the policy to one ``.safetensors`` file and return its path."""


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
    """Inverse of :func:`describe_spaces`.

    Raises
    ------
    ValueError
        If the file says what can't be a space or an environment. An id that names a module is none: making it would run the
        module, and an environment's own id, which :func:`describe_spaces` writes, has no module in it.
    """
    agent.env_id, agent.env_kwargs = metadata["env_id"], dict(metadata["env_kwargs"])
    if agent.env_id is not None and (not isinstance(agent.env_id, str) or ":" in agent.env_id):
        raise ValueError(
            f"{agent.env_id!r} is no id of a registered environment; a policy's file may not name a module to import"
        )
    agent.observation_space = policy_file.space_from_description(metadata["observation_space"])
    agent.action_space = policy_file.space_from_description(metadata["action_space"])


def check_policy(agent: Any, policy: NDArray[Any], horizon: int | None = None) -> None:
    """Make sure that :func:`act` finds an action for every observation of an agent that was read from a file.

    Raises
    ------
    ValueError
        If the policy is neither actions (S,) nor probabilities (S, A), by stage if there is a horizon, or lacks states;
        :func:`robust_rl.policy_file.reading` names the file.
    """
    states, actions = envs.state_count(agent.observation_space), envs.state_count(agent.action_space)
    table = policy[None] if horizon is None else policy
    if table.ndim == 2:
        sound = table.dtype.kind in "iu" and bool(np.all((table >= 0) & (table < actions)))
    else:
        sound = table.ndim == 3 and table.shape[2] == actions and table.dtype.kind == "f" and bool(np.all(table >= 0))
        sound = sound and bool(np.all(np.isfinite(table).all(axis=2) & (table.sum(axis=2) > 0)))
    if not sound or len(table) != (horizon or 1) or table.shape[1] < states:
        raise ValueError(f"the policy, of shape {policy.shape}, is none for {agent.observation_space} and {agent.action_space}")


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
