"""Planners and learners: one file an algorithm, each a Trainable, and :func:`solve` over the planners.

:class:`robust_rl.solvers.rfqi.RFQISolver` is imported from its module, since it needs torch.
"""

from robust_rl.solvers.backward_induction import BackwardInduction
from robust_rl.solvers.bellman import BellmanOperator
from robust_rl.solvers.certificate import Certificate
from robust_rl.solvers.concentrability import Coverage, coverage
from robust_rl.solvers.critical import Change, CriticalRadii, critical_radii
from robust_rl.solvers.dr_nvi import DRNVISolver
from robust_rl.solvers.drop import DROPSolver
from robust_rl.solvers.drop_v import DROPVSolver
from robust_rl.solvers.drvi_lcb import CountedValues, drvi_lcb
from robust_rl.solvers.episodic_q_learning import EpisodicQLearning
from robust_rl.solvers.game_gaps import BestResponse, RobustGap, best_response, game_value, robust_gap
from robust_rl.solvers.game_solution import GameSolution
from robust_rl.solvers.gram import gram_sums
from robust_rl.solvers.learned import LearnedValues
from robust_rl.solvers.linear_dp import LinearValues, linear_values
from robust_rl.solvers.linear_problem import LinearProblem, LinearSolution, linear_problem
from robust_rl.solvers.planning import planner, solve
from robust_rl.solvers.policy_evaluation import policy_value
from robust_rl.solvers.q_learning import QLearning
from robust_rl.solvers.rfqi_problem import RFQIProblem, RFQISolution, rfqi_problem
from robust_rl.solvers.sensitivity import Sensitivity, radius_sensitivity
from robust_rl.solvers.solution import Solution
from robust_rl.solvers.value_iteration import ValueIteration
from robust_rl.solvers.zero_sum import ZeroSumIteration, ZeroSumSolution, solve_zero_sum

__all__ = [
    "BackwardInduction",
    "BellmanOperator",
    "BestResponse",
    "Certificate",
    "Change",
    "CountedValues",
    "Coverage",
    "CriticalRadii",
    "DRNVISolver",
    "DROPSolver",
    "DROPVSolver",
    "EpisodicQLearning",
    "GameSolution",
    "LearnedValues",
    "LinearProblem",
    "LinearSolution",
    "LinearValues",
    "QLearning",
    "RFQIProblem",
    "RFQISolution",
    "RobustGap",
    "Sensitivity",
    "Solution",
    "ValueIteration",
    "ZeroSumIteration",
    "ZeroSumSolution",
    "best_response",
    "coverage",
    "critical_radii",
    "drvi_lcb",
    "game_value",
    "gram_sums",
    "linear_problem",
    "linear_values",
    "planner",
    "policy_value",
    "radius_sensitivity",
    "rfqi_problem",
    "robust_gap",
    "solve",
    "solve_zero_sum",
]
