"""Planners and learners: one file an algorithm, each a Trainable, and :func:`solve` over the planners."""

from robust_rl.solvers.backward_induction import BackwardInduction
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.certificate import Certificate
from robust_rl.solvers.critical import Change, CriticalRadii, critical_radii
from robust_rl.solvers.episodic_q_learning import EpisodicQLearning
from robust_rl.solvers.learned import LearnedValues
from robust_rl.solvers.planning import planner, solve
from robust_rl.solvers.policy_evaluation import policy_value
from robust_rl.solvers.q_learning import QLearning
from robust_rl.solvers.sensitivity import Sensitivity, radius_sensitivity
from robust_rl.solvers.solution import Solution
from robust_rl.solvers.value_iteration import ValueIteration

__all__ = [
    "BackwardInduction",
    "BellmanOperator",
    "Certificate",
    "Change",
    "CriticalRadii",
    "EpisodicQLearning",
    "LearnedValues",
    "QLearning",
    "Sensitivity",
    "Solution",
    "ValueIteration",
    "critical_radii",
    "planner",
    "policy_value",
    "radius_sensitivity",
    "solve",
]
