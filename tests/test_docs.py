"""The documentation: its Python blocks run, the site builds without a warning, and its pages ask no other host for anything."""

import ast
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.test_packaging import ROOT

DOCS = ROOT / "docs"
if not DOCS.exists():
    pytest.skip("not a source checkout", allow_module_level=True)
API = sorted((DOCS / "api").glob("*.md"))
BLOCK = re.compile(r"^(?P<skip><!-- not run: .+ -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = {
    "how_to/own_set": "cvxpy",
    "papers/concepts": "networkx",
    "papers/dpnp": "transformers",
    "papers/griffin": "transformers",
    "papers/less": "transformers",
    "papers/matte": "zuko",
    "papers/mim": "transformers",
}
"""Page -> module of an optional part that it needs. Those that need the same share a process, which imports it once."""
RUN = "import json, sys\nfor page, code in json.load(sys.stdin): exec(compile(code, page, 'exec'), {'__name__': page})"
CONSTANTS = {"COMPOSED", "JSON", "KINDS", "RECIPES", "SETS", "SUFFIXES"}
"""Public names without a docstring, which the reference leaves out."""


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


def processes() -> list[list[Path]]:
    """Return the pages that have something to run, by the process that runs them."""
    pages = [page for page in sorted(DOCS.rglob("*.md")) if program(page).strip()]
    shared = {need: [page for page in pages if NEEDS.get(name(page)) == need] for need in sorted({*NEEDS.values()})}
    return [*([page] for page in pages if name(page) not in NEEDS), *shared.values()]


@pytest.mark.parametrize("pages", processes(), ids=lambda pages: "+".join(map(name, pages)))
def test_blocks_of_pages_run(pages, tmp_path):
    if name(pages[0]) in NEEDS:
        pytest.importorskip(NEEDS[name(pages[0])])
    command, programs = [sys.executable, "-c", RUN], json.dumps([(str(page), program(page)) for page in pages])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, input=programs, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
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


def packages() -> list[str]:
    """Return the packages that the reference takes up whole, and the main one, whose names come from these."""
    named = re.findall(r"^::: ([\w.]+)$", "\n".join(page.read_text(encoding="utf-8") for page in API), re.MULTILINE)
    return ["robust_rl", *(package for package in named if home(package).exists())]


def home(package: str) -> Path:
    return ROOT / package.replace(".", "/") / "__init__.py"


def public(package: str) -> set[str]:
    """Return what a package lists as public, read without importing it."""
    tree = ast.parse(home(package).read_text(encoding="utf-8"))
    listed = next(node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    return set(ast.literal_eval(listed))


@pytest.mark.parametrize("package", packages())
def test_reference_holds_every_public_name(site, package):
    text = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    paths = [path.split(".") for path in re.findall(r'id="(robust_rl\.[\w.]+)"', text)]
    entries = {path[-1] for path in paths} | {path[-2] for path in paths}  # a module is there by what it defines
    assert public(package) - CONSTANTS <= entries


def test_every_example_is_in_the_gallery(site):
    text = (site / "gallery.html").read_text(encoding="utf-8")
    assert all(f"examples/{example.name}" in text for example in (ROOT / "examples").glob("*.py"))


def test_every_papers_row_leads_to_its_page_code_tests_and_measurement():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", readme)
    assert [target for target in targets if not (ROOT / target).exists()] == []
    pages = re.findall(r"arXiv:(\d{4}\.\d{5})", (ROOT / "docs/papers/index.md").read_text(encoding="utf-8"))
    assert len(pages) == 10
    for paper in pages:
        (row,) = re.findall(rf"^\| {paper} \|.*$", readme, re.MULTILINE)
        kinds = [column.count("](") for column in row.strip("| ").split(" | ")]
        assert len(kinds) == 6, row
        assert all(kinds[1:]), row
        for folder in ("docs/papers/", "robust_rl/", "tests/", "benchmarks/", "examples/"):
            assert f"]({folder}" in row, f"{paper} has no link into {folder}"
        assert paper in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
