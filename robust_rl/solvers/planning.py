"""One call for every planning problem: ``solve``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Protocol

from robust_rl.errors import ConvergenceWarning, InvalidArgumentError, UnknownNameError, nearest
from robust_rl.models import TabularMDP
from robust_rl.solvers.acceleration import Acceleration
from robust_rl.solvers.anderson import Anderson
from robust_rl.solvers.automatic import Automatic
from robust_rl.solvers.backward_induction import BackwardInduction
from robust_rl.solvers.criterion import check_criterion
from robust_rl.solvers.gauss_seidel import GaussSeidel
from robust_rl.solvers.modified_policy_iteration import ModifiedPolicyIteration
from robust_rl.solvers.partial_policy_iteration import PartialPolicyIteration
from robust_rl.solvers.policy_iteration import PolicyIteration
from robust_rl.solvers.solution import Solution
from robust_rl.solvers.value_iteration import ValueIteration
from robust_rl.training import Trainable
from robust_rl.uncertainty import RectangularSet

ACCELERATIONS: dict[str, Callable[[], Acceleration | None]] = {
    "auto": Automatic,
    "value_iteration": lambda: None,
    "gauss_seidel": GaussSeidel,
    "modified_policy_iteration": ModifiedPolicyIteration,
    "partial_policy_iteration": PartialPolicyIteration,
    "policy_iteration": PolicyIteration,
    "anderson": Anderson,
}
METHODS = tuple(ACCELERATIONS)


class Planner(Trainable, Protocol):
    """A Trainable that ends in a Solution."""

    def solution(self) -> Solution:
        """Return what has been found so far."""
        ...


def planner(
    model: TabularMDP,
    uncertainty: RectangularSet | None,
    *,
    discount: float | None = None,
    horizon: int | None = None,
    method: str = "auto",
    tol: float = 1e-6,
    device: Any = "cpu",
) -> Planner:
    """Return the solver that :func:`solve` runs, before its first step. Arguments and errors as there."""
    discount, horizon = check_criterion(discount, horizon)
    if method not in METHODS:
        raise UnknownNameError(f"no method named {method!r}; known: {', '.join(METHODS)}{nearest(method, METHODS)}")
    if horizon is not None:
        return BackwardInduction(model, uncertainty, horizon=horizon, device=device)
    assert discount is not None
    return ValueIteration(model, uncertainty, discount=discount, tol=tol, acceleration=ACCELERATIONS[method](), device=device)


def solve(
    model: TabularMDP,
    uncertainty: RectangularSet | None,
    *,
    discount: float | None = None,
    horizon: int | None = None,
    method: str = "auto",
    tol: float = 1e-6,
    max_iterations: int | None = None,
    seed: int = 0,
    device: Any = "cpu",
) -> Solution:
    """Compute an optimal robust policy and bounds that prove it.

    Parameters
    ----------
    model : TabularMDP
    uncertainty : RectangularSet or None
        Where the adversary may move the transition probabilities; ``None`` is the nominal problem.
    discount : float, optional
        gamma in [0, 1]; exactly one of discount and horizon. Discount 1 needs a model whose every policy ends under every
        kernel of the set.
    horizon : int, optional
        Number of decisions, undiscounted.
    method : str
        One of the table below. All are certified alike, and work with discount 1, too. With a horizon the method is backward
        induction, whatever is named here.
    tol : float
        Largest allowed width of the certificate, in the unit of the rewards.
    max_iterations : int, optional
        Stop after so many certificates even if ``tol`` isn't met, with a ConvergenceWarning; those bounds hold all the same.
    seed : int
        Of methods that draw at random; none of the present ones does.
    device : str or torch.device
        Where the sweeps run: ``"cpu"`` compiled on the processor, else torch on that device, ``"cuda"`` or ``"cuda:1"``
        (``torch.device("cpu")`` is torch on the processor). The worst case is worked out on the processor, once.

    Returns
    -------
    Solution

    Raises
    ------
    InvalidArgumentError, InvalidUncertaintyError
        If an argument is out of range, the set doesn't fit the model, or the device isn't there.
    MissingDependencyError
        If a device asks for torch and that isn't installed.

    Notes
    -----
    =============================  ====================================================================================
    method                         between one application of the robust Bellman operator T, with its certificate, and the next
    =============================  ====================================================================================
    ``auto``                       chooses; ``Solution.method`` says what and why
    ``value_iteration``            nothing
    ``gauss_seidel``               four sweeps that use new values at once
    ``modified_policy_iteration``  ten sweeps with the greedy policy
    ``partial_policy_iteration``   the greedy policy's value, as accurately as the next improvement can use
    ``policy_iteration``           the greedy policy's value, exactly, by linear systems
    ``anderson``                   the best combination of the last six iterates, safeguarded
    =============================  ====================================================================================

    Policy iteration in its three forms needs sets whose best policies don't draw their actions. ``history["backups"]`` counts
    rows s, a that were backed up: what methods can be compared by.

    Examples
    --------
    >>> from robust_rl import TotalVariation, envs
    >>> solution = solve(envs.tabular("robust_rl/RiverSwim-v0"), TotalVariation(0.1, support="free"), discount=0.99)
    >>> round(float(solution.value[0]), 6), solution.certificate.gap <= 1e-6
    (0.332085, True)
    >>> solution.method
    "partial policy iteration (auto: sweeps where they contract fast, linear systems where they don't)"
    """
    solver = planner(model, uncertainty, discount=discount, horizon=horizon, method=method, tol=tol, device=device)
    if max_iterations is not None and max_iterations < 1:
        raise InvalidArgumentError(f"max_iterations is {max_iterations}; it must be at least 1")
    iterations = 0
    while not solver.done and (max_iterations is None or iterations < max_iterations or horizon is not None):
        solver.step()
        iterations += 1
    solution = solver.solution()
    warn_if_loose(solution, tol)
    return solution


def warn_if_loose(solution: Solution, tol: float) -> None:
    """Warn where the certificate is wider than asked for; its bounds hold all the same."""
    if solution.horizon is None and not solution.certificate.gap <= tol:
        warnings.warn(
            f"{solution.method} stopped after {len(solution.history['gap'])} steps with the optimum known to "
            f"{solution.certificate.gap:.3g}, not to tol={tol:g}; "
            "allow more iterations, or a larger tol if rounding is the limit",
            ConvergenceWarning,
            stacklevel=3,
        )
