"""DR-NVI: distributionally robust Nash value iteration (arXiv:2404.18909).

    Vhat_{i,H+1} = 0;  for h = H, .., 1:                                                                                (1)
        Qhat_{i,h}(s, a) = r_{i,h}(s, a) + inf_{P in U_i(Phat_h(.|s,a))} P Vhat_{i,h+1}       for all i, s, a           (2)
        pi_h(.|s) = Equilibrium({ Qhat_{i,h}(s, .) }_i)                                       for all s                 (3)
        Vhat_{i,h}(s) = sum_a pi_h(a|s) Qhat_{i,h}(s, a)                                                                (4)

The paper's sets are balls of total variation, for which the infimum in (2) is

    max_alpha { Phat [Vhat]_alpha - sigma_i (alpha - min_s [Vhat]_alpha(s)) },    [V]_alpha = min(V, alpha);             (5)

here every set of the library does, one an agent. Phat is the empirical kernel of N draws from each (h, s, a), which
:func:`robust_rl.models.empirical_game` makes, or a known one. Rewards that sum to zero don't make the stage games zero-sum, since
each agent has an adversary of its own: Q_1 + Q_2 <= 0.

With eps_h(s) the regret of (3), the robust backup being monotone and 1-Lipschitz, the policy's gap on the game given is

    max_{i,s} ( V^{*,pi_-i}_{i,1}(s) - V^pi_{i,1}(s) ) <= sum_h max_s eps_h(s).                                          (6)

==========  ===============  ==================================================
symbol      here             meaning, shape
==========  ===============  ==================================================
Qhat        q                (n, S, A1..An), of one stage
Vhat        value            (n, H+1, S)
pi          policy           (H, S, A1..An)
U_i         backup.sets[i]   a set from robust_rl.uncertainty
sigma_i                      its radius
eps         stage_gaps       (H, S)
==========  ===============  ==================================================

Stages are numbered from 0 in the code: ``value[:, h]`` is Vhat_{.,h+1}.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robust_rl.equilibria import StageEquilibria, equilibria
from robust_rl.equilibria.checks import as_kind, as_selection
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import MarkovGame
from robust_rl.models.memory import require_memory
from robust_rl.solvers.criterion import digest, set_arguments
from robust_rl.solvers.game_backup import GameBackup, GameUncertainty, check_game, check_horizon
from robust_rl.solvers.game_solution import GameSolution
from robust_rl.training import check_same_problem, load_arrays, save_arrays
from robust_rl.uncertainty import Nominal

Array = NDArray[np.float64]
FILE = "dr_nvi.safetensors"


class DRNVISolver:
    """Equations (1) to (4) as a Trainable: one stage h a step, the last stage first.

    Parameters
    ----------
    game : MarkovGame
        With a horizon. Its kernel is Phat: an empirical game's, or the true one.
    uncertainty : mapping from agent to set, or one set for all
        Centred at the game's kernel, rectangular in state and joint action; ``None`` is a nominal agent.
    equilibrium : "cce", "ce" or "ne"
    selection : "utilitarian", "maximin", "max_entropy" or None
        Which equilibrium a stage game gets, see :func:`robust_rl.equilibria.equilibria`; values depend on it.

    Raises
    ------
    InvalidArgumentError, InvalidUncertaintyError, InvalidModelError, UnknownNameError
        If the game has no horizon, a set doesn't fit, an agent or a rule isn't known, or the memory isn't there to hold a
        policy.
    """

    method = "DR-NVI"

    def __init__(
        self,
        game: MarkovGame,
        uncertainty: GameUncertainty,
        *,
        equilibrium: str = "cce",
        selection: str | None = "utilitarian",
    ) -> None:
        self.equilibrium, self.selection = as_kind(equilibrium), as_selection(selection)
        self.game, self.horizon = check_game(game), check_horizon(game)
        states, joint, agents = game.num_states, game.num_joint_actions, game.num_agents
        require_memory(
            8.0 * states * joint * (self.horizon + 3 * agents),
            f"a policy of {self.horizon} stages, {states} states and {joint} joint actions, with a stage's Q of {agents} agents,",
            "shorten the horizon, or merge states or actions",
        )
        self.backup = GameBackup(game, uncertainty)
        self.remaining = self.horizon
        self.value = np.zeros((agents, self.horizon + 1, states))  # eq. 1
        self.policy = np.zeros((self.horizon, states, *game.num_actions))
        self.stage_gaps = np.zeros((self.horizon, states))

    @property
    def done(self) -> bool:
        """Whether the first stage is solved."""
        return self.remaining == 0

    @property
    def gap(self) -> float:
        """Eq. (6) for the stages solved so far."""
        return float(self.stage_gaps.max(axis=1).sum())

    def step(self) -> Mapping[str, float]:
        """Solve the next earlier stage."""
        self.remaining -= 1
        h = self.remaining
        q = self.backup.q_values(h, self.value[:, h + 1])  # eq. 2
        stage = stage_equilibria(q, self.equilibrium, self.selection)  # eq. 3
        self.policy[h], self.stage_gaps[h] = stage.policies, stage.gaps
        self.value[:, h] = (self.policy[h] * q).reshape(*self.value[:, h].shape, -1).sum(axis=-1)  # eq. 4
        from_start = self.value[:, h] @ self.game.start
        values = {f"solve/value/{agent}": float(value) for agent, value in zip(self.game.agents, from_start, strict=True)}
        return {"solve/stage": float(h), "solve/gap": self.gap} | values

    def solution(self) -> GameSolution:
        """Return policy, values and regrets of all stages. Raises InvalidArgumentError before the first stage is solved."""
        if not self.done:
            raise InvalidArgumentError(f"{self.remaining} of {self.horizon} stages are still to be solved; go on until done")
        sets = [None if isinstance(chosen, Nominal) else chosen for chosen in self.backup.sets]
        return GameSolution(
            policy=self.policy.copy(),
            value=self.value[:, :-1].copy(),
            stage_gaps=self.stage_gaps.copy(),
            equilibrium=self.equilibrium,
            selection=self.selection,
            uncertainty=dict(zip(self.game.agents, sets, strict=True)),
        )

    def save_checkpoint(self, directory: Path) -> None:
        """Write the stages solved so far."""
        arrays = {"value": self.value, "policy": self.policy, "stage_gaps": self.stage_gaps}
        save_arrays(directory / FILE, arrays, self._problem() | {"remaining": self.remaining})

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, problem = load_arrays(directory / FILE)
        check_same_problem(problem, self._problem())
        self.value, self.policy, self.stage_gaps = arrays["value"], arrays["policy"], arrays["stage_gaps"]
        self.remaining = int(problem["remaining"])

    def _problem(self) -> dict[str, Any]:
        return describe_game_problem(self.backup) | {"equilibrium": self.equilibrium, "selection": self.selection}


def stage_equilibria(q: Array, kind: str, selection: str | None) -> StageEquilibria:
    """Return an equilibrium of each state's stage game, q (n, S, A1..An); a lone agent's is its first best action."""
    if len(q) == 1:
        best = np.eye(q.shape[2])[q[0].argmax(axis=1)]
        return StageEquilibria(best, np.zeros(len(best)))
    return equilibria(np.moveaxis(q, 0, 1), kind, selection=selection)


def describe_game_problem(backup: GameBackup) -> dict[str, Any]:
    """Return what a checkpoint notes of its problem, so that it isn't continued on another."""
    game = backup.game
    kernels = game.transitions if isinstance(game.transitions, list) else [game.transitions]
    return {
        "uncertainty": ", ".join(f"{agent}: {chosen!r}" for agent, chosen in zip(game.agents, backup.sets, strict=True)),
        "game": repr(game),
        "game's arrays": digest([*kernels, game.rewards, game.start, game.terminal]),
        "uncertainty's arrays": digest([part for chosen in backup.sets for part in set_arguments(chosen)]),
    }
