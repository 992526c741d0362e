"""Two estimates of a collapse probability, 0.049 and 0.051, give opposite equilibria; the robust one is the same for both.

In the fishery a fleet gains by fishing the spawning ground if p < 0.05 and loses if p > 0.05. Planned at 0.049 both fish, at
0.051 both protect. Against an adversary with a chi-square ball of 0.01, who moves more where more is at risk,
both protect whichever estimate was made. The pictures show what the plans are worth if p turns out otherwise, and what a
deviator gains then.

    python examples/fishery_flip.py [run directory]
"""

import sys

import numpy as np

import robust_rl as rr
from robust_rl import envs, pictures
from robust_rl.envs.games.fishery_v0 import ACTIONS, SEASON
from robust_rl.solvers import game_value
from robust_rl.training import Figure, RunDirectory, Section
from robust_rl.training import Table as PageTable

ESTIMATES = (0.049, 0.051)
SETS = {
    "nominal": None,
    "TV 0.01, nominal support": rr.TotalVariation(0.01, support="nominal"),
    "chi-square 0.01": rr.ChiSquare(0.01),
}
TRUTHS = np.linspace(0.0, 0.2, 21)


def main(directory: str) -> None:
    """Solve at both estimates, print who does what, and leave the report."""
    run = RunDirectory(directory)
    run.start({"estimates": ESTIMATES, "sets": {name: repr(one) for name, one in SETS.items()}}, command="fishery_flip")
    plans = {(name, p): plan(p, one) for name, one in SETS.items() for p in ESTIMATES}
    rows = [[name, *(play(plans[name, p]) for p in ESTIMATES)] for name in SETS]
    for row in [["planned with", *(f"estimate {p}" for p in ESTIMATES)], *rows]:
        print("".join(cell.ljust(28) for cell in row))
    low, high = ESTIMATES
    shown = {
        f"nominal plan at {low}": plans["nominal", low],
        f"nominal plan at {high}, robust plan at both": plans["nominal", high],
    }
    assert all(play(plans[name, p]) == play(plans["nominal", high]) for name in SETS if SETS[name] for p in ESTIMATES)
    worlds = [envs.tabular_game(envs.games.make("fishery", p=float(p))) for p in TRUTHS]
    values = {name: [float((game_value(one, w, None)[0, 0]) @ w.start) for w in worlds] for name, one in shown.items()}
    gains = {name: [rr.robust_gap(one, w, None, kind="ne").from_start["player_0"] for w in worlds] for name, one in shown.items()}
    value = pictures.lines_with_legend(TRUTHS, values, "true p", "value to each fleet, 5 seasons", marked=0.05)
    gain = pictures.lines_with_legend(TRUTHS, gains, "true p", "gain of a deviator, 5 seasons", marked=0.05)
    value.savefig(run.result / "fishery-flip.png", dpi=110)
    gain.savefig(run.result / "fishery-flip-gains.png", dpi=110)
    table = PageTable(["planned with", *(f"estimate {p}" for p in ESTIMATES)], rows, "what both fleets do in every season")
    sections = [
        Section("Who fishes", items=[table]),
        Section("If p turns out otherwise", items=[Figure(value), Figure(gain, "0: nobody gains by leaving the plan")]),
    ]
    run.report("A fishery near its threshold", sections, subtitle="dashed: p = 0.05, where the nominal equilibrium flips")
    run.finish()
    print(f"report: {run.result / 'report.html'}")


def plan(p: float, uncertainty: rr.TotalVariation | rr.ChiSquare | None) -> np.ndarray:
    """Return the equilibrium that is best for both together, of the fishery at an estimate of p."""
    game = envs.tabular_game(envs.games.make("fishery", p=p))
    return rr.DRNVI(game, uncertainty, equilibrium="ne").learn().solution.policy


def play(policy: np.ndarray) -> str:
    """Say what both fleets do in all seasons, of which an episode's even stages are."""
    chosen = {tuple(map(int, np.argwhere(stage == 1)[0])) for stage in policy[::2, SEASON]}
    return " then ".join(", ".join(ACTIONS[action] for action in joint) for joint in chosen)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/fishery-flip")
