"""A trained network as a policy of plain arrays: it predicts, saves and loads without Ray and without torch.

With x an observation, after what the training did to observations (flatten, normalise, one-hot),

    h = layers(x),    a = argmax_a h(x, a)                                     "greedy": h are Q-values or advantages
                      a ~ softmax h(x, .),        or its largest               "categorical"
                      a ~ N(h(x), exp(log_std)),  or its mean, then scaled     "gaussian"

Files are safetensors and JSON, from which a stranger can't execute code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from robust_rl import policy_file
from robust_rl.envs.one_hot import one_hot_space
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.rllib.layers import ACTIVATIONS, Array, Layer, Normalisation, softmax

HEADS = ("greedy", "categorical", "gaussian")


@dataclass
class NetworkPolicy:
    """A policy, as :func:`robust_rl.rllib.export_policy` makes it.

    Attributes
    ----------
    head : {"greedy", "categorical", "gaussian"}
        How outputs become actions, see the module.
    layers : sequence of Layer
    observation_space : Box or Discrete
        Of the environment; a Discrete one is shown to the network as one-hot vectors.
    action_space : Box or Discrete
    normalisation : Normalisation or None
    log_std : (n,) array or None
        Of a gaussian head whose spread depends on nothing; None if the network puts it out.
    rescale : bool
        Whether a gaussian head's [-1, 1] is stretched to the bounds of the actions.
    np_random : numpy.random.Generator
        Draws actions under ``deterministic=False``.
    """

    head: str
    layers: Sequence[Layer]
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    normalisation: Normalisation | None = None
    log_std: Array | None = None
    rescale: bool = True
    np_random: np.random.Generator = field(default_factory=np.random.default_rng, compare=False, repr=False)

    @property
    def num_states(self) -> int | None:
        """Number of states, if the network reads one-hot vectors, made by a connector or in the environment; else None."""
        space = self.observation_space
        if isinstance(space, spaces.Discrete):
            return int(space.n)
        size = space.shape[0] if space.shape else 0
        return size if size and space == one_hot_space(spaces.Discrete(size)) else None

    def predict(self, observation: Any, state: Any = None, deterministic: bool = True) -> tuple[Any, None]:
        """Return the action for an observation, or an array of actions for a batch of them.

        Parameters
        ----------
        observation
            One of ``observation_space``, or a batch (n, ...). If there are ``num_states``, whole numbers are states.
        state
            Of the common interface; this policy has no memory.
        deterministic : bool
            False draws from a categorical or gaussian head. A greedy one is always deterministic.

        Returns
        -------
        (action, None)

        Raises
        ------
        InvalidArgumentError
            If the observation has another shape or is no state.
        """
        x, single = self._inputs(observation)
        actions = self._actions(self._network(x), deterministic)
        if not single:
            return actions, None
        return (int(actions[0]) if self.head != "gaussian" else actions[0]), None

    def probabilities(self, observation: Any) -> Array:
        """Return the probabilities of a batch's actions, (n, A), or of one's, (A,): of a finite action space.

        Raises
        ------
        InvalidArgumentError
            If actions aren't finite, or as :meth:`predict`.
        """
        x, single = self._inputs(observation)
        outputs = self._network(x)
        if self.head == "gaussian":
            raise InvalidArgumentError("a gaussian policy has densities, not probabilities; use predict")
        if self.head == "greedy":
            chances: Array = np.eye(outputs.shape[1])[outputs.argmax(axis=1)]
        else:
            chances = softmax(outputs.astype(np.float64))
        return np.asarray(chances[0] if single else chances)

    def save(self, path: str | Path) -> Path:
        """Write the policy to one ``.safetensors`` file and return its path.

        Raises
        ------
        InvalidArgumentError
            If a space is neither Box nor Discrete.
        """
        arrays: dict[str, Any] = {}
        for j, layer in enumerate(self.layers):
            arrays |= {f"layer.{j}.{part}": getattr(layer, part) for part in ("weight", "bias")}
        if self.normalisation is not None:
            arrays |= {"normalisation.mean": self.normalisation.mean, "normalisation.scale": self.normalisation.scale}
        arrays["log_std"] = self.log_std
        metadata = {
            "head": self.head,
            "layers": [{"kind": layer.kind, "eps": layer.eps} for layer in self.layers],
            "observation_space": _describe("observation", self.observation_space, arrays),
            "action_space": _describe("action", self.action_space, arrays),
            "limit": None if self.normalisation is None else self.normalisation.limit,
            "rescale": self.rescale,
        }
        given = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
        return policy_file.write_policy(path, type(self).__name__, given, metadata)

    @classmethod
    def load(cls, path: str | Path) -> NetworkPolicy:
        """Read a policy written by :meth:`save`; the file can't execute code.

        Raises
        ------
        FileFormatError
            If the file is missing, corrupt, foreign, or of a newer format version.
        """
        with policy_file.reading(path, cls.__name__) as (arrays, metadata):
            return _unpack(arrays, metadata)

    def _inputs(self, observation: Any) -> tuple[Array, bool]:
        """Return observations as the network reads them, (n, m), and whether it was a single one."""
        given, states = np.asarray(observation), self.num_states
        if states is not None and np.issubdtype(given.dtype, np.integer):
            chosen = np.atleast_1d(self._states(given, states))
            single, batch = given.ndim == 0, np.zeros((len(chosen), states))
            batch[np.arange(len(chosen)), chosen] = 1
        else:
            shape = self.observation_space.shape or ()
            single = given.shape == shape
            if not shape or (not single and given.shape[1:] != shape):
                raise InvalidArgumentError(f"the observation has shape {given.shape}; the policy reads {self.observation_space}")
            batch = given[None] if single else given
        if self.normalisation is not None:
            batch = self.normalisation(batch.astype(np.float64))
        return batch.reshape(len(batch), -1).astype(np.float32), single

    def _states(self, given: NDArray[np.integer[Any]], states: int) -> NDArray[np.intp]:
        """Return whole numbers as states from 0."""
        indices = given.astype(np.intp) - first_element(self.observation_space)
        wrong = given[(indices < 0) | (indices >= states)] if given.ndim else given[None][[not 0 <= indices < states]]
        if wrong.size:
            raise InvalidArgumentError(f"there is no state {wrong.flat[0]} in {self.observation_space}")
        return indices

    def _network(self, x: Array) -> Array:
        for layer in self.layers:
            x = layer(x)
        return x

    def _actions(self, outputs: Array, deterministic: bool) -> NDArray[Any]:
        if self.head == "gaussian":
            return self._box_actions(outputs, deterministic)
        first = first_element(self.action_space)
        if self.head == "greedy" or deterministic:
            return np.asarray(outputs.argmax(axis=1) + first)
        cumulative = softmax(outputs.astype(np.float64)).cumsum(axis=1)
        drawn = self.np_random.random((len(outputs), 1)) * cumulative[:, -1:]
        return np.asarray((cumulative > drawn).argmax(axis=1) + first)

    def _box_actions(self, outputs: Array, deterministic: bool) -> NDArray[Any]:
        assert isinstance(self.action_space, spaces.Box)
        mean, log_std = (outputs, self.log_std) if self.log_std is not None else np.split(outputs, 2, axis=1)
        if not deterministic:
            mean = mean + np.exp(log_std) * self.np_random.standard_normal(mean.shape, dtype=np.float32)  # type: ignore[arg-type]
        box, actions = self.action_space, mean.reshape(-1, *self.action_space.shape)
        if self.rescale and box.is_bounded():
            actions = box.low + (actions + 1.0) * (box.high - box.low) / 2.0
        return np.clip(actions, box.low, box.high).astype(box.dtype)


def first_element(space: spaces.Space[Any]) -> int:
    """Return the number of a Discrete space's first element."""
    return int(space.start) if isinstance(space, spaces.Discrete) else 0


def _describe(name: str, space: spaces.Space[Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """Return a space as JSON; the bounds of a Box, which may be infinite, join the arrays."""
    if not isinstance(space, spaces.Box):
        return policy_file.describe_space(space)
    arrays |= {f"{name}.low": space.low, f"{name}.high": space.high}
    return {"kind": "box", "dtype": str(space.dtype)}


def _space(name: str, description: Mapping[str, Any], arrays: Mapping[str, Any]) -> spaces.Space[Any]:
    if description.get("kind") != "box":
        return policy_file.space_from_description(dict(description))
    low, high = arrays[f"{name}.low"], arrays[f"{name}.high"]
    return spaces.Box(low, high, low.shape, np.dtype(description["dtype"]))  # type: ignore[arg-type]


def _unpack(arrays: dict[str, Any], metadata: dict[str, Any]) -> NetworkPolicy:
    layers = [
        Layer(part["kind"], arrays.get(f"layer.{j}.weight"), arrays.get(f"layer.{j}.bias"), part["eps"])
        for j, part in enumerate(metadata["layers"])
    ]
    unknown = {layer.kind for layer in layers} - {"linear", "layernorm", *ACTIVATIONS}
    if unknown or metadata["head"] not in HEADS:
        raise FileFormatError(f"the file holds a network of unknown parts: {', '.join(sorted(unknown)) or metadata['head']}")
    filtered = "normalisation.mean" in arrays
    policy = NetworkPolicy(
        metadata["head"],
        layers,
        _space("observation", metadata["observation_space"], arrays),
        _space("action", metadata["action_space"], arrays),
        Normalisation(arrays["normalisation.mean"], arrays["normalisation.scale"], metadata["limit"]) if filtered else None,
        arrays.get("log_std"),
        metadata["rescale"],
    )
    _try(policy)
    return policy


def _try(policy: NetworkPolicy) -> None:
    """Ask for one action, so that layers that don't fit together show when the file is read, and not when the policy acts."""
    space, actions = policy.observation_space, policy.action_space
    first = first_element(space) if isinstance(space, spaces.Discrete) else np.zeros(space.shape or ())
    outputs = policy._network(policy._inputs(first)[0])
    if isinstance(actions, spaces.Discrete):
        wanted = int(actions.n)
    else:
        wanted = int(np.prod(actions.shape or ())) * (1 if policy.log_std is not None else 2)
    if outputs.shape != (1, wanted):
        raise ValueError(f"the network puts out an array of shape {outputs.shape}; {actions} needs {(1, wanted)}")
    policy.predict(first)
    policy.predict(first, deterministic=False)
