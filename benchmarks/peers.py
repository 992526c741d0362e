"""Side by side: this library and others that solve the same problem, on the same data, in one run.

    python benchmarks/peers.py            # --write also commits the tables to benchmarks/peers.md; some minutes

Three tables: nominal problems (quantecon, mdpsolver, pymdptoolbox), interval models (Storm, through stormpy), and single worst
cases (HiGHS warm-started, cvxpy with one parametrised problem, scipy's linprog). All is built, compiled and run once before
anything is timed; contenders take turns; a cell is the median over rounds of the ratio to this library within the round, and
the range. CPU time of one thread. Each solver stops by its own rule at its own tolerance of 1e-6; what that is worth is
the column "error", the largest difference from a solution certified to 1e-9. Building models is not counted. Ours
also returns the certificate, the values of all actions and the worst kernel; that is counted.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from models import banded, dense
from scipy import sparse
from scipy.optimize import linprog

import robust_rl as rr
from robust_rl.envs.domains import forest, garnet
from robust_rl.formats import write_drn

ROUNDS, DISCOUNT, TOLERANCE = 5, 0.99, 1e-6
Contenders = dict[str, Callable[[], np.ndarray]]
OURS = "robust-rl"


NOMINAL = {
    "dense 500 x 10": lambda: dense(500, 10),
    "garnet 20000 x 4, 10 successors": lambda: garnet(20_000, 4, 10, seed=0),
    "banded 20000 x 4, 10 successors": lambda: banded(20_000, 4, 10),
    "forest 1000 x 2": lambda: forest(1000),
}


def nominal_contenders(model: rr.TabularMDP) -> Contenders:
    """Solvers of the nominal problem by the methods their authors recommend for its size; each call starts afresh."""
    import mdpsolver
    import mdptoolbox.mdp
    import quantecon

    states, actions, rows = model.num_states, model.num_actions, model.csr()
    s, a = np.divmod(np.arange(states * actions), actions)
    flat = model.expected_rewards().ravel()
    problem = quantecon.markov.DiscreteDP(flat, sparse.csr_matrix(rows), DISCOUNT, s, a) if model.is_sparse else (
        quantecon.markov.DiscreteDP(model.expected_rewards(), model.transitions, DISCOUNT)
    )  # fmt: skip
    by_action = [sparse.csr_matrix(rows[action::actions]) for action in range(actions)]
    if not model.is_sparse:
        by_action = [np.ascontiguousarray(model.transitions[:, action]) for action in range(actions)]
    bounds = rows.indptr.reshape(-1)
    lists = [np.split(part, bounds[1:-1]) for part in (rows.data, rows.indices)]
    probabilities, columns = (
        [[row.tolist() for row in part[i : i + actions]] for i in range(0, len(part), actions)] for part in lists
    )

    def by_mdpsolver() -> np.ndarray:
        solver = mdpsolver.model()
        solver.mdp(
            discount=DISCOUNT, rewards=model.expected_rewards().tolist(), tranMatProbs=probabilities, tranMatColumns=columns
        )
        start = time.process_time()
        solver.solve(tolerance=TOLERANCE, parallel=False)
        BUILT["start"] = start
        return np.array(solver.getValueVector())

    def by_mdptoolbox() -> np.ndarray:
        solver = mdptoolbox.mdp.PolicyIterationModified(by_action, model.expected_rewards(), DISCOUNT, TOLERANCE, 10_000)
        BUILT["start"] = time.process_time()
        solver.run()
        return np.array(solver.V)

    contenders = {
        OURS: lambda: rr.solve(model, None, discount=DISCOUNT, tol=TOLERANCE).value,
        "quantecon": lambda: problem.solve(method="modified_policy_iteration", epsilon=TOLERANCE).v,
        "mdpsolver": by_mdpsolver,
    }
    # on sparse models pymdptoolbox needs minutes a solve
    return contenders if model.is_sparse and states > 1000 else contenders | {"pymdptoolbox": by_mdptoolbox}


# a contender that has to build its model anew at every call, or to unpack its answer, says here when it started and ended
BUILT: dict[str, float] = {}


def interval_model(states: int, band: int | None) -> tuple[rr.TabularMDP, rr.Interval]:
    """A model whose every step ends with probability 0.05, with intervals of 30 % about its probabilities."""
    rng, actions, width = np.random.default_rng(0), 4, 10
    rows = states * actions
    base = np.repeat(np.arange(states), actions)[:, None]
    offsets = rng.permuted(np.tile(np.arange(-band, band), (rows, 1)), axis=1)[:, :width] if band else (
        rng.integers(0, states, (rows, width))
    )  # fmt: skip
    to = (base + offsets) % states if band else offsets
    p = rng.random((rows, width))
    p *= 0.95 / p.sum(axis=1, keepdims=True)
    row = np.repeat(np.arange(rows), width)
    end = (np.full(rows, 0.05), (np.arange(rows), np.full(rows, states)))
    shape = (rows + actions, states + 1)
    inner = sparse.csr_array(sparse.coo_array((p.ravel(), (row, to.ravel())), shape=shape))
    transitions = sparse.csr_array(inner + sparse.coo_array(end, shape=shape).tocsr())
    rewards = np.vstack([rng.random((states, actions)), np.zeros((1, actions))])
    model = rr.TabularMDP(transitions, rewards, terminal=[states])
    stays = sparse.coo_array(end, shape=shape).tocsr()
    lower, upper = sparse.csr_array(0.7 * inner + stays), sparse.csr_array(1.3 * inner + stays)
    upper.data = np.minimum(upper.data, 1.0)
    return model, rr.Interval(lower, upper)


INTERVALS = {"random 20000 x 4, 10 successors": (20_000, None), "banded 20000 x 4, 10 successors": (20_000, 50)}


def interval_contenders(model: rr.TabularMDP, uncertainty: rr.Interval) -> Contenders:
    """Storm reads the model from the file that this library writes."""
    import stormpy

    with tempfile.TemporaryDirectory() as directory:
        path = write_drn(model, Path(directory) / "model.drn", uncertainty, labels={"end": model.terminal})
        built = stormpy.build_model_from_drn[stormpy.Interval](str(path))
    goal = stormpy.parse_properties('Rmax=? [F "end"]')[0]
    robust = stormpy.UncertaintyResolutionMode.ROBUST

    def by_storm() -> np.ndarray:
        environment = stormpy.environments.default(built)
        solver = environment.solver().min_max()
        solver.precision, solver.relative_termination_criterion = stormpy.Rational("1/1000000"), False
        solver.method = stormpy.environments.MinMaxMethod.VALUE_ITERATION
        found = stormpy.model_checking(built, goal, uncertainty_resolution_mode=robust, environment=environment)
        BUILT["end"] = time.process_time()
        return np.array([found.get_value(state) for state in range(model.num_states)])

    return {
        OURS: lambda: rr.solve(model, uncertainty, discount=1.0, tol=TOLERANCE).value,
        "stormpy": by_storm,
    }


def take_turns(contenders: Contenders, rounds: int = ROUNDS) -> dict[str, np.ndarray]:
    """Seconds of each contender in each round, after one round that isn't counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, solve in contenders.items():
            BUILT.clear()
            start = time.process_time()
            solve()
            end = time.process_time()
            if round_:
                seconds[name].append(BUILT.get("end", end) - BUILT.get("start", start))
    return {name: np.array(values) for name, values in seconds.items()}


def comparison(title: str, problems: dict[str, tuple[Contenders, np.ndarray]]) -> list[str]:
    """Rows of one table: time as a ratio to ours, and the true error."""
    lines = [f"## {title}", "", "| model | solver | time / ours | seconds | error |", "|---|---|---|---|---|"]
    for model, (contenders, truth) in problems.items():
        seconds = take_turns(contenders)
        for name, solve in contenders.items():
            ratio = seconds[name] / seconds[OURS]
            lines.append(
                f"| {model} | {name} | {np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f}) | "
                f"{np.median(seconds[name]):.3g} | {abs(solve() - truth).max():.1e} |"
            )
            print(lines[-1], flush=True)
    return [*lines, ""]


def worst_case_rows(size: int = 1000, radius: float = 0.2) -> list[str]:
    """Microseconds for one total-variation worst case, free support, by each means; answers compared."""
    import cvxpy
    import highspy

    rng = np.random.default_rng(0)
    p, z = rng.dirichlet(np.ones(size)), rng.random((20, size))
    rows = rr.TabularMDP(np.tile(rng.dirichlet(np.ones(size), size=1), (size, 4, 1)), np.zeros((size, 4)))
    backup = rr.solvers.BellmanOperator(rows, rr.TotalVariation(radius, support="free"), 1.0)

    q, t = cvxpy.Variable(size, nonneg=True), cvxpy.Parameter(size)
    problem = cvxpy.Problem(cvxpy.Minimize(t @ q), [cvxpy.sum(q) == 1, cvxpy.norm1(q - p) <= 2 * radius])
    a = sparse.block_array(
        [[np.ones((1, size)), None], [sparse.eye(size), -sparse.eye(size)], [None, np.ones((1, size))]]
    ).tocsc()
    inf = np.inf
    low, high = np.concatenate([[1], np.full(size, -inf), [-inf]]), np.concatenate([[1], p, [radius]])

    solver = highspy.Highs()
    solver.silent()
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = 2 * size, size + 2
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(2 * size), np.zeros(2 * size), np.full(2 * size, inf)
    lp.row_lower_, lp.row_upper_ = low, high
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = a.indptr, a.indices, a.data
    solver.passModel(lp)

    def by_highs(one: np.ndarray) -> float:
        solver.changeColsCost(size, np.arange(size, dtype=np.int32), one)
        solver.run()
        return float(solver.getInfo().objective_function_value)

    def by_cvxpy(one: np.ndarray) -> float:
        t.value = one
        return float(problem.solve(solver="CLARABEL"))

    def by_linprog(one: np.ndarray) -> float:
        cost = np.concatenate([one, np.zeros(size)])
        upper = sparse.vstack([a[1:]])
        return float(linprog(cost, A_ub=upper, b_ub=high[1:], A_eq=a[:1], b_eq=[1.0], method="highs").fun)

    exact = rr.TotalVariation(radius, support="free").worst_case(p, z).value
    nominal = rr.solvers.BellmanOperator(rows, None, 1.0)
    means: dict[str, tuple[Callable[[np.ndarray], object], int]] = {
        OURS: (backup, 4 * size), "robust-rl, no uncertainty": (nominal, 4 * size),
        "highspy, warm": (by_highs, 1), "cvxpy, parametrised": (by_cvxpy, 1), "scipy linprog": (by_linprog, 1),
    }  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in means}
    for solve, _ in means.values():
        solve(z[0])
    for one in z[1:]:
        for name, (solve, count) in means.items():
            start = time.process_time()
            solve(one)
            times[name].append(1e6 * (time.process_time() - start) / count)
    lines = [
        f"## One worst case, total variation {radius}, {size} states",
        "",
        "| by | microseconds | ratio to ours | error |",
        "|---|---|---|---|",
    ]
    for name, values in times.items():
        ratio = np.array(values) / np.array(times[OURS])
        solve = means[name][0]
        error = max(abs(solve(one) - value) for one, value in zip(z, exact, strict=True)) if means[name][1] == 1 else 0.0
        lines.append(
            f"| {name} | {np.median(values):.3g} | {np.median(ratio):.3g} "
            f"({ratio.min():.3g} to {ratio.max():.3g}) | {error:.1e} |"
        )
        print(lines[-1], flush=True)
    return [*lines, ""]


def report() -> str:
    warnings.simplefilter("ignore")
    tables: list[str] = []
    problems = {}
    for name, make in NOMINAL.items():
        model = make()
        truth = rr.solve(model, None, discount=DISCOUNT, tol=1e-9).value
        problems[name] = (nominal_contenders(model), truth)
    tables += comparison("Nominal problems, discount 0.99", problems)
    problems = {}
    for name, arguments in INTERVALS.items():
        model, uncertainty = interval_model(*arguments)
        truth = rr.solve(model, uncertainty, discount=1.0, tol=1e-9).value
        problems[name] = (interval_contenders(model, uncertainty), truth)
    tables += comparison("Interval models, robust expected reward to the end", problems)
    tables += worst_case_rows()
    head = [
        "# Beside other libraries",
        "",
        "`python benchmarks/peers.py --write`. Median over rounds of the ratio within a round (range); CPU time of one thread. "
        "What is compared, and how, is said at the head of the file.",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {_versions()}.",
        "",
    ]
    return "\n".join(head + tables)


def _versions() -> str:
    names = ("numpy", "numba", "quantecon", "mdpsolver", "pymdptoolbox", "stormpy", "highspy", "cvxpy", "scipy")
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    return ", ".join(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    table = report()
    print(table)
    if parser.parse_args().write:
        Path(__file__).with_suffix(".md").write_text(table)
