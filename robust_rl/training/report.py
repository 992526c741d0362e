"""Self-contained HTML pages from titles, text, figures and tables.

A page asks the network for nothing: styles are in it, pictures are data. Everything that is text is escaped.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_rl.errors import InvalidArgumentError
from robust_rl.training.files import atomic_write
from robust_rl.training.optional import require

_EXTRA = "robust-rl[report]"
_NUMBER = re.compile(r"[\s<>≤≥≈~]*[-+−]?(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?[\s%×]*", re.IGNORECASE)
_INTERVAL_MARKS = re.compile(r"[\[\](),;±/]|\.\.\.|\.\.|…|–|\bto\b")


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes
    ----------
    image
        A matplotlib Figure, embedded as SVG, or the bytes of a PNG, JPEG, GIF or SVG file.
    caption
        Text below it.
    alt
        What a reader who can't see it should know; the caption if empty.
    """

    image: Any
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Link:
    """A table's cell that leads elsewhere: its text, and an address, relative to the page or whole."""

    text: str
    address: str


@dataclass(frozen=True)
class Table:
    """A table. Floats are printed with ``%.6g``; cells that read as numbers are right-aligned, text is left-aligned.

    Attributes
    ----------
    columns
        Their headings.
    rows
        One sequence a row, as long as ``columns``; strings, numbers, :class:`Link`, or None for an empty cell.
    caption
        Text above it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, text below it (an empty line separates paragraphs), then figures, tables and more text in order."""

    heading: str
    text: str = ""
    items: Sequence[Figure | Table | str] = ()


def write_report(path: str | os.PathLike[str], title: str, sections: Sequence[Section], subtitle: str = "") -> Path:
    """Write an HTML page, atomically, and return its path.

    Parameters
    ----------
    path
        File to write; its directory is made if need be.
    title, subtitle
        Head of the page.
    sections
        Its body.

    Raises
    ------
    MissingDependencyError
        jinja2, or matplotlib for its figures, is not installed.
    InvalidArgumentError
        A row is longer or shorter than the columns, or a picture is of an unknown kind.
    OSError
        The file cannot be written.
    """
    page = render_report(title, sections, subtitle)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, page.encode())
    return target


def render_report(title: str, sections: Sequence[Section], subtitle: str = "") -> str:
    """Return the page that :func:`write_report` writes; raises as it does, except OSError."""
    jinja2 = require("jinja2", _EXTRA)
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_PAGE)
    body = [
        {"heading": section.heading, "items": [_view(item) for item in (section.text, *section.items)]} for section in sections
    ]
    return str(template.render(title=title, subtitle=subtitle, sections=body, style=_STYLE))


def _view(item: Figure | Table | str) -> dict[str, Any]:
    """Return what the template needs to know about an item."""
    if isinstance(item, str):
        return {"kind": "text", "paragraphs": [part for part in re.split(r"\n\s*\n", item) if part.strip()]}
    if isinstance(item, Table):
        return {"kind": "table", "caption": item.caption} | _table(item)
    if isinstance(item, Figure):
        alt = item.alt or item.caption
        return {"kind": "figure", "caption": item.caption, "alt": alt, "source": _data_uri(item.image)}
    raise InvalidArgumentError(f"a section holds Figure, Table or text, not {type(item).__name__}")


def _table(table: Table) -> dict[str, Any]:
    for number, row in enumerate(table.rows):
        if len(row) != len(table.columns):
            raise InvalidArgumentError(f"row {number} has {len(row)} cells for {len(table.columns)} columns")
    rows = [[(_text(cell), _is_number(cell), getattr(cell, "address", None)) for cell in row] for row in table.rows]
    # A heading stands over its numbers.
    numeric = [
        any(row[j][1] for row in rows) and all(row[j][1] or not row[j][0] for row in rows) for j in range(len(table.columns))
    ]
    return {"columns": list(zip(map(str, table.columns), numeric, strict=True)), "rows": rows}


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, Link):
        return cell.text
    value = cell.item() if hasattr(cell, "item") and getattr(cell, "size", 1) == 1 else cell
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_number(cell: Any) -> bool:
    """Whether a cell reads as one number or several: ``-1.5e-3``, ``95%``, ``1.2 ± 0.1``, ``[0.1, 0.2]``."""
    text = _text(cell).strip()
    if text.lower() in ("nan", "inf", "-inf", "∞", "-∞"):
        return True
    parts = [part for part in _INTERVAL_MARKS.split(text) if part.strip()]
    return bool(parts) and all(_NUMBER.fullmatch(part) for part in parts)


def _data_uri(image: Any) -> str:
    content = image if isinstance(image, bytes) else _svg(image)
    return f"data:{_media_type(content)};base64,{base64.b64encode(content).decode()}"


def _svg(figure: Any) -> bytes:
    matplotlib = require("matplotlib", _EXTRA)
    if not hasattr(figure, "savefig"):
        raise InvalidArgumentError(f"a Figure holds a matplotlib figure or bytes, not {type(figure).__name__}")
    buffer = io.BytesIO()
    # Without the salt and the date the same figure gives the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "robust-rl"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()


def _media_type(content: bytes) -> str:
    signatures = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
    for signature, media_type in signatures.items():
        if content.startswith(signature):
            return media_type
    if b"<svg" in content[:4096]:
        return "image/svg+xml"
    raise InvalidArgumentError("a picture given as bytes must be PNG, JPEG, GIF or SVG")


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #5d6878; --paper: #fbfbfa; --card: #ffffff;
  --line: #dfe3e8; --accent: #2b5fb3; --stripe: #f3f5f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --faint: #9aa5b4; --paper: #14181e; --card: #1c222b;
  --line: #333c48; --accent: #8db4f5; --stripe: #222a35; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header { border-bottom: 1px solid var(--line); margin-bottom: 2rem; padding-bottom: 1rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; text-wrap: balance; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; color: var(--accent); }
a { color: var(--accent); }
td a { white-space: nowrap; }
p { max-width: 44rem; margin: .6rem 0; white-space: pre-line; }
.subtitle { color: var(--faint); margin: .4rem 0 0; }
figure { margin: 1.25rem 0; }
figure .scroll { margin: 0; }
/* on a telephone a picture keeps letters that can be read, and is pushed aside to see the rest */
figure img { display: block; max-width: max(100%, 34rem); height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 8px; padding: .75rem; }
figcaption, caption { color: var(--faint); font-size: .9rem; text-align: left; padding: .4rem 0; }
.scroll { overflow-x: auto; margin: 1.25rem 0; }
table { border-collapse: collapse; background: var(--card); font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .35rem .9rem; text-align: left; border-bottom: 1px solid var(--line); }
th { border-bottom-width: 2px; font-weight: 600; }
tbody tr:nth-child(even) { background: var(--stripe); }
.number { text-align: right; white-space: nowrap; }
@media print { body { background: #fff; color: #000; } figure, table { break-inside: avoid; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style|safe }}</style>
</head>
<body>
<main>
<header>
<h1>{{ title }}</h1>
{% if subtitle %}
<p class="subtitle">{{ subtitle }}</p>
{% endif %}
</header>
{% for section in sections %}
<section>
<h2>{{ section.heading }}</h2>
{% for item in section["items"] %}
{% if item.kind == "text" %}
{% for paragraph in item.paragraphs %}
<p>{{ paragraph }}</p>
{% endfor %}
{% elif item.kind == "figure" %}
<figure>
<div class="scroll"><img src="{{ item.source }}" alt="{{ item.alt }}"></div>
{% if item.caption %}
<figcaption>{{ item.caption }}</figcaption>
{% endif %}
</figure>
{% else %}
<div class="scroll">
<table>
{% if item.caption %}
<caption>{{ item.caption }}</caption>
{% endif %}
<thead>
<tr>
{% for column, numeric in item.columns %}
<th scope="col"{% if numeric %} class="number"{% endif %}>{{ column }}</th>
{% endfor %}
</tr>
</thead>
<tbody>
{% for row in item.rows %}
<tr>
{% for text, numeric, address in row %}
<td{% if numeric %} class="number"{% endif %}>
{%- if address %}<a href="{{ address }}">{{ text }}</a>{% else %}{{ text }}{% endif -%}
</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}
{% endfor %}
</section>
{% endfor %}
</main>
</body>
</html>
"""
