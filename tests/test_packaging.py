"""What is installed, and what is not loaded."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import robust_rl

ROOT = Path(robust_rl.__file__).parents[1]
HEAVY = ["torch", "cvxpy", "ray", "trl", "matplotlib", "transformers", "pandas", "jinja2", "tensorboardX", "typer", "pyarrow"]


def test_import_loads_nothing_heavy():
    code = f"import sys, robust_rl; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    pytest.importorskip("build")
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not a source checkout")
    target = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT)], check=True, capture_output=True
    )
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return zipfile.ZipFile(wheel).namelist(), tarfile.open(sdist).getnames()


def modules():
    return {str(path.relative_to(ROOT)) for path in (ROOT / "robust_rl").rglob("*.py")} | {"robust_rl/py.typed"}


def test_wheel_holds_the_package_whole_and_nothing_else(archives):
    names = set(archives[0])
    assert modules() <= names
    others = {name for name in names if not name.startswith("robust_rl/")}
    assert all(".dist-info/" in name for name in others), others
    assert not any("__pycache__" in name for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_sdist_can_build_and_test_itself(archives):
    names = {name.split("/", 1)[1] for name in archives[1] if "/" in name}
    needed = {
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "constraints.txt",
        "examples/still_air_to_wind.py",
    }
    assert modules() | needed | {"tests/test_packaging.py"} <= names


def test_links_at_the_root_lead_into_the_package():
    if not (ROOT / "Makefile").exists():
        pytest.skip("not a source checkout")
    for name in ("envs", "alignment", "extras"):
        assert (ROOT / name).is_symlink()
        assert (ROOT / name / "__init__.py").resolve() == ROOT / "robust_rl" / name / "__init__.py"
        assert (ROOT / name / "__init__.py").exists()
