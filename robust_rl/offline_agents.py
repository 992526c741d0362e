"""Agents that learn from logged data alone: ``learn``, ``predict``, ``save``, ``load``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from robust_rl import agent_common, policy_file
from robust_rl.datasets import OfflineDataset
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.features import MAPS, FeatureMap, describe
from robust_rl.solvers import DROPSolver, DROPVSolver, LinearProblem, LinearSolution, linear_problem
from robust_rl.solvers.solution import pack_arguments, unpack_arguments
from robust_rl.training import Trainable
from robust_rl.uncertainty import Nominal, RectangularSet, from_description

ARRAYS = ("weights", "theta", "nu", "bonus", "lowest", "used")


class DROP(agent_common.Agent):
    """Distributionally robust pessimistic value iteration on logged data, with linear features.

    Parameters
    ----------
    data : OfflineDataset
    uncertainty : TotalVariation or None
        How far each factor of the dynamics may move, on free support; ``None`` is nominal pessimistic value iteration.
    features : FeatureMap
        From :mod:`robust_rl.features`: non-negative, sum 1.
    horizon : int
        Number of decisions H, at most that of the longest episode.
    v_min : float, "possible" or "observed", optional
        Value of the worst state there is, to which an adversary may send everybody; see :func:`robust_rl.solvers.linear_problem`.
    states : (S, ...) array, optional
        Every state, if there are finitely many and the features weren't told.
    reward_bounds : (float, float)
        Least and greatest reward that can occur.
    **constants
        ``penalty``, ``ridge``, ``delta``, ``subsample``, ``trim``, ``seed`` of :class:`robust_rl.solvers.DROPSolver`; for
        :class:`DROPV` those of :class:`robust_rl.solvers.DROPVSolver`.

    Notes
    -----
    A step of ``learn`` is a stage, the last first; there is no policy before the first stage is solved.

    Attributes
    ----------
    solution : LinearSolution
        Weights and what they are made of, after ``learn``.
    solver : DROPSolver or DROPVSolver
        The Trainable; None in an agent that was loaded.
    interrupted : bool
        Whether a signal ended the last ``learn``.

    Raises
    ------
    InvalidArgumentError, InvalidUncertaintyError
        Before any work is done, if the data don't reach the horizon, features are off the simplex, a reward or an argument is out
        of range, or nothing tells the worst state's value.

    Examples
    --------
    >>> import robust_rl as rr
    >>> data = rr.datasets.collect(rr.envs.make("robust_rl/RiverSwim-v0"), None, 500, seed=0, horizon=4)
    >>> ball = rr.TotalVariation(0.1, support="free")
    >>> agent = rr.DROP(data, ball, features=rr.features.OneHot(6, 2), horizon=4, penalty=0.0).learn()
    >>> agent.predict(0)
    (0, 1)
    """

    _solver: ClassVar[type[DROPSolver] | type[DROPVSolver]] = DROPSolver

    def __init__(
        self,
        data: OfflineDataset,
        uncertainty: RectangularSet | None,
        *,
        features: FeatureMap,
        horizon: int,
        v_min: float | str | None = None,
        states: ArrayLike | None = None,
        reward_bounds: tuple[float, float] = (0.0, 1.0),
        **constants: Any,
    ) -> None:
        problem = linear_problem(
            data, uncertainty, features=features, horizon=horizon, v_min=v_min, states=states, reward_bounds=reward_bounds
        )
        self.uncertainty, self.horizon = uncertainty, problem.horizon
        self.solver: Any = self._solver(problem, data, **constants)
        self.observation_shape = data.observations.shape[1:]
        self._solution: LinearSolution | None = None

    @property
    def solution(self) -> LinearSolution:
        """What has been learned. Raises InvalidArgumentError before ``learn`` reached the first stage."""
        if self._solution is None:
            raise InvalidArgumentError("this agent has no solution yet; call learn(), to the end")
        return self._solution

    def _trainable(self, saved: bool) -> Trainable:
        solver: DROPSolver | DROPVSolver | None = self.solver
        if solver is None:
            raise InvalidArgumentError("a loaded agent has no data to learn from; make a new one")
        if saved:
            _describe_features(solver.problem.features)  # so that no work is lost if the policy can't be saved
        return solver

    def _take_over(self) -> bool:
        assert self.solver is not None
        if self.solver.done:
            self._solution = self.solver.solution()
        return bool(self.solver.done)

    def predict(self, observation: Any, state: int | None = None, deterministic: bool = True) -> tuple[Any, int]:
        """Return the greedy action for an observation.

        Parameters
        ----------
        observation
            One, shaped as in the data, or a batch (n, ...), which gets an array of actions.
        state : int, optional
            The stage: None at the start of an episode, then what the last call returned.
        deterministic
            Of the common interface; this policy is always deterministic.

        Returns
        -------
        (action, state)

        Raises
        ------
        InvalidArgumentError
            If nothing was learned, the observation has another shape, or the horizon is over.
        """
        solution, stage = self.solution, state or 0
        if stage >= self.horizon:
            raise InvalidArgumentError(
                f"stage {stage} is beyond the horizon of {self.horizon} decisions; start an episode with state=None"
            )
        batch, single = agent_common.as_batch(observation, self.observation_shape)
        actions = solution.problem.features.action_values(batch, solution.weights[stage]).argmax(axis=1)
        return int(actions[0]) if single else actions, stage + 1

    def save(self, path: str | Path) -> Path:
        """Write what was learned to one ``.safetensors`` file and return its path.

        Raises
        ------
        InvalidArgumentError
            If the features are of a class of your own, which a file can't hold.
        """
        solution = self.solution
        problem = solution.problem
        arrays: dict[str, Any] = {name: getattr(solution, name) for name in ARRAYS}
        if problem.states is not None:
            arrays["states"] = problem.states
        uncertainty = Nominal() if self.uncertainty is None else self.uncertainty
        metadata = {
            "features": type(problem.features).__name__,
            "feature_arguments": pack_arguments(_describe_features(problem.features), arrays, "features"),
            "set": uncertainty.name,
            "set_arguments": pack_arguments(uncertainty.describe(), arrays),
            "horizon": self.horizon,
            "reward_bounds": list(problem.reward_bounds),
            "v_min": problem.v_min,
            "ends": problem.ends,
            "penalty": solution.penalty,
            "method": solution.method,
            "observation_shape": list(self.observation_shape),
        }
        return policy_file.write_policy(path, type(self).__name__, arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an agent written by :meth:`save`. It predicts but has no data to learn from; the file can't execute code.

        Raises
        ------
        FileFormatError
            If the file is missing, corrupt, foreign, or of a newer format version.
        """
        with policy_file.reading(path, cls.__name__) as (arrays, metadata):
            solution = _unpack(arrays, metadata)
            shape = tuple(int(size) for size in metadata["observation_shape"])
            _try(solution, shape)
        agent = cls.__new__(cls)
        agent.uncertainty, agent.horizon, agent.observation_shape = solution.problem.uncertainty, solution.problem.horizon, shape
        agent.solver, agent._solution = None, solution
        return agent


class DROPV(DROP):
    """DROP whose second half of the data is weighted by the variance of what follows, learned on the first half.

    Arguments are those of :class:`DROP`; constants those of :class:`robust_rl.solvers.DROPVSolver`.

    Examples
    --------
    >>> import robust_rl as rr
    >>> data = rr.datasets.collect("CartPole-v1", None, 200, seed=0)
    >>> ball = rr.TotalVariation(0.1, support="free")
    >>> agent = rr.DROPV(data, ball, features=rr.features.Tiles(3), horizon=5, v_min=0.0).learn()
    >>> agent.predict(data.observations[:3], state=4)[0].shape
    (3,)
    """

    _solver = DROPVSolver


def _describe_features(features: FeatureMap) -> dict[str, Any]:
    name = type(features).__name__
    if MAPS.get(name) is not type(features):
        raise InvalidArgumentError(f"a policy with features {name} can't be saved; use one of {', '.join(MAPS)}")
    return describe(features)


def _try(solution: LinearSolution, shape: tuple[int, ...]) -> None:
    """Ask for the actions of a policy that was read, in every state or in one, as its features may not fit its weights."""
    features, weights = solution.problem.features, solution.weights
    policy_file.check_array({"weights": weights}, "weights", (solution.problem.horizon, features.dimension))
    states = features.every_state()
    values = features.action_values(np.zeros((1, *shape), dtype=int) if states is None else states, weights[0])
    if values.ndim != 2 or values.shape[1] != features.num_actions:
        raise ValueError(f"the features give values of shape {values.shape} for {features.num_actions} actions")


def _unpack(arrays: dict[str, Any], metadata: dict[str, Any]) -> LinearSolution:
    """Return the solution of a policy file."""
    kind = MAPS.get(metadata["features"])
    if kind is None:
        raise FileFormatError(f"the file holds features {metadata['features']!r} that this version doesn't know")
    make: Any = kind
    features = make(**unpack_arguments(metadata["feature_arguments"], arrays, "features"))
    uncertainty = from_description(metadata["set"], unpack_arguments(metadata["set_arguments"], arrays))
    shape = arrays["weights"].shape
    radius = np.zeros(shape) if uncertainty is None else np.broadcast_to(getattr(uncertainty, "radius", 0.0), shape)
    low, high = metadata["reward_bounds"]
    problem = LinearProblem(
        features, metadata["horizon"], uncertainty, radius, (low, high), metadata["v_min"], arrays.get("states"), metadata["ends"]
    )
    found = {name: arrays[name] for name in ARRAYS}
    return LinearSolution(**found, penalty=metadata["penalty"], problem=problem, method=metadata["method"])
