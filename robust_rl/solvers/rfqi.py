"""RFQI: robust fitted Q-iteration on logged data (Panaganti, Xu, Kalathil and Ghavamzadeh, 2022, arXiv:2208.05129), in torch.

The distribution of the next state may move by rho in total variation, to any state; the worst of all is worth m. The robust
Bellman operator, by the dual of total variation with eta in place of a worst case,

    T Q(s, a) = E[r] + gamma max_eta { E[min(V(s'), eta)] - rho (eta - m) },    V = max_a Q                                 (1)

needs a maximisation for each (s, a). One function eta(s, a) does all of them at once, since it is the minimiser of

    E_data[ max(eta(s, a) - V(s'), 0) - (1 - rho) eta(s, a) ]                                                               (2)

and is the (1 - rho)-quantile of V(s'). So one iteration is two regressions on the data, with V from the last:

    eta     <-  argmin of (2),    clipped to the range of V                                                                 (3)
    y       =   r + gamma ( min(V(s'), eta) - rho (eta - m) )                                                               (4)
    Q       <-  argmin E_data[ (Q(s, a) - y)^2 ]                                                                            (5)

Whatever eta is, (4) is no more than (1) in expectation: a poorly fitted eta costs value, but never promises too much. The paper
has m = 0 and eta in [0, 1 / (rho (1 - gamma))]; the range of V, see :mod:`robust_rl.solvers.rfqi_problem`, is smaller and holds
the minimiser, a quantile of V(s'). rho = 0 leaves out (3): fitted Q-iteration.

One step of the Trainable is one iteration, as in the paper's algorithm and unlike its code, which moves a target network after
each minibatch: with V held still both regressions have an answer, to which their step sizes are annealed, and the iterates are
those of value iteration, which they can be tested against. Only the dynamics move: of a reward that depends on the next state
the mean is kept.

Ends. A transition that terminates is followed by V(s') = 0. The adversary isn't bound by that: with probability rho it moves
the next state, the end included, to the state worth m, and it may move any next state to the end; hence m <= 0 if there are ends.
Where episodes are cut off (truncated) V(s') is that of the state reached, since the episode would have gone on.

Actions that the logs hardly show are the known trouble of Q-learning from logs: nothing holds Q down there, and V = max_a Q picks
it up. ``behaviour_threshold`` takes the maximum over actions that are logged at least that often relative to the state's most
frequent one (discrete BCQ: Fujimoto, Conti, Ghavamzadeh and Pineau, 2019, arXiv:1910.01708), by a network fitted before the
first iteration.

========  =============  ======================================================================================
symbol    here           meaning, shape
========  =============  ======================================================================================
Q, eta    q, eta         networks with A outputs each; 0 and 1 stand for the ends of the range of V
V(s')     following      (n,) of the last Q; 0 after an end
m         lowest         value of the worst state there is: given, or the least of V over all states or the data's
y         targets        (n,)
rho       radius         in [0, 1]
========  =============  ======================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robust_rl.datasets import OfflineDataset
from robust_rl.errors import InvalidArgumentError
from robust_rl.features import ROWS
from robust_rl.solvers.criterion import digest
from robust_rl.solvers.device import torch_device
from robust_rl.solvers.fitting import Fit
from robust_rl.solvers.offline_checks import OBSERVED
from robust_rl.solvers.rfqi_problem import RFQIProblem, RFQISolution, is_supported
from robust_rl.training import check_same_problem, load_arrays, save_arrays

FILE = "rfqi.safetensors"
LEAST_ITERATIONS = 100
BEHAVIOUR_FITS = 10  # the behaviour is fitted once, for as long as Q in so many iterations


class RFQISolver:
    """Equations (3) to (5) as a Trainable: one iteration a step.

    Parameters
    ----------
    problem : RFQIProblem
    data : OfflineDataset
    hidden : sequence of int
        Widths of hidden layers. ``()`` with observations that are indices: tables.
    iterations : int, optional
        Done after so many. Default: until what the networks start from weighs 1 %, ``gamma (1 - rho)`` a step if m is given, but
        at least 100: networks need their minibatches.
    updates, dual_updates : int
        Minibatches of (5) and of (3) in each iteration.
    batch_size : int
    learning_rate, dual_learning_rate : float
        Adam's step sizes at the start of each regression.
    last_share : float
        Share of the step sizes that is left in the last iteration; they fall geometrically, as the changes of V do.
    behaviour_threshold : float
        In [0, 1); 0 allows all actions. The default is discrete BCQ's; ``benchmarks/rfqi.py`` measures what it is worth.
    seed : int
        Of the initial weights and minibatches. Same seed, machine and versions, same bits; on a GPU the last bits may differ.
    device : str or torch.device
        ``"cpu"``, ``"cuda"`` and so on.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of range, or the device isn't there.
    """

    method = "RFQI"

    def __init__(
        self,
        problem: RFQIProblem,
        data: OfflineDataset,
        *,
        hidden: Sequence[int] = (64, 64),
        iterations: int | None = None,
        updates: int = 100,
        dual_updates: int = 100,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        dual_learning_rate: float = 1e-3,
        last_share: float = 0.01,
        behaviour_threshold: float = 0.3,
        seed: int = 0,
        device: Any = "cpu",
    ) -> None:
        check_whole(updates=updates, dual_updates=dual_updates, batch_size=batch_size, iterations=iterations, hidden=hidden)
        check_rates(learning_rate=learning_rate, dual_learning_rate=dual_learning_rate, last_share=last_share)
        if not 0 <= behaviour_threshold < 1:
            raise InvalidArgumentError(f"behaviour_threshold={behaviour_threshold!r}; it must be in [0, 1)")
        self.problem, self.threshold = problem, float(behaviour_threshold)
        self.iterations = default_iterations(problem) if iterations is None else iterations
        self.updates, self.dual_updates, self.batch_size = updates, dual_updates, batch_size
        self.last_share = float(last_share)
        self.device = torch_device(device) or torch.device("cpu")
        self.generator = torch.Generator().manual_seed(seed)
        self.low, high = problem.bounds
        self.scale = (high - self.low) or 1.0
        self._move(data)
        self._noted = problem.describe() | {
            "data": digest([data.observations, data.actions, data.rewards, data.next_observations, data.terminations]),
            "hidden layers": list(hidden), "updates": [updates, dual_updates], "batch_size": batch_size,
            "learning rates": [learning_rate, dual_learning_rate, self.last_share], "iterations": self.iterations,
            "behaviour_threshold": self.threshold, "seed": seed,
        }  # fmt: skip
        encoder = problem.encoder
        sizes, table = [encoder.width, *hidden, problem.num_actions], not hidden and encoder.num_states is not None
        rates = {"q": learning_rate}
        if problem.radius > 0:
            rates["eta"] = dual_learning_rate
        if self.threshold > 0:
            rates["behaviour"] = learning_rate
        self.fits = {name: Fit(sizes, table, rate, self.generator, self.device) for name, rate in rates.items()}
        self.iteration = 0

    @property
    def done(self) -> bool:
        """Whether all iterations are done."""
        return self.iteration >= self.iterations

    def step(self) -> Mapping[str, float]:
        """Make one iteration; before the first, fit the behaviour if it is needed."""
        if self.iteration == 0 and "behaviour" in self.fits:
            self._fit_behaviour()
        rho, before = self.problem.radius, self._q()
        following = self._following()
        lowest = self._lowest(following)
        metrics = {"solve/v_min": lowest}
        if rho > 0:
            metrics["solve/dual_loss"] = self._fit_dual((following - self.low) / self.scale)
            eta = self.low + self.scale * self._of_rows(self.fits["eta"]).clip(0, 1)
            metrics["solve/max_eta"] = float(eta.max())
            following = torch.minimum(following, eta) - rho * (eta - lowest)
        targets = self.rewards + self.problem.discount * following  # eq. 4
        metrics["solve/q_loss"] = self._fit_q((targets - self.low) / self.scale)
        after = self._q()
        self.iteration += 1
        return metrics | {"solve/mean_q": float(after.mean()), "solve/change": float((after - before).abs().mean())}

    def solution(self) -> RFQISolution:
        """Return what has been learned so far."""
        layers = {name: self.fits[name].numpy_layers() if name in self.fits else [] for name in ("q", "eta", "behaviour")}
        return RFQISolution(**layers, threshold=self.threshold, problem=self.problem)

    def save_checkpoint(self, directory: Path) -> None:
        """Write the networks, Adam's moments and the generator."""
        arrays: dict[str, Any] = {"generator": self.generator.get_state()}
        for name, fit in self.fits.items():
            arrays |= fit.save(name)
        save_arrays(directory / FILE, arrays, self._noted | {"iteration": self.iteration})

    def load_checkpoint(self, directory: Path) -> None:
        """Continue from a checkpoint. Raises InvalidArgumentError if it is of another problem."""
        arrays, noted = load_arrays(directory / FILE)
        check_same_problem(noted, self._noted)
        self.iteration = int(noted["iteration"])
        self.generator.set_state(torch.from_numpy(arrays["generator"]))
        for name, fit in self.fits.items():
            fit.restore(name, arrays)

    def _move(self, data: OfflineDataset) -> None:
        """Put what the regressions read on the device."""

        def put(array: Any, dtype: torch.dtype | None = None) -> Tensor:
            return torch.as_tensor(array, dtype=dtype).to(self.device)

        encoder, states = self.problem.encoder, self.problem.states
        self.x, self.x_next = put(encoder(data.observations)), put(encoder(data.next_observations))
        self.actions, self.rewards = put(data.actions, torch.int64), put(data.rewards, torch.float32)
        self.ended = put(data.terminations, torch.bool)
        self.x_all = None if states is None else put(encoder(states))

    def _fit_behaviour(self) -> None:
        behaviour = self.fits["behaviour"]

        def loss(at: Tensor) -> Tensor:
            return torch.nn.functional.cross_entropy(behaviour(self.x[at]), self.actions[at], reduction="none")

        behaviour.fit(loss, len(self.x), updates=BEHAVIOUR_FITS * self.updates, batch_size=self.batch_size)

    def _fit_dual(self, values: Tensor) -> float:
        """Solve eq. (3), in units of the range of V."""
        eta, kept = self.fits["eta"], 1 - self.problem.radius

        def loss(at: Tensor) -> Tensor:
            chosen = self._chosen(eta, at)
            return (chosen - values[at]).clip(min=0) - kept * chosen  # eq. 2

        return self.scale * eta.fit(loss, len(self.x), updates=self.dual_updates, batch_size=self.batch_size, share=self._share())

    def _fit_q(self, targets: Tensor) -> float:
        """Solve eq. (5), in units of the range of V."""
        q = self.fits["q"]

        def loss(at: Tensor) -> Tensor:
            return (self._chosen(q, at) - targets[at]) ** 2

        return self.scale**2 * q.fit(loss, len(self.x), updates=self.updates, batch_size=self.batch_size, share=self._share())

    def _share(self) -> float:
        return float(self.last_share ** (self.iteration / self.iterations))

    def _chosen(self, fit: Fit, at: Tensor) -> Tensor:
        return fit(self.x[at]).gather(1, self.actions[at, None])[:, 0]

    @torch.no_grad()
    def _of_rows(self, fit: Fit) -> Tensor:
        """Return a network's outputs for the logged actions of all rows, (n,)."""
        rows = torch.arange(len(self.x), device=self.device)
        return torch.cat([self._chosen(fit, part) for part in rows.split(ROWS)])

    def _q(self) -> Tensor:
        return self.low + self.scale * self._of_rows(self.fits["q"])

    @torch.no_grad()
    def _values(self, x: Tensor) -> Tensor:
        """Return V, (n,), in its range, of encoded observations."""
        return torch.cat([self._best(part) for part in x.split(ROWS)])

    def _best(self, x: Tensor) -> Tensor:
        q = self.fits["q"](x)
        if "behaviour" in self.fits:
            q = q.where(is_supported(self.fits["behaviour"](x), self.threshold), -torch.inf)
        return self.low + self.scale * q.amax(1).clip(0, 1)

    def _following(self) -> Tensor:
        return self._values(self.x_next).where(~self.ended, 0.0)

    def _lowest(self, following: Tensor) -> float:
        """Return m."""
        fixed = self.problem.fixed_v_min
        if fixed is not None:
            return fixed
        seen = following if self.x_all is None or self.problem.v_min == OBSERVED else self._values(self.x_all)
        least = float(seen.min())
        return min(least, 0.0) if self.problem.ends else least


def default_iterations(problem: RFQIProblem) -> int:
    """Return after how many iterations the start weighs 1 %, at least LEAST_ITERATIONS."""
    kept = problem.discount * (1.0 if problem.fixed_v_min is None else 1 - problem.radius)
    return max(LEAST_ITERATIONS, math.ceil(math.log(0.01) / math.log(kept))) if kept > 0 else LEAST_ITERATIONS


def check_whole(*, iterations: int | None, hidden: Sequence[int], **numbers: int) -> None:
    """Raise InvalidArgumentError unless all are positive integers."""
    named = numbers | {f"hidden[{i}]": width for i, width in enumerate(hidden)}
    for name, number in named.items() if iterations is None else (named | {"iterations": iterations}).items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InvalidArgumentError(f"{name} is {number!r}; it must be a positive integer")


def check_rates(**rates: float) -> None:
    """Raise InvalidArgumentError unless all are positive and finite."""
    for name, rate in rates.items():
        if not 0 < rate < math.inf:
            raise InvalidArgumentError(f"{name}={rate!r}; it must be a positive number")
