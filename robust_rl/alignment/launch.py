"""Starting a training command under ``accelerate launch``, with TRL's spelling of its arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from robust_rl.errors import InvalidArgumentError, MissingDependencyError, RobustRLError, nearest

TELEMETRY = "HF_HUB_DISABLE_TELEMETRY"


def no_telemetry() -> None:
    """Switch off what TRL and the Hub's client report of a run, unless the user has set the variable.

    It must come before they are imported, which read it once.
    """
    os.environ.setdefault(TELEMETRY, "1")


def without(arguments: Sequence[str], unknown: Sequence[str]) -> list[str]:
    """Return the arguments less those that the training's parser left over, which are in the same order.

    >>> without(["--beta", "0.1", "--num_processes", "2"], ["--num_processes", "2"])
    ['--beta', '0.1']
    """
    left, kept = list(unknown), []
    for argument in arguments:
        if left and argument == left[0]:
            left.pop(0)
        else:
            kept.append(argument)
    return kept


def check_known(arguments: Sequence[str], training_flags: Sequence[str], launcher: bool) -> None:
    """Refuse flags that neither the training nor (if ``launcher``) accelerate knows.

    Raises
    ------
    InvalidArgumentError
        A flag is unknown; the message suggests the nearest.
    """
    from accelerate.commands.launch import launch_command_parser

    known = list(training_flags)
    if launcher:
        known += [flag for action in launch_command_parser()._actions for flag in action.option_strings] + ["--accelerate_config"]
    for argument in arguments:
        flag = argument.partition("=")[0]
        if argument.startswith("--") and flag not in known:
            raise InvalidArgumentError(f"there is no option {flag}{nearest(flag, known)}; -h lists them")
        if not argument.startswith("-") and not launcher:
            raise InvalidArgumentError(f"{argument!r} belongs to no option; -h lists them")


def guarded(main: Callable[[], None]) -> None:
    """Run a module's command as ``robust-rl`` would: what a user can mend is one line, with exit code 2 for wrong usage.

    Raises
    ------
    SystemExit
        The command failed.
    """
    try:
        main()
    except RobustRLError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, InvalidArgumentError | MissingDependencyError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def launch(module: str, launch_arguments: Sequence[str], training_arguments: Sequence[str]) -> None:
    """Run ``python -m module`` in as many processes as accelerate is told, and wait for them.

    Raises
    ------
    SystemExit
        A process failed.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from trl.cli.accelerate_config import resolve_accelerate_config_argument

    first = resolve_accelerate_config_argument(list(launch_arguments))
    everything = [*first, "--quiet", "--module", module, *training_arguments, "--use_accelerate", "false"]
    launch_command(launch_command_parser().parse_args(everything))
