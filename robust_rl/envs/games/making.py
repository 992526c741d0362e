"""Games by name, and changed copies of them, with messages that say what to do."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from gymnasium.utils import RecordConstructorArgs
from pettingzoo import ParallelEnv

from robust_rl.errors import InvalidArgumentError, UnknownNameError, nearest

PACKAGE = __name__.rpartition(".")[0]


def game_names() -> dict[str, str]:
    """Return the games of this package by name, each with a description of one line."""
    folder = importlib.import_module(PACKAGE).__path__
    versioned = {name.rpartition("_v")[0]: name for _, name, _ in pkgutil.iter_modules(folder) if "_v" in name}
    return {name: (importlib.import_module(f"{PACKAGE}.{m}").__doc__ or "").splitlines()[0] for name, m in versioned.items()}


def make(name: str, **arguments: Any) -> ParallelEnv:
    """Return the parallel form of a game.

    Parameters
    ----------
    name : str
        A game of this package, as ``"soccer"`` or ``"soccer_v0"``, or the dotted path of a PettingZoo module that has a
        ``parallel_env``.
    **arguments
        Of the game.

    Raises
    ------
    UnknownNameError
        If there is no such game; the message suggests the nearest.
    InvalidArgumentError
        If the game has no such argument (the message lists those it has), or refuses the value.

    Examples
    --------
    >>> make("fishery", p=0.051).possible_agents
    ['player_0', 'player_1']
    """
    known = list(game_names())
    bare = name.rpartition("_v")[0] or name
    if bare not in known and "." not in name:
        raise UnknownNameError(f"no game is named {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    try:
        module = importlib.import_module(name if bare not in known else f"{PACKAGE}.{bare}_v0")
        form = module.parallel_env
    except (ImportError, AttributeError) as error:
        raise UnknownNameError(f"{name!r} is no module with a parallel_env: {error}") from error
    accepted = _accepted(module)
    for given in arguments:
        if accepted is not None and given not in accepted:
            raise InvalidArgumentError(
                f"{name} has no argument {given!r}{nearest(given, accepted)}; it accepts {', '.join(accepted)}"
            )
    return form(**arguments)


def shifted(env: ParallelEnv, changes: Mapping[str, Any]) -> ParallelEnv:
    """Return a game of this package made again with some arguments replaced.

    Raises
    ------
    InvalidArgumentError
        If the game doesn't remember its arguments, as those of this package do, or is wrapped; or as :func:`make`.
    """
    inner = env.unwrapped
    if not isinstance(inner, RecordConstructorArgs) or not type(inner).__module__.startswith(PACKAGE):
        raise InvalidArgumentError(
            f"{env} isn't a game of {PACKAGE}, so it can't be made again; make it anew with other arguments"
        )
    if env is not inner and not hasattr(env, "aec_env"):
        raise InvalidArgumentError(f"{env} is wrapped in {type(env).__name__}; shift the game inside, then wrap it")
    name = type(inner).__module__.rpartition(".")[2]
    return make(name, **(inner._saved_kwargs | dict(changes)))


def _accepted(module: Any) -> list[str] | None:
    """Return the names of a game's arguments, or None if it takes any."""
    made = module.parallel_env if inspect.isclass(module.parallel_env) else getattr(module, "raw_env", module.parallel_env)
    parameters = inspect.signature(made).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters]
