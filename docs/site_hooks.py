"""What ``mkdocs build`` adds to the pages of this folder: a gallery of examples/, and the studies of benchmarks/."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

PICTURES = {
    "fewer_network_calls": "fewer-network-calls",
    "fishery_flip": "fishery-flip",
    "soccer_under_slip": "soccer-under-slip",
    "still_air_to_wind": "CliffWalking-v1-policies",
    "vpo_sentiment": "vpo-sentiment",
}
"""Example -> its picture in docs/images, where there is one."""
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):<code>(~?)([\w.]+)</code>")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside of docs/."""
    root = Path(config.config_file_path).parent
    files.append(File.generated(config, "gallery.md", content=gallery(root / "examples")))
    studies = sorted((root / "benchmarks").glob("*.md"))
    files.append(File.generated(config, "benchmarks/index.md", content=contents(studies)))
    for study in studies:
        text = study.read_text(encoding="utf-8").replace("](../docs/", "](../")
        files.append(File.generated(config, f"benchmarks/{study.name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to benchmarks/, which lies beside docs/ in the repository, to where it lies on the site: one folder deeper."""
    markdown = re.sub(r"\]\(\.\./((?:\.\./)*benchmarks/)", r"](\1", markdown)
    return re.sub(r"(\]\([./]*benchmarks/)\)", r"\1index.md)", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Make links of the roles in docstrings, as ``:func:`robust_rl.solve```."""
    return ROLE.sub(link, html)


def link(role: re.Match[str]) -> str:
    """Return a reference that autorefs resolves if the site has its target."""
    target = role[2]
    text = target.rsplit(".", 1)[-1] if role[1] else target
    return f'<autoref identifier="{target}" optional><code>{text}</code></autoref>'


def gallery(folder: Path) -> str:
    """Return a page with each example's docstring, which holds its command, its picture and its source."""
    parts = [
        "# Gallery",
        "One file a claim. Each runs in seconds to two minutes on a laptop, unless it says otherwise.",
        *map(entry, sorted(folder.glob("*.py"))),
    ]
    return "\n\n".join(parts)


def entry(example: Path) -> str:
    """Return one example's part of the gallery."""
    source = example.read_text(encoding="utf-8")
    title, _, text = (ast.get_docstring(ast.parse(source)) or example.stem).partition("\n")
    picture = f"![{example.stem}](images/{PICTURES[example.stem]}.png)\n\n" if example.stem in PICTURES else ""
    code = "\n".join(f"    {line}" for line in ["```python", *source.splitlines(), "```"])
    return f'## {title.strip().rstrip(".")}\n{text}\n\n{picture}??? example "examples/{example.name}"\n\n{code}'


def contents(studies: list[Path]) -> str:
    """Return the list of the studies by their titles."""
    titles = [study.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for study in studies]
    lines = [f"- [{title}]({study.name})" for title, study in zip(titles, studies, strict=True)]
    return "\n".join(
        ["# Measurements", "", "Each page names its command and its machine; the programs lie in `benchmarks/`.", "", *lines]
    )
