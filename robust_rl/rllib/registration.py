"""Our environments under RLlib, with perturbations as plain data.

An ``env_config`` is a dictionary that JSON could hold, so that a grid of worlds is a list of dictionaries and a checkpoint can be
restored elsewhere:

=====================  ==================================================================================================
``shift``              ``{"length": 1.0, "action_noise": 0.1}``: changes, as :func:`robust_rl.envs.shift` takes them
``one_hot``            whether finite observations become one-hot vectors, which RLlib's networks need; True unless given
``max_episode_steps``  replaces the time limit
``nature``             games only: ``{"radius": 0.1, "against": "player_0"}``, see :func:`robust_rl.envs.games.with_nature`
anything else          an argument of the environment
=====================  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium

from robust_rl import envs
from robust_rl.envs import games
from robust_rl.errors import InvalidArgumentError, NoTableError
from robust_rl.rllib._compat import register_env

CONTROL = ("Acrobot-v1", "CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1")
"""Gymnasium's environments without a table that need nothing installed."""


def register_envs(*more: str) -> list[str]:
    """Make environments known to RLlib in all its processes, and return their names.

    These are the environments with a table (``robust-rl envs``), Gymnasium's classic control, and our games as
    ``robust_rl/soccer_v0`` and so on. Under its usual name each then takes the ``env_config`` of this module. Call it again
    after ``ray.shutdown()``, which forgets.

    Parameters
    ----------
    *more : str
        Further Gymnasium ids, ``"module:Env-v0"`` if a package registers them on import.

    Raises
    ------
    UnknownNameError
        If an id is not registered with Gymnasium.
    """
    for env_id in more:
        envs.registration.find_spec(env_id)
    names = [*envs.tabular_ids(), *CONTROL, *more]
    for env_id in names:
        register_env(env_id, partial(make_env, env_id))
    by_name = {f"robust_rl/{name}_v0": name for name in games.game_names()}
    for name, game in by_name.items():
        register_env(name, partial(make_game, game))
    return [*names, *by_name]


def make_env(env_id: str, config: Mapping[str, Any]) -> Any:
    """Return an environment for RLlib; with ``num_envs`` in the configuration, that many copies stepped by numpy.

    RLlib asks for copies under ``config.env_runners(gym_env_vectorize_mode="vector_entry_point")``.

    Raises
    ------
    NoTableError
        If copies are asked of an environment without a table.
    InvalidArgumentError, UnknownNameError
        If a shift or an argument is unknown or out of range.
    """
    arguments = dict(config)
    copies, changes = arguments.pop("num_envs", None), _changes(arguments)
    one_hot = arguments.pop("one_hot", True)
    env = envs.make(env_id, disable_env_checker=True, **arguments)
    if changes:
        env = envs.shift(env, **changes)
    if copies is not None:
        return _copies(env, copies, one_hot)
    return envs.OneHotObservation(env) if one_hot and is_finite(env.observation_space) else env


def make_game(name: str, config: Mapping[str, Any]) -> Any:
    """Return a game for RLlib.

    Raises
    ------
    InvalidArgumentError, UnknownNameError
        If a shift or an argument is unknown or out of range.
    """
    from robust_rl.rllib.markov_game_env import MarkovGameEnv

    arguments = dict(config)
    changes, nature = _changes(arguments), arguments.pop("nature", None)
    one_hot = arguments.pop("one_hot", True)
    game = games.make(name, **(arguments | changes))
    return MarkovGameEnv(game if nature is None else games.with_nature(game, **nature), one_hot=one_hot)


def is_finite(space: gymnasium.spaces.Space[Any]) -> bool:
    """Return whether a space has a finite list of elements that a table could number."""
    try:
        envs.state_count(space)
    except InvalidArgumentError:
        return False
    return True


def _changes(arguments: dict[str, Any]) -> dict[str, Any]:
    changes = arguments.pop("shift", None) or {}
    if not isinstance(changes, Mapping):
        raise InvalidArgumentError(f"env_config['shift'] is {changes!r}; give a mapping, such as {{'action_noise': 0.1}}")
    return dict(changes)


def _copies(env: gymnasium.Env[Any, Any], copies: int, one_hot: bool) -> envs.TabularVectorEnv:
    try:
        model = envs.tabular(env)
    except NoTableError as error:
        raise NoTableError(f"{error}; or leave gym_env_vectorize_mode at 'sync', which needs none") from None
    return envs.TabularVectorEnv(
        model,
        copies,
        max_episode_steps=None if env.spec is None else env.spec.max_episode_steps,
        one_hot=one_hot,
        observed_states=envs.state_count(env.observation_space),
    )
