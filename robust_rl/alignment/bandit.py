"""``VPOBandit``: learn a bandit's best responses from comparisons, offline with pessimism or online with optimism."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl import agent_common, envs, policy_file
from robust_rl.alignment.bandit_checks import Calibration, Optimiser, Schedule
from robust_rl.alignment.bandit_learner import BanditLearner
from robust_rl.alignment.loss import Mode
from robust_rl.alignment.tabular import log_softmax
from robust_rl.envs import PreferenceBandit
from robust_rl.errors import InvalidArgumentError
from robust_rl.training import Trainable


class VPOBandit(agent_common.Agent):
    """Learns a softmax policy for a contextual bandit that tells no rewards, only which of two responses is better.

    Parameters
    ----------
    env : str or gymnasium.Env
        ``"robust_rl/PreferenceBandit-v0"``, or such an environment. What the policy is called good by, its rewards, is read for
        the metrics and never for learning.
    mode : "offline" or "online"
        Learn from N pairs that the reference policy drew, with pessimism; or from duels of the policy with itself, with optimism.
    alpha, beta : float
        Strength of the value term, in the sum form of the loss, and weight of the KL term. ``alpha=0`` is DPO.
    calibration : "reference", "chosen", "rejected" or (X, K) array_like
        What the value term averages over, exactly.
    optimiser : "adamw" or "bounded"
        Exact gradients with AdamW, or L-BFGS-B over ``|theta| <= bound``, which tells optimisation error from method error.
    pairs, rounds, schedule, learning_rate, weight_decay, steps_per_round, bound, reward_bound, data
        As for :class:`~robust_rl.alignment.bandit_learner.BanditLearner`.
    seed : int
        Of everything random.
    env_kwargs : dict, optional
        Arguments of the environment, for an id only.

    Notes
    -----
    A step of ``learn`` is a round.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range, or the environment is no PreferenceBandit.
    UnknownNameError
        If no such environment is registered.

    Notes
    -----
    Online VPO's loss is unbounded below and not convex. AdamW's few steps a round and the solver's bound are what keeps theta
    finite. Neither is a proof of optimism: compare with ``alpha=0``.

    Examples
    --------
    >>> agent = VPOBandit("robust_rl/PreferenceBandit-v0", mode="offline", alpha=5.0, pairs=2000).learn()
    >>> print(agent.predict(0)[0], agent.bandit.rewards[0].argmax())
    9 9
    """

    def __init__(
        self,
        env: str | gymnasium.Env[Any, Any],
        *,
        mode: Mode = "offline",
        alpha: float = 1.0,
        beta: float = 0.1,
        calibration: Calibration | ArrayLike = "reference",
        optimiser: Optimiser = "adamw",
        pairs: int = 20,
        rounds: int | None = None,
        schedule: Schedule = "constant",
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        steps_per_round: int = 20,
        bound: float = 10.0,
        reward_bound: float | None = None,
        data: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
        seed: int = 0,
        env_kwargs: dict[str, Any] | None = None,
    ) -> None:
        made = agent_common.make_env(env, env_kwargs or {})
        bandit = made.unwrapped if isinstance(made, gymnasium.Env) else made
        if not isinstance(bandit, PreferenceBandit):
            raise InvalidArgumentError(
                f"{env!r} is no PreferenceBandit; give robust_rl/PreferenceBandit-v0, or one made of rewards"
            )
        self.bandit: PreferenceBandit | None = bandit
        self.env_id, self.env_kwargs = agent_common.origin(made)
        self.observation_space, self.action_space = bandit.observation_space, bandit.action_space
        self.learner: BanditLearner | None = BanditLearner(
            [bandit], [seed], mode=mode, alpha=alpha, beta=beta, calibration=calibration, optimiser=optimiser, pairs=pairs,
            rounds=rounds, schedule=schedule, learning_rate=learning_rate, weight_decay=weight_decay,
            steps_per_round=steps_per_round, bound=bound, reward_bound=reward_bound, data=data,
        )  # fmt: skip
        self.mode, self.alpha, self.beta = mode, float(alpha), float(beta)
        self.logits = self.learner.theta[0]
        self.reference = bandit.reference
        self.np_random = np.random.default_rng([seed, 2])

    @property
    def policy(self) -> NDArray[np.float64]:
        """Probabilities of responses in each context, (X, K); those of the reference before ``learn``."""
        return np.exp(log_softmax(self.logits))

    @property
    def suboptimality(self) -> float:
        """J*(r) - J(r, pi): how far the policy is from the best value under the KL term.

        Raises
        ------
        InvalidArgumentError
            If the agent was loaded, and so knows no rewards.
        """
        return float(self._learning().suboptimality()[0])

    def _trainable(self, saved: bool) -> Trainable:
        return self._learning()

    def _take_over(self) -> bool:
        self.logits = self._learning().theta[0]
        return True

    def predict(self, observation: Any, state: Any = None, deterministic: bool = True) -> tuple[Any, None]:
        """Return the likeliest response to a context, or one drawn from the policy.

        Parameters
        ----------
        observation
            A context, or an integer array of them, (n,), which gets an array of responses.
        state
            Of the common interface; this policy has no memory.
        deterministic : bool
            False draws from the policy.

        Returns
        -------
        (action, None)

        Raises
        ------
        InvalidArgumentError
            If there is no such context.
        """
        rng = None if deterministic else self.np_random
        return agent_common.act(self.policy, observation, self.observation_space, self.action_space, rng), None

    def save(self, path: str | Path) -> Path:
        """Write the policy to one ``.safetensors`` file and return its path."""
        settings = {"mode": self.mode, "alpha": self.alpha, "beta": self.beta}
        arrays = {"logits": self.logits, "reference": self.reference}
        return policy_file.write_policy(path, type(self).__name__, arrays, settings | agent_common.describe_spaces(self))

    @classmethod
    def load(cls, path: str | Path) -> VPOBandit:
        """Read an agent written by :meth:`save`. It predicts but has no bandit to learn from; the file can't execute code.

        Raises
        ------
        FileFormatError
            If the file is missing, corrupt, foreign, or of a newer format version.
        """
        agent = cls.__new__(cls)
        agent.bandit, agent.learner = None, None
        agent.np_random = np.random.default_rng()
        with policy_file.reading(path, cls.__name__) as (arrays, metadata):
            agent.logits, agent.reference = arrays["logits"], arrays["reference"]
            agent.mode, agent.alpha, agent.beta = (metadata[name] for name in ("mode", "alpha", "beta"))
            agent_common.restore_spaces(agent, metadata)
            for name in ("logits", "reference"):
                policy_file.check_array(arrays, name, (len(agent.logits), envs.state_count(agent.action_space)))
            agent_common.check_policy(agent, agent.policy)
        return agent

    def _learning(self) -> BanditLearner:
        if self.learner is None:
            raise InvalidArgumentError("a loaded agent has no bandit to learn from; make a new one with its environment")
        return self.learner
