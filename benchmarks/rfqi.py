"""RFQI on logged CartPole: what the radius and the behaviour threshold are worth when the pole or the force changes.

    python benchmarks/rfqi.py             # prints the tables; --write also commits them to benchmarks/rfqi.md

Logs are 100 episodes of a linear controller whose moves are random with a probability of 0.3, 0.6, 0.8, 0.9 or 1. One thread;
intervals are over seeds, each of which is a log, a network and its episodes.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import platform
from dataclasses import fields
from pathlib import Path

import numpy as np
from scipy import stats

import robust_rl as rr
from robust_rl.evaluation import rollout

SEEDS, EPISODES, DISCOUNT, ITERATIONS = 3, 5, 0.95, 60
RANDOM_MOVES = (0.3, 0.6, 0.8, 0.9, 1.0)
RADII = (0.0, 0.1, 0.3)
THRESHOLDS = (0.3, 0.0)
WORLDS = {
    "as logged": {}, "length 0.25": {"length": 0.25}, "length 1.5": {"length": 1.5}, "length 3": {"length": 3.0},
    "force 4": {"force_mag": 4.0}, "force 20": {"force_mag": 20.0}, "noise 0.3": {"action_noise": 0.3},
}  # fmt: skip


def controller(share: float):
    """Push towards where the pole falls, with a share of random moves."""

    def push(observation: np.ndarray, rng: np.random.Generator) -> int:
        x, velocity, angle, turning = observation
        chosen = int(angle + 0.5 * turning + 0.05 * x + 0.1 * velocity > 0)
        return int(rng.integers(2)) if rng.random() < share else chosen

    return push


def log(seed: int) -> rr.datasets.OfflineDataset:
    parts = [
        rr.datasets.collect("CartPole-v1", controller(share), 20, seed=100 * seed + i) for i, share in enumerate(RANDOM_MOVES)
    ]
    columns = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(parts[0])}
    return rr.datasets.OfflineDataset(**columns)


def returns(data: rr.datasets.OfflineDataset, radius: float, threshold: float, seed: int) -> list[float]:
    """Mean length of an episode in each world, of 500 at most."""
    ball = rr.TotalVariation(radius, support="free")
    constants = {"iterations": ITERATIONS, "updates": 60, "dual_updates": 60, "behaviour_threshold": threshold, "seed": seed}
    agent = rr.RFQI(data, ball, discount=DISCOUNT, v_min=0.0, **constants).learn()
    worlds = [rr.envs.shift("CartPole-v1", **changes) for changes in WORLDS.values()]
    return [float(rollout(world, agent.predict, EPISODES, seed=1000 + seed).mean()) for world in worlds]


def interval(values: np.ndarray) -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.0f} ± {half:.0f}"


def report() -> str:
    logs = [log(seed) for seed in range(SEEDS)]
    sizes, lengths = [len(data) for data in logs], [data.statistics().lengths.mean() for data in logs]
    lines = [
        "# RFQI on logged CartPole",
        "",
        f"`python benchmarks/rfqi.py --write`, one thread ({platform.processor() or platform.machine()}). Mean length of an "
        f"episode (500 at most) over {SEEDS} seeds with a 95 % t interval. A seed is a log of {min(sizes):,} to {max(sizes):,} "
        f"transitions (mean episode {np.mean(lengths):.0f}), a network, and {EPISODES} episodes a world. Logs are of a linear "
        f"controller whose moves are random with a probability of {', '.join(map(str, RANDOM_MOVES))}. Discount {DISCOUNT}, "
        f"v_min 0, {ITERATIONS} iterations of 60 minibatches for each network; all else as by default. Radius 0 is fitted "
        "Q-iteration.",
        "",
        "| threshold | radius | " + " | ".join(WORLDS) + " |",
        "|---" * (len(WORLDS) + 2) + "|",
    ]
    for threshold in THRESHOLDS:
        for radius in RADII:
            found = np.array([returns(data, radius, threshold, seed) for seed, data in enumerate(logs)])
            lines.append(f"| {threshold:g} | {radius:g} | " + " | ".join(interval(column) for column in found.T) + " |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    tables = report()
    print(tables)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(tables)
