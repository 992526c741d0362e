"""Means and slopes over seeds with 95% bootstrap intervals, and how they are written, for the studies."""

import numpy as np


def slope(x: np.ndarray, data: np.ndarray) -> tuple[float, float, float]:
    """Slope of log mean over log x of data (points, seeds), and its interval. Points whose mean is 0 have no log: left out."""

    def fit(rows: np.ndarray) -> float:
        means = rows.mean(axis=1)
        kept = means > 0
        return float(np.polyfit(np.log(x[kept]), np.log(means[kept]), 1)[0]) if kept.sum() > 1 else np.nan

    seeds = data.shape[1]
    picks = np.random.default_rng(0).integers(seeds, size=(1000, seeds))
    low, high = np.nanquantile([fit(data[:, pick]) for pick in picks], [0.025, 0.975])
    return fit(data), float(low), float(high)


def band(data: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds and its interval, at each point, of data (points, seeds)."""
    seeds = data.shape[1]
    picks = np.random.default_rng(1).integers(seeds, size=(1000, seeds))
    low, high = np.quantile(data[:, picks].mean(axis=2), [0.025, 0.975], axis=1)
    return data.mean(axis=1), low, high


def written(fit: tuple[float, float, float]) -> str:
    return f"{fit[0]:.2f} ({fit[1]:.2f} to {fit[2]:.2f})"


def row(name: str, data: np.ndarray, extra: str) -> str:
    return f"| {name} | " + " | ".join(f"{value:.3g}" for value in data.mean(axis=1)) + f" | {extra} |"


def head(first: str, x: tuple[float, ...], last: str) -> list[str]:
    return ["", f"| {first} | " + " | ".join(map(str, x)) + f" | {last} |", "|---" * (len(x) + 2) + "|"]
