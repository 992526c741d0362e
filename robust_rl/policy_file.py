"""How agents are written: one safetensors file with arrays and JSON, from which a stranger can't execute code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.errors import FileFormatError, InvalidArgumentError, sound
from robust_rl.models import TabularMDP
from robust_rl.solvers.solution import pack_csr, unpack_csr
from robust_rl.training import load_arrays, save_arrays

FORMAT, VERSION, SUFFIX = "robust-rl policy", 1, ".safetensors"


def policy_path(path: str | Path) -> Path:
    """Return the path with the suffix that policy files have."""
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def write_policy(path: str | Path, agent: str, arrays: dict[str, Any], metadata: dict[str, Any]) -> Path:
    """Write a policy file and return its path."""
    target = policy_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    save_arrays(target, arrays, metadata | {"agent": agent}, format=FORMAT, version=VERSION)
    return target


@contextmanager
def reading(path: str | Path, agent: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield arrays and metadata of a policy file of the named agent class, to be taken apart in the block.

    Raises
    ------
    FileFormatError
        If the file is missing, corrupt, foreign, of a newer version, or of another agent, or can't be taken apart.
    """
    source = policy_path(path)
    arrays, metadata = load_arrays(source, format=FORMAT, version=VERSION)
    if metadata.get("agent") != agent:
        raise FileFormatError(f"{source} holds a {metadata.get('agent')}, not a {agent}")
    with sound(source, f"policy of {agent}"):
        yield arrays, metadata


def check_array(arrays: Mapping[str, Any], name: str, shape: tuple[int, ...], kinds: str = "f") -> NDArray[Any]:
    """Return an array of a policy file, without nan.

    A file is read long before its policy acts, so what acting would stumble over is refused here.

    Raises
    ------
    ValueError
        If it has another shape or kind of type (as in ``dtype.kind``), or holds nan; :func:`reading` names the file.
    """
    array: NDArray[Any] = arrays[name]
    if array.shape != shape or array.dtype.kind not in kinds or np.isnan(array).any():
        raise ValueError(f"{name} is no array of {shape} numbers, but one of {array.shape}, {array.dtype}, or has nan in it")
    return array


def pack_model(model: TabularMDP) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a model as named arrays and JSON metadata."""
    arrays: dict[str, Any] = {f"model.{name}": getattr(model, name) for name in ("start", "terminal", "action_mask")}
    arrays |= pack_csr("model.transitions", model.csr())
    if not model.has_transition_rewards:
        arrays["model.rewards"] = model.rewards
    else:
        rewards = (
            model.rewards if sparse.issparse(model.rewards) else sparse.csr_array(model.rewards.reshape(-1, model.num_states))
        )
        arrays |= pack_csr("model.rewards", rewards)
    return arrays, {"dense": not model.is_sparse}


def unpack_model(arrays: dict[str, Any], metadata: dict[str, Any]) -> TabularMDP:
    """Inverse of :func:`pack_model`; inside :func:`reading`."""
    start, terminal, mask = (arrays[f"model.{name}"] for name in ("start", "terminal", "action_mask"))
    states = len(start)
    transitions: Any = unpack_csr(arrays, "model.transitions", states)
    rewards: Any = arrays["model.rewards"] if "model.rewards" in arrays else unpack_csr(arrays, "model.rewards", states)
    if metadata["dense"]:
        transitions = transitions.toarray().reshape(states, -1, states)
    return TabularMDP(transitions, rewards, start=start, terminal=terminal, action_mask=mask)


def describe_space(space: spaces.Space) -> dict[str, Any]:
    """Return a finite space as JSON."""
    if isinstance(space, spaces.Discrete):
        return {"kind": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"kind": "multi_discrete", "nvec": np.asarray(space.nvec).tolist(), "start": np.asarray(space.start).tolist()}
    if isinstance(space, spaces.Tuple):
        return {"kind": "tuple", "spaces": [describe_space(part) for part in space.spaces]}
    raise InvalidArgumentError(f"{space} can't be saved; a tabular policy has Discrete, MultiDiscrete, or Tuple spaces")


def space_from_description(description: dict[str, Any]) -> spaces.Space:
    """Inverse of :func:`describe_space`."""
    kind = description.get("kind")
    if kind == "discrete":
        return spaces.Discrete(description["n"], start=description["start"])
    if kind == "multi_discrete":
        return spaces.MultiDiscrete(np.array(description["nvec"]), start=np.array(description["start"]))
    if kind == "tuple":
        return spaces.Tuple([space_from_description(part) for part in description["spaces"]])
    raise FileFormatError(f"the file holds a space of unknown kind {kind!r}")
