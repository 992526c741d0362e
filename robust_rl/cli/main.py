"""The application and its way of failing: one line for what a user can mend, a traceback for what is our fault."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

from robust_rl import __version__
from robust_rl.cli import (
    bench,
    calibrate,
    concepts,
    diffusion_train,
    dpnp,
    evaluate,
    frontier,
    game,
    griffin,
    less,
    lists,
    matte,
    mim,
    offline,
    options,
    rllib,
    solve,
    sweep,
    vpo,
    vpo_bandit,
)
from robust_rl.errors import (
    InvalidArgumentError,
    InvalidModelError,
    InvalidUncertaintyError,
    NoTableError,
    RobustRLError,
    UnknownNameError,
)
from robust_rl.training.files import disk_error

USAGE_ERRORS = (InvalidArgumentError, InvalidModelError, InvalidUncertaintyError, NoTableError, UnknownNameError)
HELP = """Policies that hold up when the world differs from the simulator, each with a certificate.

Start with

    robust-rl solve CliffWalking-v1 --set tv --radius 0.1 --support reachable --discount 0.99

    robust-rl evaluate runs/<name> --shift action_noise=0,0.05,0.1,0.2,0.3

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted (and resumable).
"""

app = typer.Typer(name="robust-rl", no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    if asked:
        options.console.print(f"robust-rl {__version__}", markup=False)
        raise typer.Exit


@app.callback(help=HELP)
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


app.command("solve")(solve.solve)
app.command("evaluate")(evaluate.evaluate)
app.command("game")(game.game)
app.command("offline")(offline.offline)
app.command("calibrate")(calibrate.calibrate)
app.command("bench")(bench.bench)
app.command("frontier")(frontier.frontier)
app.command("sweep")(sweep.sweep)
app.command("vpo-bandit")(vpo_bandit.vpo_bandit)
app.command("vpo", **vpo.HANDED_ON)(vpo.vpo)
app.command("vpo-online", **vpo.HANDED_ON)(vpo.vpo_online)
app.add_typer(rllib.app, name="rllib")
app.command("diffusion-train")(diffusion_train.diffusion_train)
app.command("dpnp")(dpnp.dpnp)
app.command("griffin")(griffin.griffin)
app.add_typer(less.app, name="less")
app.add_typer(concepts.app, name="concepts")
app.add_typer(matte.app, name="matte")
app.add_typer(mim.app, name="mim")
app.command("runs")(lists.runs)
app.command("envs")(lists.environments)
app.command("sets")(lists.sets)


def main() -> None:
    """Run the command line. Errors a user can mend are one line; ``--debug`` shows where they come from."""
    warnings.showwarning = lambda message, *_, **__: options.note(f"warning: {message}")
    try:
        app()
    except RobustRLError as error:
        if "--debug" in sys.argv:
            raise
        options.note(f"error: {error}")
        sys.exit(2 if isinstance(error, USAGE_ERRORS) else 1)
    except Exception as error:
        explained = disk_error(error)  # of a result, a picture or a page: files that are written after the checkpoints
        if explained is None or "--debug" in sys.argv:
            raise
        options.note(f"error: {explained}")
        sys.exit(1)
