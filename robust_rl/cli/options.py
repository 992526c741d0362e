"""Flags that several commands share, and how they become arguments of the library."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from robust_rl import envs, formats
from robust_rl.errors import InvalidArgumentError, MissingDependencyError, nearest
from robust_rl.models import TabularMDP
from robust_rl.uncertainty import (
    Interval,
    RectangularSet,
    SRectangular,
    SupportedSet,
    UncertainRewards,
    Wasserstein,
    WeightedL1,
    set_class,
)

SetName = Annotated[
    str,
    typer.Option(
        "--set", help="Uncertainty set: what the adversary may change. See `robust-rl sets`; `none` is the nominal problem."
    ),
]
Radius = Annotated[
    float | None,
    typer.Option("--radius", help="Size of the set, in its own norm (tv: half the L1 distance, 0 to 1; cvar: its level)."),
]
SupportName = Annotated[
    str | None,
    typer.Option(
        "--support",
        help="Where the adversary may move mass: `nominal` (successors of the chosen action), "
        "`reachable` (successors of any action in the state), `free` (any state). No default: it changes the answer.",
    ),
]
SharedBudget = Annotated[
    bool,
    typer.Option("--s-rectangular", help="The actions of a state share one budget, --radius; the policy may be randomised."),
]
RewardRadius = Annotated[
    float | None, typer.Option("--reward-radius", help="Rewards, too, may be off by so much, in their own unit.")
]
Discount = Annotated[float | None, typer.Option("--discount", help="Discount in [0, 1], e.g. 0.99. Give this or --horizon.")]
Horizon = Annotated[int | None, typer.Option("--horizon", help="Number of decisions, undiscounted. Give this or --discount.")]
EnvArgs = Annotated[
    list[str] | None,
    typer.Option("--env-arg", help="Argument of the environment, name=value; repeat for more.", metavar="NAME=VALUE"),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Run directory. Default: runs/<command>-<environment>-<time>. An unfinished run there is resumed."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
CheckpointEvery = Annotated[
    int | None,
    typer.Option(
        "--checkpoint-every", min=1, help="Steps (sweeps, stages, rounds) between checkpoints. Default: one at the end."
    ),
]
Device = Annotated[str, typer.Option("--device", help="Where torch works: `cpu`, `cuda`, `cuda:1`, `mps`.")]
# from 0 to what numpy, torch and scikit-learn all take
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of everything random.")]

# sets whose arguments are arrays, which a flag can't give
FROM_PYTHON: dict[type[RectangularSet], str] = {
    Interval: "bounds for every transition: a .drn or .tra file, or use it from Python: robust_rl.Interval(lower, upper)",
    WeightedL1: "a weight for every state; use it from Python: robust_rl.WeightedL1(radius, weights=..., support=...)",
    Wasserstein: "a metric between states; use it from Python: robust_rl.Wasserstein(radius, metric=robust_rl.graph_metric(m))",
}

console = Console(highlight=False, soft_wrap=True)


def environment_arguments(env_args: list[str] | None) -> dict[str, Any]:
    """Parse repeated ``name=value`` flags."""
    return dict(envs.parse_env_arg(argument) for argument in env_args or [])


def environment(name: str, env_kwargs: dict[str, Any]) -> tuple[str | TabularMDP, Interval | None]:
    """Return the id, or the model and its intervals if the name is that of a file."""
    if Path(name).suffix not in formats.SUFFIXES:
        return name, None
    return formats.read_model(name, **env_kwargs)


def uncertainty(
    name: str,
    radius: float | None,
    support: str | None,
    intervals: Interval | None = None,
    s_rectangular: bool = False,
    reward_radius: float | None = None,
) -> RectangularSet | None:
    """Build a set from its flags; ``none`` gives None, and ``interval`` the intervals that came with a model."""
    kernels = _kernels(name, radius, support, intervals)
    if s_rectangular:
        if kernels is None:
            raise InvalidArgumentError("--s-rectangular shares a budget; --set none has none")
        kernels = SRectangular(kernels)  # type: ignore[arg-type]
    return kernels if reward_radius is None else UncertainRewards(reward_radius, kernels)


def uncertainty_by_agent(
    name: str, radius: str | None, support: str | None, agents: Sequence[str]
) -> dict[str, RectangularSet | None]:
    """Build each agent's set; the radius is one for all, ``0.1``, or one each, ``player_0=0.1,player_1=0.05``."""
    if radius is None or "=" not in radius:
        one = uncertainty(name, None if radius is None else _radius(radius), support)
        return dict.fromkeys(agents, one)
    radii = {who.strip(): _radius(size) for who, _, size in (part.partition("=") for part in radius.split(","))}
    for who in radii:
        if who not in agents:
            raise InvalidArgumentError(f"--radius names {who!r}{nearest(who, list(agents))}; agents are {', '.join(agents)}")
    missing = [who for who in agents if who not in radii]
    if missing:
        raise InvalidArgumentError(f"--radius gives none to {', '.join(missing)}; give one to every agent, 0 for a nominal one")
    return {who: uncertainty(name, radii[who], support) for who in agents}


def _radius(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidArgumentError(f"--radius {text!r} is not a number, such as 0.1, or player_0=0.1,player_1=0.05") from None


def number_or_word(flag: str, text: str, *words: str) -> float | str:
    """Return the number that a flag was given, or the word."""
    if text in words:
        return text
    try:
        return float(text)
    except ValueError:
        raise InvalidArgumentError(f"{flag} {text!r} is neither a number nor {' or '.join(words)}") from None


def bounds(flag: str, text: str) -> tuple[float, float]:
    """Return the two numbers of ``low,high``."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise InvalidArgumentError(f"{flag} {text!r} isn't two numbers, such as 0,1") from None
    return low, high


def _kernels(name: str, radius: float | None, support: str | None, intervals: Interval | None) -> RectangularSet | None:
    if name == "none":
        return None
    kind = set_class(name)
    if kind is Interval and intervals is not None:
        if radius is not None or support is not None:
            raise InvalidArgumentError("--set interval takes its bounds from the file; leave out --radius and --support")
        return intervals
    if kind in FROM_PYTHON:
        raise InvalidArgumentError(f"--set {name} needs {FROM_PYTHON[kind]}")
    if radius is None:
        raise InvalidArgumentError(f"--set {name} needs --radius")
    if issubclass(kind, SupportedSet):
        return kind(radius, support=support)  # type: ignore[arg-type]
    if support not in (None, "nominal"):
        raise InvalidArgumentError(f"--set {name} keeps the nominal support; leave out --support {support}")
    return kind(radius)  # type: ignore[call-arg]


def run_name(command: str, environment_name: str) -> str:
    """Return a readable name for a run directory."""
    path = Path(environment_name)
    name = path.stem if path.suffix in formats.SUFFIXES else environment_name
    return f"{command}-{re.sub(r'[^a-z0-9]+', '-', name.lower())}"


def print_json(content: Any) -> None:
    """Print machine-readable output, alone on stdout."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")


def print_records(records: list[dict[str, Any]], as_json: bool, empty: str = "nothing") -> None:
    """Print records as JSON, or as a table with one line each."""
    if as_json:
        print_json(records)
    else:
        console.print(as_table(records) if records else empty, markup=False)


def as_table(records: list[dict[str, Any]]) -> str:
    """Return one line a record under their names, never cut short: a run's name is there to be copied."""
    lines = [list(records[0]), *([_cell(value) for value in record.values()] for record in records)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def illustrated(write: Callable[..., Path], *arguments: Any) -> str | None:
    """Return the path of what ``write`` wrote, or say on stderr what it would take: a result is worth having without pictures."""
    try:
        return str(write(*arguments))
    except MissingDependencyError as error:
        note(f"no report: {error}")
        return None


def note(text: str) -> None:
    """Tell a person something beside the result, on stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)
