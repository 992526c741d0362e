"""DQN, robust DQN and RFQI on CartPole, judged where the pole is longer or shorter, the push weaker or stronger, or moves fail.

    python benchmarks/rllib_cartpole.py --runs DIR            # trains what DIR lacks, then prints the table
    python benchmarks/rllib_cartpole.py --runs DIR --write    # also writes benchmarks/rllib_cartpole.md and its picture

All learn from 20,000 steps of the nominal CartPole: the DQNs from their own, RFQI from as many logged by the seed's DQN, whose
moves are random with a probability of 0.3. One thread; each run ends as one JSON file, so a study that was stopped goes on after
its last finished run. Intervals are over seeds.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

import robust_rl as rr
from robust_rl.evaluation import rollout
from robust_rl.pictures import mean_interval
from robust_rl.pictures.canvas import figure, tidy
from robust_rl.pictures.curves import COLOURS

STEPS, EPISODES, DISCOUNT, LOGGED_AT_RANDOM = 20_000, 10, 0.99, 0.3
RADII = (0.05, 0.2)
METHODS = {"dqn": ("dqn", 0.0)}
METHODS |= {f"{name} {radius:g}": (kind, radius) for name, kind in (("robust dqn", "dqn"), ("rfqi", "rfqi")) for radius in RADII}
NOMINAL = {"length": 0.5, "force_mag": 10.0, "action_noise": 0.0}
WORLDS = {"length": (0.1, 0.25, 0.5, 1.0, 2.0), "force_mag": (3.0, 5.0, 10.0, 20.0, 40.0), "action_noise": (0.0, 0.1, 0.2, 0.4)}
LABELS = {"length": "half the pole's length, m", "force_mag": "force, N", "action_noise": "share of random moves"}
NOTES = [
    "CartPole is deterministic, so a ball of total variation amounts to contamination, and that to a discount of 0.99 (1 - "
    "radius): what a radius gains here can't be told from what a shorter discount gains, which is learned faster. Nor are the "
    "methods at their best: DQN of seed 0 with four times the replay (128 transitions every fourth step, lr 5e-4, one "
    "environment) had 274 in the nominal world and 32 on the longest pole, in one run of 20 episodes a world. The picture has a "
    "dot a seed.",
]
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def returns(predict: Callable[..., Any], seed: int) -> dict[str, list[float]]:
    """Mean return in every world; the same episodes' seeds for all methods."""

    def played(**change: float) -> float:
        return float(rollout(rr.envs.shift("CartPole-v1", **change), predict, EPISODES, seed=1000 + seed).mean())

    nominal = played()
    return {
        axis: [nominal if value == NOMINAL[axis] else played(**{axis: value}) for value in values]
        for axis, values in WORLDS.items()
    }


def train_dqn(radius: float, seed: int) -> Callable[..., Any]:
    from robust_rl.rllib import RobustDQNConfig

    config = (
        RobustDQNConfig()
        .environment("CartPole-v1")
        .training(gamma=DISCOUNT, uncertainty=rr.TotalVariation(radius, support="free"), value_floor=0.0)
        # a batch of 64 after 8 steps; RLlib's 32 after each takes 20 ms a step on an idle core
        .training(train_batch_size=64, lr=1e-3)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8)
        .debugging(seed=seed, log_level="ERROR")
    )
    algo = config.build_algo()
    while algo.train()["num_env_steps_sampled_lifetime"] < STEPS:
        pass
    module = algo.get_module()
    algo.stop()

    def predict(observation: np.ndarray, state: Any = None, deterministic: bool = True) -> tuple[int, None]:
        with torch.no_grad():
            return int(module.forward_inference({"obs": torch.as_tensor(observation)[None]})["actions"][0]), None

    return predict


def log(predict: Callable[..., Any], seed: int) -> rr.datasets.OfflineDataset:
    """STEPS transitions of a policy some of whose moves are random."""

    def play(observation: np.ndarray, rng: np.random.Generator) -> int:
        return int(rng.integers(2)) if rng.random() < LOGGED_AT_RANDOM else predict(observation)[0]

    parts: list[rr.datasets.OfflineDataset] = []
    while sum(map(len, parts)) < STEPS:
        parts.append(rr.datasets.collect("CartPole-v1", play, 20, seed=100 * seed + len(parts)))
    columns = {field.name: np.concatenate([getattr(part, field.name) for part in parts])[:STEPS] for field in fields(parts[0])}
    return rr.datasets.OfflineDataset(**columns)


def train_rfqi(radius: float, seed: int, data: rr.datasets.OfflineDataset) -> Callable[..., Any]:
    ball = rr.TotalVariation(radius, support="free")
    return rr.RFQI(data, ball, discount=DISCOUNT, v_min=0.0, seed=seed).learn().predict


def run(method: str, seed: int, runs: Path) -> None:
    """Train one and write its returns. The DQN leaves its log for RFQI."""
    (kind, radius), logged, begin = METHODS[method], runs / f"log-{seed}.npz", time.process_time()
    predict = train_dqn(radius, seed) if kind == "dqn" else train_rfqi(radius, seed, rr.datasets.load(logged))
    trained = time.process_time() - begin
    if method == "dqn":
        log(predict, seed).save(logged)
    record = {"method": method, "seed": seed, "cpu_seconds": trained, "returns": returns(predict, seed)}
    partial = runs / f"{method}-{seed}.partial"
    partial.write_text(json.dumps(record))
    partial.rename(partial.with_suffix(".json"))  # a killed run leaves no half file
    print(method, seed, f"{trained:.0f} s", record["returns"], flush=True)


def found(runs: Path, seeds: int) -> dict[str, dict[str, np.ndarray]]:
    """Method -> axis -> (worlds, seeds), of the seeds that every method has finished."""
    complete = [seed for seed in range(seeds) if all((runs / f"{method}-{seed}.json").exists() for method in METHODS)]
    records = {m: [json.loads((runs / f"{m}-{seed}.json").read_text())["returns"] for seed in complete] for m in METHODS}
    return {method: {axis: np.array([r[axis] for r in of]).T for axis in WORLDS} for method, of in records.items()}


def gains(table: dict[str, dict[str, np.ndarray]]) -> list[str]:
    """What each method's return is beyond that of the seed's DQN: as trained, and in the mean over shifted worlds."""
    shifted = {axis: [value != NOMINAL[axis] for value in values] for axis, values in WORLDS.items()}
    lines = ["", "| beyond the seed's DQN | nominal | mean of the shifted worlds |", "|---|---|---|"]
    for method in list(METHODS)[1:]:
        beyond = {axis: table[method][axis] - table["dqn"][axis] for axis in WORLDS}
        nominal = beyond["action_noise"][WORLDS["action_noise"].index(0.0)]
        mean = np.concatenate([beyond[axis][shifted[axis]] for axis in WORLDS]).mean(axis=0)
        cells = [f"{float(m):+.0f} ± {float(h):.0f}" for m, h in map(mean_interval, (nominal, mean))]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def picture(table: dict[str, dict[str, np.ndarray]]) -> Any:
    """Means over seeds, and a dot a seed."""
    made, axes = figure(1, len(WORLDS), 4.6 * len(WORLDS), 4.0)
    for panel, (axis, values) in zip(axes[0], WORLDS.items(), strict=True):
        places = np.arange(len(values))
        for name, colour in zip(METHODS, COLOURS, strict=False):
            panel.plot(places, table[name][axis].mean(axis=1), color=colour, linewidth=1.8, label=name)
            panel.plot(places, table[name][axis], "o", color=colour, markersize=3, alpha=0.5)
        panel.set(xlabel=LABELS[axis], ylim=(0, 510))
        panel.set_xticks(places, [f"{value:g}" for value in values])
        tidy(panel)
    axes[0][0].set_ylabel("return")
    axes[0][0].legend(frameon=False)
    return made


def report(table: dict[str, dict[str, np.ndarray]]) -> str:
    """The page."""
    seeds = next(iter(table["dqn"].values())).shape[1]
    lines = [
        "# Robust DQN on RLlib: CartPole",
        "",
        f"`python benchmarks/rllib_cartpole.py --runs DIR --write`, one thread ({platform.machine()}, {os.cpu_count()} cores "
        f"beside other work). {STEPS:,} steps of the nominal CartPole, discount {DISCOUNT}, the last policy of each run, equal "
        f"settings. Mean return (500 at most) over {seeds} seeds of {EPISODES} episodes in each world, with 95 % t "
        "intervals; numbers after a method are radii in total variation, on free support, value floor 0. RFQI learns from as "
        f"many transitions of the seed's DQN with {LOGGED_AT_RANDOM:.0%} random moves.",
        "",
        "![returns under shift](../docs/images/rllib-cartpole.png)",
        "",
        *NOTES,
    ]
    for axis, values in WORLDS.items():
        names = [f"{value:g}" + " (nominal)" * (value == NOMINAL[axis]) for value in values]
        lines += ["", f"| {LABELS[axis]} | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for method in METHODS:
            means, halves = mean_interval(table[method][axis])
            lines.append(f"| {method} | " + " | ".join(f"{m:.0f} ± {h:.0f}" for m, h in zip(means, halves, strict=True)) + " |")
    return "\n".join([*lines, *gains(table)]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--as-it-is", action="store_true", help="train nothing; report the seeds that are complete")
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    wanted = [(name, number) for number in range(arguments.seeds) for name in METHODS]
    missing = [(name, number) for name, number in wanted if not (arguments.runs / f"{name}-{number}.json").exists()]
    if missing and not arguments.as_it_is:
        import ray

        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        for name, number in missing:
            run(name, number, arguments.runs)
    results = found(arguments.runs, arguments.seeds)
    print(report(results))
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(report(results))
        picture(results).savefig(IMAGES / "rllib-cartpole.png", dpi=100)
