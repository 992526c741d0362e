"""Our tests of ranks inside causal-learn's search."""

import numpy as np
import pytest

pytest.importorskip("networkx")

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts import CausalLearnRankTest, DiscreteHierarchy, graph_of, skeleton_f1


def test_ranks_are_counted_in_variables():
    """G4: one latent between X1, X2 and the rest, two between X4, X5 and X6, X7, X8, none between columns and noise."""
    X = DiscreteHierarchy.random("G4", seed=1004).sample(50_000, seed=1)
    X = np.column_stack([X, np.random.default_rng(0).integers(2, size=len(X))])
    test = CausalLearnRankTest(X)
    assert test.test([0, 1], [3, 4, 5], 1, 1e-3)
    assert not test.test([0, 1], [3, 4, 5], 0, 1e-3)
    assert test.test([3, 4, 5], [0, 6, 7], 2, 1e-3)
    assert not test.test([3, 4, 5], [0, 6, 7], 1, 1e-3)
    assert test.test([0, 1, 2], [8], 0, 1e-3)


def test_columns_on_both_sides_are_given():
    graph = graph_of({"L1": ["X1", "X2", "X3", "X4"], "X4": ["X5", "X6"]})
    graph.nodes["X4"]["latent"] = False
    truth = DiscreteHierarchy.random(graph, seed=3)
    column = {name: i for i, name in enumerate(truth.observed)}
    test = CausalLearnRankTest(truth.sample(20_000, seed=1))
    x4 = column["X4"]
    assert test.test([column["X5"], x4], [column["X1"], column["X6"], x4], 1, 1e-3)
    assert not test.test([column["X1"], x4], [column["X2"], x4], 1, 1e-3)
    assert test.test([column["X1"], x4], [column["X2"], column["X3"], x4], 2, 1e-3)
    assert not test.test([column["X5"], x4], [column["X1"], x4], 0, 1e-3)


@pytest.mark.slow
def test_the_linear_search_finds_a_chain_of_discrete_latents_with_it():
    pytest.importorskip("causallearn")
    from causallearn.search.HiddenCausal.RLCD import RLCD

    truth = DiscreteHierarchy.random("G3", seed=50)
    X = truth.sample(10_000, seed=0)
    found = RLCD(X.astype(float), CausalLearnRankTest(X), alpha_dict=dict.fromkeys(range(4), 1e-3), node_names=truth.observed)
    names = [getattr(variable, "get_name", lambda variable=variable: str(variable))() for variable in found.all_vars]
    children = {}
    for child, parent in np.argwhere(np.asarray(found.adjacency) == 1):
        children.setdefault(names[parent], []).append(names[child])
    assert skeleton_f1(children, "G3") > 0.9


def test_data_must_be_states():
    with pytest.raises(InvalidArgumentError, match="states from 0"):
        CausalLearnRankTest(np.array([[0.5, 1.0]]))
