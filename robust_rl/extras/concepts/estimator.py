"""Discovery as an estimator of scikit-learn."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.concepts import bridges
from robust_rl.extras.concepts.discovery import Cover, Discovery, discover, named
from robust_rl.extras.concepts.em import fit_tables
from robust_rl.extras.concepts.encoding import canonical, categories_of, encode
from robust_rl.extras.concepts.exact import ExactRanks
from robust_rl.extras.concepts.hierarchy import DiscreteHierarchy
from robust_rl.extras.concepts.posterior import Posterior, Rows
from robust_rl.extras.concepts.ranks import METHODS
from robust_rl.extras.concepts.refinement import SampleRefiner
from robust_rl.extras.concepts.sample_ranks import RankTest, SampleRanks
from robust_rl.extras.concepts.stages import InTurn, Stages, drive
from robust_rl.extras.concepts.states import check_states, latent_states

Floats = NDArray[np.float64]


class HierarchicalConceptDiscovery(TransformerMixin, BaseEstimator):
    """Finds the hierarchy of hidden discrete causes of discrete data.

    Every latent has the same number of states, and every observed variable at least as many. Observed variables are leaves unless
    ``observed_parents`` lets them have children.

    Parameters
    ----------
    n_states : int or "auto"
        States of each latent, >= 2. ``"auto"`` takes what tables of single variables show.
    max_cover : int
        Largest number of latents that act together.
    rank_test : str or callable
        ``"auto"``, ``"kp"``, ``"cca"`` as in :func:`rank_test`, or a function (table of counts, r) -> RankTestResult.
        ``"auto"`` is ``"cca"``.
    alpha : float
        Level of each test of ranks.
    n_subsets, subset_size : int
        Tables for each question about a rank, and variables of its larger side, at least.
    refine : bool
        Whether graphs from several levels compete by their likelihood and are improved step by step. Without it the search is
        the rank tests' alone: faster, and unable to find covers of two latents in samples of usual size.
    observed_parents : bool or "auto"
        Whether an observed variable may be the parent of others, observed or latent, that it separates from the rest. ``"auto"``
        is True for exact tables and False for samples, where a leaf that nearly copies its parent looks the same.
    max_fits : int
        Graphs that the refinement fits to each set of dependent variables, about. Up to a dozen columns end well before the
        default; for more, time grows with it, and what it found by then is kept.
    random_state : int, RandomState or None
        Of the choice of variables for tests, and of the starts of fits.
    verbose : bool
        Whether to show the search's progress.

    Attributes
    ----------
    graph_ : networkx.DiGraph
        Node attributes ``latent``, ``n_states``, ``level``; graph attributes ``roots`` and ``absorbed``. Directions between
        latents are those of one graph of a class that no ranks tell apart.
    skeleton_ : networkx.Graph
        The edges without directions.
    covers_ : list of Cover
        Latents that act together, from the roots down.
    levels_ : dict
        Variable -> height above the leaves.
    latent_names_ : list of str
    unresolved_ : list of lists
        Variables that depend on one another and for which no common parent was found.
    tests_ : pandas.DataFrame
        The questions that were asked.
    n_states_ : int
        States of each latent.
    tables_ : dict
        Variable -> p(variable | parents), after :meth:`fit` or :meth:`fit_parameters`.

    Notes
    -----
    Kong et al., arXiv:2406.00519. See the module ``search`` for the algorithm.

    Examples
    --------
    >>> from robust_rl.extras.concepts import DiscreteHierarchy, skeleton_f1
    >>> X = DiscreteHierarchy.random("G3", seed=1).sample(4000, seed=0)
    >>> est = HierarchicalConceptDiscovery(n_states=2, refine=False).fit(X)
    >>> skeleton_f1(est, "G3"), est.transform(X).shape
    (1.0, (4000, 6))
    """

    def __init__(
        self,
        n_states: int | str = "auto",
        *,
        max_cover: int = 2,
        rank_test: str | RankTest = "auto",
        alpha: float = 1e-3,
        n_subsets: int = 12,
        subset_size: int = 3,
        refine: bool = True,
        observed_parents: bool | str = "auto",
        max_fits: int = 500,
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.n_states, self.max_cover, self.rank_test, self.alpha = n_states, max_cover, rank_test, alpha
        self.n_subsets, self.subset_size, self.refine, self.observed_parents = n_subsets, subset_size, refine, observed_parents
        self.max_fits, self.random_state, self.verbose = max_fits, random_state, verbose

    def fit(self, X: Any, y: Any = None, *, run: str | os.PathLike[str] | None = None) -> HierarchicalConceptDiscovery:
        """Find the graph of a sample, and its tables.

        Parameters
        ----------
        X : array or DataFrame (n, number of variables)
            Labels of any kind that can be sorted.
        y
            Ignored.
        run
            Directory for the searches' metrics and checkpoints; an unfinished run there goes on, and ends with the same result as
            one that was never stopped.

        Raises
        ------
        InvalidArgumentError
            A parameter is out of range, a column is constant or continuous, or ``run`` is of other rows or settings.
        InsufficientStatesError
            A column has fewer states than the latents.
        """
        drive(InTurn(self.stages(X)), None if run is None else Path(run), bool(self.verbose))
        return self

    def stages(self, X: Any) -> Stages[HierarchicalConceptDiscovery]:
        """Yield the searches of :meth:`fit`, to be driven with others; arguments are checked before the first."""
        self._check()
        values = validate_data(self, X, dtype=None, ensure_min_samples=2)
        self.names_ = [str(name) for name in getattr(self, "feature_names_in_", _default_names(values.shape[1]))]
        self.categories_ = categories_of(values, self.names_)
        codes = encode(values, self.categories_, self.names_)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        columns, order = canonical(codes)
        places = [f"{i:04d}" for i in range(len(order))]
        names = {place: self.names_[i] for place, i in zip(places, order, strict=True)}
        test = "cca" if self.rank_test == "auto" else self.rank_test
        settings = {"alpha": self.alpha, "n_subsets": self.n_subsets, "subset_size": self.subset_size, "seed": seed}
        ranks = SampleRanks(columns, places, test=test, **settings)  # type: ignore[arg-type]
        self.n_states_ = self._latent_states(ranks, names)
        limits = {"seed": seed, "max_fits": self.max_fits}
        refiner = SampleRefiner(ranks, columns, places, self.n_states_, self.max_cover, **limits) if self.refine else None
        inner = self.observed_parents is True
        found = yield from discover(
            ranks, ranks.n_states, self.n_states_, self.max_cover, observed_parents=inner, refiner=refiner
        )
        self._keep(found, names, ranks.records)
        self._fit_tables(codes)
        return self

    def fit_distribution(self, distribution: Any, names: Sequence[str] | None = None) -> HierarchicalConceptDiscovery:
        """Find the graph of an exact joint distribution.

        Parameters
        ----------
        distribution
            A table, one axis a variable; a :class:`DiscreteHierarchy`; or a pgmpy model whose latents are declared.
        names
            Of the axes; by default X1 and so on, or the model's.

        Raises
        ------
        InvalidModelError
            The table is no distribution.
        InvalidArgumentError
            It has more than 2^22 cells.
        """
        self._check()
        table, own = bridges.joint_table(distribution)
        self.names_ = list(names or own or _default_names(table.ndim))
        _check_names(self.names_)
        places = {name: f"{i:04d}" for i, name in enumerate(sorted(self.names_))}
        ordered = {place: name for name, place in places.items()}
        ranks = ExactRanks(table, [places[name] for name in self.names_])
        self.n_features_in_, self.categories_ = table.ndim, [np.arange(size) for size in table.shape]
        self.n_states_ = self._latent_states(ranks, ordered)
        sizes = {place: ranks.n_states[place] for place in ordered}
        search = discover(ranks, sizes, self.n_states_, self.max_cover, observed_parents=bool(self.observed_parents))
        found = drive(InTurn(search), progress=bool(self.verbose))
        self._keep(found, ordered, ranks.records)
        return self

    def fit_parameters(self, X: Any, y: Any = None) -> HierarchicalConceptDiscovery:
        """Fit the tables of the found graph to a sample, by expectation and maximisation."""
        self._fit_tables(self._encoded(X))
        return self

    def transform(self, X: Any) -> Floats:
        """Return the posterior of each latent's states, one block of columns a latent, shape (n, latents * states)."""
        marginals = self._marginals(X)
        return marginals.reshape(len(marginals), len(self.latent_names_) * self.n_states_)

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return the most likely state of each latent, shape (n, latents)."""
        return np.asarray(self._marginals(X).argmax(axis=2))

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-likelihood of rows, in nats."""
        posterior, tables = self._posterior(X)
        return float(posterior.rows.weights @ posterior(tables)[1] / posterior.rows.weights.sum())

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of the columns of :meth:`transform`."""
        check_is_fitted(self)
        return np.array([f"{name}={state}" for name in self.latent_names_ for state in range(self.n_states_)], object)

    @property
    def hierarchy_(self) -> DiscreteHierarchy:
        """The graph with its tables."""
        return DiscreteHierarchy(self.graph_, self._tables())

    def to_pgmpy(self) -> Any:
        """Return the graph as a pgmpy network, with its tables where they are fitted."""
        check_is_fitted(self)
        return bridges.to_pgmpy(self.graph_, getattr(self, "tables_", None))

    def to_causallearn(self) -> Any:
        """Return the graph as causal-learn's GeneralGraph."""
        check_is_fitted(self)
        return bridges.to_causallearn(self.graph_)

    def draw(self, axes: Any = None, frequencies: Mapping[Any, float] | None = None) -> Any:
        """Draw the graph, and return matplotlib's axes; see :func:`~robust_rl.extras.concepts.draw`."""
        from robust_rl.extras.concepts.drawing import draw

        check_is_fitted(self)
        return draw(self.graph_, axes, frequencies)

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn should know: columns are categories, of any labels."""
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    def _check(self) -> None:
        if self.n_states != "auto" and (isinstance(self.n_states, str) or self.n_states < 2):
            raise InvalidArgumentError(f'n_states is {self.n_states!r}; it must be "auto" or an integer from 2 on')
        if isinstance(self.rank_test, str) and self.rank_test not in ("auto", *METHODS):
            raise InvalidArgumentError(f"rank_test is {self.rank_test!r}; it must be auto, {', '.join(METHODS)} or a function")
        if self.observed_parents not in (True, False, "auto"):
            raise InvalidArgumentError(f'observed_parents is {self.observed_parents!r}; it must be True, False or "auto"')
        if not 0 < self.alpha < 1:
            raise InvalidArgumentError(f"alpha is {self.alpha}; it must be above 0 and below 1")
        for name in ("max_cover", "n_subsets", "subset_size", "max_fits"):
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; it must be at least 1")

    def _latent_states(self, ranks: Any, names: Mapping[str, str]) -> int:
        sizes = {place: ranks.n_states[place] for place in names}
        k = latent_states(ranks, sizes) if self.n_states == "auto" else int(self.n_states)
        check_states({names[place]: size for place, size in sizes.items()}, k)
        return k

    def _keep(self, found: Discovery, names: Mapping[str, str], records: list[dict[str, Any]]) -> None:
        """Keep what was found, under the user's names."""
        hidden = {node: f"\0{node}" for node, known in found.graph.nodes(data=True) if known["latent"]}
        graph = named(nx.relabel_nodes(found.graph, {**names, **hidden}), self.names_)
        nx.set_node_attributes(graph, Discovery(graph, []).levels, "level")
        self.graph_, self.skeleton_ = graph, graph.to_undirected()
        self.covers_: list[Cover] = Discovery(graph, []).covers
        self.levels_ = dict(graph.nodes(data="level"))
        self.latent_names_ = [node for node, known in graph.nodes(data=True) if known["latent"]]
        self.unresolved_ = [sorted(names[place] for place in part) for part in found.unresolved]
        sides = [{key: " ".join(names[place] for place in str(row[key]).split()) for key in ("A", "B")} for row in records]
        self.tests_ = pd.DataFrame([{**row, **side} for row, side in zip(records, sides, strict=True)])
        if "p" in self.tests_:
            self.tests_["decision"] = np.where(self.tests_["p"] > self.alpha, "accepted", "rejected")

    def _fit_tables(self, codes: NDArray[np.int64]) -> None:
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        fit = fit_tables(self.graph_, dict(self.graph_.nodes(data="n_states")), codes, seed=seed)
        self.tables_, self.log_likelihood_, self.n_iter_ = fit.tables, fit.log_likelihood, fit.iterations

    def _encoded(self, X: Any) -> NDArray[np.int64]:
        check_is_fitted(self)
        return encode(validate_data(self, X, dtype=None, reset=False), self.categories_, self.names_)

    def _tables(self) -> dict[str, Floats]:
        check_is_fitted(self)
        if not hasattr(self, "tables_"):
            raise NotFittedError("the graph has no tables yet; call fit_parameters(X) first")
        return self.tables_

    def _posterior(self, X: Any) -> tuple[Posterior, dict[str, Floats]]:
        rows = Rows.of(self._encoded(X))
        return Posterior(self.graph_, dict(self.graph_.nodes(data="n_states")), rows), self._tables()

    def _marginals(self, X: Any) -> Floats:
        """Return p(state of a latent | row), (n, latents, states)."""
        posterior, tables = self._posterior(X)
        blocks = posterior.marginals(tables)
        return np.stack(blocks, axis=1) if blocks else np.zeros((len(posterior.rows.inverse), 0, self.n_states_))


def _default_names(count: int) -> list[str]:
    return [f"X{i}" for i in range(1, count + 1)]


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidArgumentError(f"axes share the names {', '.join(twice)}; give each its own")
