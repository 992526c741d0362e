"""Robust Q-learning with the face of Stable-Baselines: ``learn``, ``predict``, ``save``, ``load``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium import spaces

from robust_rl import agent_common, envs, policy_file
from robust_rl.errors import InvalidArgumentError, NoTableError
from robust_rl.models import GenerativeModel, TabularMDP
from robust_rl.solvers.episodic_q_learning import EpisodicQLearning
from robust_rl.solvers.learned import LearnedValues
from robust_rl.solvers.q_learning import QLearning
from robust_rl.training import Trainable
from robust_rl.uncertainty import RectangularSet


class RobustQLearning(agent_common.Agent):
    """Robust Q-learning: the optimal robust policy from draws of the next state, without reading a probability.

    Parameters
    ----------
    env : str, gymnasium.Env, TabularMDP or GenerativeModel
        What draws next states. A Gymnasium id, an environment with a table or a model is used as a simulator that can be asked
        about any state and action; so is any object with the parts of :class:`robust_rl.models.GenerativeModel`. An environment
        without a table is played in episodes.
    uncertainty : RectangularSet or None
        Where the adversary may move the transition probabilities; any set but ``Interval`` on a simulator, ``Contamination``
        along episodes. ``None`` is plain Q-learning.
    discount : float
        gamma in [0, 1).
    env_kwargs : dict, optional
        Arguments of the environment, when ``env`` is an id.
    epsilon : float in (0, 1], optional
        Play episodes, of which this share of moves is random, even if a simulator is there. Default: a simulator if there is
        one, else 0.3. Along episodes the adversary moves the next state but not the reward.
    seed : int
    initial_value : float
        What states are worth before anything is learned: with a discount near 1, a guess of the right size saves time.
    draws : int
        Draws averaged in one estimate on a simulator; for sets that need multilevel Monte Carlo those of its lowest level.
    max_level : int or None
        Highest level of multilevel Monte Carlo; see :mod:`robust_rl.solvers.multilevel` for what ``None`` costs.

    Notes
    -----
    A step of ``learn`` is 1,000 updates of every state and action on a simulator, or 10,000 moves along episodes, and without
    a number of steps there are 20. The metric ``train/updates`` counts updates of single entries of Q.

    Attributes
    ----------
    solution : LearnedValues
        Value, policy and action values after ``learn``. Nothing is proved about them.
    learner : QLearning or EpisodicQLearning
        The Trainable.
    interrupted : bool
        Whether a signal ended the last ``learn``.

    Raises
    ------
    UnknownNameError, InvalidArgumentError, InvalidUncertaintyError
        If the environment isn't known or isn't finite, an argument is out of range, or the set can't be learned this way.

    Examples
    --------
    >>> from robust_rl import RobustQLearning, TotalVariation
    >>> agent = RobustQLearning("robust_rl/RiverSwim-v0", TotalVariation(0.1, support="free"), discount=0.99).learn(3)
    >>> round(float(agent.solution.value[0]), 1), agent.predict(5)
    (0.3, (1, None))
    """

    default_steps = 20

    def __init__(
        self,
        env: str | gymnasium.Env | TabularMDP | GenerativeModel,
        uncertainty: RectangularSet | None,
        *,
        discount: float,
        env_kwargs: dict[str, Any] | None = None,
        epsilon: float | None = None,
        seed: int = 0,
        initial_value: float = 0.0,
        draws: int = 8,
        max_level: int | None = 10,
    ) -> None:
        self.env_id: str | None = None
        self.env_kwargs: dict[str, Any] = {}
        self.uncertainty, self.discount = uncertainty, discount
        self.learner: QLearning | EpisodicQLearning | None
        played = isinstance(env, str | gymnasium.Env)
        made: Any = agent_common.make_env(env, env_kwargs or {}) if played else env
        if played:
            self.env_id, self.env_kwargs = agent_common.origin(made)
        simulator = None if epsilon is not None else _simulator(made)
        if simulator is None:
            made = made.to_env() if isinstance(made, TabularMDP) else _checked_env(made)
            self.observation_space, self.action_space = made.observation_space, made.action_space
            self.learner = EpisodicQLearning(
                made, uncertainty, num_states=envs.state_count(self.observation_space),
                state_of=partial(envs.state_index, self.observation_space), discount=discount,
                epsilon=0.3 if epsilon is None else epsilon, seed=seed, initial_value=initial_value,
            )  # fmt: skip
        else:
            self.learner = QLearning(
                simulator,
                uncertainty,
                discount=discount,
                seed=seed,
                initial_value=initial_value,
                draws=draws,
                max_level=max_level,
            )
            self.observation_space = made.observation_space if played else spaces.Discrete(simulator.num_states)
            self.action_space = made.action_space if played else spaces.Discrete(simulator.num_actions)
        self._solution: LearnedValues | None = None

    @property
    def solution(self) -> LearnedValues:
        """What has been learned. Raises InvalidArgumentError before ``learn``."""
        if self._solution is None:
            raise InvalidArgumentError("this agent has learned nothing yet; call learn()")
        return self._solution

    def _trainable(self, saved: bool) -> Trainable:
        if self.learner is None:
            raise InvalidArgumentError("a loaded agent has nothing to learn from; make a new one with its environment")
        return self.learner

    def _take_over(self) -> bool:
        assert self.learner is not None
        self._solution = self.learner.solution()
        return True

    def predict(self, observation: Any, state: Any = None, deterministic: bool = True) -> tuple[Any, None]:
        """Return the greedy action for an observation.

        Parameters
        ----------
        observation
            An element of ``observation_space``, or an integer array of observations, (n,), which gets an array of actions.
        state, deterministic
            Of the common interface; this policy has no memory and is always deterministic.

        Returns
        -------
        (action, None)

        Raises
        ------
        InvalidArgumentError
            If nothing was learned, or the observation isn't in the space.
        """
        return agent_common.act(self.solution.policy, observation, self.observation_space, self.action_space), None

    def save(self, path: str | Path) -> Path:
        """Write what was learned to one ``.safetensors`` file and return its path."""
        arrays, metadata = self.solution.to_arrays()
        return policy_file.write_policy(path, type(self).__name__, arrays, metadata | agent_common.describe_spaces(self))

    @classmethod
    def load(cls, path: str | Path) -> RobustQLearning:
        """Read an agent written by :meth:`save`. It predicts but has no environment to learn from; the file can't execute code.

        Raises
        ------
        FileFormatError
            If the file is missing, corrupt, foreign, or of a newer format version.
        """
        agent = cls.__new__(cls)
        agent.learner = None
        with policy_file.reading(path, cls.__name__) as (arrays, metadata):
            agent._solution = LearnedValues.from_arrays(arrays, metadata)
            agent.uncertainty, agent.discount = agent._solution.uncertainty, agent._solution.discount
            agent_common.restore_spaces(agent, metadata)
            shape = (len(arrays["terminal"]), envs.state_count(agent.action_space))
            policy_file.check_array(arrays, "action_values", shape)
            agent_common.check_policy(agent, agent._solution.policy)
        return agent


def _simulator(env: Any) -> TabularMDP | GenerativeModel | None:
    """Return what can be asked about any state and action, or None for an environment that can only be played."""
    if not isinstance(env, gymnasium.Env):
        return env  # type: ignore[no-any-return]
    try:
        return envs.tabular(env)
    except NoTableError:
        return None


def _checked_env(env: Any) -> gymnasium.Env:
    if not isinstance(env, gymnasium.Env):
        raise InvalidArgumentError(f"epsilon is for playing episodes, but {env!r} is no environment; leave it out")
    return env
