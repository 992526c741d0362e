"""The agent of Markov games: one policy for all players, with the face of :class:`robust_rl.RobustVI`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robust_rl import agent_common, envs, policy_file
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import GameSimulator, MarkovGame, empirical_game
from robust_rl.models.game_file import game_arrays, game_from_arrays
from robust_rl.solvers import DRNVISolver, GameSolution
from robust_rl.solvers.game_backup import GameUncertainty
from robust_rl.training import Trainable


class DRNVI(agent_common.Agent):
    """DR-NVI on a game with a table, or on draws from it.

    Parameters
    ----------
    game : MarkovGame, pettingzoo.ParallelEnv or GameSimulator
        A game with a horizon; an environment that :func:`robust_rl.envs.tabular_game` can read, whose ``max_cycles`` is the
        horizon; or, with ``samples``, a simulator that only answers draws.
    uncertainty : mapping from agent to set, or one set for all
        Where each agent's adversary may move the transition probabilities; ``None`` is a nominal agent.
    equilibrium : "cce", "ce" or "ne"
    selection : "utilitarian", "maximin", "max_entropy" or None
        Which of a stage game's equilibria; None is any.
    samples : int, optional
        Draws from each (h, s, a), from which the kernels are estimated. Default: plan on the known kernels.
    seed : int
        Of the draws, and of the actions of mixed policies.

    Notes
    -----
    A step of ``learn`` is a stage, the last first; there is no policy before the first stage is solved.

    Attributes
    ----------
    model : MarkovGame
        What is solved: the game given, or its empirical one.
    solution : GameSolution
        Policy, values and stage regrets after ``learn``.
    interrupted : bool
        Whether a signal ended the last ``learn``.
    np_random : numpy.random.Generator
        The signal that all agents share: one draw of it is one joint action.

    Raises
    ------
    NoTableError, InvalidModelError, InvalidArgumentError, InvalidUncertaintyError, UnknownNameError
        If the game has no table or horizon, or an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from robust_rl import MarkovGame, TotalVariation
    >>> meet = np.array([[[2.0, 0.0], [0.0, 1.0]]])
    >>> game = MarkovGame(np.ones((1, 2, 2, 1)), np.stack([meet, meet]), horizon=2)
    >>> agent = DRNVI(game, TotalVariation(0.1, support="free"), equilibrium="ce").learn()
    >>> actions, stage = agent.predict({"player_0": 0, "player_1": 0})
    >>> actions, stage, agent.solution.value[:, 0, 0]
    ({'player_0': 0, 'player_1': 0}, 1, array([4., 4.]))
    """

    def __init__(
        self,
        game: Any,
        uncertainty: GameUncertainty,
        *,
        equilibrium: str = "cce",
        selection: str | None = "utilitarian",
        samples: int | None = None,
        seed: int = 0,
    ) -> None:
        drawing, acting = np.random.SeedSequence(seed).spawn(2)
        source = _open(game, samples)
        self.model = source if samples is None else empirical_game(source, samples, np.random.default_rng(drawing))
        self.samples, self.seed = samples, seed
        self.planner = DRNVISolver(self.model, uncertainty, equilibrium=equilibrium, selection=selection)
        self.np_random = np.random.default_rng(acting)
        self._solution: GameSolution | None = None

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the players."""
        return self.model.agents

    @property
    def horizon(self) -> int:
        """Number of decisions."""
        return self.planner.horizon

    @property
    def solution(self) -> GameSolution:
        """What has been learned. Raises InvalidArgumentError before ``learn``."""
        if self._solution is None:
            raise InvalidArgumentError("this agent has no solution yet; call learn(), to its end")
        return self._solution

    def _trainable(self, saved: bool) -> Trainable:
        return self.planner

    def _take_over(self) -> bool:
        self._solution = self.planner.solution() if self.planner.done else None
        return self.planner.done

    def predict(
        self, observations: Mapping[str, Any], state: int | None = None, deterministic: bool = False
    ) -> tuple[dict[str, int], int]:
        """Return the joint action for the agents' observations, by agent.

        Parameters
        ----------
        observations : mapping from agent to state index
            Every agent sees the state, so those given must agree. Agents left out get no action.
        state : int, optional
            The stage: None at the start of an episode, then what the last call returned.
        deterministic : bool
            False, the default, draws one joint action for all agents from one signal, ``np_random``: equilibria are mixed as a
            rule, and their guarantees are about draws; a correlated one has them only if nobody draws on its own. True takes
            the likeliest joint action, which looks well in a demonstration and guarantees nothing. For pure policies the two
            are the same.

        Returns
        -------
        (actions, state)

        Raises
        ------
        InvalidArgumentError
            If nothing was learned, observations disagree or aren't states, an agent isn't known, or the horizon is over.
        """
        policy, stage = self.solution.policy, state or 0
        if not 0 <= stage < self.horizon:
            raise InvalidArgumentError(
                f"stage {stage} is beyond the horizon of {self.horizon} decisions; start an episode with state=None"
            )
        weights = policy[stage, self._state_of(observations)].ravel()
        joint = weights.argmax() if deterministic else (weights.cumsum() > self.np_random.random() * weights.sum()).argmax()
        actions = np.unravel_index(int(joint), self.model.num_actions)
        return {name: int(action) for name, action in zip(self.agents, actions, strict=True) if name in observations}, stage + 1

    def summary(self) -> dict[str, Any]:
        """Return what was found as JSON values: each agent's set and value from the start, the certificate, and how."""
        solution = self.solution
        return {
            "agents": list(self.agents),
            "uncertainty": {name: repr(one) for name, one in solution.uncertainty.items()},
            "value": dict(zip(self.agents, (solution.value[:, 0] @ self.model.start).tolist(), strict=True)),
            "gap": solution.gap,
            "equilibrium": solution.equilibrium,
            "selection": solution.selection,
            "samples": self.samples,
            "horizon": self.horizon,
        }

    def save(self, path: str | Path) -> Path:
        """Write the agent, the game it solved included, to one ``.safetensors`` file and return its path."""
        arrays, metadata = self.solution.to_arrays()
        arrays |= {f"model.{name}": array for name, array in game_arrays(self.model).items()}
        metadata |= {"samples": self.samples, "seed": self.seed}
        return policy_file.write_policy(path, type(self).__name__, arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> DRNVI:
        """Read an agent written by :meth:`save`; its draws of actions begin anew. The file can't execute code.

        Raises
        ------
        FileFormatError
            If the file is missing, corrupt, foreign, or of a newer format version.
        """
        with policy_file.reading(path, cls.__name__) as (arrays, metadata):
            solution = GameSolution.from_arrays(arrays, metadata)
            of_model = {name[6:]: array for name, array in arrays.items() if name.startswith("model.")}
            model = game_from_arrays(of_model, list(solution.agents), policy_file.policy_path(path))
            agent = cls(
                model,
                solution.uncertainty,
                equilibrium=solution.equilibrium,
                selection=solution.selection,
                seed=metadata.get("seed", 0),
            )
            shape = (agent.horizon, model.num_states, *model.num_actions)
            policy_file.check_array({"policy": solution.policy}, "policy", shape)
            agent.samples, agent._solution = metadata.get("samples"), solution
        return agent

    def _state_of(self, observations: Mapping[str, Any]) -> int:
        """Return the one state that all observations show."""
        unknown = [name for name in observations if name not in self.agents]
        if unknown or not observations:
            found = f"an observation of {unknown[0]!r}" if unknown else "no observation"
            raise InvalidArgumentError(f"{found}; agents are {', '.join(self.agents)}")
        states = self.model.num_states
        for name, seen in observations.items():
            index = np.asarray(seen)
            if index.ndim or index.dtype.kind not in "iu" or not 0 <= index < states:
                raise InvalidArgumentError(f"{name} observes {seen!r}; an observation is a state index, 0..{states - 1}")
        different = {int(seen) for seen in observations.values()}
        if len(different) > 1:
            shown = ", ".join(f"{name} {int(seen)}" for name, seen in observations.items())
            raise InvalidArgumentError(f"the agents observe different states: {shown}; a Markov game's state is seen by all")
        return different.pop()


def _open(game: Any, samples: int | None) -> Any:
    """Return a game, or a simulator if there are samples to be drawn from it."""
    if isinstance(game, MarkovGame):
        return game
    if not hasattr(game, "possible_agents") and isinstance(game, GameSimulator):
        if samples is None:
            raise InvalidArgumentError(f"{game!r} only answers draws; say how many from each (h, s, a): samples=")
        return game
    if not hasattr(game, "possible_agents"):
        raise InvalidArgumentError(f"game is {game!r}; give a MarkovGame, a PettingZoo parallel environment, or a simulator")
    return envs.tabular_game(game)
