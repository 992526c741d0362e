"""From an environment to its exact model."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
from gymnasium import wrappers

from robust_rl.envs.blackjack import blackjack_table
from robust_rl.envs.registration import make
from robust_rl.errors import InvalidArgumentError, NoTableError
from robust_rl.models import TabularMDP
from robust_rl.models.gymnasium_table import read_table

# wrappers that leave transitions, rewards and observations as they are; a subclass may not, so types are compared exactly
HARMLESS = (
    wrappers.Autoreset,
    wrappers.HumanRendering,
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.RecordEpisodeStatistics,
    wrappers.RecordVideo,
    wrappers.RenderCollection,
    wrappers.TimeLimit,
)


def tabular(
    env: gymnasium.Env[Any, Any] | TabularMDP | str,
    rewards: Literal["transition", "expected"] = "transition",
    **env_kwargs: Any,
) -> TabularMDP:
    """Return the exact model of an environment, its wrappers included.

    Parameters
    ----------
    env : gymnasium.Env, str or TabularMDP
        An environment with a transition table (``robust-rl envs`` lists ids), an id, or a model, which is handed through.
        Wrappers are honoured from the inside out: one with a method ``shift_table(model) -> TabularMDP`` changes the model, and
        those of Gymnasium that only watch or render are passed. A time limit is passed too, and so ignored: the model's episodes
        end in terminal states only. One with a method ``table() -> TabularMDP`` brings the model itself, as
        :class:`robust_rl.envs.Discretize` does; that of a grid is an approximation.
    rewards : {"transition", "expected"}
        Keep r(s,a,s'), or reduce it to r(s,a), in which case an adversary moves only the value.
    **env_kwargs
        Arguments of the environment, for an id only.

    Returns
    -------
    TabularMDP
        State i is the observation with ``state_index(space, observation) == i``; extra states for ends of episodes come last.

    Raises
    ------
    NoTableError
        If the environment has no table, or a wrapper changes it in a way that the table doesn't know.
    UnknownNameError, InvalidArgumentError
        As :func:`make`; also for ``env_kwargs`` beside an environment that exists already.

    Examples
    --------
    >>> tabular("FrozenLake-v1", is_slippery=True)
    TabularMDP(states=16, actions=4, transitions='dense', rewards="r(s,a,s')", terminal=5)
    """
    if rewards not in ("transition", "expected"):
        raise InvalidArgumentError(f"rewards={rewards!r}; expected 'transition' or 'expected'")
    if env_kwargs and not isinstance(env, str):
        given = ", ".join(env_kwargs)
        raise InvalidArgumentError(f"{given}: arguments of an environment go with an id, not with a {type(env).__name__}")
    if not isinstance(env, gymnasium.Env | TabularMDP | str):
        raise InvalidArgumentError(f"{env!r} is no Gymnasium environment, id or TabularMDP")
    if isinstance(env, str):
        created = make(env, **env_kwargs)
        try:
            model = _model(created)
        finally:
            created.close()  # type: ignore[no-untyped-call]
    else:
        model = env if isinstance(env, TabularMDP) else _model(env)
    return model if rewards == "transition" else model.with_expected_rewards()


def _model(env: gymnasium.Env[Any, Any]) -> TabularMDP:
    wrappers = _wrappers(env)
    grid = next((i for i, wrapper in enumerate(wrappers) if hasattr(wrapper, "table")), None)
    owner: Any = None if grid is None else wrappers[grid]
    model = _base_model(env.unwrapped) if owner is None else owner.table()  # what is inside the owner is part of its table
    for wrapper in reversed(wrappers[:grid]):
        if type(wrapper) in HARMLESS:
            continue
        if not hasattr(wrapper, "shift_table"):
            raise NoTableError(
                f"the table of {type(env.unwrapped).__name__} doesn't know what the wrapper {type(wrapper).__name__} does; "
                "remove the wrapper, give it a method shift_table(model) -> TabularMDP, or pass a TabularMDP"
            )
        model = wrapper.shift_table(model)
    return model


def _wrappers(env: gymnasium.Env[Any, Any]) -> list[gymnasium.Wrapper[Any, Any, Any, Any]]:
    """Return the wrappers of an environment, outermost first."""
    chain = []
    while isinstance(env, gymnasium.Wrapper):
        chain.append(env)
        env = env.env
    return chain


def _base_model(env: gymnasium.Env[Any, Any]) -> TabularMDP:
    from gymnasium.envs.toy_text.blackjack import BlackjackEnv

    if type(env) is BlackjackEnv:
        return blackjack_table(natural=env.natural, sab=env.sab)
    if getattr(env, "fickle_passenger", False):
        # Taxi then changes the destination once an episode, behind the back of its table
        raise NoTableError("the table of Taxi doesn't know what fickle_passenger=True does; leave it False")
    return read_table(env)
