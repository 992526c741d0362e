import errno
import json
import os
import shutil

import pytest

from robust_rl.errors import CheckpointError, FileFormatError, InvalidArgumentError
from robust_rl.training.checkpoints import (
    clean_checkpoints,
    latest_checkpoint,
    list_checkpoints,
    verify_checkpoint,
    write_checkpoint,
)
from tests.training.toys import contents


def write(parent, step, text="x", keep=None):
    with write_checkpoint(parent, step, keep) as directory:
        (directory / "data.bin").write_text(text)
        (directory / "sub").mkdir()
        (directory / "sub" / "more.json").write_text("{}")
    return parent / f"step_{step:06d}"


def test_a_checkpoint_is_listed_verified_and_whole(tmp_path):
    path = write(tmp_path / "checkpoints", 100)
    assert latest_checkpoint(tmp_path / "checkpoints") == path
    assert verify_checkpoint(path) == 100
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["format"] == "robust-rl checkpoint"
    assert manifest["version"] == 1
    assert sorted(manifest["files"]) == ["data.bin", "sub/more.json"]


def test_nothing_is_visible_before_the_block_ends_and_nothing_stays_if_it_raises(tmp_path):
    def fail_after_looking():
        with write_checkpoint(tmp_path, 1) as directory:
            (directory / "data").write_text("x")
            assert list_checkpoints(tmp_path) == []
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_looking()
    assert list(tmp_path.iterdir()) == []


def test_keep_removes_the_oldest(tmp_path):
    for step in (1, 2, 3, 999_999, 1_000_000):
        write(tmp_path, step, keep=3)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step_000003", "step_999999", "step_1000000"]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("step", "keep"), [(-1, None), (1, 0)])
def test_out_of_range_arguments_are_refused(tmp_path, step, keep):
    with pytest.raises(InvalidArgumentError), write_checkpoint(tmp_path, step, keep):
        pass


def test_writing_a_step_again_replaces_it(tmp_path):
    write(tmp_path, 5, "old")
    write(tmp_path, 5, "new")
    assert (latest_checkpoint(tmp_path) / "data.bin").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["data.bin", "sub/more.json", "manifest.json"])
def test_a_flipped_byte_falls_back_to_the_newest_intact_one(tmp_path, name):
    write(tmp_path, 1)
    write(tmp_path, 2)
    path = write(tmp_path, 3) / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=name):
        assert latest_checkpoint(tmp_path).name == "step_000002"


def test_a_missing_file_is_named(tmp_path):
    path = write(tmp_path, 1)
    (path / "data.bin").unlink()
    with pytest.raises(FileFormatError, match="data.bin is missing"):
        verify_checkpoint(path)


def test_if_all_are_corrupt_the_user_decides(tmp_path):
    for step in (1, 2):
        (write(tmp_path, step) / "data.bin").write_text("rot")
    with pytest.warns(UserWarning, match="data.bin"), pytest.raises(FileFormatError, match="all checkpoints"):
        latest_checkpoint(tmp_path)


def test_no_checkpoint_is_none(tmp_path):
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_a_newer_version_is_refused_not_skipped(tmp_path):
    write(tmp_path, 1)
    manifest = write(tmp_path, 2) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(FileFormatError, match="upgrade"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [
        "[]",
        "{}",
        '{"format": "robust-rl checkpoint", "version": "1"}',
        '{"format": "robust-rl checkpoint", "version": 1}',
    ],
)
def test_a_foreign_manifest_is_refused(tmp_path, manifest):
    path = write(tmp_path, 1)
    (path / "manifest.json").write_text(manifest)
    with pytest.raises(FileFormatError, match="manifest.json"):
        verify_checkpoint(path)


def test_foreign_entries_are_no_checkpoints(tmp_path):
    for name in ("step_12", "best", ".step_000001.tmp", "step_000001.bak"):
        (tmp_path / name).mkdir()
    (tmp_path / "step_000007").write_text("a file")
    assert list_checkpoints(tmp_path) == []


def test_the_manifest_is_the_checkpoints_own(tmp_path):
    with pytest.raises(InvalidArgumentError, match="manifest.json"), write_checkpoint(tmp_path, 1) as directory:
        (directory / "manifest.json").write_text("{}")


def test_leftovers_of_a_kill_are_cleaned_and_a_half_replaced_checkpoint_comes_back(tmp_path):
    first, second = write(tmp_path, 1), write(tmp_path, 2)
    shutil.copytree(first, tmp_path / ".step_000003.tmp")
    shutil.copytree(first, tmp_path / ".step_000001.old")  # killed after the second rename
    second.rename(tmp_path / ".step_000002.old")  # killed between the renames
    clean_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000001", "step_000002"]
    assert latest_checkpoint(tmp_path) == second


@pytest.mark.parametrize("name", ["fsync", "mkdir", "rename", "replace"])
def test_a_full_disk_at_any_operation_leaves_the_earlier_checkpoint_and_no_litter(tmp_path, monkeypatch, name):
    before = contents(write(tmp_path, 1))
    errors = []
    for call in range(12):
        with monkeypatch.context() as patch:
            fail_at(patch, os, name, call)
            try:
                write(tmp_path, 2, keep=5)
            except CheckpointError as error:
                errors.append(error)
        assert contents(tmp_path / "step_000001") == before
        assert not list(tmp_path.glob(".*.tmp"))
        shutil.rmtree(tmp_path / "step_000002", ignore_errors=True)
    assert errors
    assert {error.errno for error in errors} == {errno.ENOSPC}
    assert all("step_000002: No space left on device; earlier checkpoints survive" in str(error) for error in errors)


def fail_at(patch, module, name, call):
    """Make one use of a function fail as on a full disk."""
    real, count = getattr(module, name), [0]

    def failing(*arguments, **options):
        count[0] += 1
        if count[0] == call + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **options)

    patch.setattr(module, name, failing)


def test_a_full_disk_reported_by_safetensors_itself_is_understood(tmp_path):
    class SafetensorError(Exception):
        pass

    with pytest.raises(CheckpointError, match="No space left"), write_checkpoint(tmp_path, 1):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(ZeroDivisionError), write_checkpoint(tmp_path, 1):
        raise ZeroDivisionError
