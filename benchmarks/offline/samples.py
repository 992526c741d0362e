"""Value error and suboptimality against the number of episodes K, and both against the radius."""

from collections.abc import Callable
from typing import Any

import numpy as np
from intervals import band, head, row, slope, written

from offline.learning import CURVES, ball, judge, learned, logged
from offline.worlds import survival
from robust_rl.envs import random_linear
from robust_rl.models import LinearMDP
from robust_rl.pictures.canvas import figure, tidy
from robust_rl.solvers import linear_values

SEEDS = 50
EPISODES = (125, 250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000)
FITTED = 2  # value errors are fitted from EPISODES[2] on, where the ridge no longer shows
RADII = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
FIXED = 400  # episodes, where the radius varies
RIDGE = 0.01
SHADES = {"DROP": (CURVES["DROP"], "#7fb3d5"), "DROP-V": (CURVES["DROP-V"], "#f3cf8a")}  # dark for the first curve


def random_one(seed: int) -> LinearMDP:
    return random_linear(10, 3, 4, 3, seed=seed)


def sweep(
    make: Callable[[int, int], LinearMDP], points: list[tuple[int, float]], name: str, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """(points, seeds) value errors and suboptimalities, for points of (episodes, radius)."""
    out = np.zeros((2, len(points), SEEDS))
    for seed in range(SEEDS):
        for k, (episodes, radius) in enumerate(points):
            model = make(seed, k)
            found = learned(model, radius, logged(model, episodes, seed), name, penalty, RIDGE)
            out[:, k, seed] = judge(model, radius, found, linear_values(model, ball(radius)))[:2]
    return out[0], out[1]


def against_episodes() -> tuple[list[str], Any]:
    k = np.array(EPISODES)
    errors, lost = {}, {}
    for name in ("DROP", "DROP-V"):
        for penalty in (0.0, 0.1):
            found = sweep(lambda seed, _: random_one(seed), [(n, 0.15) for n in EPISODES], name, penalty)
            errors[f"{name}, penalty {penalty:g}"], lost[f"{name}, penalty {penalty:g}"] = found
    tight = {
        name: sweep(lambda seed, j: survival(seed, 4, 0.1, EPISODES[j] / 4), [(n, 0.1) for n in EPISODES], name, 0.0)[1]
        for name in ("DROP", "DROP-V")
    }
    lines = [
        "## Against the number of episodes K",
        "",
        f"Mean over {SEEDS} seeds; one random linear MDP a seed (10 states, 3 actions, d = 4, H = 3, radius 0.15, uniform "
        f"logs), ridge {RIDGE} (DROP-V's second half: 1/9). The value error is |V of the solver - exact optimal robust V| of "
        f"the first decision, largest over states; its slope is fitted from K = {EPISODES[FITTED]} on. Theory: -1/2.",
        *head("value error", EPISODES, "slope"),
        *(row(name, data, written(slope(k[FITTED:], data[FITTED:]))) for name, data in errors.items()),
        "",
        "The suboptimality is the exact robust value lost from the start. On random models it falls faster than theory's -1/2, "
        "since gaps between actions stay as they are while the noise shrinks: soon most policies are exactly optimal (points "
        "whose mean is 0 are left out of the slope).",
        *head("suboptimality", EPISODES, "slope"),
        *(row(name, data, written(slope(k, data))) for name, data in lost.items()),
        "",
        "Where the gap shrinks with the noise (`survival` in `benchmarks/offline/worlds.py`: a state to stay alive in, H = 4, "
        "radius 0.1, one of four actions safer by what K/4 transitions can just not tell; penalty 0) -1/2 is what one gets:",
        *head("suboptimality", EPISODES, "slope"),
        *(row(name, data, written(slope(k, data))) for name, data in tight.items()),
        "",
        "DROP-V is behind DROP in nearly all of these. It learns its weights from one half of the data and the policy from the "
        "other, and with H = 3 and rewards in [0, 1] the variance of what follows is at most the floor of 1, so that the "
        "weights do nothing.",
        "",
        "![value error and suboptimality against K](../docs/images/offline-samples.png)",
    ]
    made, ((left, right),) = figure(1, 2, 10.0, 4.0)
    curves(left, EPISODES, errors)
    left.plot(k, 0.25 * k**-0.5, "--", color="#888888", linewidth=1.2, label="slope -1/2")
    left.set(xscale="log", yscale="log", xlabel="episodes K", ylabel="value error", title="random linear MDPs")
    both = {f"random, {name.split(',')[0]}": lost[name] for name in ("DROP, penalty 0.1", "DROP-V, penalty 0.1")}
    curves(right, EPISODES, both | {f"gap at the noise, {name}": data for name, data in tight.items()})
    right.plot(k, 2.5 * k**-0.5, "--", color="#888888", linewidth=1.2, label="slope -1/2")
    right.set(
        xscale="log", yscale="log", xlabel="episodes K", ylabel="suboptimality", title="what the policy loses", ylim=(1e-6, None)
    )
    for panel in (left, right):
        panel.legend(frameon=False, fontsize=8)
    return lines, made


def against_radius() -> tuple[list[str], Any]:
    points = [(FIXED, radius) for radius in RADII]
    names = ("DROP", "DROP-V")
    plain = {name: sweep(lambda seed, _: random_one(seed), points, name, 0.1) for name in names}
    hard = {name: sweep(lambda seed, j: survival(seed, 16, RADII[j], FIXED / 4), points, name, 0.1) for name in names}
    reach = np.minimum(16, 1 / np.maximum(RADII, 1e-9))
    lines = [
        "## Against the radius",
        "",
        f"K = {FIXED}, penalty 0.1, {SEEDS} seeds. Random models as above, where values differ so little between states that "
        "the radius hardly matters; and `survival` with H = 16, where it does: the adversary ends every plan after about "
        "1/radius stages, so values, errors and losses shrink at least as fast as min(H, 1/radius). (The gap of the safer "
        "action moves with the radius too, so that it stays at the noise.)",
        *head("radius", RADII, ""),
        *(row(f"random, {name}: value error", data[0], "") for name, data in plain.items()),
        *(row(f"random, {name}: suboptimality", data[1], "") for name, data in plain.items()),
        *(row(f"survival, {name}: value error", data[0], "") for name, data in hard.items()),
        *(row(f"survival, {name}: suboptimality", data[1], "") for name, data in hard.items()),
        "| min(H, 1/radius) | " + " | ".join(f"{value:.3g}" for value in reach) + " | |",
        "",
        "![against the radius](../docs/images/offline-radius.png)",
    ]
    made, ((left, right),) = figure(1, 2, 10.0, 3.8)
    for panel, what, label in ((left, 0, "value error"), (right, 1, "suboptimality")):
        curves(panel, RADII, {f"{world}, {name}": data[what] for world, found in (("survival", hard), ("random", plain))
                              for name, data in found.items()})  # fmt: skip
        top = hard["DROP"][what].mean(axis=1)[0]
        panel.plot(RADII, top * reach / 16, "--", color="#888888", linewidth=1.2, label="as min(H, 1/radius)")
        panel.set(xlabel="radius", ylabel=label, title=f"{label} at K = {FIXED}")
        panel.legend(frameon=False, fontsize=8)
    return lines, made


def curves(panel: Any, x: tuple[float, ...], found: dict[str, np.ndarray]) -> None:
    for name, data in found.items():
        method = "DROP-V" if "DROP-V" in name else "DROP"
        drawn = sum(line.get_color() == SHADES[method][0] for line in panel.lines)
        colour = SHADES[method][min(drawn, 1)]
        middle, low, high = band(data)
        panel.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        panel.plot(x, middle, "o-", color=colour, linewidth=1.6, markersize=3, label=name)
    tidy(panel)


def study() -> tuple[list[str], dict[str, Any]]:
    episodes, first = against_episodes()
    radius, second = against_radius()
    return [*episodes, "", *radius], {"samples": first, "radius": second}
