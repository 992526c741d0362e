"""Discretised control: what the solution of a table earns in the continuous world, and CartPole from logs under a shifted pole.

    python benchmarks/control.py [--write]

The first table solves the grid of four environments without uncertainty and plays the policy in the environment itself.

The second shows how much CartPole depends on the grid.

The others learn CartPole from logs, of two kinds: 100 episodes of a policy that balances, with a random push three times in ten,
and 1000 episodes of random pushes. Transitions are counted on the grid; the empirical model is solved without uncertainty, in a
ball of total variation whose radius is the same everywhere, and in balls of radius k / sqrt(n), n being how often the pair (s, a)
was logged. Policies are played with other lengths of the pole. For comparison, the action logged most often in each cell.

A pair that the logs don't know leads to the end, for every method alike. DROP isn't used: it learns every decision from the
transitions of its own stage, and an episode here has up to 500.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

import robust_rl as rr
from robust_rl import pictures
from robust_rl.evaluation import confidence_interval, rollout
from robust_rl.table import Estimate, Table

SOLVED: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"bins": (3, 5, 9, 9), "samples": 4, "discount": 0.99},
    "MountainCar-v0": {"bins": (40, 40), "discount": 0.995},
    "Pendulum-v1": {"bins": (41, 41), "discount": 0.98},
    "Acrobot-v1": {"bins": (10, 10, 10, 10), "discount": 0.99},
}
GRIDS = ((3, 5, 9, 9), (4, 6, 8, 10), (5, 5, 11, 13), (5, 7, 13, 15))
COUNTED = 10  # points a cell where next states are counted, which one point a cell would make deterministic
SAMPLINGS, PLAYED = 3, 20  # seeds of the points that are drawn in a cell; episodes
BINS, DISCOUNT, SEEDS, PER_WORLD = (3, 5, 9, 9), 0.99, 12, 10
LENGTHS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)  # 0.5 in the logs
LOGS = {"balancing, pushed at random": (100, 0.3), "random pushes": (1000, 1.0)}  # episodes, share of random actions
SHARES = (0.3, 1.0, 3.0)  # k
CLONED = "most frequent action"
IMAGE = Path(__file__).parents[1] / "docs" / "images" / "cartpole-from-logs.png"


FINDINGS = (
    "The pole's length isn't what brings a policy down here: one that balances the logged pole balances one four times as "
    "long too. What sets the methods apart is how they treat pairs that the logs hardly know. One radius for all pairs "
    "can't tell these from the others, and gains nothing over the nominal solution. A radius that shrinks with the number "
    "of visits keeps to what was logged often: from the logs of somebody who balances it recovers the balance, with 95 % "
    "intervals disjoint from the nominal solution's at every length, the logged one included. It does so no better than the "
    "action logged most often; and from random pushes, where there is nobody to follow, k = 3 loses to the nominal solution "
    "at every length. No set tried here makes a policy withstand another pole as such."
)


def solved(env_id: str, *, discount: float, **options: Any) -> str:
    """Return a row of the first table."""
    begin = time.perf_counter()
    model = rr.envs.tabular(rr.envs.discretize(env_id, **options))
    sampled, begin = time.perf_counter() - begin, time.perf_counter()
    rr.solve(model, None, discount=discount, tol=0.01)
    took = time.perf_counter() - begin
    shared = nominal(env_id, discount, **options)
    counted = nominal(env_id, discount, **(options | {"samples": COUNTED, "interpolate": False}))
    bins = " x ".join(map(str, options["bins"]))
    cells = [env_id, bins, str(options.get("samples", 1)), f"{sampled:.1f} s", f"{took:.1f} s", written(shared), written(counted)]
    return f"| {' | '.join(cells)} |"


def on_grid(bins: tuple[int, ...]) -> str:
    """Return a row of the second table."""
    means = [
        [nominal("CartPole-v1", DISCOUNT, bins=bins, samples=4, interpolate=way, seed=seed).middle for seed in range(SAMPLINGS)]
        for way in (True, False)
    ]
    return f"| {' x '.join(map(str, bins))} | {' | '.join(', '.join(f'{mean:.0f}' for mean in row) for row in means)} |"


def nominal(env_id: str, discount: float, **options: Any) -> Estimate:
    """Return what the nominal solution of a table earns in the continuous world."""
    env = rr.envs.discretize(env_id, **options)
    policy = rr.solve(rr.envs.tabular(env), None, discount=discount, tol=0.01).policy
    return confidence_interval(play(env, policy, PLAYED))


def written(cell: Estimate) -> str:
    """Return mean and half width of the interval."""
    return f"{cell.middle:.0f} ± {cell.high - cell.middle:.0f}"


def play(env: Any, policy: np.ndarray, episodes: int) -> np.ndarray:
    """Return the returns of a policy over cells."""
    return rollout(env, lambda cell, _: (int(policy[cell]), None), episodes, seed=1000)


def logged(env: rr.envs.Discretize, policy: np.ndarray, kind: str, seed: int) -> rr.datasets.OfflineDataset:
    """Return episodes in the continuous environment."""
    episodes, share = LOGS[kind]

    def behaviour(observation: np.ndarray, rng: np.random.Generator) -> int:
        return int(rng.integers(2)) if rng.random() < share else int(policy[env.observation(observation)])

    return rr.datasets.collect("CartPole-v1", behaviour, episodes, seed=seed)


def visits(env: rr.envs.Discretize, data: rr.datasets.OfflineDataset) -> np.ndarray:
    """Return how often each action was logged in each cell, (S, 2); never in the end, the last state."""
    row = env.grid.cells(data.observations.astype(float)) * 2 + data.actions
    return np.bincount(row, minlength=2 * env.grid.size + 2).reshape(-1, 2)


def empirical(env: rr.envs.Discretize, data: rr.datasets.OfflineDataset) -> rr.TabularMDP:
    """Return the model of the counted shares of transitions; what was never tried leads to the end."""
    size = env.grid.size
    row = env.grid.cells(data.observations.astype(float)) * 2 + data.actions
    cells, shares = env.grid.shares(data.next_observations.astype(float))
    cells[data.terminations] = size
    unknown = np.setdiff1d(np.arange(2 * size), row)
    entries = np.append(shares.ravel(), np.ones(len(unknown)))
    places = np.append(np.repeat(row, shares.shape[1]), unknown), np.append(cells.ravel(), np.full(len(unknown), size))
    counts = csr_array((entries, places), shape=(2 * size + 2, size + 1))
    start = np.bincount(env.grid.cells(data.observations[data.stage == 0].astype(float)), minlength=size + 1)
    return rr.TabularMDP.from_counts(counts, np.ones((size + 1, 2)), start=start / start.sum(), terminal=[size])


def learned(env: rr.envs.Discretize, data: rr.datasets.OfflineDataset) -> dict[str, np.ndarray]:
    """Return the policy, (S,), of each method."""
    model, seen = empirical(env, data), visits(env, data)
    sets: dict[str, Any] = {"nominal": None, "radius 0.1": rr.TotalVariation(0.1, support="nominal")}
    for k in SHARES:
        sets[f"radius {k:g}/sqrt(n)"] = rr.TotalVariation(np.minimum(1, k / np.sqrt(np.maximum(seen, 1))), support="nominal")
    policies = {name: rr.solve(model, found, discount=DISCOUNT, tol=0.01).policy for name, found in sets.items()}
    return policies | {CLONED: seen.argmax(axis=1)}


def study(kind: str) -> Table:
    """Return mean returns over seeds, for every method and length."""
    env = rr.envs.discretize("CartPole-v1", BINS, samples=4)
    worlds = [rr.envs.shift(env, length=length) for length in LENGTHS]
    balancing = rr.solve(rr.envs.tabular(env), None, discount=DISCOUNT, tol=0.01).policy
    found: dict[str, list[list[float]]] = {}
    for seed in range(SEEDS):
        for name, policy in learned(env, logged(env, balancing, kind, seed)).items():
            found.setdefault(name, []).append([float(play(world, policy, PER_WORLD).mean()) for world in worlds])
    cells = tuple(tuple(confidence_interval(column) for column in np.array(rows).T) for rows in found.values())
    return Table("return", tuple(found), tuple(f"{length:g}" for length in LENGTHS), cells)


def markdown(table: Table) -> list[str]:
    """Return a table as lines."""
    lines = ["| half length (m) | " + " | ".join(table.columns) + " |", "|---" * (len(table.columns) + 1) + "|"]
    for name, row in zip(table.rows, table.cells, strict=True):
        lines.append(f"| {name} | " + " | ".join(map(written, row)) + " |")
    return lines


def report(write: bool) -> str:
    """Return the tables, and draw the figure."""
    lines = [
        "# Discretised control",
        "",
        "`python benchmarks/control.py --write`.",
        "",
        "## Solved on a grid, played in the continuous world",
        "",
        f"Without uncertainty. Mean return of {PLAYED} episodes with its 95 % interval; once with next states shared out among "
        "the centres around them, the default, and once with them counted in the cell they fall into, from "
        f"{COUNTED} points each.",
        "",
        "| environment | cells | points a cell | sampled in | solved in | return, shared | return, counted |",
        "|---|---|---|---|---|---|---|",
        *(solved(env_id, **options) for env_id, options in SOLVED.items()),
        "",
        "CartPole moves so little in a step that what it does within a cell decides, and policies that balance the pole may "
        "still drift off the track. Grids of about the same size, four points a cell, and the points of three seeds:",
        "",
        "| CartPole-v1 | returns, shared | returns, counted |",
        "|---|---|---|",
        *map(on_grid, GRIDS),
        "",
        "## CartPole from logs, with another pole",
        "",
        f"Mean return over {SEEDS} logs with its 95 % interval, 10 episodes each; the pole of the logs has half length 0.5.",
    ]
    tables = {kind: study(kind) for kind in LOGS}
    for kind, table in tables.items():
        lines += ["", f"### Logs of {LOGS[kind][0]} episodes: {kind}", "", *markdown(table)]
    lines += ["", FINDINGS, "", "![CartPole from logs](../docs/images/cartpole-from-logs.png)"]
    if write:
        IMAGE.parent.mkdir(parents=True, exist_ok=True)
        table = next(iter(tables.values()))
        chosen = [i for i, name in enumerate(table.rows) if name in ("nominal", "radius 0.1", "radius 1/sqrt(n)", CLONED)]
        drawn = Table(table.title, tuple(table.rows[i] for i in chosen), table.columns, tuple(table.cells[i] for i in chosen))
        picture = pictures.return_under_shift(drawn, "half length of the pole (0.5 in the logs)")
        picture.axes[0].legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        picture.savefig(IMAGE, dpi=120, bbox_inches="tight")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = report(arguments.write)
    print(text)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(text)
