"""How many one-shot games a second, beside a loop of scipy's HiGHS and of nashpy over the same games.

    python benchmarks/stage_games.py       # prints the tables; --write also commits them to benchmarks/stage_games.md

Payoffs are independent standard normal numbers. A contender's turn is one call on a batch; contenders take turns in each round,
and a ratio is within one round. Processor time, one thread, everything compiled before. Our checks of the
arguments and exact regrets are counted, and a peer builds its arrays. It solves the same problem: for a rule its linear program;
without a rule the program with no objective; for Nash equilibria one by nashpy's Lemke-Howson.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import platform
import time
import warnings
from pathlib import Path

import nashpy
import numpy as np
from scipy.optimize import linprog

from robust_rl.equilibria import SELECTIONS, equilibria, zero_sum
from robust_rl.equilibria.gaps import num_deviations, write_incentives

ROUNDS = 3
SECONDS = 0.04  # of a contender's turn, about
GOALS = {
    ("zero-sum", (2, 2)): 8e6,
    ("zero-sum", (5, 5)): 2.3e6,
    ("zero-sum", (10, 10)): 5.9e5,
    ("cce", (2, 2)): 2.5e6,
    ("cce", (10, 10)): 3.1e4,
    ("cce", (3, 3, 3)): 2.5e5,
}
GAMES = {
    "cce": ((2, 2), (10, 10), (3, 3, 3)),
    "ce": ((2, 2), (3, 3), (3, 3, 3), (5, 5), (10, 10)),
    "ne": ((2, 2), (3, 3), (5, 5), (10, 10)),
}


def size_for(call, games):
    """How many games fit a turn."""
    call(games[:1])
    count = 1
    while (took := seconds(call, games[:count])) < 0.02 and count < len(games):
        count = min(4 * count, len(games))
    return max(1, int(count * SECONDS / max(took, 1e-6)))


def seconds(call, batch):
    start = time.process_time()
    call(batch)
    return time.process_time() - start


def zero_sum_by_scipy(games):
    for game in games:
        rows, columns = game.shape
        linprog(
            np.append(np.zeros(rows), -1.0),
            A_ub=np.hstack([-game.T, np.ones((columns, 1))]),
            b_ub=np.zeros(columns),
            A_eq=[[1.0] * rows + [0.0]],
            b_eq=[1.0],
            bounds=[(0, None)] * rows + [(None, None)],
            method="highs",
        )


def correlated_by_scipy(kind, selection):
    """The program of a rule, a game at a time; the gains by our kernel, which costs a peer next to nothing."""

    def call(games):
        for game in games:
            num_actions = np.array(game.shape[1:])
            flat = game.reshape(len(game), -1)
            count = flat.shape[1]
            gains = np.empty((num_deviations(num_actions, kind == "ce"), count))
            write_incentives(flat, num_actions, kind == "ce", gains)
            cost, above = -flat.sum(axis=0) if selection else np.zeros(count), gains
            equal, bounds = np.ones((1, count)), [(0, None)] * count
            if selection == "maximin":
                cost = np.append(np.zeros(count), -1.0)
                above = np.block([[gains, np.zeros((len(gains), 1))], [-flat, np.ones((len(flat), 1))]])
                equal, bounds = np.append(equal, [[0.0]], axis=1), [*bounds, (None, None)]
            linprog(cost, A_ub=above, b_ub=np.zeros(len(above)), A_eq=equal, b_eq=[1.0], bounds=bounds, method="highs")

    return call


def nash_by_nashpy(games):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for first, second in games:
            nashpy.Game(first, second).lemke_howson(initial_dropped_label=0)


def has_pure(games):
    """Which games have a pure equilibrium."""
    best = np.ones((len(games), *games.shape[2:]), dtype=bool)
    for i in range(games.shape[1]):
        best &= games[:, i] == games[:, i].max(axis=1 + i, keepdims=True)
    return best.reshape(len(games), -1).any(axis=1)


def line(name, ours, peer):
    """A table's row: median rates, and the ratio to the peer with its range over the rounds."""
    if not peer:
        return f"| {name} | {np.median(ours):.2g} | | |"
    ratios = [a / b for a, b in zip(ours, peer, strict=True)]
    middle, low, high = (f"{r:.0f}" if r >= 10 else f"{r:.2g}" for r in (np.median(ratios), min(ratios), max(ratios)))
    spread = f"{middle} ({low} to {high})"
    return f"| {name} | {np.median(ours):.2g} | {np.median(peer):.2g} | {spread} |"


def interleaved(contenders, games):
    """Rates of contenders that take turns, each on as many games as fit its turn."""
    sizes = {name: size_for(call, games) for name, call in contenders.items()}
    batches = {name: np.resize(games, (size, *games.shape[1:])) for name, size in sizes.items()}
    measured = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            measured[name].append(len(batches[name]) / seconds(call, batches[name]))
    return measured


def goal(kind, shape, rate):
    wanted = GOALS.get((kind, shape))
    return "" if wanted is None else f" Goal {wanted:.2g}: {rate / wanted:.2f} of it."


def zero_sum_rows(shape):
    games = np.random.default_rng(0).normal(size=(2000, *shape))
    measured = interleaved({"ours": zero_sum, "scipy": zero_sum_by_scipy}, games)
    _, x, y = zero_sum(games)
    gap = (np.einsum("kab,kb->ka", games, y).max(axis=1) - np.einsum("ka,kab->kb", x, games).min(axis=1)).max()
    note = f"Largest duality gap {gap:.0e}.{goal('zero-sum', shape, np.median(measured['ours']))}"
    return [line("values and both strategies", measured["ours"], measured["scipy"])], note


def equilibrium_rows(kind, shape):
    games = np.random.default_rng(0).normal(size=(1000 if np.prod(shape) < 50 else 100, len(shape), *shape))
    mixed = games[~has_pure(games)]
    lines, notes = [], []
    for rule in (None, *SELECTIONS):
        peer = nash_by_nashpy if kind == "ne" else correlated_by_scipy(kind, None if rule == "max_entropy" else rule)
        peers = {} if (kind, shape) == ("ne", (10, 10)) else {"peer": peer}  # runs with nashpy there were stopped unfinished
        measured = interleaved({"ours": lambda batch: equilibria(batch, kind, selection=rule)} | peers, games)
        lines.append(line(rule or "any", measured["ours"], measured.get("peer")))
        print(kind, shape, lines[-1], flush=True)
        notes.append(equilibria(games, kind, selection=rule).gaps.max())
        if rule is None:
            reached = goal(kind, shape, np.median(measured["ours"]))
            measured = interleaved({"ours": lambda batch: equilibria(batch, kind, selection=None)} | peers, mixed)
            lines.append(line("any, games without a pure equilibrium", measured["ours"], measured.get("peer")))
    return lines, f"{1 - len(mixed) / len(games):.0%} have a pure equilibrium. Largest regret {max(notes):.0e}.{reached}"


def report():
    """The tables, in Markdown."""
    lines = [
        "# One-shot games a second",
        "",
        f"`python benchmarks/stage_games.py --write`. Median of {ROUNDS} rounds, one thread, processor time; batches of standard "
        "normal payoffs; the peer is a loop over the games of scipy's HiGHS, for Nash equilibria of nashpy's Lemke-Howson (one, "
        "whatever the rule). Beside `max_entropy` the peer solves the program without an objective, for want of an entropy. "
        "A ratio is within a round (range).",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}.",
    ]
    for kind, shape in [("zero-sum", shape) for shape in ((2, 2), (5, 5), (10, 10))] + [
        (kind, shape) for kind, shapes in GAMES.items() for shape in shapes
    ]:
        rows, note = zero_sum_rows(shape) if kind == "zero-sum" else equilibrium_rows(kind, shape)
        lines += [
            "",
            f"## {kind} {' x '.join(map(str, shape))}",
            "",
            note,
            "",
            "| rule | games/s | peer | ratio |",
            "|---|---|---|---|",
            *rows,
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    tables = report()
    print(tables)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(tables)
