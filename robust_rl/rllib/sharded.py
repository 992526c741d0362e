"""Robust value iteration on models that one process can't hold.

    V_{k+1}(s) = max_a min_{q in U(s,a)} sum_s' q(s') [ r(s,a,s') + gamma V_k(s') ]                                           (1)

The rows of n contiguous blocks of states are held by n Ray actors, each of which makes its own from a path or a seed; a sweep
sends V once to every node and brings TV back. The sweeps are those of :class:`~robust_rl.solvers.ValueIteration`, and so are
certificate, stopping and elimination: values, bounds and policies are equal to the bit, whatever the number of actors.

An actor's state is a function of what it was made from and of the arguments of its calls. One that dies, in a sweep or between
two, is made again and asked again, and the run goes on with the same bits. A checkpoint holds V, the policy, and the history; it
can be continued with another number of actors.

What a sweep costs
------------------
Out: 8 S bytes a node. Back: 8 S + S bytes in all (values, and actions of one byte up to 256). An actor of B states holds, for A
actions and K successors in double precision, 12 A K B bytes of rows and 40 A B of row numbers, rewards and radii. Sets whose
sweeps keep rows sorted, such as total variation, sort them in place; rows that are mapped from a file can't be, and a copy is
held beside the map, whose pages the system may drop. The driver holds some six vectors of 8 S bytes. What root finders (KL,
chi-square) remember, 8 A B bytes, stays in the object store from one sweep to the next.

Plan for 10^9 states x 4 actions x 5 successors on 16 machines
---------------------------------------------------------------
Worked out, not run. The machines have 16 processors and 128 GB each, and a network of 25 Gbit/s, 3 GB/s; 256 actors of 4 million
states, one a processor, make their rows from a seed or read their part of a shared file.

==========  ====================================================================================================================
rows        12 x 20 = 240 bytes a state, in single precision 160, and 40 x 4 = 160 of row numbers, rewards and radii: 400 GB or
            320 GB in all, 25 GB or 20 GB a machine
V           8 GB. A machine holds one copy for its 16 actors, and the one before until it is dropped: an object store of 24 GB.
            The driver holds six such vectors, 48 GB
out         8 GB to each of 16 machines. Machines that have it pass it on, so that it takes some 4 rounds of 3 s, 11 s, and less
            where chunks are passed on as they come; one after the other from the driver it would be 43 s
backup      2 x 10^10 entries at 1.6 x 10^-8 s of processor time each (total variation, measured here on 2.5 x 10^7 entries):
            320 s over 256 processors, 1.3 s
back        8 + 1 GB into the driver, 3 s; joining it and the certificate's five passes over 8 GB on one thread, 8 s
a sweep     some 23 s, of which the rows take 1.3
sweeps      the gap falls by gamma each: for 1e-4 of the largest value at gamma = 0.99 some 1000, 6.5 hours; where values mix
            fast, as in Garnet models, 30, 12 minutes
==========  ====================================================================================================================

The vector is the limit then, not the model. Two remedies, in this order, neither built: V sent in single precision, which halves
the traffic and moves bounds by 6e-8 of the largest value, to be added to the certificate's allowance for rounding; and blocks of
the certificate worked out where the blocks are, so that the driver handles three numbers an actor, and V goes from actors to
machines without passing through it.

A machine that is lost takes with it the actors, which are made again elsewhere, and what its object store held: V comes from the
driver, and results of calls are computed again, which Ray does for actors whose calls may be retried. Tests kill processes; a
whole node they don't.

References: Bertsekas and Tsitsiklis (1989), Parallel and Distributed Computation, section 4.1; Iyengar (2005).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from robust_rl.errors import InvalidArgumentError
from robust_rl.models import RowSource, as_source
from robust_rl.rllib.sharded_operator import ShardedOperator, check_portable
from robust_rl.solvers import ValueIteration
from robust_rl.solvers.value_iteration import HISTORY
from robust_rl.training import JSON, check_same_problem, load_arrays, save_arrays
from robust_rl.uncertainty import RectangularSet

FILE = "sharded_value_iteration.safetensors"


class ShardedValueIteration(ValueIteration):
    """Eq. (1) as a Trainable over Ray actors: one sweep a step.

    Parameters
    ----------
    model : path or RowSource
        A model written by :meth:`robust_rl.TabularMDP.save`, best a ``.model`` directory, at a path that every node can read; or
        a small object that makes rows, such as :class:`robust_rl.models.HashedGarnet`.
    uncertainty : RectangularSet or None
        A set of one radius for all rows; ``None`` is the nominal problem.
    discount : float
        gamma in [0, 1).
    tol : float
        Stop when the certificate's bounds are at most this far apart.
    actors : int
    cpus_per_actor : float
    max_restarts : int
        As for :class:`~robust_rl.rllib.sharded_operator.ShardedOperator`.

    Raises
    ------
    InvalidArgumentError, InvalidUncertaintyError
        If an argument is out of range, the model is none, or the set can't be cut into blocks of rows.
    FileFormatError
        If the file is corrupt or foreign.

    Notes
    -----
    Ray is started, without its dashboard, unless it runs already. Read ``value``, ``policy``, ``certificate`` at any time;
    ``save`` writes them. There is no ``solution()``: the worst kernel is as large as the model.

    Examples
    --------
    >>> from robust_rl import TotalVariation
    >>> from robust_rl.models import HashedGarnet
    >>> from robust_rl.training import Trainer
    >>> world, ball = HashedGarnet(10_000_000, 4, 5), TotalVariation(0.1, support="nominal")
    >>> solver = ShardedValueIteration(world, ball, discount=0.99, tol=1e-3, actors=2)  # doctest: +SKIP
    >>> Trainer("runs/large", checkpoint_every=20).fit(solver).certificate.gap  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path | RowSource,
        uncertainty: RectangularSet | None,
        *,
        discount: float,
        tol: float = 1e-6,
        actors: int = 2,
        cpus_per_actor: float = 1.0,
        max_restarts: int = 10,
    ) -> None:
        source = as_source(model)
        self._set(_Head(source), uncertainty, discount, tol)
        if self.discount == 1:
            raise InvalidArgumentError("discount is 1; over blocks of rows it must be below 1")
        check_portable(uncertainty)
        operator = ShardedOperator(
            source, uncertainty, self.discount, actors=actors, cpus_per_actor=cpus_per_actor, max_restarts=max_restarts
        )
        self._fingerprint = ""
        self._begin(operator, None)

    @property
    def method(self) -> str:
        """Name of the algorithm."""
        return f"value iteration on {len(self.backup.cuts) - 1} actors"

    @property
    def num_rows(self) -> int:
        """State-action pairs that may still be optimal."""
        return int(self._groups.rows)

    def solution(self) -> NoReturn:
        """Raise InvalidArgumentError: the worst kernel is as large as the model."""
        raise InvalidArgumentError("the worst kernel is as large as the model; read value, policy and certificate, or save(path)")

    def save(self, path: str | Path) -> Path:
        """Write value (the middle of the bounds), policy, and both bounds to one ``.safetensors`` file; return its path."""
        target, bounds = Path(path).with_suffix(".safetensors"), self.certificate
        arrays = {"value": (bounds.lower + bounds.upper) / 2, "policy": self.policy, "lower": bounds.lower, "upper": bounds.upper}
        problem: dict[str, JSON] = {
            "source": repr(self.model.source),
            "uncertainty": repr(self.backup.uncertainty),
            "discount": self.discount,
        }
        save_arrays(target, arrays, problem, format="robust-rl values")
        return target

    def save_checkpoint(self, directory: Path) -> None:
        """Write V and TV, the policy, the history, which rows were eliminated, and what root finders remember."""
        arrays: dict[str, Any] = {
            "value": self._value,
            "applied": self._applied,
            "choice": self._choice,
            "backups": np.array(self.backup.backups),
            "history": np.array(self._history).reshape(-1, len(HISTORY)),
        }
        if self.num_rows < self.backup.groups.rows:
            arrays["kept"] = np.packbits(self.backup.mask(self._groups))
        memory = self.backup.memory()
        if memory is not None:
            arrays["memory"] = memory
        save_arrays(directory / FILE, arrays, self._problem())

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint, of any number of actors. Raises InvalidArgumentError if it is of another problem."""
        arrays, problem = load_arrays(directory / FILE)
        check_same_problem(problem, self._problem())
        self._value, self._applied, self._choice = arrays["value"], arrays["applied"], arrays["choice"]
        self._groups = self.backup.groups
        if "kept" in arrays:
            rows = self.model.num_states * self.model.num_actions
            self._groups = self.backup.kept(np.unpackbits(arrays["kept"], count=rows).view(bool))
        self.backup.remember(arrays.get("memory"))
        self._history = [tuple(row) for row in arrays["history"].tolist()]
        if self._history:
            self.backup.backups = int(arrays["backups"])
            self._limit = self._steps_needed(self._history[0][0])
            self._measure()

    def _eliminate(self, width: Any) -> None:
        self._groups = self.backup.without_eliminated(self._groups, self._value, float(width))

    def _problem(self) -> dict[str, Any]:
        return {
            "uncertainty": repr(self.backup.uncertainty),
            "discount": self.discount,
            "states": self.model.num_states,
            "actions": self.model.num_actions,
            "rows": self._rows_digest(),
        }

    def _rows_digest(self) -> str:
        """SHA-256 of T at a vector without structure: it sees every row, and is the same for all cuts. Costs a sweep, once."""
        if not self._fingerprint:
            backups, before = self.backup.backups, self.backup.memory()
            self.backup.forget()
            applied, _ = self.backup.sweep(np.sin(np.arange(self.model.num_states, dtype=np.float64)), self.backup.groups)
            self._fingerprint = hashlib.sha256(applied.tobytes()).hexdigest()
            self.backup.backups = backups
            self.backup.remember(before)
        return self._fingerprint


class _Head:
    """What the driver holds of a model: all but its rows."""

    def __init__(self, source: RowSource) -> None:
        self.source, self.num_states, self.num_actions = source, source.num_states, source.num_actions
        self.start: NDArray[np.float64] = source.start
        self.terminal: NDArray[np.bool_] = source.terminal
