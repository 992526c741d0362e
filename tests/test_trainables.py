"""One contract for every Trainable: step, log, kill, resume to the same bits, finish. A new one joins with one line."""

import gymnasium
import pytest

import robust_rl as rr
from robust_rl.alignment import BanditLearner
from robust_rl.envs import PreferenceBandit
from robust_rl.frontiers import FrontierPlanner
from robust_rl.planning_trial import PlanningTrial
from robust_rl.solvers import (
    BackwardInduction,
    DRNVISolver,
    DROPSolver,
    DROPVSolver,
    EpisodicQLearning,
    QLearning,
    ValueIteration,
    ZeroSumIteration,
    linear_problem,
    planner,
)
from tests.games import random_game
from tests.solvers.test_drop import log
from tests.solvers.test_zero_sum import zero_sum_game
from tests.training.contract import check_trainable
from tests.worlds import random_model

BALL = rr.TotalVariation(0.1, support="free")


def torch_regression():
    pytest.importorskip("torch")
    from tests.training.test_torch import LinearRegression

    return LinearRegression()


def rfqi():
    pytest.importorskip("torch")
    from robust_rl.solvers.rfqi import RFQISolver

    data = log(0, horizon=7)
    problem = rr.solvers.rfqi_problem(data, BALL, v_min=0.0)
    return RFQISolver(problem, data, hidden=(8,), iterations=20, updates=3, dual_updates=2, batch_size=32)


def less_fit():
    pytest.importorskip("transformers")
    from robust_rl.extras.less import H2O, LessFit, LessKernels
    from tests.extras.tiny_llm import make, tokens

    model = make("llama")
    kernels = LessKernels.from_config(model.config, rank=2, hidden=4).double()
    return LessFit(kernels, model, tokens(5, 12), H2O(2, 2), epochs=2, batch_size=2, held_out=0.2)


def one_layer_mim():
    pytest.importorskip("torch")
    from robust_rl.extras.mim import MIMObjective, MIMTraining, OneLayerMIM, SpatialPatchData

    data = SpatialPatchData(9, 2, 4, 2)
    return MIMTraining(OneLayerMIM(data), data, MIMObjective(), steps=20, batch_size=4)


def matte():
    pytest.importorskip("zuko")
    from robust_rl.extras.matte.training import MatteTraining
    from tests.extras.matte.test_objective import sentences

    network, data, domain = sentences(steps=20, batch_size=8, word_dropout=0.2, jacobian_every=3)
    return MatteTraining(network, data, domain)


def cover_search():
    pytest.importorskip("networkx")
    from robust_rl.extras.concepts import DiscreteHierarchy
    from robust_rl.extras.concepts.exact import ExactRanks
    from robust_rl.extras.concepts.search import CoverSearch

    truth = DiscreteHierarchy.random("G5", seed=0)
    return CoverSearch(ExactRanks(truth.joint(), truth.observed), truth.observed, 2)


def concept_refinement():
    pytest.importorskip("networkx")
    from robust_rl.extras.concepts import DiscreteHierarchy
    from robust_rl.extras.concepts.refinement import Refinement
    from robust_rl.extras.concepts.scoring import ShapeScore

    truth = DiscreteHierarchy.random("G1", seed=0)
    score = ShapeScore(truth.sample(200, seed=1), truth.observed, 2, max_fits=30)
    return Refinement([(1, frozenset(truth.observed))], score, 2)


def concept_stages():
    pytest.importorskip("sklearn")
    pytest.importorskip("networkx")
    from robust_rl.extras.concepts import DiscreteHierarchy, HierarchicalConceptDiscovery
    from robust_rl.extras.concepts.stability import with_resamples
    from robust_rl.extras.concepts.stages import InTurn

    est = HierarchicalConceptDiscovery(n_states=2, max_fits=5)
    return InTurn(with_resamples(est, DiscreteHierarchy.random("G1", seed=0).sample(200, seed=1), 2))


def patch_mixtures():
    pytest.importorskip("sklearn")
    import numpy as np

    from robust_rl.extras.concepts.encoder import PatchMixtures

    return PatchMixtures(np.random.default_rng(0).normal(size=(5, 40, 3)), 2, max_concepts=1)


def by(method, model=None, ball=BALL, discount=0.97):
    """A planner that is far from done after eight steps."""
    model = random_model(3, states=30, masked=False) if model is None else model
    return lambda: planner(model, ball, discount=discount, method=method, tol=1e-11)


def offline(kind):
    data = log(0, horizon=7)
    return lambda: kind(linear_problem(data, BALL, features=rr.features.OneHot(5, 2), horizon=7), data)


def vpo_bandit(mode, **options):
    bandits = [PreferenceBandit(arms=4, contexts=2, seed=seed) for seed in (0, 1)]
    return lambda: BanditLearner(bandits, [3, 4], mode=mode, alpha=[1.0, 0.0], beta=0.5, **options)


TRAINABLES = {
    "value iteration": lambda: ValueIteration(random_model(0), BALL, discount=0.9, tol=1e-6),
    "value iteration, nominal": lambda: ValueIteration(random_model(0, sparse=True), None, discount=0.9, tol=1e-6),
    "value iteration, shortest path": lambda: ValueIteration(rr.envs.tabular("Blackjack-v1", sab=False), None, discount=1.0),
    "value iteration, s-rectangular": lambda: ValueIteration(random_model(0), rr.SRectangular(BALL), discount=0.9, tol=1e-6),
    "backward induction, s-rectangular": lambda: BackwardInduction(random_model(0), rr.SRectangular(rr.KL(0.1)), horizon=7),
    "gauss-seidel": by("gauss_seidel"),
    "modified policy iteration": by("modified_policy_iteration"),
    "partial policy iteration": by("partial_policy_iteration"),
    "policy iteration": by("policy_iteration"),
    "anderson acceleration": by("anderson", ball=rr.KL(0.3)),
    "automatic choice": by("auto"),
    "automatic choice, no chance": by("auto", rr.envs.tabular("CliffWalking-v1"), None),
    "warm starts of root finders": by("value_iteration", ball=rr.KL(0.3)),
    "backward induction": lambda: BackwardInduction(random_model(0), BALL, horizon=7),
    "Q-learning": lambda: QLearning(
        random_model(0), rr.TotalVariation(0.1, support="reachable"), discount=0.9, sweeps_per_step=5, max_sweeps=33
    ),
    "Q-learning, no learned support": lambda: QLearning(random_model(1), rr.KL(0.1), discount=0.9, sweeps_per_step=5),
    "Q-learning along episodes": lambda: EpisodicQLearning(
        gymnasium.make("FrozenLake-v1"), rr.Contamination(0.1, support="nominal"), num_states=16, discount=0.9, moves_per_step=50
    ),
    "DROP": offline(DROPSolver),
    "DROP-V": offline(DROPVSolver),
    "DR-NVI": lambda: DRNVISolver(random_game(0, 2, staged=False).replace(horizon=7), rr.KL(0.1), equilibrium="ce"),
    "zero-sum Shapley iteration": lambda: ZeroSumIteration(zero_sum_game(0), rr.KL(0.1), discount=0.9, tol=1e-6),
    "frontier": lambda: FrontierPlanner(random_model(0), BALL, [0.0, 0.05, 0.1, 0.2], discount=0.9),
    "trial of a sweep": lambda: PlanningTrial(
        {
            "env": "FrozenLake-v1",
            "set": "kl",
            "radius": 0.1,
            "discount": 0.9,
            "samples": 20,
            "method": "value_iteration",
            "tol": 0.05,
        }
    ),
    "RFQI": rfqi,
    "VPO on a bandit, offline": vpo_bandit("offline"),
    "VPO on a bandit, online": vpo_bandit("online", calibration="chosen", schedule="sqrt"),
    "VPO on a bandit, bounded": vpo_bandit("online", optimiser="bounded"),
    "LESS kernels, two layers": less_fit,
    "one-layer masked image model": one_layer_mim,
    "MATTE on sentences": matte,
    "concepts, search for covers": cover_search,
    "concepts, refinement": concept_refinement,
    "concepts, stages of a run": concept_stages,
    "concepts, mixtures of patches": patch_mixtures,
    "torch optimiser loop": torch_regression,
}


@pytest.mark.parametrize("name", TRAINABLES)
def test_every_trainable_keeps_the_contract(name, tmp_path):
    check_trainable(TRAINABLES[name], tmp_path)


def test_fifty_random_kills_of_a_solver_resume_to_the_same_bits(tmp_path):
    """Each kill falls before, in or after a step, or in a save; the contract compares the last checkpoint byte for byte."""
    import numpy as np

    kills = sorted(np.random.default_rng(0).choice(np.arange(1, 61), size=17, replace=False).tolist())
    cliff, ball = rr.envs.tabular("CliffWalking-v1"), rr.TotalVariation(0.1, support="reachable")
    done = check_trainable(
        lambda: ValueIteration(cliff, ball, discount=0.99), tmp_path, max_steps=60, checkpoint_every=7, kills=kills
    )
    assert 3 * len(kills) >= 50
    assert done.iterations == 60
