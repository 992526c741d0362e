"""robust-rl: reinforcement learning that holds up when the world differs from the simulator or the logs."""

from robust_rl import envs
from robust_rl.agents import RobustVI
from robust_rl.evaluation import evaluate, evaluate_shifts, tie_range
from robust_rl.frontiers import frontier
from robust_rl.models import MarkovGame, TabularEnv, TabularMDP
from robust_rl.q_learning_agent import RobustQLearning
from robust_rl.solvers import Certificate, Solution, critical_radii, policy_value, radius_sensitivity, solve
from robust_rl.uncertainty import (
    KL,
    L1,
    L2,
    ChiSquare,
    Contamination,
    CustomSet,
    CVaR,
    Interval,
    LInfinity,
    ReverseKL,
    SRectangular,
    TotalVariation,
    UncertainRewards,
    Wasserstein,
    WeightedL1,
    graph_metric,
)

__version__ = "0.1.0"

__all__ = [
    "KL",
    "L1",
    "L2",
    "CVaR",
    "Certificate",
    "ChiSquare",
    "Contamination",
    "CustomSet",
    "Interval",
    "LInfinity",
    "MarkovGame",
    "ReverseKL",
    "RobustQLearning",
    "RobustVI",
    "SRectangular",
    "Solution",
    "TabularEnv",
    "TabularMDP",
    "TotalVariation",
    "UncertainRewards",
    "Wasserstein",
    "WeightedL1",
    "critical_radii",
    "envs",
    "evaluate",
    "evaluate_shifts",
    "frontier",
    "graph_metric",
    "policy_value",
    "radius_sensitivity",
    "solve",
    "tie_range",
]
