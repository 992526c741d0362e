"""Every example runs as its first lines say. A new one joins by being there."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_packaging import ROOT

LONG = ("vpo_sentiment",)  # an hour, with a language model
NEEDS = {
    "an_actor_dies": "ray",
    "lake_by_network": "ray.rllib",
    "robust_dqn_on_a_chain": "ray.rllib",
    "what_style_leaves_alone": "zuko",
}
"""Example -> module of an optional part that it needs."""
EXAMPLES = [path for path in sorted((ROOT / "examples").glob("*.py")) if path.stem not in LONG]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path):
    pytest.importorskip("matplotlib")
    if example.stem in NEEDS:
        pytest.importorskip(NEEDS[example.stem])
    result = subprocess.run([sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.glob("runs/*/result/report.html"))
