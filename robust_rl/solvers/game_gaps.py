"""Exact robust gaps: what an agent gains by leaving a joint policy, when each agent has an adversary of its own.

    V^pi_h(s)  = sum_a pi_h(a|s) Q_h(s, a; V^pi_{h+1})                                                                   (1)
    Vbr_h(s)   = max_{b} sum_{a_i, a_-i} pi_h(a_i, a_-i|s) Q_h(s, (b, a_-i); Vbr_{h+1})               "ne", "cce"        (2)
    Vce_h(s)   = sum_{a_i} max_{b} sum_{a_-i} pi_h(a_i, a_-i|s) Q_h(s, (b, a_-i); Vce_{h+1})          "ce"               (3)

    Q_h(s, a; V) = r_{i,h}(s, a) + inf_{P in U_i(s,a)} P V

The gap of agent i from state s is Vbr_0(s) - V^pi_0(s), or Vce_0(s) - V^pi_0(s). It is at least 0, and 0 for every agent and
state exactly at a robust equilibrium. In (2) the deviation is a policy of its own, in (3) a modification of what the agent is
told to do; the maximisers attain the gap. One robust backup over the joint actions for each stage and agent. Source:
arXiv:2404.18909; the recursions follow from rectangularity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.equilibria import marginals, product
from robust_rl.equilibria.checks import as_kind
from robust_rl.errors import InvalidArgumentError, nearest
from robust_rl.models import MarkovGame
from robust_rl.solvers.game_backup import GameBackup, GameUncertainty, check_game, check_horizon

Array = NDArray[np.float64]
TOLERANCE = 1e-8  # of a policy's sums, and of its distance from a product


@dataclass(frozen=True)
class RobustGap:
    """What agents gain by leaving a policy at the first stage.

    ==========  ====================================================================
    kind        "ne", "cce" or "ce": which deviations are allowed
    agents      their names
    value       (n, S) robust value of the policy
    best        (n, S) robust value of the best deviation
    start       (S,) distribution of the first state
    ==========  ====================================================================
    """

    kind: str
    agents: tuple[str, ...]
    value: Array
    best: Array
    start: Array

    @property
    def by_state(self) -> Array:
        """(n, S) gap of each agent from each state."""
        return np.maximum(self.best - self.value, 0.0)

    @property
    def by_agent(self) -> dict[str, float]:
        """Largest gap of each agent over the states."""
        return dict(zip(self.agents, self.by_state.max(axis=1).tolist(), strict=True))

    @property
    def from_start(self) -> dict[str, float]:
        """Gap of each agent in expectation over the start distribution."""
        return dict(zip(self.agents, (self.by_state @ self.start).tolist(), strict=True))

    @property
    def gap(self) -> float:
        """Largest gap over agents and states: the policy is an eps-equilibrium for this eps, and for no smaller one."""
        return float(self.by_state.max())

    def __float__(self) -> float:
        return self.gap


@dataclass(frozen=True)
class BestResponse:
    """The best that one agent can do against a policy.

    ==========  =====================================================================================================
    agent       its name
    kind        "ne", "cce" or "ce"
    actions     (H, S) what it plays in place of what it is told; for "ce" (H, S, A_i), by what it is told
    value       (H, S) its robust value then
    ==========  =====================================================================================================
    """

    agent: str
    kind: str
    actions: NDArray[np.intp]
    value: Array

    def joint(self, policy: ArrayLike, game: MarkovGame) -> Array:
        """Return the joint policy (H, S, A1..An) once the agent has left the given one: to be played, or valued."""
        given, axis = check_joint_policy(policy, game), 1 + game.agents.index(self.agent)
        told = np.moveaxis(given, axis + 1, 2)
        actions = self.actions if self.kind == "ce" else self.actions[..., None]
        plays = np.eye(told.shape[2])[np.broadcast_to(actions, told.shape[:3])]  # (H, S, told, played)
        return np.ascontiguousarray(np.moveaxis(np.einsum("hsa...,hsab->hsb...", told, plays), 2, axis + 1))


def robust_gap(policy: ArrayLike, game: MarkovGame, uncertainty: GameUncertainty, *, kind: str) -> RobustGap:
    """Return what each agent gains by its best deviation from a joint policy, exactly.

    Parameters
    ----------
    policy : (H, S, A1..An) or (S, A1..An) array
        Probabilities of joint actions, whoever made them; without an axis for the stage it serves them all.
    game : MarkovGame
        Where it is judged: not necessarily the game it was made for.
    uncertainty : mapping from agent to set, or one set for all
        ``None`` is a nominal agent.
    kind : "ne", "cce" or "ce"
        Deviations of equations (2) or (3). "ne" asks for a product of the agents' own policies.

    Returns
    -------
    RobustGap
        By agent, by state, and from the start; ``float(...)`` is the largest.

    Raises
    ------
    InvalidArgumentError
        If the policy has a wrong shape, isn't a distribution, or isn't a product for "ne"; if a set is given for an unknown
        agent.
    UnknownNameError
        If there is no such kind.

    Examples
    --------
    >>> import numpy as np
    >>> from robust_rl import MarkovGame, TotalVariation
    >>> pennies = np.array([[[1.0, -1.0], [-1.0, 1.0]]])
    >>> game = MarkovGame(np.ones((1, 2, 2, 1)), np.stack([pennies, -pennies]), horizon=2)
    >>> heads = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    >>> robust_gap(heads, game, TotalVariation(0.1, support="free"), kind="ne").by_agent
    {'player_0': 0.0, 'player_1': 4.0}
    """
    as_kind(kind)
    backup = GameBackup(game, uncertainty)
    joint = check_joint_policy(policy, game)
    if kind == "ne":
        _check_product(joint)
    value = _policy_value(joint, backup)[:, 0]
    best = np.stack([_response(joint, backup, i, kind)[1][0] for i in range(game.num_agents)])
    return RobustGap(kind, game.agents, value, best, game.start)


def best_response(
    policy: ArrayLike, game: MarkovGame, uncertainty: GameUncertainty, agent: str, *, kind: str = "cce"
) -> BestResponse:
    """Return the deviation of one agent that attains its gap, eq. (2), or for "ce" the modification of eq. (3).

    Parameters and errors as of :func:`robust_gap`; ties go to the first action.
    """
    as_kind(kind)
    backup = GameBackup(game, uncertainty)
    if agent not in game.agents:
        raise InvalidArgumentError(
            f"there is no agent {agent!r}; agents are {', '.join(game.agents)}{nearest(str(agent), game.agents)}"
        )
    joint = check_joint_policy(policy, game)
    if kind == "ne":
        _check_product(joint)
    return BestResponse(agent, kind, *_response(joint, backup, game.agents.index(agent), kind))


def game_value(policy: ArrayLike, game: MarkovGame, uncertainty: GameUncertainty) -> Array:
    """Return the robust value of a joint policy to each agent, (n, H, S), eq. (1). Errors as of :func:`robust_gap`."""
    backup = GameBackup(game, uncertainty)
    return _policy_value(check_joint_policy(policy, game), backup)


def check_joint_policy(policy: ArrayLike, game: MarkovGame) -> Array:
    """Return a policy as (H, S, A1..An), or raise InvalidArgumentError naming what is wrong with it."""
    horizon = check_horizon(check_game(game))
    joint = np.asarray(policy, dtype=np.float64)
    shape = (horizon, game.num_states, *game.num_actions)
    if joint.shape not in (shape, shape[1:]):
        raise InvalidArgumentError(
            f"the policy has shape {joint.shape}; this game needs {shape}, or {shape[1:]} for all stages alike"
        )
    joint = np.broadcast_to(joint, shape)
    rows = joint.reshape(horizon, game.num_states, -1)
    wrong = ~((rows >= 0).all(axis=2) & (abs(rows.sum(axis=2) - 1) <= TOLERANCE))
    if wrong.any():
        h, state = map(int, np.argwhere(wrong)[0])
        row = rows[h, state]
        raise InvalidArgumentError(
            f"the policy at h={h}, s={state} isn't a distribution: its sum is {row.sum():.10g}, its least entry {row.min():.3g}"
        )
    return joint


def _check_product(joint: Array) -> None:
    flat = joint.reshape(-1, *joint.shape[2:])
    distance = abs(flat - product(marginals(flat))).reshape(*joint.shape[:2], -1).max(axis=2)
    if (distance > TOLERANCE).any():
        h, state = map(int, np.unravel_index(distance.argmax(), distance.shape))
        raise InvalidArgumentError(
            f"the policy is correlated: at h={h}, s={state} it is {distance.max():.3g} from the product of its marginals, and "
            'agents of a Nash equilibrium draw on their own; ask for kind="ce" or "cce"'
        )


def _policy_value(joint: Array, backup: GameBackup) -> Array:
    agents, (horizon, states) = backup.game.num_agents, joint.shape[:2]
    value = np.zeros((agents, horizon + 1, states))
    for h in reversed(range(horizon)):
        q = backup.q_values(h, value[:, h + 1])
        value[:, h] = (joint[h] * q).reshape(agents, states, -1).sum(axis=-1)  # eq. 1
    return value[:, :-1]


def _response(joint: Array, backup: GameBackup, i: int, kind: str) -> tuple[NDArray[np.intp], Array]:
    """Return the actions that maximise eq. (2) or (3) for agent number i, and their values (H, S)."""
    (horizon, states), own = joint.shape[:2], joint.shape[2 + i]
    value = np.zeros((horizon + 1, states))
    actions = np.zeros((horizon, states, own) if kind == "ce" else (horizon, states), dtype=np.intp)
    for h in reversed(range(horizon)):
        q = np.moveaxis(backup.agent_q_values(h, i, value[h + 1]), 1 + i, 1).reshape(states, own, -1)
        told = np.moveaxis(joint[h], 1 + i, 1).reshape(states, own, -1)
        if kind == "ce":
            payoff = told @ q.transpose(0, 2, 1)  # (S, a_i, b)
            actions[h], value[h] = payoff.argmax(axis=2), payoff.max(axis=2).sum(axis=1)  # eq. 3
        else:
            payoff = np.einsum("sbo,so->sb", q, told.sum(axis=1))
            actions[h], value[h] = payoff.argmax(axis=1), payoff.max(axis=1)  # eq. 2
    return actions, value[:-1]
