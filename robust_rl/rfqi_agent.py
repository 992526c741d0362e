"""RFQI with the face of Stable-Baselines: deep robust learning from logs alone. Learning needs torch, predicting doesn't."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from robust_rl import agent_common, policy_file
from robust_rl.datasets import OfflineDataset
from robust_rl.errors import InvalidArgumentError
from robust_rl.solvers.network import Encoder, Layers
from robust_rl.solvers.rfqi_problem import RFQIProblem, RFQISolution, rfqi_problem
from robust_rl.solvers.solution import pack_arguments, unpack_arguments
from robust_rl.training import Trainable
from robust_rl.training.optional import require
from robust_rl.uncertainty import Nominal, RectangularSet, from_description

NETWORKS = ("q", "eta", "behaviour")


class RFQI(agent_common.Agent):
    """Robust fitted Q-iteration on logged data, with networks in torch.

    Parameters
    ----------
    data : OfflineDataset
        Actions are indices; observations numbers of any shape, or one integer each: states 0..S-1.
    uncertainty : TotalVariation or None
        How far the distribution of each next state may move, on free support, with one radius; ``None`` is fitted Q-iteration.
    discount : float
        gamma, below 1.
    v_min : float or "observed", optional
        Value of the worst state there is, to which an adversary may send everybody; 0.0 if there is a fail state without
        rewards. See :func:`robust_rl.solvers.rfqi_problem`.
    states : (S, ...) array, optional
        Every state, if there are finitely many; ``v_min`` isn't needed then.
    num_actions : int, optional
        Default: one more than the largest in the data.
    reward_bounds : (float, float)
        Least and greatest reward that can occur.
    **constants
        ``hidden``, ``iterations``, ``updates``, ``dual_updates``, ``batch_size``, ``learning_rate``, ``dual_learning_rate``,
        ``last_share``, ``behaviour_threshold``, ``seed``, ``device`` of :class:`robust_rl.solvers.rfqi.RFQISolver`.

    Notes
    -----
    A step of ``learn`` is an iteration; step sizes are laid out for ``iterations`` of them.

    Attributes
    ----------
    solution : RFQISolution
        The networks as plain arrays, after ``learn``. Nothing is proved about them.
    solver : RFQISolver
        The Trainable; None in an agent that was loaded.
    interrupted : bool
        Whether a signal ended the last ``learn``.

    Raises
    ------
    MissingDependencyError
        If torch isn't installed.
    InvalidArgumentError, InvalidUncertaintyError
        Before any work is done, if actions aren't indices, the set doesn't fit, a reward or an argument is out of range, or
        nothing tells the worst state's value.

    Examples
    --------
    >>> import numpy as np, robust_rl as rr
    >>> data = rr.datasets.collect(rr.envs.make("robust_rl/RiverSwim-v0"), None, 20, seed=0, horizon=100)
    >>> ball = rr.TotalVariation(0.1, support="free")
    >>> agent = rr.RFQI(data, ball, v_min=0.0, hidden=(), iterations=40, updates=10, learning_rate=0.03).learn()
    >>> agent.predict(0)
    (0, None)
    """

    def __init__(
        self,
        data: OfflineDataset,
        uncertainty: RectangularSet | None,
        *,
        discount: float = 0.99,
        v_min: float | str | None = None,
        states: ArrayLike | None = None,
        num_actions: int | None = None,
        reward_bounds: tuple[float, float] = (0.0, 1.0),
        **constants: Any,
    ) -> None:
        require("torch", "robust-rl[torch]")
        from robust_rl.solvers.rfqi import RFQISolver

        problem = rfqi_problem(
            data, uncertainty, discount=discount, v_min=v_min, states=states, num_actions=num_actions, reward_bounds=reward_bounds
        )
        self.uncertainty, self.discount = uncertainty, problem.discount
        self.observation_shape = problem.encoder.shape
        self.solver: RFQISolver | None = RFQISolver(problem, data, **constants)
        self._solution: RFQISolution | None = None

    @property
    def solution(self) -> RFQISolution:
        """What has been learned. Raises InvalidArgumentError before ``learn``."""
        if self._solution is None:
            raise InvalidArgumentError("this agent has learned nothing yet; call learn()")
        return self._solution

    def _trainable(self, saved: bool) -> Trainable:
        if self.solver is None:
            raise InvalidArgumentError("a loaded agent has no data to learn from; make a new one")
        return self.solver

    def _take_over(self) -> bool:
        assert self.solver is not None
        self._solution = self.solver.solution()
        return True

    def predict(self, observation: Any, state: Any = None, deterministic: bool = True) -> tuple[Any, None]:
        """Return the greedy action for an observation.

        Parameters
        ----------
        observation
            One, shaped as in the data, or a batch (n, ...), which gets an array of actions.
        state, deterministic
            Of the common interface; this policy has no memory and is always deterministic.

        Returns
        -------
        (action, None)

        Raises
        ------
        InvalidArgumentError
            If nothing was learned, or the observation has another shape or is no state.
        """
        solution = self.solution
        batch, single = agent_common.as_batch(observation, self.observation_shape)
        actions = solution.policy(batch)
        return (int(actions[0]) if single else actions), None

    def save(self, path: str | Path) -> Path:
        """Write what was learned to one ``.safetensors`` file and return its path."""
        problem, encoder = self.solution.problem, self.solution.problem.encoder
        arrays: dict[str, Any] = {"mean": encoder.mean, "spread": encoder.spread}
        for name in NETWORKS:
            arrays |= _pack_layers(name, getattr(self.solution, name))
        if problem.states is not None:
            arrays["states"] = problem.states
        uncertainty = Nominal() if self.uncertainty is None else self.uncertainty
        metadata = {
            "set": uncertainty.name,
            "set_arguments": pack_arguments(uncertainty.describe(), arrays),
            "observation_shape": list(encoder.shape),
            "num_states": encoder.num_states,
            "num_actions": problem.num_actions,
            "discount": problem.discount,
            "reward_bounds": list(problem.reward_bounds),
            "v_min": problem.v_min,
            "ends": problem.ends,
            "threshold": self.solution.threshold,
            "layers": {name: len(getattr(self.solution, name)) for name in NETWORKS},
        }
        return policy_file.write_policy(path, type(self).__name__, arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an agent written by :meth:`save`. It predicts, without torch, but has no data to learn from; the file can't
        execute code.

        Raises
        ------
        FileFormatError
            If the file is missing, corrupt, foreign, or of a newer format version.
        """
        with policy_file.reading(path, cls.__name__) as (arrays, metadata):
            solution = _unpack(arrays, metadata)
        agent = cls.__new__(cls)
        agent.uncertainty, agent.discount = solution.problem.uncertainty, solution.discount
        agent.observation_shape = solution.problem.encoder.shape
        agent.solver, agent._solution = None, solution
        return agent


def _pack_layers(name: str, layers: Layers) -> dict[str, Any]:
    named = {f"{name}.{j}.{part}": array for j, layer in enumerate(layers) for part, array in zip("wb", layer, strict=True)}
    return {key: array for key, array in named.items() if array is not None}


def _unpack(arrays: dict[str, Any], metadata: dict[str, Any]) -> RFQISolution:
    """Return the solution of a policy file."""
    uncertainty = from_description(metadata["set"], unpack_arguments(metadata["set_arguments"], arrays))
    low, high = map(float, metadata["reward_bounds"])
    shape = tuple(int(size) for size in metadata["observation_shape"])
    encoder = Encoder(shape, metadata["num_states"], arrays["mean"], arrays["spread"])
    problem = RFQIProblem(
        encoder, metadata["num_actions"], uncertainty, float(getattr(uncertainty, "radius", 0.0)), float(metadata["discount"]),
        (low, high), metadata["v_min"], arrays.get("states"), metadata["ends"],
    )  # fmt: skip
    layers = {
        name: [(arrays[f"{name}.{j}.w"], arrays.get(f"{name}.{j}.b")) for j in range(metadata["layers"][name])]
        for name in NETWORKS
    }
    solution = RFQISolution(**layers, threshold=float(metadata["threshold"]), problem=problem)
    _try(solution)
    return solution


def _try(solution: RFQISolution) -> None:
    """Ask for the action of one observation, as layers that were read may not fit together."""
    problem = solution.problem
    encoder = problem.encoder
    for layers in (solution.q, solution.behaviour):
        if layers and len(layers[0][0]) != encoder.width:
            raise ValueError(f"a network reads {len(layers[0][0])} numbers; an observation has {encoder.width}")
    first = np.zeros((1, *encoder.shape), dtype=float if encoder.num_states is None else int)
    found = (solution.action_values(first).shape, solution.value(first).shape)
    if found != ((1, problem.num_actions), (1,)):
        raise ValueError(f"the network gives values of shape {found[0]} for {problem.num_actions} actions")
