"""Metrics on states: checking that one is, its neighbourhoods, and the distance in steps of a model's graph.

A metric is an (S, S) array, or a sparse matrix that lists neighbours. An infinite or missing distance means that mass can't go
there. Such pairs are exempt from the triangle inequality, so that a metric may be cut off at some distance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from robust_rl._numba import njit
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.models import TabularMDP

Array = NDArray[np.float64]
Metric = Any  # an (S, S) array, or a CSR matrix
# relative difference that rounding may make between d(s,t) and d(t,s), or in a sum of two distances
ROUNDING = 1e-9
# triples of the triangle inequality that are looked at, which takes a fraction of a second: all, in dense metrics of 500 states
TRIPLES = 2e8


class Neighbours(NamedTuple):
    """Neighbours of each state, nearest first: those of s are entries ``ptr[s]:ptr[s+1]``, the first of which is s itself."""

    ptr: NDArray[np.int64]
    state: NDArray[np.uint32]
    distance: Array


def checked_metric(metric: Any) -> Metric:
    """Return the metric as an array, or as CSR if sparse, without infinite entries.

    All is checked but the triangle inequality of large metrics: beyond 2e8 triples (dense: 500 states) for a fixed random
    sample of states.

    Raises
    ------
    InvalidUncertaintyError
        If it isn't a metric. The message names the states and says what to do.
    """
    checked = _matrix(metric)
    _check_entries(checked)
    _check_symmetric(checked)
    _check_triangles(neighbours(checked))
    return checked


def neighbours(metric: Metric) -> Neighbours:
    """Return each state's neighbours by distance."""
    count = metric.shape[0]
    listed = sparse.coo_array(np.where(np.isfinite(metric), metric, 0.0) if isinstance(metric, np.ndarray) else metric)
    apart = listed.data > 0
    every = np.arange(count)
    row, column = np.append(every, listed.row[apart]), np.append(every, listed.col[apart])
    distance = np.append(np.zeros(count), listed.data[apart])
    order = np.lexsort((column, distance, row))
    ptr = np.append(0, np.cumsum(np.bincount(row, minlength=count)))
    return Neighbours(ptr, column[order].astype(np.uint32), distance[order])


def graph_metric(graph: Any, *, cutoff: int | None = None) -> Metric:
    """Return the number of steps between states, along transitions in either direction.

    Parameters
    ----------
    graph : TabularMDP, or (S, S) adjacency, dense or sparse
        In a model, states are adjacent if some action may lead from one to the other.
    cutoff : int, optional
        Leave out states that are more steps apart. The result is then sparse, and so can be the largest models' backups.

    Returns
    -------
    (S, S) array, infinite between states that nothing connects; with ``cutoff`` a CSR matrix.

    Raises
    ------
    InvalidArgumentError
        If the graph isn't square or the cutoff isn't a positive integer.

    Examples
    --------
    >>> graph_metric([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    array([[0., 1., 2.], [1., 0., 1.], [2., 1., 0.]])
    """
    adjacency = _adjacency(graph)
    if cutoff is None:
        return csgraph.shortest_path(adjacency, directed=False, unweighted=True)
    if not isinstance(cutoff, int | np.integer) or cutoff < 1:
        raise InvalidArgumentError(f"cutoff {cutoff!r} is not a positive number of steps")
    reached = frontier = adjacency
    for steps in range(2, cutoff + 1):
        ahead = sparse.csr_array((frontier @ adjacency).astype(bool).astype(np.float64))
        ahead.setdiag(0.0)
        frontier = sparse.csr_array(ahead - ahead.multiply(reached.astype(bool)))
        frontier.eliminate_zeros()
        if not frontier.nnz:
            break
        reached = sparse.csr_array(reached + steps * frontier)
    reached.sort_indices()
    return reached


def _adjacency(graph: Any) -> sparse.csr_array:
    """Symmetric 0-1 matrix without a diagonal."""
    if isinstance(graph, TabularMDP):
        live = graph.csr()[graph.active_rows]
        origin = np.flatnonzero(graph.active_rows) // graph.num_actions
        matrix = live.tocoo()
        edges = sparse.coo_array((matrix.data, (origin[matrix.row], matrix.col)), shape=(graph.num_states, graph.num_states))
    else:
        edges = sparse.coo_array(graph)
    if edges.ndim != 2 or edges.shape[0] != edges.shape[1]:
        raise InvalidArgumentError(f"the graph has shape {edges.shape}; an adjacency matrix is (S, S)")
    apart = (edges.row != edges.col) & (edges.data != 0)
    row, column = edges.row[apart], edges.col[apart]
    at = (np.append(row, column), np.append(column, row))
    adjacency = sparse.csr_array((np.ones(len(at[0])), at), shape=edges.shape)
    adjacency.sum_duplicates()
    adjacency.data[:] = 1.0
    return adjacency


def _matrix(metric: Any) -> Metric:
    if sparse.issparse(metric):
        matrix = sparse.csr_array(metric, dtype=np.float64, copy=True)
        matrix.sum_duplicates()
        keep = ~np.isposinf(matrix.data)
        row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[keep]
        matrix = sparse.csr_array((matrix.data[keep], (row, matrix.indices[keep])), shape=matrix.shape)
    else:
        try:
            matrix = np.array(metric, dtype=np.float64, order="C")
        except (TypeError, ValueError):
            raise InvalidUncertaintyError(f"the metric {metric!r} is not an array of numbers") from None
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise InvalidUncertaintyError(f"the metric has shape {matrix.shape}; give the distance of every two states, (S, S)")
    return matrix


def _check_entries(metric: Metric) -> None:
    if sparse.issparse(metric):
        listed = sparse.coo_array(metric)
        at, distance = np.stack([listed.row, listed.col], axis=1), listed.data
        same = listed.row == listed.col
    else:
        at, distance, same = None, metric, np.eye(len(metric), dtype=bool)
    for bad, remedy in (
        (np.isnan(distance), "distances are numbers"),
        (distance < 0, "distances are not negative"),
        (same & (distance != 0), "a state is at distance 0 from itself"),
        (~same & (distance == 0), "different states are apart; merge them, or leave the entry out of a sparse metric"),
    ):
        if bad.any():
            e = tuple(np.argwhere(bad)[0])
            s, t = e if at is None else at[e]
            raise InvalidUncertaintyError(f"not a metric: d({s}, {t}) is {distance[e]:g}; {remedy}")


def _check_symmetric(metric: Metric) -> None:
    with np.errstate(invalid="ignore"):  # inf - inf
        difference = sparse.coo_array(metric - metric.T)
    finite = metric.data if sparse.issparse(metric) else metric[np.isfinite(metric)]
    odd = np.flatnonzero(abs(difference.data) > ROUNDING * finite.max(initial=0.0))
    if odd.size:
        s, t = difference.row[odd[0]], difference.col[odd[0]]
        one, other = (metric[pair] or np.inf for pair in ((s, t), (t, s)))  # a sparse metric's missing entry is infinite
        raise InvalidUncertaintyError(
            f"not a metric: d({s}, {t}) is {one:g} but d({t}, {s}) is {other:g}; a metric is symmetric, as is d + d.T"
        )


def _check_triangles(near: Neighbours) -> None:
    count = len(near.ptr) - 1
    lengths = np.diff(near.ptr)
    work = np.bincount(np.repeat(np.arange(count), lengths), lengths[near.state], count)
    order = np.arange(count) if work.sum() <= TRIPLES else np.random.default_rng(0).permutation(count)
    sources = order[: np.searchsorted(np.cumsum(work[order]), TRIPLES) + 1]
    s, via, t, direct, around = _detour(near.ptr, near.state, near.distance, sources, 1 - ROUNDING)
    if s >= 0:
        raise InvalidUncertaintyError(
            f"not a metric: d({s}, {t}) is {direct:g}, but {around:g} by way of {via}, against the triangle inequality; "
            "scipy.sparse.csgraph.shortest_path makes a metric of it"
        )


@njit
def _detour(ptr, state, distance, sources, slack):  # type: ignore[no-untyped-def]
    """Return states s, k, t with d(s,k) + d(k,t) < slack d(s,t), and both lengths; -1 if there are none."""
    direct = np.full(len(ptr) - 1, -1.0)
    for s in sources:
        for e in range(ptr[s], ptr[s + 1]):
            direct[state[e]] = distance[e]
        for e in range(ptr[s] + 1, ptr[s + 1]):
            k, first = state[e], distance[e]
            for f in range(ptr[k] + 1, ptr[k + 1]):
                if first + distance[f] < slack * direct[state[f]]:
                    return s, k, state[f], direct[state[f]], first + distance[f]
        for e in range(ptr[s], ptr[s + 1]):
            direct[state[e]] = -1.0
    return -1, -1, -1, 0.0, 0.0
