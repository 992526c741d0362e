"""The environments of this package as Gymnasium ids, and ``make`` with messages that say what to do."""

from __future__ import annotations

import functools
import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from robust_rl.envs import checks, domains
from robust_rl.errors import InvalidArgumentError, MissingDependencyError, RobustRLError, UnknownNameError
from robust_rl.models import TabularEnv, TabularMDP


class Registered(NamedTuple):
    """How a domain appears in Gymnasium: its function, a description, and after how many steps an episode is cut."""

    domain: str
    description: str
    max_episode_steps: int | None = 500


OURS = {
    "robust_rl/RiverSwim-v0": Registered("river_swim", "6 states; swim against the current for a large reward"),
    "robust_rl/RiverSwimCRAAM-v0": Registered("river_swim_craam", "6 states; RiverSwim with the CRAAM library's numbers"),
    "robust_rl/MachineReplacementCRAAM-v0": Registered("machine_replacement_craam", "10 states; repair a machine that wears"),
    "robust_rl/Machine-v0": Registered("machine", "20 states; replace a machine whose cost grows; deterministic"),
    "robust_rl/Inventory-v0": Registered("inventory", "50 states; order stock ahead of random demand"),
    "robust_rl/Perishable-v0": Registered("perishable", "50 states; order stock of which a fifth perishes each step"),
    "robust_rl/Capacity-v0": Registered("capacity", "50 states; price a fixed capacity until it is sold out"),
    "robust_rl/Chain-v0": Registered("chain", "10 states; a slippery walk between a small and a large reward"),
    "robust_rl/Forest-v0": Registered("forest", "50 states; cut a forest or wait while fire threatens"),
    "robust_rl/GridWorld-v0": Registered("gridworld", "25 states; walk to the goal, past a trap; deterministic"),
    "robust_rl/Garnet-v0": Registered("garnet", "100 states; random sparse model, drawn from seed"),
    "robust_rl/GamblersRuin-v0": Registered("gamblers_ruin", "101 states; stake capital until it is gone or doubled", None),
    "robust_rl/AmericanPut-v0": Registered(
        "american_put", "602 states; exercise a put or wait for a lower price; horizon 20", 20
    ),
}
PREFERENCES = {
    "robust_rl/PreferenceBandit-v0": (
        "robust_rl.envs.preferences:PreferenceBandit",
        "2 states; a question with 10 responses, and the end",
    ),
}
"""Ids whose environments are classes of their own: entry point and description."""
GYMNASIUM = {
    "FrozenLake-v1": "16 states; cross slippery ice to the goal (map_name=8x8: 64 states)",
    "FrozenLake8x8-v1": "64 states; FrozenLake on the large map",
    "CliffWalking-v1": "48 states; walk along a cliff (is_slippery=true: with random slips)",
    "CliffWalkingSlippery-v1": "48 states; CliffWalking with random slips",
    "Taxi-v3": "500 states; pick up a passenger and deliver (is_rainy=true: with random slips)",
    "Taxi-v4": "500 states; pick up a passenger and deliver (is_rainy=true: with random slips)",
    "Blackjack-v1": "718 states; stick or hit against a dealer",
}


def playable(domain: Callable[..., TabularMDP]) -> Callable[..., TabularEnv]:
    """Return a function with the domain's arguments, and ``render_mode``, that returns its environment."""

    @functools.wraps(domain)
    def create(*, render_mode: str | None = None, **arguments: Any) -> TabularEnv:
        return TabularEnv(domain(**arguments), render_mode=render_mode)

    create.metadata = TabularEnv.metadata  # type: ignore[attr-defined]  # where gymnasium.make looks for render modes
    return create


def __getattr__(name: str) -> Callable[..., TabularEnv]:
    """Return the playable form of a domain: what the entry points ``robust_rl.envs.registration:<domain>`` name."""
    if name in domains.__all__:
        return playable(getattr(domains, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def register() -> None:
    """Make the ids of this package known to Gymnasium; a second call does nothing."""
    for env_id, (domain, _, limit) in OURS.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, entry_point=f"{__name__}:{domain}", max_episode_steps=limit)
    for env_id, (entry_point, _) in PREFERENCES.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, entry_point=entry_point)


def tabular_ids() -> dict[str, str]:
    """Return the registered ids that have a transition table, each with a description of one line; ours first."""
    known = {env_id: entry.description for env_id, entry in OURS.items()}
    known |= {env_id: description for env_id, (_, description) in PREFERENCES.items()} | GYMNASIUM
    return {env_id: description for env_id, description in known.items() if env_id in gymnasium.registry}


def make(
    env_id: str, *, max_episode_steps: int | None = None, disable_env_checker: bool | None = None, **env_kwargs: Any
) -> gymnasium.Env[Any, Any]:
    """Return ``gymnasium.make(env_id, ...)``, with errors that say what to do.

    Parameters
    ----------
    env_id : str
        A registered id, as ``"FrozenLake-v1"``, ``"robust_rl/RiverSwim-v0"`` or ``"module:Env-v0"``.
    max_episode_steps : int, optional
        Replaces the id's time limit; -1 removes it.
    disable_env_checker : bool, optional
        As in ``gymnasium.make``.
    **env_kwargs
        Arguments of the environment.

    Raises
    ------
    UnknownNameError
        If no such id is registered; the message suggests the nearest.
    InvalidArgumentError
        If the environment has no such argument (the message lists those it has), or refuses the value.
    MissingDependencyError
        If the environment needs a package that isn't installed.

    Warns
    -----
    UserWarning
        If ``success_rate`` is given to a FrozenLake that isn't slippery, which ignores it.
    """
    return construct(find_spec(env_id), env_kwargs, max_episode_steps=max_episode_steps, disable_env_checker=disable_env_checker)


def find_spec(env_id: str) -> EnvSpec:
    """Return the registered specification of an id, or raise UnknownNameError suggesting the nearest ids."""
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gymnasium.spec(name)
    except ImportError as error:
        raise UnknownNameError(f"{env_id!r} can't be looked up: {error}") from error
    except gymnasium.error.Error:
        raise UnknownNameError(
            f"no environment is registered as {env_id!r}{_nearest_id(name)}; `robust-rl envs` lists those with a table"
        ) from None


def constructor_arguments(spec: EnvSpec) -> list[str] | None:
    """Return the names of the arguments that an environment's constructor takes, or None if it takes any."""
    parameters = inspect.signature(_creator(spec)).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.name != "render_mode"]


def construct(spec: EnvSpec, env_kwargs: Mapping[str, Any], **options: Any) -> gymnasium.Env[Any, Any]:
    """Return the environment of a specification, its arguments overridden by ``env_kwargs``; errors as in :func:`make`."""
    _check_arguments(spec, env_kwargs)
    try:
        return gymnasium.make(spec, **options, **env_kwargs)
    except RobustRLError:
        raise
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise _missing(spec, error) from error
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in (spec.kwargs | dict(env_kwargs)).items())
        raise InvalidArgumentError(f"{spec.id} can't be made with {given or 'its defaults'}: {error!r}") from error


def _check_arguments(spec: EnvSpec, env_kwargs: Mapping[str, Any]) -> None:
    accepted = constructor_arguments(spec)
    for name in env_kwargs:
        if accepted is not None and name not in (*accepted, "render_mode"):
            listed = ", ".join(accepted) or "none"
            raise InvalidArgumentError(f"{spec.id} has no argument {name!r}{_close(name, accepted)}; it accepts {listed}")
    merged = spec.kwargs | dict(env_kwargs)
    if spec.id.startswith("FrozenLake") and "success_rate" in merged:
        checks.probability("success_rate", merged["success_rate"])
        if not merged.get("is_slippery", True):
            warnings.warn(f"{spec.id} ignores success_rate unless is_slippery=True", UserWarning, stacklevel=4)


def _creator(spec: EnvSpec) -> Callable[..., Any]:
    if spec.entry_point is None:
        raise InvalidArgumentError(f"{spec.id} is registered without an entry point and can't be made as a single environment")
    if not isinstance(spec.entry_point, str):
        return spec.entry_point
    try:
        return load_env_creator(spec.entry_point)
    except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
        raise _missing(spec, error) from error


def _missing(spec: EnvSpec, error: Exception) -> MissingDependencyError:
    return MissingDependencyError(f"{spec.id} needs a package that isn't installed: {error}")


def _nearest_id(name: str) -> str:
    """Return a suggestion that looks past case and a missing namespace; other packages' ids only for names that have one."""
    namespace, _, bare_name = name.lower().rpartition("/")
    ids = [env_id for env_id in gymnasium.registry if namespace or "/" not in env_id or env_id in OURS | PREFERENCES]
    # plain ids come last, so that they win over namesakes in a namespace
    by_bare_name = {env_id.rpartition("/")[2].lower(): env_id for env_id in sorted(ids, key=lambda env_id: "/" not in env_id)}
    return _close(bare_name, by_bare_name)


def _close(name: str, known: Any) -> str:
    found = get_close_matches(name, list(known), n=2, cutoff=0.6)
    names = [known[match] for match in found] if isinstance(known, dict) else found
    return f"; did you mean {' or '.join(names)}?" if names else ""
