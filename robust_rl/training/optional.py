"""Packages that only some parts need, imported where they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from robust_rl.errors import MissingDependencyError


def require(module: str, install: str) -> Any:
    """Import and return ``module``.

    Parameters
    ----------
    module
        Its import name.
    install
        What to hand to pip: ``"robust-rl[report]"``.

    Raises
    ------
    MissingDependencyError
        It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(f'{module} is needed for this; install it with: pip install "{install}"') from error
