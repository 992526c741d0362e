"""Robust PPO on RLlib for contamination: PPO on the problem that contamination amounts to.

With probability rho an adversary chooses the next state, and takes the one worth m. The robust value of a policy solves

    V(s) = E[ r + gamma ((1 - rho) V(s') + rho m) ] = E[ r' + gamma' V(s') ],                                              (1)

    r' = r + gamma rho m,    gamma' = gamma (1 - rho)

exactly: the nominal dynamics with a shorter discount and a shifted reward. So advantages and value targets are RLlib's, with
gamma' and r'. The end of an episode is a state worth 0 and gets r' too: what follows it is worth (1 - rho) 0 + rho m.

Total variation and Kullback-Leibler balls aren't (1): they need dual variables fitted on each batch, and returns of several steps
follow nominal dynamics. :mod:`robust_rl.rllib.robust_dqn` takes them.
"""

from __future__ import annotations

from typing import Any, Self

from robust_rl.rllib._compat import PPO, NotProvided, PPOConfig
from robust_rl.rllib.checked_set import check_set
from robust_rl.uncertainty import Contamination, RectangularSet


class RobustPPOConfig(PPOConfig):
    """Configuration of robust PPO: RLlib's ``PPOConfig`` and what ``training`` adds.

    In a game each agent may have its own: ``multi_agent(algorithm_config_overrides_per_module={"player_0":
    RobustPPOConfig.overrides(uncertainty=..., value_floor=...)})``.

    Attributes
    ----------
    uncertainty : Contamination or None
        Probability that an adversary chooses the next state, on free support. None, or radius 0, is RLlib's PPO.
    value_floor : float, or None
        m, the value of the worst state there is: 0.0 if no reward is negative, else least reward / (1 - gamma), or a higher bound
        that you know. At most 0 where episodes end, since their end is a state worth 0.

    Examples
    --------
    >>> import robust_rl as rr
    >>> config = RobustPPOConfig().training(uncertainty=rr.Contamination(0.1, support="free"), value_floor=0.0)
    >>> config.uncertainty
    Contamination(radius=0.1, support='free')
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or RobustPPO)
        self.uncertainty: RectangularSet | None = None
        self.value_floor: float | None = None

    def training(self, *, uncertainty: Any = NotProvided, value_floor: Any = NotProvided, **others: Any) -> Self:
        """Set the uncertainty set, the value of the worst state, and whatever else ``PPOConfig.training`` takes."""
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
            If the set doesn't fit, or the floor is missing; those of single agents are checked when the learner is built.
        """
        super().validate()
        self.check_set()

    def check_set(self) -> None:
        """Raise unless the set fits."""
        check_set(self.uncertainty, self.value_floor, (Contamination,), "robust PPO")

    def get_default_learner_class(self) -> type:
        """Return the learner with robust advantages."""
        from robust_rl.rllib.robust_ppo_learner import RobustPPOLearner

        return RobustPPOLearner


class RobustPPO(PPO):
    """RLlib's PPO with a robust configuration; see :class:`RobustPPOConfig`."""

    @classmethod
    def get_default_config(cls) -> RobustPPOConfig:
        """Return the configuration that there is without a user's."""
        return RobustPPOConfig()
