"""Trees of covers, the steps between them, and the way down to the best."""

import math

import networkx as nx
import numpy as np
import pytest

pytest.importorskip("networkx")

from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts import DiscreteHierarchy, graph_of, skeleton_f1
from robust_rl.extras.concepts.em import fit_tables
from robust_rl.extras.concepts.graphs import GRAPHS
from robust_rl.extras.concepts.posterior import Posterior, Rows
from robust_rl.extras.concepts.refinement import Refinement
from robust_rl.extras.concepts.scoring import ShapeScore
from robust_rl.extras.concepts.shapes import covers, graph_of_shape, leaves, neighbours, plain, shape_from, shape_of
from robust_rl.training import Trainer


def drive(search):
    while not search.done:
        search.step()
    return search.best


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(GRAPHS)), st.lists(st.integers(0, 10**6), max_size=4))
def test_steps_keep_the_leaves_and_lead_to_trees(graph, turns):
    """Any walk: no leaf is lost or doubled, each cover can be seen, and a tree is the same after it was a graph, or JSON."""
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
    assert shape_from(plain(shape)) == shape


def test_each_way_to_drop_the_root_is_one_step_from_the_whole():
    """G2 without a root of its own can be rooted anywhere: one step must lead back from each."""
    names = [frozenset(f"X{i}" for i in part) for part in ((1, 2, 3), (4, 5, 6), (7, 8, 9))]
    for middle in range(3):
        one, other = ((1, names[i]) for i in range(3) if i != middle)
        rooted = [(1, names[middle] | {one, other}), (1, one[1] | {(1, names[middle] | {other})})]
        for shape in rooted:
            found = {skeleton_f1(graph_of_shape(step), "G2") for step in neighbours(shape, 2)}
            assert 1.0 in found


def test_the_way_down_leads_from_a_star_to_the_truth():
    truth = DiscreteHierarchy.random("G3", seed=5)
    X = truth.sample(5000, seed=1)
    score = ShapeScore(X, truth.observed, 2)
    star = (1, frozenset(truth.observed))
    best = drive(Refinement([star], score, 1))
    assert skeleton_f1(graph_of_shape(best), "G3") == 1.0
    assert score.scores[best] < score.scores[star]
    assert score.scores[best] == pytest.approx(score.criterion(fit_tables(truth.graph, truth.n_states, X)), abs=0.1)


def test_a_latent_that_nearly_copies_its_parent_is_found():
    """L4 and L3 repeat L1 in 95 of 100 rows: from the graph without L1 the way down must lead to the one with it."""
    truth = DiscreteHierarchy.random("G2", seed=1023)
    X = truth.sample(10_000, seed=6023)
    leaf = [frozenset(f"X{i}" for i in part) for part in ((1, 2, 3), (4, 5, 6), (7, 8, 9))]
    without = (1, leaf[2] | {(1, leaf[0] | {(1, leaf[1])})})
    best = drive(Refinement([without], ShapeScore(X, truth.observed, 2), 1))
    assert skeleton_f1(graph_of_shape(best), "G2") == 1.0


def test_a_limit_on_fits_is_kept():
    truth = DiscreteHierarchy.random("G2", seed=5)
    score = ShapeScore(truth.sample(500, seed=1), truth.observed, 2, max_fits=10)
    drive(Refinement([(1, frozenset(truth.observed))], score, 2))
    assert len(score.done) <= 11


@pytest.mark.parametrize("steps", [0, 1, 37])
def test_a_search_goes_on_where_it_was_stopped(tmp_path, steps):
    """Killed after any number of fits and taken up by a new process, it ends with the same graph and the same bits."""
    truth = DiscreteHierarchy.random("G3", seed=6)
    X = truth.sample(500, seed=1)
    star = (1, frozenset(truth.observed))

    def fresh():
        return Refinement([star], ShapeScore(X, truth.observed, 2, max_fits=120), 2)

    whole = fresh()
    drive(whole)
    Trainer(tmp_path / "run", max_steps=steps).fit(fresh())
    again = fresh()
    Trainer(tmp_path / "run").fit(again)
    assert again.best == whole.best
    assert again.score.scores == whole.score.scores
    for name, table in whole.score.fits[whole.best].tables.items():
        np.testing.assert_array_equal(again.score.fits[again.best].tables[name], table)
    other = Refinement([star], ShapeScore(X[:-1], truth.observed, 2), 2)
    with pytest.raises(InvalidArgumentError, match=r"another problem: its rows is 500, not 499.*another run directory"):
        Trainer(tmp_path / "run").fit(other)


def test_the_criterion_counts_free_entries():
    truth = DiscreteHierarchy.random("G1", seed=0)
    X = truth.sample(1000, seed=0)
    fit = fit_tables(truth.graph, truth.n_states, X)
    assert fit.n_parameters == 1 + 4 * 2
    assert fit.bic(1000) == pytest.approx(9 * np.log(1000) - 2 * fit.log_likelihood)
    score = ShapeScore(X, truth.observed, 2)
    assert score.criterion(fit) == pytest.approx(fit.bic(1000) - 9 * math.log(2 * math.pi))


def test_leaps_end_where_plain_steps_end():
    """A latent that nearly copies its parent takes thousands of plain steps; leaps come to the same likelihood."""
    truth = DiscreteHierarchy.random("G2", seed=1011)
    X = truth.sample(2000, seed=3)
    posterior = Posterior(truth.graph, truth.n_states, Rows.of(X))
    theta = posterior.flat(truth.tables)
    for _ in range(4000):
        q, rows = posterior.told(theta)
        theta = posterior.maximise(q)
    plainly = float(posterior.rows.weights @ rows)
    fit = fit_tables(truth.graph, truth.n_states, X, tol=1e-4)
    assert fit.log_likelihood > plainly - 0.05
    assert fit.iterations < 1000


def test_an_observed_variable_may_have_children():
    """Tables of a graph in which X1 causes X2 and X3, fitted: without latents they are the frequencies."""
    graph = nx.DiGraph([("X1", "X2"), ("X1", "X3"), ("X2", "X3")])
    nx.set_node_attributes(graph, False, "latent")
    truth = DiscreteHierarchy.random(graph, 3, seed=1)
    X = truth.sample(3000, seed=2)
    fit = fit_tables(truth.graph, truth.n_states, X)
    for a, b in np.ndindex(3, 3):
        rows = (X[:, 0] == a) & (X[:, 1] == b)
        np.testing.assert_allclose(fit.tables["X3"][a, b], np.bincount(X[rows, 2], minlength=3) / rows.sum(), atol=1e-3)
    with_cause = nx.DiGraph([("L", "X1"), ("L", "X2"), ("L", "X3"), ("X1", "X2"), ("X2", "X4"), ("L", "X4")])
    nx.set_node_attributes(with_cause, {"L": True, "X1": False, "X2": False, "X3": False, "X4": False}, "latent")
    truth = DiscreteHierarchy.random(with_cause, 2, seed=1)
    posterior = Posterior(truth.graph, truth.n_states, Rows.of(truth.sample(50, seed=1)))
    joint = truth.joint([*truth.observed, "L"])[tuple(posterior.rows.states.T)]
    np.testing.assert_allclose(posterior(truth.tables)[0], joint / joint.sum(1, keepdims=True), atol=1e-12)
