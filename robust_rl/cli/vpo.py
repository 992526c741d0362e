"""``robust-rl vpo`` and ``vpo-online``: their flags are TRL's, and handed on unparsed."""

from __future__ import annotations

import importlib
from typing import Any

import typer

from robust_rl.cli import options
from robust_rl.errors import MissingDependencyError

# -h, too, is for TRL's parser to answer, which knows a few hundred flags
HANDED_ON: dict[str, Any] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    "add_help_option": False,
}


def vpo(context: typer.Context) -> None:
    """Fine-tune a language model on preferences: `trl dpo` with --vpo_alpha. `robust-rl vpo -h` lists TRL's flags."""
    hand_on("robust_rl.alignment.vpo", context.args)


def vpo_online(context: typer.Context) -> None:
    """Let a language model learn from a judge, in rounds. `robust-rl vpo-online -h` lists its flags and TRL's."""
    hand_on("robust_rl.alignment.vpo_online", context.args)


def hand_on(module: str, arguments: list[str]) -> None:
    """Call a module's ``main``; without the packages it needs, say how to install them and exit as for wrong usage."""
    try:
        importlib.import_module(module).main([argument for argument in arguments if argument != "--debug"])
    except MissingDependencyError as error:
        options.note(f"error: {error}")
        raise typer.Exit(2) from error
