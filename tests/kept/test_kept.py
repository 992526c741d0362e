"""What an earlier version wrote is read as what it was. A new format version adds a folder; none is ever taken away."""

import json

import numpy as np
import pytest

from tests.kept.make import HERE, READERS

KEPT = [
    (version, name, answer)
    for version in sorted(path.parent for path in HERE.glob("v*/answers.json"))
    for name, answer in json.loads((version / "answers.json").read_text()).items()
]


def close(found, expected):
    """Equal, numbers to 1e-6: a policy solved on another machine may round otherwise."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], value) for key, value in expected.items())
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float):
        return bool(np.isclose(found, expected, rtol=1e-6, atol=1e-9))
    return found == expected


@pytest.mark.parametrize(("version", "name", "answer"), KEPT, ids=[f"{version.name}/{name}" for version, name, _ in KEPT])
def test_files_of_earlier_versions_are_read(version, name, answer):
    if "kernels" in name or "VPOBandit" in name:
        pytest.importorskip("torch")
    assert close(READERS[name.split("/")[0]](version / name), answer)


def test_every_file_has_an_answer():
    for version in HERE.glob("v*"):
        answers = json.loads((version / "answers.json").read_text())
        assert answers.keys() == {
            f"{kind.name}/{path.name}" for kind in version.iterdir() if kind.is_dir() for path in kind.iterdir()
        }
        assert {name.split("/")[0] for name in answers} == set(READERS)
