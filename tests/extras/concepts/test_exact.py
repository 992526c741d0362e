"""The search on exact tables: what is drawn is found, whatever the tables, and nothing else is."""

import itertools

import networkx as nx
import numpy as np
import pytest

pytest.importorskip("networkx")

from robust_rl.errors import InvalidArgumentError, InvalidModelError, UnknownNameError
from robust_rl.extras.concepts.discovery import discover
from robust_rl.extras.concepts.exact import ExactRanks
from robust_rl.extras.concepts.graphs import GRAPHS, graph_of
from robust_rl.extras.concepts.hierarchy import DiscreteHierarchy
from robust_rl.extras.concepts.metrics import latent_count_error, shd, skeleton_f1
from robust_rl.extras.concepts.minimal import minimal_graph
from robust_rl.extras.concepts.stages import InTurn, drive

CARDINALITIES = [(2, 2), (2, 3), (3, 3)]


def search(truth, max_cover=2, observed_parents=False):
    sizes, k = (
        {name: truth.n_states[name] for name in truth.observed},
        max([2, *(truth.n_states[name] for name in truth.latents)]),
    )
    ranks = ExactRanks(truth.joint(), truth.observed)
    return drive(InTurn(discover(ranks, sizes, k, max_cover, observed_parents=observed_parents)))


def quick(graph, states):
    """Three states and twelve leaves are half a million cells, and seconds."""
    return graph != "G6" or states == (2, 2)


CASES = [
    pytest.param(*case, marks=() if quick(*case[:2]) else pytest.mark.slow)
    for case in itertools.product(GRAPHS, CARDINALITIES, range(5))
]


@pytest.mark.parametrize(("graph", "states", "seed"), CASES)
def test_exact_tables_give_back_the_graph(graph, states, seed):
    truth = DiscreteHierarchy.random(graph, states, seed=100 + seed)
    found = search(truth)
    assert skeleton_f1(found.graph, graph) == 1.0
    assert shd(found.graph, graph) == 0
    assert latent_count_error(found.graph, graph) == 0
    assert found.unresolved == []
    assert all(sorted(cover.latents) for cover in found.covers)


def inner(spec):
    """A graph in which what is called X is observed, with children or without."""
    graph = graph_of(spec)
    nx.set_node_attributes(graph, {node: node.startswith("L") for node in graph}, "latent")
    return graph


INNER = {
    "two observed children": {"L1": ["X1", "X2", "X3", "X4"], "X4": ["X5", "X6"]},
    "a latent child": {"L1": ["X1", "X2", "X3", "X4"], "X4": ["L2"], "L2": ["X5", "X6", "X7"]},
    "observed root": {"X0": ["L1", "L2"], "L1": ["X1", "X2", "X3"], "L2": ["X4", "X5", "X6"]},
    "two of them": {"L1": ["X1", "X2", "L2", "X3"], "X3": ["X4"], "L2": ["X5", "X6", "X7"], "X7": ["X8", "X9"]},
    "no latent": {"X1": ["X2", "X3"], "X3": ["X4", "X5"], "X5": ["X6"]},
    "below a cover of two": {
        "L1": ["X1", "X2", "X3", "L2", "L3"],
        "L2": ["X4", "X5", "X6", "X7", "X8"],
        "L3": ["X4", "X5", "X6", "X7", "X8"],
        "X8": ["X9"],
    },
    "both kinds of children": {"L1": ["X1", "X2", "X3", "X4"], "X4": ["X5", "L2"], "L2": ["X6", "X7", "X8"]},
}


@pytest.mark.parametrize(("states", "seed"), list(itertools.product(CARDINALITIES, range(3))))
@pytest.mark.parametrize("name", INNER)
def test_observed_variables_with_children_are_found(name, states, seed):
    """Also with more states than the latents have: they are told by independence under each of their states, not by rank."""
    truth = DiscreteHierarchy.random(inner(INNER[name]), states, seed=200 + seed)
    found = search(truth, observed_parents=True)
    assert skeleton_f1(found.graph, truth.graph) == 1.0
    assert found.unresolved == []
    assert nx.is_directed_acyclic_graph(found.graph)


@pytest.mark.parametrize(("graph", "seed"), list(itertools.product(["G1", "G2", "G3", "G4", "G5", "G7"], range(2))))
def test_where_none_has_children_none_is_given_any(graph, seed):
    truth = DiscreteHierarchy.random(graph, seed=300 + seed)
    assert skeleton_f1(search(truth, observed_parents=True).graph, graph) == 1.0


def test_joint_table_is_the_sum_over_all_configurations():
    truth = DiscreteHierarchy.random("G4", (2, 3), seed=3)
    order = list(nx.topological_sort(truth.graph))
    expected = np.zeros([truth.n_states[name] for name in truth.observed])
    for values in itertools.product(*(range(truth.n_states[node]) for node in order if truth.graph.nodes[node]["latent"])):
        state = dict(zip((n for n in order if truth.graph.nodes[n]["latent"]), values, strict=True))
        weight, rows = 1.0, []
        for node in order:
            row = truth.tables[node][tuple(state[parent] for parent in truth.parents(node))]
            if node in state:
                weight *= row[state[node]]
        for name in truth.observed:
            rows.append(truth.tables[name][tuple(state[parent] for parent in truth.parents(name))])
        table = weight
        for row in rows:
            table = np.multiply.outer(table, row)
        expected += table
    np.testing.assert_allclose(truth.joint(), expected, atol=1e-14)
    np.testing.assert_allclose(truth.joint(["X5", "X1"]), expected.sum((1, 2, 3, 5, 6, 7)).T, atol=1e-14)


def test_samples_have_the_frequencies_of_the_joint_table():
    truth = DiscreteHierarchy.random("G3", seed=1)
    rows = truth.sample(200_000, seed=2)
    frequencies = np.bincount(np.ravel_multi_index(rows.T, (2,) * 7), minlength=128) / len(rows)
    joint = truth.joint().ravel()
    z = (frequencies - joint) / np.sqrt(joint * (1 - joint) / len(rows))
    assert np.abs(z).max() < 4.5
    np.testing.assert_array_equal(truth.sample(50, seed=2), truth.sample(50, seed=2))


def test_a_latent_with_one_pure_child_is_absorbed():
    spec = {"L1": ["X1", "X2", "X3", "L2"], "L2": ["X4"]}
    truth = DiscreteHierarchy.random(spec, seed=0)
    found = search(truth)
    reduced, absorbed = minimal_graph(graph_of(spec))
    assert absorbed == ["L2"]
    assert latent_count_error(found.graph, spec) == -1
    assert skeleton_f1(found.graph, reduced) == 1.0


def test_twins_are_one_cover():
    """Two latents with the same parents and the same children: one cover of two, not two covers."""
    truth = DiscreteHierarchy.random({"A": [f"X{i}" for i in range(1, 7)], "B": [f"X{i}" for i in range(1, 7)]}, seed=5)
    found = search(truth)
    assert [len(cover.latents) for cover in found.covers] == [2]
    assert skeleton_f1(found.graph, truth.graph) == 1.0


def test_independent_parts_and_noise_are_kept_apart():
    spec = {"A": ["X1", "X2", "X3", "X4"], "B": ["X5", "X6", "X7", "X8"]}
    graph = graph_of(spec)
    graph.add_node("noise", latent=False)
    found = search(DiscreteHierarchy.random(graph, seed=2))
    assert found.graph.degree("noise") == 0
    assert skeleton_f1(found.graph, graph) == 1.0


def test_three_leaves_are_left_open_rather_than_guessed():
    found = search(DiscreteHierarchy.random({"A": ["X1", "X2", "X3"]}, seed=2))
    assert found.unresolved == [["X1", "X2", "X3"]]
    assert not found.graph.edges


def test_levels_and_covers_of_four_levels():
    found = search(DiscreteHierarchy.random("G7", seed=4))
    assert {found.levels[f"X{i}"] for i in range(1, 11)} == {0}
    assert sum(len(cover.children) for cover in found.covers) == len(found.graph.edges)
    assert all(cover.rank == 2 for cover in found.covers)


def test_f1_counts_edges_and_takes_the_best_names():
    found = {"A": ["X4", "X5", "X6", "B"], "B": ["X1", "X2", "X3"]}
    assert skeleton_f1(found, {"P": ["X1", "X2", "X3", "Q"], "Q": ["X4", "X5", "X6"]}) == 1.0
    true = {"P": ["X1", "X2", "X3"], "Q": ["X4", "X5", "X6"], "R": ["P", "Q"]}  # 8 edges, of which 6 are found beside 1 wrong
    assert skeleton_f1(found, true) == pytest.approx(12 / 15)
    assert shd(found, true) == 3


def test_hierarchies_travel_as_plain_data():
    truth = DiscreteHierarchy.random("G4", (2, 3), seed=3)
    again = DiscreteHierarchy.from_spec(truth.to_spec())
    np.testing.assert_allclose(again.joint(truth.observed), truth.joint())


def test_errors_name_the_offender_and_the_remedy():
    with pytest.raises(UnknownNameError, match="'G9'; there are G1"):
        graph_of("G9")
    with pytest.raises(InvalidArgumentError, match="cycle"):
        graph_of({"A": ["B"], "B": ["A"]})
    with pytest.raises(InvalidModelError, match="no table for 'X1'"):
        DiscreteHierarchy(graph_of("G1"), {"L1": [0.5, 0.5]})
    with pytest.raises(InvalidModelError, match="'X1' has shape"):
        DiscreteHierarchy(graph_of({"A": ["X1"]}), {"A": [0.5, 0.5], "X1": [[1.0, 0.0]]})
    with pytest.raises(InvalidModelError, match="no distributions"):
        DiscreteHierarchy(graph_of({"A": ["X1"]}), {"A": [0.5, 0.5], "X1": [[1.0, 0.1], [0.5, 0.5]]})
    with pytest.raises(InvalidArgumentError, match=r"2\^22"):
        DiscreteHierarchy.random({"A": [f"X{i}" for i in range(23)]}).joint()
    with pytest.raises(InvalidArgumentError, match="at least 2"):
        DiscreteHierarchy.random("G1", 1)
    with pytest.raises(InvalidArgumentError, match="strength"):
        DiscreteHierarchy.random("G1", strength=2.0)
    with pytest.raises(InvalidModelError, match="no distribution"):
        ExactRanks(np.ones((2, 2)), ["X1", "X2"])
