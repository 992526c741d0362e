"""Docstrings as mkdocstrings wants them: what reStructuredText writes and Markdown doesn't know is shown as it stands."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

TABLE = re.compile(r"^ *={2,}(?: +={2,})+\n(?:.*\S.*(?:\n|\Z))+", re.MULTILINE)
"""A paragraph that begins with a rule of two columns or more."""


class Rst(Extension):
    """Makes tables blocks of code, by an indentation, and drops the second colon before a block."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Change one docstring."""
        if obj.docstring is not None:
            text = TABLE.sub(lambda table: re.sub("^", "    ", table[0], flags=re.MULTILINE), obj.docstring.value)
            obj.docstring.value = re.sub(r"^ *::$|:(?=:$)", "", text, flags=re.MULTILINE)
