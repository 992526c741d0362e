"""Every kind of page in a browser, as wide as a telephone and as a desk: nothing broken, nothing cut off, nothing tiny."""

from pathlib import Path

import numpy as np
import pytest

from tests.browser import CHROMIUM, look

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

WIDTHS = (400, 1400)
SET = ("--set", "tv", "--support", "reachable", "--discount", "0.99")


@pytest.fixture
def pages(command, tmp_path):
    game = ("game", "fishery", "--equilibrium", "ce", "--set", "tv", "--support", "free", "--radius", "0.1")
    for arguments in (
        ("solve", "CliffWalking-v1", *SET, "--radius", "0.1", "--out", "runs/solve"),
        ("solve", "CliffWalking-v1", *SET, "--radius", "0.02", "--out", "runs/weaker"),
        ("evaluate", "runs/solve", "--shift", "action_noise=0,0.1"),
        ("frontier", "FrozenLake-v1", *SET, "--radius", "0,0.1", "--out", "runs/frontier"),
        (*game, "--horizon", "5", "--out", "runs/game"),
        ("vpo-bandit", "--mode", "offline", "--pairs", "20", "--out", "runs/bandit"),
        ("runs", "--page", "runs/page/all.html"),
    ):
        code, _, complaint = command(*arguments)
        assert code == 0, complaint
    return sorted(Path(tmp_path).glob("runs/**/*.html"))


def test_pages_are_whole_and_readable_at_any_width(pages, tmp_path):
    assert len(pages) == 6
    measured, complaints, picture = look(pages, WIDTHS, tmp_path)
    assert complaints == []
    assert {page["width"] for page in measured} == set(WIDTHS)
    assert len(measured) == len(pages) * len(WIDTHS)
    for page in measured:
        assert page["pictures"], page["name"]
        assert all(loaded for loaded, _ in page["pictures"]), page["name"]
        assert min(width for _, width in page["pictures"]) > 280, "pictures keep a readable size"
        assert page["content"] <= page["width"], f"{page['name']} scrolls sideways"
        assert page["cut"] == 0, f"{page['name']} is cut off"
        assert page["smallest"] >= 14, f"{page['name']} has letters of {page['smallest']} pixels"
    drawn = np.asarray(pytest.importorskip("PIL.Image").open(picture).convert("L"))
    assert drawn.std() > 10, "the screenshot is all but empty"


def test_the_browser_does_complain(tmp_path):
    """The check can fail: a script's error, a picture that isn't one, a line that can't be broken."""
    page = tmp_path / "runs" / "broken" / "page.html"
    page.parent.mkdir(parents=True)
    body = f"<p>{'x' * 500}</p><p style='font-size:8px'>small</p><img src='data:image/png;base64,AAAA'>"
    page.write_text(f"<!DOCTYPE html><html><body>{body}<script>undefinedFunction()</script></body></html>")
    (measured,), complaints, _ = look([page], (400,), tmp_path)
    assert "undefinedFunction" in complaints[0]
    assert measured["pictures"][0][0] is False
    assert measured["content"] > 400
    assert measured["cut"] == 1
    assert measured["smallest"] == 8
