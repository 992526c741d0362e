"""Trees of covers, the steps between them, and the way down to the best."""

import numpy as np
import pytest

pytest.importorskip("networkx")

from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.extras.concepts import DiscreteHierarchy, graph_of, skeleton_f1
from robust_rl.extras.concepts.em import fit_tables
from robust_rl.extras.concepts.graphs import GRAPHS
from robust_rl.extras.concepts.refinement import ShapeScore, refine
from robust_rl.extras.concepts.shapes import covers, graph_of_shape, leaves, neighbours, shape_of


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(GRAPHS)), st.lists(st.integers(0, 10**6), max_size=4))
def test_steps_keep_the_leaves_and_lead_to_trees(graph, turns):
    """Any walk: no leaf is lost or doubled, each cover can be seen, and a tree is the same after it was a graph."""
    shape = shape_of(graph_of(graph), "L1")
    names = leaves(shape)
    for turn in turns:
        ahead = list(neighbours(shape, 2))
        assert shape not in ahead
        assert len(set(ahead)) == len(ahead)
        shape = ahead[turn % len(ahead)]
    drawn = graph_of_shape(shape)
    assert leaves(shape) == names
    assert sum(isinstance(child, str) for cover in covers(shape) for child in cover[1]) == len(names)
    assert skeleton_f1(drawn, drawn) == 1.0
    root = next(node for node in drawn if drawn.nodes[node]["latent"] and not drawn.in_degree(node))
    assert shape_of(drawn, root) == shape


def test_the_way_down_leads_from_a_star_to_the_truth():
    truth = DiscreteHierarchy.random("G3", seed=5)
    X = truth.sample(5000, seed=1)
    score = ShapeScore(X, truth.observed, 2)
    star = (1, frozenset(truth.observed))
    best = refine([star], score, 1)
    assert skeleton_f1(graph_of_shape(best), "G3") == 1.0
    assert score(best) < score(star)
    assert score(best) == pytest.approx(fit_tables(truth.graph, truth.n_states, X).bic(len(X)), abs=2.0)


def test_a_limit_on_fits_is_kept():
    truth = DiscreteHierarchy.random("G2", seed=5)
    score = ShapeScore(truth.sample(500, seed=1), truth.observed, 2, max_fits=10)
    refine([(1, frozenset(truth.observed))], score, 2)
    assert len(score.scores) <= 11


def test_the_criterion_counts_free_entries():
    truth = DiscreteHierarchy.random("G1", seed=0)
    X = truth.sample(1000, seed=0)
    fit = fit_tables(truth.graph, truth.n_states, X)
    assert fit.n_parameters == 1 + 4 * 2
    assert fit.bic(1000) == pytest.approx(9 * np.log(1000) - 2 * fit.log_likelihood)
