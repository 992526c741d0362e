"""The core alone, from its wheel, in a fresh environment: other Pythons, other Gymnasiums. Run with ``pytest -m slow``."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_packaging import HEAVY, ROOT

TOOLS = ["pytest", "pytest-timeout", "pytest-xdist", "hypothesis"]
COMBINATIONS = [("3.11", "gymnasium==1.2.2"), ("3.11", "gymnasium<2"), ("3.12", "gymnasium==1.2.2"), ("3.13", "gymnasium<2")]


def interpreter(version):
    """Return a Python of this version, from the path or from pyenv; skip where there is none."""
    if sys.version.startswith(version):
        return sys.executable
    found = shutil.which(f"python{version}") or next(
        map(str, sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)), None
    )
    return found or pytest.skip(f"no Python {version} here")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("version", "gymnasium"), COMBINATIONS)
def test_core_passes_its_tests_without_optional_parts_and_without_the_checkout(version, gymnasium, tmp_path):
    """Whatever needs an optional part skips; nothing may fail, and no optional part may have come along."""
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("gymnasium")]
    (tmp_path / "constraints.txt").write_text("\n".join(pins))
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([interpreter(version), "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "-c", str(tmp_path / "constraints.txt")]
    subprocess.run([*install, str(wheel), gymnasium, *TOOLS], check=True)
    absent = [name for name in HEAVY if name not in ("typer", "tensorboardX")]
    code = f"import importlib.util as u; print([n for n in {absent} if u.find_spec(n)])"
    assert subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "tests", elsewhere / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", elsewhere)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    command = [python, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "tests"]
    result = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:]
