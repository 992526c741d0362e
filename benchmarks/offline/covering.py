"""Partial coverage: what the clipped concentrability of a log promises, and where the penalty is needed for it."""

from typing import Any

import numpy as np
from intervals import band

from offline.learning import ball, judge, learned, logged
from offline.worlds import lotteries, two_halves
from robust_rl.models import LinearMDP
from robust_rl.pictures.canvas import figure, tidy
from robust_rl.solvers import coverage, linear_values

SEEDS, RADIUS = 50, 0.1
EPISODES = (100, 1000, 10_000)
SHARES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
SWEPT = (100, 300, 1000, 3000, 10_000)
PENALTIES = (0.0, 0.1, 0.2, 0.5, 1.0)
COLOURS = ("#d1495b", "#e09f3e", "#3a7d44", "#2a6f97", "#222222")


def behaviours(model: LinearMDP, policy: np.ndarray) -> dict[str, np.ndarray]:
    """Action probabilities (H, S, A) by which each log is made, on a model of two halves."""
    uniform = np.full((model.horizon, model.num_states, 4), 0.25)
    near, away = np.zeros_like(uniform), np.zeros_like(uniform)
    near[..., :2] = away[..., 2:] = 0.5
    return {
        "uniform": uniform,
        "expert: the optimal action alone": np.eye(4)[policy],
        "neighbourhood: actions 0 and 1": near,
        "98% elsewhere, 2% uniform": 0.98 * away + 0.02 * uniform,
        "elsewhere: actions 2 and 3": away,
    }


def lost(
    model: LinearMDP,
    behaviour: np.ndarray,
    episodes: int,
    seed: int,
    penalty: float,
    *,
    ridge: float = 1.0,
    radius: float = RADIUS,
) -> float:
    found = learned(model, radius, logged(model, episodes, seed, behaviour), "DROP", penalty, ridge)
    return judge(model, radius, found, linear_values(model, ball(radius))).suboptimality


def cells(data: np.ndarray) -> str:
    return " | ".join(f"{m:.2g} ({low:.2g} to {high:.2g})" for m, low, high in zip(*band(data), strict=True))


def logs_compared() -> list[str]:
    models = [two_halves(seed) for seed in range(SEEDS)]
    best = [linear_values(model, ball(RADIUS)).policy for model in models]
    rows = []
    for name in behaviours(models[0], best[0]):
        chosen = [behaviours(model, policy)[name] for model, policy in zip(models, best, strict=True)]
        covered = [coverage(m, ball(RADIUS), policy, b) for m, policy, b in zip(models, best, chosen, strict=True)]
        data = np.array([[lost(models[s], chosen[s], n, s, 0.1) for s in range(SEEDS)] for n in EPISODES])
        middle = np.median([c.concentrability for c in covered])
        rows.append(f"| {name} | {middle:.3g} | {np.median([c.least_eigenvalue for c in covered]):.2g} | {cells(data)} |")
    return rows


def swept() -> tuple[np.ndarray, np.ndarray]:
    """Mean C (shares,) and suboptimality (episodes, shares, seeds): a share of uniform actions in a log from elsewhere."""
    out, number = np.zeros((len(SWEPT), len(SHARES), SEEDS)), np.zeros((len(SHARES), SEEDS))
    for seed in range(SEEDS):
        model = two_halves(seed)
        policy = linear_values(model, ball(RADIUS)).policy
        away, uniform = (behaviours(model, policy)[name] for name in ("elsewhere: actions 2 and 3", "uniform"))
        for j, share in enumerate(SHARES):
            mixed = (1 - share) * away + share * uniform
            number[j, seed] = coverage(model, ball(RADIUS), policy, mixed).concentrability
            out[:, j, seed] = [lost(model, mixed, n, seed, 0.1) for n in SWEPT]
    return np.exp(np.log(number).mean(axis=1)), out


def draw(number: np.ndarray, data: np.ndarray) -> Any:
    made, ((left, right),) = figure(1, 2, 10.0, 4.0)
    for k, (episodes, colour) in enumerate(zip(SWEPT, COLOURS, strict=True)):
        middle, low, high = band(data[k])
        for panel, x in ((left, number), (right, number / episodes)):
            panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            panel.plot(x, middle, "o-", color=colour, linewidth=1.6, markersize=3, label=f"K = {episodes}")
    x = np.array([1e-4, 2.0])
    right.plot(x, np.sqrt(x), "--", color="#888888", linewidth=1.2, label="sqrt(C / K)")
    for panel, label, title in (
        (left, "concentrability C", "worse coverage costs more, and more data buy it back"),
        (right, "C / K", "what counts is C / K"),
    ):
        panel.set(xscale="log", yscale="log", xlabel=label, ylabel="suboptimality", title=title, ylim=(1e-5, 4))
        panel.legend(frameon=False, fontsize=8)
        tidy(panel)
    return made


def penalised() -> list[str]:
    """Expert logs with a fifth of other actions, on the lotteries: K = 50, so that each ticket is drawn about once."""
    model = lotteries()
    policy = linear_values(model, None).policy
    expert, actions = np.eye(model.num_actions)[policy], model.num_actions
    logs = {"80% expert, 20% uniform": 0.8 * expert + 0.2 / actions, "uniform": np.full_like(expert, 1 / actions)}
    rows = []
    for name, behaviour in logs.items():
        number = coverage(model, None, policy, behaviour).concentrability
        for ridge in (1.0, 0.1):
            data = np.array(
                [[lost(model, behaviour, 50, s, p, ridge=ridge, radius=0.0) for s in range(2 * SEEDS)] for p in PENALTIES]
            )
            rows.append(f"| {name} | {ridge:g} | {number:.2g} | {cells(data)} |")
    return rows


def study() -> tuple[list[str], dict[str, Any]]:
    number, data = swept()
    below = (data.mean(axis=2) / np.sqrt(number / np.array(SWEPT)[:, None])).max()
    return [
        "## Partial coverage",
        "",
        "C is the clipped concentrability of the log, kappa the least eigenvalue of its E[phi phi^T], both exact "
        f"(`robust_rl.solvers.coverage`), medians over {SEEDS} models of two halves: the optimal policies only ever use "
        "features 0 to 2, actions 2 and 3 lead through features 3 to 5 (d = 6, H = 3, 10 states, radius 0.1; penalty 0.1, "
        "ridge 1). Mean suboptimality with its 95% interval.",
        "",
        "| log | C | kappa | " + " | ".join(f"K = {n}" for n in EPISODES) + " |",
        "|---" * (3 + len(EPISODES)) + "|",
        *logs_compared(),
        "",
        "Where C is finite the loss goes to 0 though kappa is 0: half of the features need never be seen. Where it is infinite "
        "no amount of data helps. At few episodes the expert's log does best, which C doesn't tell: its C is that of uniform "
        "data.",
        "",
        f"With a share of uniform actions in a log from elsewhere C runs from {number[-1]:.3g} to {number[0]:.3g}. Losses at "
        f"different K meet when drawn over C / K; theory allows d^(3/2) H^2 sqrt(C / K) = {6**1.5 * 9:.0f} sqrt(C / K), the "
        f"largest mean seen is {below:.2g} sqrt(C / K).",
        "",
        "![suboptimality against concentrability](../docs/images/offline-coverage.png)",
        "",
        "In that model what was never seen is worth 0 by the ridge alone, and the penalty adds nothing. It is needed where a "
        "few lucky draws of something rare look good: a sure thing worth 0.6 against eight tickets worth 1 with probability "
        f"0.4, K = 50, {2 * SEEDS} seeds:",
        "",
        "| log | ridge | C | " + " | ".join(f"penalty {p:g}" for p in PENALTIES) + " |",
        "|---" * (3 + len(PENALTIES)) + "|",
        *penalised(),
        "",
        "The expert's log covers the sure thing best, C is least there, and with a penalty that is what one gets; uniform "
        "data, though they hold more of the tickets, are too few for nine actions, and a penalty that is alike for all of them "
        "can't help.",
    ], {"coverage": draw(number, data)}
