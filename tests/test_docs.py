"""The documentation: its Python blocks run, the site builds without a warning, and its pages ask no other host for anything."""

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.test_packaging import ROOT

DOCS = ROOT / "docs"
BLOCK = re.compile(r"^(?P<skip><!-- not run: .+ -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = {
    "papers/dpnp": "torch",
    "papers/griffin": "transformers",
    "papers/less": "transformers",
    "how_to/own_set": "cvxpy",
}
"""Page -> module of an optional part that its blocks need."""
RUN = "import sys; exec(compile(sys.stdin.read(), sys.argv[1], 'exec'))"
PACKAGES = [
    "robust_rl",
    *(
        f"robust_rl.{part}"
        for part in ("models", "uncertainty", "solvers", "equilibria", "formats", "envs", "envs.domains", "calibration")
    ),
    *(f"robust_rl.{part}" for part in ("training", "alignment", "rllib")),
    *(f"robust_rl.extras.{part}" for part in ("accelerated_diffusion", "denoiser", "dpnp", "griffin", "less")),
]

WITHOUT_ENTRY = {"datasets", "envs", "features", "games", "COMPOSED", "JSON", "KINDS", "RECIPES", "SETS", "SUFFIXES"}
"""Public modules, and constants without a docstring."""


def program(page: Path) -> str:
    """Return the page's blocks, each at its own lines, so that a traceback names the line of the page."""
    lines = [""] * (page.read_text(encoding="utf-8").count("\n") + 1)
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if not block["skip"]:
            first = block.string.count("\n", 0, block.start("code"))
            code = block["code"].splitlines()
            lines[first : first + len(code)] = code
    return "\n".join(lines)


def name(page: Path) -> str:
    return page.relative_to(DOCS).with_suffix("").as_posix()


@pytest.mark.parametrize("page", [page for page in sorted(DOCS.rglob("*.md")) if program(page).strip()], ids=name)
def test_blocks_of_a_page_run(page, tmp_path):
    if name(page) in NEEDS:
        pytest.importorskip(NEEDS[name(page)])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(page)]
    result = subprocess.run(
        command, input=program(page), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)]
    result = subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return target


class Loads(HTMLParser):
    """Collects the addresses that a browser loads of itself: not those of links that a reader may follow."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        canonical = tag == "link" and attributes.get("rel") == "canonical"
        for key in ("src", "srcset", "data", "poster", *(["href"] if tag == "link" and not canonical else [])):
            if attributes.get(key):
                self.found.add(attributes[key])


def test_pages_load_nothing_from_other_hosts(site):
    pages, loads = list(site.rglob("*.html")), Loads()
    for page in pages:
        loads.feed(page.read_text(encoding="utf-8"))
    assert len(pages) > 30
    assert loads.found
    assert not {address for address in loads.found if re.match(r"(\w+:)?//", address)}
    styles = [
        re.findall(r"(?:url\(|@import )['\"]?((?:\w+:)?//[^'\")]*)", page.read_text(encoding="utf-8"))
        for page in site.rglob("*.css")
    ]
    assert styles
    assert not any(styles)


def public(package: str) -> set[str]:
    """Return what a package lists as public, read without importing it."""
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    listed = next(node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    return set(ast.literal_eval(listed))


@pytest.mark.parametrize("package", PACKAGES)
def test_reference_holds_every_public_name(site, package):
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    anchors = {anchor.rsplit(".", 1)[-1] for anchor in re.findall(r'id="(robust_rl\.[\w.]+)"', text)}
    assert public(package) - WITHOUT_ENTRY <= anchors


def test_every_example_is_in_the_gallery(site):
    text = (site / "gallery.html").read_text(encoding="utf-8")
    assert all(f"examples/{example.name}" in text for example in (ROOT / "examples").glob("*.py"))
