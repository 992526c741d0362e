"""From a PettingZoo environment to its exact game."""

from __future__ import annotations

from typing import Any

from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import conversions, wrappers

from robust_rl.errors import InvalidArgumentError, NoTableError
from robust_rl.models import MarkovGame
from robust_rl.models.pettingzoo_table import read_game

# wrappers that leave transitions, rewards and observations as they are; a subclass may not, so types are compared exactly
HARMLESS = (
    conversions.aec_to_parallel_wrapper,
    conversions.parallel_to_aec_wrapper,
    conversions.turn_based_aec_to_parallel_wrapper,
    wrappers.AssertOutOfBoundsWrapper,
    wrappers.BaseParallelWrapper,
    wrappers.BaseWrapper,
    wrappers.CaptureStdoutWrapper,
    wrappers.OrderEnforcingWrapper,
)


def tabular_game(env: ParallelEnv | MarkovGame, *, horizon: int | None = None) -> MarkovGame:
    """Return the exact game of a PettingZoo parallel environment, its wrappers included.

    Parameters
    ----------
    env : pettingzoo.ParallelEnv or MarkovGame
        An environment with a table ``env.unwrapped.P[s][(a_1, .., a_n)]``, as those of :mod:`robust_rl.envs.games`, see
        :mod:`robust_rl.models.pettingzoo_table`. Wrappers are honoured from the inside out: one with a method
        ``shift_table(game) -> MarkovGame`` changes the game, those of PettingZoo that only watch or convert are passed. A game
        is handed through.
    horizon : int, optional
        Number of decisions. Default: the environment's ``max_cycles``; without one the game is a discounted one.

    Returns
    -------
    MarkovGame
        State i is the observation i; an extra state for ends of episodes, where one is needed, comes last. Dense up to a million
        entries, CSR above.

    Raises
    ------
    NoTableError
        If the environment has no table, or a wrapper changes it in a way that the table doesn't know.
    InvalidModelError
        If an agent's actions aren't Discrete, the table is malformed, or the memory isn't there to hold the game.
    InvalidArgumentError
        If ``env`` is no parallel environment.

    Examples
    --------
    >>> from robust_rl.envs import games
    >>> tabular_game(games.rock_paper_scissors_v0.parallel_env())
    MarkovGame(agents=('player_0', 'player_1'), states=3, actions=(3, 3), horizon=2, transitions='dense')
    """
    if isinstance(env, MarkovGame):
        return env if horizon is None else env.replace(horizon=horizon)
    if isinstance(env, AECEnv):
        raise InvalidArgumentError(f"{env} is in AEC form; give its parallel form, e.g. pettingzoo.utils.aec_to_parallel(env)")
    if not isinstance(env, ParallelEnv):
        raise InvalidArgumentError(f"{env!r} is no PettingZoo parallel environment or MarkovGame")
    game = read_game(env, horizon)
    for wrapper in reversed(_wrappers(env)):
        if type(wrapper) in HARMLESS:
            continue
        if not hasattr(type(wrapper), "shift_table"):  # an instance hands on what it doesn't have
            raise NoTableError(
                f"the table of {type(env.unwrapped).__module__} doesn't know what the wrapper {type(wrapper).__name__} does; "
                "remove the wrapper, give it a method shift_table(game) -> MarkovGame, or pass a MarkovGame"
            )
        game = wrapper.shift_table(game)
    return game


def _wrappers(env: Any) -> list[Any]:
    """Return the wrappers of an environment, outermost first."""
    chain = []
    while env is not env.unwrapped:
        chain.append(env)
        env = env.aec_env if hasattr(env, "aec_env") else env.env
    return chain
