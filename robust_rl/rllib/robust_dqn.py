"""Robust DQN on RLlib: DQN whose targets are worth what the worst of a set of dynamics would leave.

The targets are in :mod:`robust_rl.rllib.robust_value`, the loss in :mod:`robust_rl.rllib.robust_dqn_learner`. Nothing is proved
about what a deep network finds; on a small environment judge it by exact robust evaluation.

Limits, of Ray 2.60's DQN rather than ours: a checkpoint holds networks, optimiser and configuration, but neither the replay
buffer nor the clock of target updates, so a restored run goes on with a cold buffer and not bit for bit; replay by priority
shifts which next states are seen, so ``alpha=0`` in ``replay_buffer_config`` is the cleaner choice where dynamics are random;
checkpoints hold pickles, so load only your own.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from robust_rl.errors import InvalidArgumentError
from robust_rl.rllib._compat import DQN, DQNConfig, NotProvided
from robust_rl.rllib.checked_set import check_set, moving
from robust_rl.rllib.robust_value import HEADS
from robust_rl.uncertainty import RectangularSet


class RobustDQNConfig(DQNConfig):
    """Configuration of robust DQN: RLlib's ``DQNConfig`` and what ``training`` adds.

    Attributes
    ----------
    uncertainty : Contamination, TotalVariation or KL, or None
        How far the distribution of each next state may move: one radius; on free support, but for KL, which has none to choose.
        None, or radius 0, is RLlib's DQN. KL is experimental: its targets have a heavy tail, and its dual is slow to fit.
    value_floor : float, or None
        m, the value of the worst state there is: 0.0 if no reward is negative, else least reward / (1 - gamma), or a higher bound
        that you know. At most 0 where episodes end, since their end is a state worth 0. KL doesn't use it.

    Examples
    --------
    >>> import robust_rl as rr
    >>> config = RobustDQNConfig().environment("CartPole-v1")
    >>> config = config.training(uncertainty=rr.TotalVariation(0.1, support="free"), value_floor=0.0)
    >>> config.uncertainty
    TotalVariation(radius=0.1, support='free')
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or RobustDQN)
        self.uncertainty: RectangularSet | None = None
        self.value_floor: float | None = None

    def training(self, *, uncertainty: Any = NotProvided, value_floor: Any = NotProvided, **others: Any) -> Self:
        """Set the uncertainty set, the value of the worst state, and whatever else ``DQNConfig.training`` takes."""
        super().training(**others)
        if uncertainty is not NotProvided:
            self.uncertainty = uncertainty
        if value_floor is not NotProvided:
            self.value_floor = value_floor
        return self

    def validate(self) -> None:
        """Check everything before anything is built.

        Raises
        ------
        InvalidUncertaintyError, InvalidArgumentError
            If the set doesn't fit, the floor is missing, or another setting contradicts robust targets.
        """
        super().validate()
        check_set(self.uncertainty, self.value_floor, HEADS, "robust DQN")
        if moving(self.uncertainty) is not None:
            self._check_settings()

    def get_default_learner_class(self) -> type:
        """Return the learner with robust targets."""
        from robust_rl.rllib.robust_dqn_learner import RobustDQNLearner

        return RobustDQNLearner

    def get_default_rl_module_spec(self) -> Any:
        """Return RLlib's module, with a dual network if the set needs one."""
        from robust_rl.rllib.dual_module import DualDQNModule, TwoDualsDQNModule

        spec = super().get_default_rl_module_spec()
        if self._heads:
            spec.module_class = (DualDQNModule, TwoDualsDQNModule)[self._heads - 1]
        return spec

    @property
    def _heads(self) -> int:
        """How many dual variables the targets need."""
        uncertainty = moving(self.uncertainty)
        return 0 if uncertainty is None else HEADS[type(uncertainty)]

    def _check_settings(self) -> None:
        if self.n_step != 1:
            raise InvalidArgumentError(
                f"n_step={self.n_step!r}, but an n-step return follows the nominal dynamics for n steps, at each of which the "
                "adversary acts; set n_step=1"
            )
        if self.num_atoms != 1:
            raise InvalidArgumentError(
                f"num_atoms={self.num_atoms}, but robust targets are of the mean return, not of its distribution; set num_atoms=1"
            )
        if self.burn_in_len:
            raise InvalidArgumentError(
                f"burn_in_len={self.burn_in_len}, but robust targets are of single steps, not of sequences; set burn_in_len=0"
            )
        if self._heads and self.model_config.get("use_lstm"):
            raise InvalidArgumentError("use_lstm=True, but the dual network has no memory; set use_lstm=False")


class RobustDQN(DQN):
    """RLlib's DQN with a robust configuration; see :class:`RobustDQNConfig`."""

    def setup(self, config: Any) -> None:
        """Build everything, and seed the replay buffer too, which Ray 2.60 leaves to chance: one seed, one run."""
        super().setup(config)
        if self.config.seed is not None and hasattr(self.local_replay_buffer, "rng"):
            self.local_replay_buffer.rng = np.random.default_rng(self.config.seed)

    @classmethod
    def get_default_config(cls) -> RobustDQNConfig:
        """Return the configuration that there is without a user's."""
        return RobustDQNConfig()
