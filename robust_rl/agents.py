"""Agents with the face of Stable-Baselines: ``learn``, ``predict``, ``save``, ``load``.

An agent is a thin cover over a planner. Everything it knows is in ``agent.solution`` (arrays) and ``agent.model`` (arrays).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation

from robust_rl import agent_common, envs, policy_file
from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP, unroll, with_kernel
from robust_rl.solvers import Solution, planner
from robust_rl.solvers.criterion import check_criterion
from robust_rl.solvers.planning import warn_if_loose
from robust_rl.training import Trainable
from robust_rl.uncertainty import RectangularSet


class RobustVI(agent_common.Agent):
    """Robust value iteration on an environment with a transition table.

    Parameters
    ----------
    env : str, gymnasium.Env or TabularMDP
        A Gymnasium id, an environment that :func:`robust_rl.envs.tabular` can read, or a model.
    uncertainty : RectangularSet or None
        Where the adversary may move the transition probabilities; ``None`` gives the nominal agent.
    discount : float, optional
        gamma in [0, 1]. Exactly one of discount and horizon.
    horizon : int, optional
        Number of decisions, undiscounted; the policy then depends on the stage, which ``predict`` carries as its state.
    env_kwargs : dict, optional
        Arguments of the environment, when ``env`` is an id.
    method : str
        Algorithm, as in :func:`robust_rl.solve`.
    tol : float
        Largest allowed width of the certificate, in the unit of the rewards.

    Notes
    -----
    A step of ``learn`` is a sweep. If ``total_steps`` don't bring the certificate within ``tol``, a ConvergenceWarning says so.

    Attributes
    ----------
    solution : Solution or None
        Value, policy, certificate and worst case after ``learn``.
    model : TabularMDP
        What was solved.
    interrupted : bool
        Whether a signal ended the last ``learn``.
    np_random : numpy.random.Generator
        Draws the actions of randomised policies; seed 0 unless another generator is put here.

    Raises
    ------
    NoTableError, UnknownNameError, InvalidArgumentError, InvalidUncertaintyError
        If the environment has no table or isn't known, or an argument is out of range.

    Examples
    --------
    >>> from robust_rl import RobustVI, TotalVariation
    >>> agent = RobustVI("CliffWalking-v1", TotalVariation(0.1, support="reachable"), discount=0.99).learn()
    >>> action, _ = agent.predict(36)
    >>> action, round(agent.solution.certificate.gap, 6) <= 1e-6
    (0, True)
    """

    def __init__(
        self,
        env: str | gymnasium.Env | TabularMDP,
        uncertainty: RectangularSet | None,
        *,
        discount: float | None = None,
        horizon: int | None = None,
        env_kwargs: dict[str, Any] | None = None,
        method: str = "auto",
        tol: float = 1e-6,
    ) -> None:
        self.env_id, self.env_kwargs, self.observation_space, self.action_space, self.model = _open(env, env_kwargs or {})
        self.uncertainty, self.tol = uncertainty, float(tol)
        self.discount, self.horizon = check_criterion(discount, horizon)
        self.method = method
        self.planner = planner(self.model, uncertainty, discount=self.discount, horizon=self.horizon, method=method, tol=self.tol)
        self.np_random = np.random.default_rng(0)
        self._solution: Solution | None = None

    @property
    def solution(self) -> Solution:
        """What has been learned. Raises InvalidArgumentError before ``learn``."""
        if self._solution is None:
            raise InvalidArgumentError("this agent has no solution yet; call learn(), to the end if there is a horizon")
        return self._solution

    def _trainable(self, saved: bool) -> Trainable:
        return self.planner

    def _take_over(self) -> bool:
        if self.horizon is not None and not self.planner.done:
            self._solution = None  # backward induction has no policy before its last stage
            return False
        self._solution = self.planner.solution()
        if not self.interrupted:
            warn_if_loose(self._solution, self.tol)
        return True

    def predict(self, observation: Any, state: int | None = None, deterministic: bool = True) -> tuple[Any, int | None]:
        """Return the action for an observation.

        Parameters
        ----------
        observation
            An element of ``observation_space``, or an integer array of observations, (n,), which gets an array of actions.
        state : int, optional
            With a horizon, the stage: None at the start of an episode, then what the last call returned. Otherwise unused.
        deterministic
            Of a randomised policy, as for :class:`robust_rl.SRectangular`: True takes the likeliest action, which looks well in a
            demonstration and carries no guarantee; False draws from the policy with ``np_random``, as its certificate supposes.
            Without meaning for other policies.

        Returns
        -------
        (action, state)

        Raises
        ------
        InvalidArgumentError
            If nothing was learned, the observation isn't in the space, or the horizon is over.
        """
        policy, following = self.solution.policy, None
        if self.horizon is not None:
            stage = state or 0
            if stage >= self.horizon:
                raise InvalidArgumentError(
                    f"stage {stage} is beyond the horizon of {self.horizon} decisions; start an episode with state=None"
                )
            policy, following = policy[stage], stage + 1
        rng = None if deterministic else self.np_random
        return agent_common.act(policy, observation, self.observation_space, self.action_space, rng), following

    def worst_case_env(self) -> gymnasium.Env:
        """Return an environment in which the adversary plays its worst kernel against this policy.

        Observations are state indices, which ``predict`` takes. The policy's expected return there, discounted or over the
        horizon, is its robust value; a randomised policy must be drawn from, ``deterministic=False``.
        """
        solution = self.solution
        if self.horizon is None:
            return with_kernel(self.model, solution.kernel, solution.rewards).to_env()
        stages = [
            with_kernel(self.model, kernel, rewards) for kernel, rewards in zip(solution.kernel, solution.rewards, strict=True)
        ]
        states = self.model.num_states
        return TransformObservation(unroll(stages).to_env(), lambda index: index % states, spaces.Discrete(states))

    def summary(self) -> dict[str, Any]:
        """Return what was found as JSON values: value, bounds and gap from the start, method, steps, and the policy."""
        solution, start = self.solution.at_first_stage(), self.model.start
        return {
            "env": self.env_id,
            "uncertainty": repr(self.uncertainty),
            "value": float(start @ solution.value),
            "lower": float(start @ solution.certificate.lower),
            "upper": float(start @ solution.certificate.upper),
            "gap": self.solution.certificate.gap,
            "method": solution.method,
            "steps": self.horizon or len(solution.history["gap"]),
        }

    def nominal(self) -> RobustVI:
        """Return an agent that has solved the same problem without uncertainty."""
        env: Any = self.model if self.env_id is None else self.env_id
        twin = RobustVI(
            env, None, discount=self.discount, horizon=self.horizon, env_kwargs=self.env_kwargs, method=self.method, tol=self.tol
        )
        return twin.learn()

    def save(self, path: str | Path) -> Path:
        """Write the agent, its model included, to one ``.safetensors`` file and return its path."""
        arrays, metadata = self.solution.to_arrays()
        model_arrays, model_metadata = policy_file.pack_model(self.model)
        metadata |= model_metadata | agent_common.describe_spaces(self) | {"tol": self.tol}
        return policy_file.write_policy(path, type(self).__name__, arrays | model_arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> RobustVI:
        """Read an agent written by :meth:`save`. The file can't execute code.

        Raises
        ------
        FileFormatError
            If the file is missing, corrupt, foreign, or of a newer format version.
        """
        with policy_file.reading(path, cls.__name__) as (arrays, metadata):
            solution = Solution.from_arrays(arrays, metadata)
            model = policy_file.unpack_model(arrays, metadata)
            agent = cls(model, solution.uncertainty, discount=solution.discount, horizon=solution.horizon, tol=metadata["tol"])
            agent_common.restore_spaces(agent, metadata)
            agent_common.check_policy(agent, solution.policy, solution.horizon)
            agent._solution = solution
        return agent


def _open(env: Any, env_kwargs: dict[str, Any]) -> tuple[str | None, dict[str, Any], Any, Any, TabularMDP]:
    """Return id, arguments, spaces and model of whatever describes the environment."""
    if isinstance(env, TabularMDP):
        return None, {}, spaces.Discrete(env.num_states), spaces.Discrete(env.num_actions), env
    made = agent_common.make_env(env, env_kwargs)
    model = envs.tabular(made)
    return *agent_common.origin(made), made.observation_space, made.action_space, model
