"""Changed copies of environments: the worlds that a policy is tested in.

A change is, in this order of look-up,

1. ``action_noise`` or ``observation_noise``: a wrapper of :mod:`robust_rl.envs.noise`;
2. an argument of the environment's constructor, as FrozenLake's ``is_slippery``: the environment is made with it;
3. a number among the attributes of an environment without a table, as CartPole's ``length``, or of one that was discretised:
   set by :class:`PhysicsShift`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, overload

import gymnasium
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import RecordConstructorArgs
from pettingzoo import ParallelEnv

from robust_rl.envs import checks, games
from robust_rl.envs.noise import ActionNoise, ObservationNoise, with_action_noise
from robust_rl.envs.registration import construct, constructor_arguments, find_spec
from robust_rl.errors import InvalidArgumentError, UnknownNameError, nearest
from robust_rl.models import TabularEnv, TabularMDP

NOISES: dict[str, Callable[..., gymnasium.Env[Any, Any]]] = {"action_noise": ActionNoise, "observation_noise": ObservationNoise}
DERIVED = {"total_mass", "polemass_length"}  # CartPole's, recomputed from the masses and the length
POSITIVE = {"length", "masscart", "masspole", "tau", "dt", "m", "l", "max_torque", "max_speed", "power"} | {
    f"LINK_{part}" for part in ("LENGTH_1", "LENGTH_2", "MASS_1", "MASS_2", "COM_POS_1", "COM_POS_2", "MOI")
}


@overload
def shift(env: TabularMDP, **changes: Any) -> TabularMDP: ...
@overload
def shift(env: gymnasium.Env[Any, Any] | str, **changes: Any) -> gymnasium.Env[Any, Any]: ...  # and a ParallelEnv, untyped
def shift(env: Any, **changes: Any) -> Any:
    """Return a new environment that differs from the given one in the named ways; the given one is untouched.

    Parameters
    ----------
    env : gymnasium.Env, str, TabularMDP or pettingzoo.ParallelEnv
        An environment made by ``gymnasium.make`` (its arguments, wrappers and earlier shifts are kept unless overridden; noise
        adds to earlier noise), an id, or a model, which takes ``action_noise`` only; or one of
        :mod:`robust_rl.envs.games`, without wrappers, which takes arguments of its constructor, as soccer's ``slip``.
    **changes
        ``action_noise=q``: with probability q the action is replaced by one drawn uniformly.
        ``observation_noise=x``: for Box observations Gaussian noise of standard deviation x, in the observation's units; for
        finite ones, with probability x, a uniformly drawn observation.
        Any argument of the constructor; or, if the environment has no table, any numeric attribute of it, e.g. CartPole's
        ``length`` (metres, half the pole), ``masspole`` (kg) or ``gravity`` (m/s^2), on which dependent ones are recomputed.

    Raises
    ------
    UnknownNameError
        If the environment has no such thing to change; the message lists what it has.
    InvalidArgumentError
        If a value is out of range, or the environment can't be made again because it wasn't made by ``gymnasium.make``.

    Examples
    --------
    >>> shift("CartPole-v1", length=1.0, masspole=0.2).unwrapped.polemass_length
    0.2
    """
    if isinstance(env, TabularMDP):
        return _shift_model(env, changes)
    if isinstance(env, ParallelEnv):
        return games.shifted(env, changes)
    if not isinstance(env, gymnasium.Env | str):
        raise InvalidArgumentError(f"{env!r} is no Gymnasium environment, id or TabularMDP")
    spec = find_spec(env) if isinstance(env, str) else env.spec
    accepted = [] if spec is None else constructor_arguments(spec)
    rest = {name: value for name, value in changes.items() if name not in NOISES}
    arguments = {name: value for name, value in rest.items() if accepted is None or name in (*accepted, "render_mode")}
    attributes = {name: value for name, value in rest.items() if name not in arguments}
    shifted = _remade(env, spec, arguments)
    known = [*NOISES, *(accepted or []), *physical_attributes(shifted.unwrapped)]
    _check_names(attributes, list(dict.fromkeys(known)), _name(shifted))
    if attributes:
        shifted = PhysicsShift(shifted, **attributes)
    for name, wrapper in NOISES.items():
        if name in changes:
            shifted = wrapper(shifted, changes[name])
    return shifted


class PhysicsShift(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Set numeric attributes of the environment inside, and those that depend on them."""

    def __init__(self, env: gymnasium.Env[Any, Any], **attributes: float) -> None:
        RecordConstructorArgs.__init__(self, **attributes)  # type: ignore[arg-type]
        gymnasium.Wrapper.__init__(self, env)
        for name, value in attributes.items():
            (checks.positive if name in POSITIVE else checks.number)(name, value)
            setattr(env.unwrapped, name, value)
        _recompute(env.unwrapped)

    def shift_table(self, model: TabularMDP) -> TabularMDP:
        """Return the table of a discretised environment as it is: it was sampled from the attributes set here."""
        return model


def physical_attributes(env: gymnasium.Env[Any, Any]) -> list[str]:
    """Return the names of the numbers that an unwrapped environment without a table can be shifted by."""
    if isinstance(getattr(env, "P", None), dict) or isinstance(getattr(env, "model", None), TabularMDP):
        return []  # its dynamics are in the table, and the attributes beside it have no effect
    values: dict[str, Any] = {}
    for owner in (*reversed(type(env).__mro__), env):
        values |= vars(owner)
    return sorted(name for name, value in values.items() if _is_number(value) and not _is_idle(name))


def parse_shift(text: str) -> tuple[str, list[Any]]:
    """Read ``"action_noise=0,0.05,0.1"`` as ``("action_noise", [0, 0.05, 0.1])``.

    Values are bool (``true``, ``false``), int, float, or else text.

    Raises
    ------
    InvalidArgumentError
        If there is no ``=``, no name, or an empty value.

    Examples
    --------
    >>> parse_shift("is_slippery=false,true")
    ('is_slippery', [False, True])
    """
    name, value = _split(text, "name=value,value,...")
    return name, [_parse_value(part, text) for part in value.split(",")]


def parse_env_arg(text: str) -> tuple[str, Any]:
    """Read ``"map_name=8x8"`` as ``("map_name", "8x8")``; values and errors as in :func:`parse_shift`.

    Examples
    --------
    >>> parse_env_arg("success_rate=0.9")
    ('success_rate', 0.9)
    """
    name, value = _split(text, "name=value")
    return name, _parse_value(value, text)


def _shift_model(model: TabularMDP, changes: Mapping[str, Any]) -> TabularMDP:
    _check_names([name for name in changes if name != "action_noise"], ["action_noise"], "a TabularMDP")
    return with_action_noise(model, changes.get("action_noise", 0))


def _remade(env: gymnasium.Env[Any, Any] | str, spec: EnvSpec | None, arguments: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    if spec is not None:
        return construct(spec, arguments)
    if isinstance(env, TabularEnv):
        return TabularEnv(env.model, render_mode=env.render_mode)
    raise InvalidArgumentError(
        f"{env} wasn't made by gymnasium.make, so it can't be made again; pass an id or one made from an id"
    )


def _check_names(names: Iterable[str], known: list[str], owner: str) -> None:
    for name in names:
        if name not in known:
            raise UnknownNameError(f"{owner} has no {name!r} to shift{nearest(name, known)}; it accepts {', '.join(known)}")


def _name(env: gymnasium.Env[Any, Any]) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_idle(name: str) -> bool:
    """Whether a number is private, computed from others, or without effect on the dynamics."""
    return name.startswith("_") or name.lower().startswith("screen") or name in DERIVED or name in ("actions_num", "num_envs")


def _recompute(env: Any) -> None:
    """Bring what a constructor computed from its attributes in line with them."""
    if hasattr(env, "polemass_length"):  # CartPole
        env.total_mass = env.masspole + env.masscart
        env.polemass_length = env.masspole * env.length
    if hasattr(env, "max_torque"):  # Pendulum clips to it, so a larger one takes effect through a larger action space only
        env.action_space = spaces.Box(-env.max_torque, env.max_torque, env.action_space.shape, env.action_space.dtype)
    if hasattr(env, "min_action"):  # MountainCarContinuous clips likewise
        env.action_space = spaces.Box(env.min_action, env.max_action, env.action_space.shape, env.action_space.dtype)


def _split(text: str, form: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name.isidentifier() and equals):
        raise InvalidArgumentError(f"{text!r} isn't of the form {form}")
    return name, value


def _parse_value(part: str, text: str) -> Any:
    part = part.strip()
    if not part:
        raise InvalidArgumentError(f"{text!r} has an empty value")
    if part.lower() in ("true", "false"):
        return part.lower() == "true"
    for number in (int, float):
        try:
            return number(part)
        except ValueError:
            continue
    return part
