"""The core alone, in a fresh virtual environment, on the oldest and the newest Gymnasium; run with ``pytest -m slow``."""

import os
import subprocess
import sys

import pytest

from tests.test_packaging import HEAVY, ROOT

TOOLS = ["pytest", "pytest-timeout", "pytest-xdist", "hypothesis"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("gymnasium", ["gymnasium==1.2.2", "gymnasium<2"])
def test_core_passes_its_tests_without_optional_parts(gymnasium, tmp_path):
    """Whatever needs an optional part skips; nothing may fail, and no optional part may have come along."""
    python = str(tmp_path / "venv" / "bin" / "python")
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("gymnasium")]
    (tmp_path / "constraints.txt").write_text("\n".join(pins))
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "-c", str(tmp_path / "constraints.txt")]
    subprocess.run([*install, "--upgrade", str(ROOT), gymnasium, *TOOLS], check=True)
    absent = [name for name in HEAVY if name not in ("typer", "tensorboardX")]
    code = f"import importlib.util as u; print([n for n in {absent} if u.find_spec(n)])"
    assert subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    command = [python, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "tests"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:]
