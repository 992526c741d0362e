"""How the gap of DR-NVI falls with the samples, and how it grows with the horizon and with the number of states.

    python benchmarks/games.py            # prints the tables; --write also commits them to benchmarks/games.md, with pictures

Gaps are exact: the policy that was planned on an empirical game is judged on the true one. Many single gaps are exactly zero,
so what is fitted is the log of their mean. One thread; intervals are 95% bootstraps over seeds.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
from pathlib import Path

import numpy as np
from intervals import band, head, row, slope, written

import robust_rl as rr
from robust_rl.models import empirical_game
from robust_rl.pictures.canvas import INK, NOMINAL, ROBUST, figure, tidy
from robust_rl.solvers import DRNVISolver

SEEDS = 50
SAMPLES = (50, 100, 200, 400, 800, 1600, 3200)
HORIZONS = (2, 4, 8, 16, 32)
STATES = (2, 4, 8, 16, 32)
FIXED_SAMPLES = 100
COMMON = "cce, both paid alike"
COLOURS = (NOMINAL, "#e09f3e", "#3a7d44", ROBUST, INK)
IMAGES = Path(__file__).parents[1] / "docs" / "images"


def ball(sigma: float) -> rr.TotalVariation:
    return rr.TotalVariation(sigma, support="free")


def random_game(seed: int, states: int = 4, horizon: int = 3, *, common: bool = False) -> rr.MarkovGame:
    """General-sum, or both paid alike; 3 x 3 actions, uneven rows, rewards in [0, 1]."""
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.full(states, 0.5), size=(states, 3, 3))
    rewards = rng.random((2, states, 3, 3))
    if common:
        rewards[:] = rewards.mean(axis=0)
    return rr.MarkovGame(transitions, rewards, horizon=horizon)


def hard_game(seed: int, horizon: int, sigma: float, samples: int) -> rr.MarkovGame:
    """Stay alive (state 0, pays 1) or be dead (state 1): one joint action a stage is safer, by the noise of its estimate.

    The safer one keeps alive with probability p = 1 - 1/(2m), m = min(H, 1/sigma), the others with p - sqrt(p(1-p)/N): what N
    draws can just not tell. Both players are paid alike.
    """
    rng = np.random.default_rng(seed)
    p = 1 - 1 / (2 * min(horizon, 1 / max(sigma, 1e-9)))
    alive = np.full((horizon, 2, 2), p - np.sqrt(p * (1 - p) / samples))
    alive.reshape(horizon, 4)[np.arange(horizon), rng.integers(4, size=horizon)] = p
    transitions = np.zeros((horizon, 2, 2, 2, 2))
    transitions[:, 0, :, :, 0], transitions[:, 0, :, :, 1], transitions[:, 1, :, :, 1] = alive, 1 - alive, 1.0
    rewards = np.zeros((2, 2, 2, 2))
    rewards[:, 0] = 1.0
    return rr.MarkovGame(transitions, rewards, horizon=horizon)


def planned(game: rr.MarkovGame, uncertainty: rr.TotalVariation, kind: str) -> rr.GameSolution:
    solver = DRNVISolver(game, uncertainty, equilibrium=kind)
    while not solver.done:
        solver.step()
    return solver.solution()


def gap_and_error(
    game: rr.MarkovGame, sigma: float, kind: str, samples: int, seed: int, exact: np.ndarray
) -> tuple[float, float]:
    """The exact gap of what N samples give, and how far its promised value is from the equilibrium value."""
    solution = planned(empirical_game(game, samples, np.random.default_rng([seed, samples])), ball(sigma), kind)
    return rr.robust_gap(solution.policy, game, ball(sigma), kind=kind).gap, float(abs(solution.value[:, 0] - exact).max())


def against_samples() -> dict[str, np.ndarray]:
    """(2, samples, seeds): gaps and value errors of 50 random games, one a seed, for each kind of equilibrium."""
    out = {}
    for name in ("cce", "ce", "ne", COMMON):
        kind = "cce" if name == COMMON else name
        data = np.zeros((2, len(SAMPLES), SEEDS))
        for seed in range(SEEDS):
            game = random_game(seed, common=name == COMMON)
            exact = planned(game, ball(0.1), kind).value[:, 0]
            for k, n in enumerate(SAMPLES):
                data[:, k, seed] = gap_and_error(game, 0.1, kind, n, seed, exact)
        out[name] = data
        fitted = {"value error": data[1]} if name == COMMON else {"gap": data[0], "value error": data[1]}
        print(name, {what: written(slope(np.array(SAMPLES), found)) for what, found in fitted.items()}, flush=True)
    return out


def against_horizon() -> dict[str, np.ndarray]:
    """(horizons, seeds): gaps of the hard game at N = 100, for each radius."""
    out = {}
    for name, sigma_of in {"0": lambda h: 0.0, "1/H": lambda h: 1 / h, "0.2": lambda h: 0.2, "0.5": lambda h: 0.5}.items():
        data = np.zeros((len(HORIZONS), SEEDS))
        for k, horizon in enumerate(HORIZONS):
            sigma = sigma_of(horizon)
            for seed in range(SEEDS):
                game = hard_game(seed, horizon, sigma, FIXED_SAMPLES)
                data[k, seed], _ = gap_and_error(game, sigma, "cce", FIXED_SAMPLES, seed, np.zeros((2, 2)))
        out[name] = data
        print("sigma", name, slope(np.array(HORIZONS[-3:]), data[-3:]), flush=True)
    return out


def against_states() -> dict[str, np.ndarray]:
    """(states, seeds): gaps of random games at N = 100 from each (h, s, a), mean over states' own gaps and the largest."""
    data = np.zeros((2, len(STATES), SEEDS))
    for k, states in enumerate(STATES):
        for seed in range(SEEDS):
            game = random_game(seed, states, 2)
            solution = planned(empirical_game(game, FIXED_SAMPLES, np.random.default_rng([seed, states])), ball(0.1), "cce")
            found = rr.robust_gap(solution.policy, game, ball(0.1), kind="cce").by_state.max(axis=0)
            data[:, k, seed] = found.max(), found.mean()
    return {"largest over states": data[0], "mean over states": data[1]}


def draw(
    curves: dict[str, np.ndarray], x: tuple[int, ...], label: str, title: str, guide: tuple[float, str] | None = None
) -> object:
    made, ((axes,),) = figure(1, 1, 6.4, 4.0)
    for (name, data), colour in zip(curves.items(), COLOURS, strict=False):
        middle, low, high = band(data)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, middle, "o-", color=colour, linewidth=1.8, markersize=4, label=name)
    if guide is not None:
        power, name = guide
        first = max(data.mean(axis=1)[0] for data in curves.values()) * 1.4
        axes.plot(x, first * (np.array(x) / x[0]) ** power, "--", color="#888888", linewidth=1.2, label=name)
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="mean exact gap", title=title)
    axes.set_xticks(x, [str(value) for value in x])
    axes.minorticks_off()
    axes.legend(frameon=False)
    tidy(axes)
    return made


def report(write: bool) -> str:
    """The tables, in Markdown, and the pictures."""
    n, h, s = np.array(SAMPLES), np.array(HORIZONS), np.array(STATES)
    samples, horizon, states = against_samples(), against_horizon(), against_states()
    lines = [
        "# What DR-NVI needs",
        "",
        f"`python benchmarks/games.py --write`. Mean over {SEEDS} seeds of the exact robust gap on the true game; slopes of its "
        "log, with 95% bootstrap intervals over seeds. Total variation, free support, utilitarian selection.",
        "",
        "## Gap against samples N from each (h, s, a)",
        "",
        "One random general-sum game a seed: 4 states, 3 x 3 actions, H = 3, radius 0.1. Theory: slope -1/2. The value error is "
        "that of the promised values of both players, largest over states; where selection jumps between equilibria as samples "
        "change, it counts in full; where both are paid alike (the mean of their rewards) there is one best value and no jump.",
        *head("gap", SAMPLES, "slope"),
        *(row(kind, data[0], written(slope(n, data[0]))) for kind, data in samples.items() if kind != COMMON),
        *head("value error", SAMPLES, "slope"),
        *(row(kind, data[1], written(slope(n, data[1]))) for kind, data in samples.items()),
        "",
        "![gap against samples](../docs/images/games-samples.png)",
        "",
        f"## Gap against the horizon, N = {FIXED_SAMPLES}, on a hard game",
        "",
        "Two players, paid alike, stay alive or not; at each stage one of four joint actions is safer by as much as N draws can "
        "just not tell (`hard_game`), after the pairs of models behind the lower bound. With m = min(H, 1/radius), the noise of "
        "a draw is sqrt(1/m), and a mistake costs up to m, at up to m stages: m^1.5. The theorem allows H sqrt(m). Slopes are "
        f"those over H = {', '.join(map(str, HORIZONS[-3:]))}: about 1.3 for radii 0 and 1/H, near 0 above 1/H.",
        *head("radius", HORIZONS, "slope"),
        *(row(name, data, written(slope(h[-3:], data[-3:]))) for name, data in horizon.items()),
        "",
        "![gap against horizon](../docs/images/games-horizon.png)",
        "",
        f"## Gap against the number of states, N = {FIXED_SAMPLES}",
        "",
        "Random games, 3 x 3 actions, H = 2, radius 0.1, CCE. At a fixed number of draws from each (h, s, a) theory has no power "
        "of S: the total number of samples, N H S A1 A2, is linear in S. A state's own gap keeps its size; most are "
        "exactly zero, so that the largest of few states is often zero, of many rarely: that curve bends towards the size of a "
        "gap that isn't.",
        *head("gap", STATES, "slope"),
        *(row(name, data, written(slope(s, data))) for name, data in states.items()),
        "",
        "![gap against states](../docs/images/games-states.png)",
    ]
    if write:
        IMAGES.mkdir(parents=True, exist_ok=True)
        gaps = {kind.upper(): data[0] for kind, data in samples.items() if kind != COMMON}
        pictures = {
            "samples": draw(
                gaps, SAMPLES, "samples N from each (h, s, a)", "random games: gap falls as 1/sqrt(N)", (-0.5, "slope -1/2")
            ),
            "horizon": draw(
                {f"radius {name}": data for name, data in horizon.items()},
                HORIZONS, "horizon H", "hard game: the radius caps what the horizon costs", (1.5, "slope 3/2"),
            ),
            "states": draw(states, STATES, "number of states S", f"random games at N = {FIXED_SAMPLES} from each (h, s, a)"),
        }  # fmt: skip
        for name, picture in pictures.items():
            picture.savefig(IMAGES / f"games-{name}.png", dpi=120)  # type: ignore[attr-defined]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    tables = report(arguments.write)
    print(tables)
    if arguments.write:
        Path(__file__).with_suffix(".md").write_text(tables)
