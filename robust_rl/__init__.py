"""robust-rl: reinforcement learning that holds up when the world differs from the simulator or the logs."""

from robust_rl import datasets, envs, features
from robust_rl.agents import RobustVI
from robust_rl.calibration import Calibration, calibrate
from robust_rl.evaluation import evaluate, evaluate_shifts, tie_range
from robust_rl.frontiers import frontier
from robust_rl.game_agent import DRNVI
from robust_rl.models import LinearMDP, MarkovGame, TabularEnv, TabularMDP
from robust_rl.offline_agents import DROP, DROPV
from robust_rl.q_learning_agent import RobustQLearning
from robust_rl.rfqi_agent import RFQI
from robust_rl.solvers import (
    Certificate,
    GameSolution,
    Solution,
    best_response,
    critical_radii,
    policy_value,
    radius_sensitivity,
    robust_gap,
    solve,
    solve_zero_sum,
)
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
    "DRNVI",
    "DROP",
    "DROPV",
    "KL",
    "L1",
    "L2",
    "RFQI",
    "CVaR",
    "Calibration",
    "Certificate",
    "ChiSquare",
    "Contamination",
    "CustomSet",
    "GameSolution",
    "Interval",
    "LInfinity",
    "LinearMDP",
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
    "best_response",
    "calibrate",
    "critical_radii",
    "datasets",
    "envs",
    "evaluate",
    "evaluate_shifts",
    "features",
    "frontier",
    "graph_metric",
    "policy_value",
    "radius_sensitivity",
    "robust_gap",
    "solve",
    "solve_zero_sum",
    "tie_range",
]
