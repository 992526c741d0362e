"""Steps a second of copies stepped by numpy, beside Gymnasium's own vector of the same environment.

    python benchmarks/copies.py --write

Both observe one-hot vectors and take the same random actions, in one process. The two are timed in turns; a line has the median
over the rounds, and the lowest and highest.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

import gymnasium
import numpy as np

from robust_rl import envs

WORLDS, COPIES, STEPS, ROUNDS = ("FrozenLake-v1", "Taxi-v3", "robust_rl/Garnet-v0"), (1, 16, 256), 2000, 5


def ours(env_id: str, copies: int) -> gymnasium.vector.VectorEnv:
    env = envs.make(env_id)
    limit = env.spec.max_episode_steps if env.spec else None
    states = envs.state_count(env.observation_space)
    return envs.TabularVectorEnv(envs.tabular(env), copies, max_episode_steps=limit, one_hot=True, observed_states=states)


def theirs(env_id: str, copies: int) -> gymnasium.vector.VectorEnv:
    def single() -> gymnasium.Env:
        return envs.OneHotObservation(envs.make(env_id, disable_env_checker=True))

    return gymnasium.vector.SyncVectorEnv([single] * copies)


def rate(world: gymnasium.vector.VectorEnv, copies: int) -> float:
    """Copies' steps a second."""
    rng, steps = np.random.default_rng(0), max(20, STEPS // copies)
    actions = rng.integers(world.single_action_space.n, size=(steps, copies))
    world.reset(seed=0)
    begin = time.perf_counter()
    for row in actions:
        world.step(row)
    return steps * copies / (time.perf_counter() - begin)


def line(env_id: str, copies: int) -> str:
    pair = (ours(env_id, copies), theirs(env_id, copies))
    for world in pair:
        rate(world, copies)
    rates = np.array([[rate(world, copies) for world in pair] for _ in range(ROUNDS)])
    ratio = rates[:, 0] / rates[:, 1]
    numpys, gymnasiums = np.median(rates, axis=0)
    spread = f"{np.median(ratio):.1f} ({ratio.min():.1f} to {ratio.max():.1f})"
    return f"| {env_id} | {copies} | {numpys:,.0f} | {gymnasiums:,.0f} | {spread} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    lines = [
        "# Copies of a tabular environment, stepped by numpy",
        "",
        f"`python benchmarks/copies.py --write`, {platform.machine()}, {os.cpu_count()} cores beside other work. Environment steps "
        "a second, with one-hot observations: `TabularVectorEnv` against Gymnasium's `SyncVectorEnv` over the same environment.",
        "",
        "| environment | copies | numpy | SyncVectorEnv | ratio |",
        "|---|---|---|---|---|",
        *(line(env_id, copies) for env_id in WORLDS for copies in COPIES),
    ]
    print("\n".join(lines))
    if parser.parse_args().write:
        Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")
