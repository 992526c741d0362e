"""The estimator: scikit-learn's contract, samples, tables, invariance, and what it says when it can't."""

import itertools

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("networkx")

import pandas as pd
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from robust_rl.errors import InsufficientStatesError, InvalidArgumentError
from robust_rl.extras.concepts import DiscreteHierarchy, HierarchicalConceptDiscovery, graph_of, match_latents, skeleton_f1
from robust_rl.extras.concepts.em import fit_tables
from robust_rl.extras.concepts.encoding import canonical
from robust_rl.extras.concepts.posterior import Posterior, Rows


@parametrize_with_checks([HierarchicalConceptDiscovery(refine=False)])
def test_scikit_learn(estimator, check):
    check(estimator)


def edges(est):
    """Edges with each latent named by the observed variables around it."""
    names = {
        node: node if node.startswith("X") else frozenset(n for n in est.skeleton_[node] if n.startswith("X"))
        for node in est.skeleton_
    }
    return {frozenset([names[a], names[b]]) for a, b in est.skeleton_.edges}


@pytest.mark.parametrize("graph", ["G1", "G3"])
def test_trees_are_found_in_samples(graph):
    X = DiscreteHierarchy.random(graph, seed=50).sample(10_000, seed=0)
    assert skeleton_f1(HierarchicalConceptDiscovery(n_states=2).fit(X), graph) == 1.0


def test_a_cover_of_two_is_found_in_a_sample():
    X = DiscreteHierarchy.random("G4", seed=1004).sample(10_000, seed=4)
    est = HierarchicalConceptDiscovery(n_states=2).fit(X)
    assert skeleton_f1(est, "G4") == 1.0
    assert sorted(len(cover.latents) for cover in est.covers_) == [1, 2]
    assert {cover.rank for cover in est.covers_} == {2, 4}


@pytest.mark.parametrize("graph", ["G4", "G5", "G6"])
def test_few_rows_give_a_graph_whatever_the_tests_say(graph):
    """With 150 rows most answers are wrong; what is built on them must still be a graph with tables."""
    for seed in range(3):
        X = DiscreteHierarchy.random(graph, seed=seed, strength=0.4).sample(150, seed=seed)
        est = HierarchicalConceptDiscovery(n_states=2, refine=False, alpha=[1e-3, 0.05, 0.3][seed]).fit(X)
        assert 0 <= skeleton_f1(est, graph) <= 1
        assert np.isfinite(est.score(X))
        np.testing.assert_allclose(est.transform(X).sum(1), len(est.latent_names_))


@pytest.mark.parametrize("refine", [False, True])
def test_names_of_states_and_order_of_columns_do_not_matter(refine):
    X = DiscreteHierarchy.random("G1", (2, 3), seed=3).sample(1000, seed=5)
    est = HierarchicalConceptDiscovery(n_states=2, refine=refine).fit(X)
    rng = np.random.default_rng(1)
    order = rng.permutation(X.shape[1])
    renamed = np.stack([rng.permutation(["a", "b", "c"])[X[:, i]] for i in order], axis=1)
    frame = pd.DataFrame(renamed, columns=[f"X{i + 1}" for i in order])
    again = HierarchicalConceptDiscovery(n_states=2, refine=refine).fit(frame)
    assert edges(again) == edges(est)
    assert again.score(frame) == pytest.approx(est.score(X), abs=1e-3)


def test_canonical_columns_are_the_same_for_every_naming():
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=(50, 4))
    order = rng.permutation(4)
    other = np.stack([rng.permutation(3)[codes[:, i]] for i in order], axis=1)
    one, two = canonical(codes), canonical(other)
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], order[two[1]])


def test_number_of_states_is_read_off_the_tables():
    X = DiscreteHierarchy.random("G1", (2, 3), seed=0).sample(5000, seed=1)
    assert HierarchicalConceptDiscovery(refine=False).fit(X).n_states_ == 2
    assert HierarchicalConceptDiscovery().fit_distribution(DiscreteHierarchy.random("G2", (3, 4), seed=0)).n_states_ == 3


def test_posterior_is_that_of_bayes():
    truth = DiscreteHierarchy.random("G4", (2, 3), seed=2)
    X = truth.sample(40, seed=3)
    joint = truth.joint([*truth.observed, *truth.latents])
    posterior = Posterior(truth.graph, truth.n_states, Rows.of(X))
    for i, block in enumerate(posterior.marginals(truth.tables)):
        others = tuple(j for j in range(3) if j != i)
        expected = np.array([joint[tuple(row)].sum(axis=others) for row in X])
        np.testing.assert_allclose(block, expected / expected.sum(1, keepdims=True), atol=1e-12)
    likelihood = posterior.rows.weights @ posterior(truth.tables)[1]
    assert likelihood == pytest.approx(sum(np.log(truth.joint()[tuple(row)]) for row in X))


@pytest.mark.parametrize("seed", [11, 12])
def test_tables_are_recovered_up_to_names_of_states(seed):
    """One renaming of each latent's states must fit all tables in which it occurs, as parent or child."""
    truth = DiscreteHierarchy.random("G3", seed=seed)
    X = truth.sample(20_000, seed=1)
    fit = fit_tables(truth.graph, truth.n_states, X)
    assert fit.converged
    assert fit.log_likelihood >= np.log(truth.joint()[tuple(X.T)]).sum()
    errors = []
    for orders in itertools.product(([0, 1], [1, 0]), repeat=3):
        order = dict(zip(truth.latents, orders, strict=True)) | {name: [0, 1] for name in truth.observed}
        renamed = {node: fit.tables[node][np.ix_(*(order[name] for name in (*truth.parents(node), node)))] for node in fit.tables}
        errors.append(max(np.abs(renamed[node] - truth.tables[node]).max() for node in renamed))
    assert min(errors) < 0.05


def test_likelihood_never_falls():
    truth = DiscreteHierarchy.random("G4", seed=1)
    X = truth.sample(500, seed=1)
    likelihoods = [
        fit_tables(truth.graph, truth.n_states, X, restarts=1, max_iterations=i, tol=0).log_likelihood for i in (31, 40, 80, 160)
    ]
    assert np.all(np.diff(likelihoods) > -1e-6 * 500)


def test_exact_mode_then_parameters():
    truth = DiscreteHierarchy.random("G2", seed=1)
    est = HierarchicalConceptDiscovery().fit_distribution(truth)
    assert skeleton_f1(est, "G2") == 1.0
    with pytest.raises(NotFittedError, match="fit_parameters"):
        est.transform(truth.sample(3))
    X = truth.sample(5000, seed=2, latents=True)
    est.fit_parameters(X[:, :9])
    assert est.transform(X[:, :9]).shape == (5000, 8)
    names = match_latents(est, "G2")
    guesses = dict(zip(est.latent_names_, est.predict(X[:, :9]).T, strict=True))
    for i, latent in enumerate(truth.latents):
        agreement = (guesses[names[latent]] == X[:, 9 + i]).mean()
        assert max(agreement, 1 - agreement) > 0.7


def test_names_may_be_anything():
    truth = DiscreteHierarchy.random("G1", seed=1)
    names = ["_1", "L1", "a b", "0002"]
    est = HierarchicalConceptDiscovery(n_states=2).fit_distribution(truth.joint(), names)
    assert sorted(est.graph_) == sorted([*names, "latent_1"])
    assert set(est.graph_.successors("latent_1")) == set(names)
    frame = pd.DataFrame(np.array(["no", "yes"])[truth.sample(2000)], columns=names)
    est = HierarchicalConceptDiscovery(n_states=2, refine=False).fit(frame)
    assert set(est.graph_.successors("latent_1")) == set(names)
    assert set(" ".join(est.tests_["A"]).split()) <= {"_1", "L1", "a", "b", "0002"}


def test_pgmpy_and_causallearn_get_the_same_graph():
    pytest.importorskip("pgmpy")
    truth = DiscreteHierarchy.random("G4", seed=4)
    est = HierarchicalConceptDiscovery(n_states=2).fit_distribution(truth).fit_parameters(truth.sample(2000))
    model = est.to_pgmpy()
    assert model.check_model()
    assert set(model.edges) == set(est.graph_.edges)
    assert skeleton_f1(HierarchicalConceptDiscovery().fit_distribution(model), "G4") == 1.0
    pytest.importorskip("causallearn")
    graph = est.to_causallearn()
    names = [node.get_name() for node in graph.get_nodes()]
    arrows = [(i, j) for i, j in zip(*np.nonzero(graph.graph == -1), strict=True) if graph.graph[j, i] == 1]
    found = {(names[i], names[j]) for i, j in arrows}
    assert found == set(est.graph_.edges)


def test_errors_name_the_offender_and_the_remedy():
    X = DiscreteHierarchy.random("G1", seed=1).sample(500, seed=1)
    est = HierarchicalConceptDiscovery(refine=False)
    with pytest.raises(InvalidArgumentError, match="column 'X2' is constant, always 0"):
        est.fit(np.column_stack([X[:, 0], np.zeros(500, int), X[:, 1:]]))
    with pytest.raises(InvalidArgumentError, match=r"'X1' has 500 distinct values.*KBinsDiscretizer"):
        est.fit(np.random.default_rng(0).normal(size=(500, 4)))
    with pytest.raises(InsufficientStatesError, match=r"'X1' has 2 states and the latents 3.*n_states=2"):
        HierarchicalConceptDiscovery(n_states=3).fit(X)
    with pytest.raises(InvalidArgumentError, match="'X1' has the value 7, which was not there"):
        est.fit(X).transform(np.full((2, 4), 7))
    with pytest.raises(InvalidArgumentError, match="axes share the names a;"):
        est.fit_distribution(np.full((2, 2, 2), 1 / 8), ["a", "b", "a"])
    mixed = X.astype(object)
    mixed[0, 1] = "one"
    with pytest.raises(InvalidArgumentError, match="'X2' mixes kinds"):
        est.fit(mixed)
    with pytest.raises(InvalidArgumentError, match="n_states"):
        HierarchicalConceptDiscovery(n_states=1).fit(X)
    with pytest.raises(InvalidArgumentError, match="rank_test"):
        HierarchicalConceptDiscovery(rank_test="chi").fit(X)
    with pytest.raises(InvalidArgumentError, match=r"2\^22"):
        est.fit_distribution(np.broadcast_to(2.0**-23, (2,) * 23))
    graph = graph_of({f"L{i}": [f"X{4 * i + j}" for j in range(4)] for i in range(26)})
    with pytest.raises(InvalidArgumentError, match=r"limit of 2\^26"):
        Posterior(graph, dict.fromkeys(graph, 2), Rows.of(np.eye(104, dtype=int)[:2]))


@pytest.mark.parametrize("children", [["X5", "X6"], ["L2"]])
def test_an_observed_cause_is_found_in_a_sample(children):
    """Looked for only when asked: a leaf that nearly copies its parent looks the same."""
    graph = graph_of({"L1": ["X1", "X2", "X3", "X4"], "X4": children} | ({"L2": ["X5", "X6", "X7"]} if "L2" in children else {}))
    graph.nodes["X4"]["latent"] = False
    X = DiscreteHierarchy.random(graph, seed=1002).sample(5000, seed=3)
    est = HierarchicalConceptDiscovery(n_states=2, observed_parents=True).fit(X)
    assert skeleton_f1(est, graph) == 1.0
    assert est.levels_["X4"] > 0
    assert np.isfinite(est.score(X))
    np.testing.assert_allclose(est.transform(X).sum(1), len(est.latent_names_))
    assert not any(parent.startswith("X") for parent, _ in HierarchicalConceptDiscovery(n_states=2).fit(X).graph_.edges)
