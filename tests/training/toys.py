"""Small Trainables for the tests of the training package."""

from pathlib import Path

import numpy as np

from robust_rl.training import generator_state, load_arrays, restore_generator, save_arrays


class RandomWalk:
    """Adds Gaussian noise to a vector: every step depends on all before it and on the generator's state."""

    def __init__(self, steps: int = 20, size: int = 3, seed: int = 0) -> None:
        self.steps, self.count = steps, 0
        self.position = np.zeros(size)
        self.generator = np.random.default_rng(seed)

    @property
    def done(self) -> bool:
        return self.count >= self.steps

    def step(self) -> dict[str, float]:
        self.count += 1
        self.position = 0.9 * self.position + self.generator.normal(size=self.position.shape)
        return {"walk/norm": float(np.linalg.norm(self.position)), "walk/gap": float("inf") if self.count == 1 else 0.5}

    def save_checkpoint(self, directory: Path) -> None:
        state = {"count": self.count, "generator": generator_state(self.generator)}
        save_arrays(directory / "walk.safetensors", {"position": self.position}, state)

    def load_checkpoint(self, directory: Path) -> None:
        arrays, state = load_arrays(directory / "walk.safetensors")
        self.position, self.count = arrays["position"], state["count"]
        self.generator = restore_generator(state["generator"])


class Script:
    """Replays a list of values of one metric."""

    def __init__(self, values: list[float], name: str = "train/loss") -> None:
        self.values, self.name, self.count = values, name, 0

    @property
    def done(self) -> bool:
        return self.count >= len(self.values)

    def step(self) -> dict[str, float]:
        self.count += 1
        return {self.name: self.values[self.count - 1]}

    def save_checkpoint(self, directory: Path) -> None:
        save_arrays(directory / "script.safetensors", {"count": np.array(self.count)})

    def load_checkpoint(self, directory: Path) -> None:
        self.count = int(load_arrays(directory / "script.safetensors")[0]["count"])


def contents(directory: Path) -> dict[str, bytes]:
    """Return every file below a directory: relative name -> bytes."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def without_time(lines: list[dict]) -> list[str]:
    """Return log lines in a form that compares nan equal to nan, without their clock."""
    return [repr({key: value for key, value in line.items() if key != "time"}) for line in lines]
