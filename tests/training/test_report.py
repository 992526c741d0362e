import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from robust_rl.errors import InvalidArgumentError, MissingDependencyError
from robust_rl.training import Figure, RunDirectory, Section, Table, write_report
from robust_rl.training.report import _is_number

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


class Page(HTMLParser):
    """Collects every start tag with its attributes, and the text; complains about unbalanced tags."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def page(tmp_path, *sections, title="T", subtitle=""):
    return Page(write_report(tmp_path / "deep" / "r.html", title, sections, subtitle).read_text())


def figure():
    from matplotlib.figure import Figure as MatplotlibFigure

    drawing = MatplotlibFigure(figsize=(2, 1))
    drawing.subplots().plot([0, 1], [1, 0])
    return drawing


def test_text_is_escaped_everywhere(tmp_path):
    evil = '<script>alert("x")</script>&amp;\'"'
    table = Table([evil], [[evil]], evil)
    read = page(tmp_path, Section(evil, evil, [table, evil, Figure(PNG, evil, evil)]), title=evil, subtitle=evil)
    assert "script" not in [tag for tag, _ in read.tags]
    assert sum(word.strip() == evil for word in read.words) == 10  # title twice, subtitle, heading, 2 texts, table 3, figure
    assert [attributes["alt"] for tag, attributes in read.tags if tag == "img"] == [evil]


def test_the_page_asks_the_network_for_nothing(tmp_path):
    pytest.importorskip("matplotlib")
    path = write_report(tmp_path / "r.html", "T", [Section("S", "text", [Figure(figure(), "a line")])])
    text = path.read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text
    assert "prefers-color-scheme: dark" in text


def test_figures_are_svg_and_the_same_figure_gives_the_same_page(tmp_path):
    pytest.importorskip("matplotlib")
    one = write_report(tmp_path / "1.html", "T", [Section("S", items=[Figure(figure())])]).read_bytes()
    other = write_report(tmp_path / "2.html", "T", [Section("S", items=[Figure(figure())])]).read_bytes()
    assert one == other
    assert b"data:image/svg+xml;base64," in one


@pytest.mark.parametrize(
    ("content", "kind"),
    [(PNG, "png"), (b"\xff\xd8\xff\xe0", "jpeg"), (b"GIF89a", "gif"), (b"<?xml?><svg></svg>", "svg+xml")],
)
def test_bytes_are_embedded_by_their_kind(tmp_path, content, kind):
    read = page(tmp_path, Section("S", items=[Figure(content, "c")]))
    image = next(attributes for tag, attributes in read.tags if tag == "img")
    assert image["src"].startswith(f"data:image/{kind};base64,")
    assert image["alt"] == "c"


def test_numbers_are_formatted_and_right_aligned_with_their_heading(tmp_path):
    rows = [["robust", 1 / 3, 12, "95%"], ["nominal", np.float64(1e-9), np.int64(3), None]]
    read = page(tmp_path, Section("S", items=[Table(["policy", "value", "n", "share"], rows)]))
    cells = [attributes.get("class") for tag, attributes in read.tags if tag == "td"]
    heads = [attributes.get("class") for tag, attributes in read.tags if tag == "th"]
    assert heads == [None, "number", "number", "number"]
    assert cells == [None, "number", "number", "number", None, "number", "number", None]
    assert {"0.333333", "1e-09", "12", "3", "95%"} <= {word.strip() for word in read.words}


@pytest.mark.parametrize("text", ["1", "-1.5e-3", "95 %", "1.2 ± 0.1", "[0.1, 0.2]", "≤ 0.3", "1,000", "inf", "nan", "3/4", ".5"])
def test_reads_as_a_number(text):
    assert _is_number(text)


@pytest.mark.parametrize("text", ["", "2026-01-31", "v1", "e5", "one", "±", "1 of 2", None, True])
def test_reads_as_text(text):
    assert not _is_number(text)


def test_an_empty_line_separates_paragraphs(tmp_path):
    read = page(tmp_path, Section("S", "one\nline\n\ntwo"))
    assert sum(tag == "p" for tag, _ in read.tags) == 2


def test_wrong_items_are_refused_by_name(tmp_path):
    for item, message in (
        (Table(["a", "b"], [[1, 2], [1]]), "row 1 has 1 cells for 2 columns"),
        (Figure(b"what is this"), "PNG"),
        (Figure(3), "int"),
        (17, "int"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            page(tmp_path, Section("S", items=[item]))
    assert not (tmp_path / "deep").exists()


def test_a_run_writes_its_report_into_its_result(tmp_path):
    path = RunDirectory(tmp_path / "r").report("T", [Section("S", "text")])
    assert path == tmp_path / "r" / "result" / "report.html"
    assert "text" in path.read_text()


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, module):
    drawing = figure()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=r'pip install "robust-rl\[report\]"'):
        write_report(tmp_path / "r.html", "T", [Section("S", items=[Figure(drawing)])])
