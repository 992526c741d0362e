import json
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.training import generator_state, load_arrays, restore_generator, save_arrays
from robust_rl.training.arrays import _DTYPES


def same_bits(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (2, 3, 4)])
def test_arrays_come_back_bit_for_bit(tmp_path, dtype, shape):
    bits = np.random.default_rng(0).integers(0, 256, size=(int(np.prod(shape)), np.dtype(dtype).itemsize), dtype=np.uint8)
    array = (bits[:, :1] % 2 == 1).reshape(shape) if dtype == "bool" else bits.reshape(-1).view(dtype).reshape(shape)
    save_arrays(tmp_path / "a.safetensors", {"a": array}, {"n": 1})
    arrays, metadata = load_arrays(tmp_path / "a.safetensors")
    assert same_bits(arrays["a"], array)
    assert metadata == {"n": 1}


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=4, max_side=4)), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_views_are_stored_by_value_not_by_memory(tmp_path_factory, array, random):
    axes = list(range(array.ndim))
    random.shuffle(axes)
    view = array.transpose(axes)[::-1, ...]
    path = tmp_path_factory.mktemp("views") / "a.safetensors"
    save_arrays(path, {"a": view, "slice": np.arange(10)[::3], "big": np.arange(3, dtype=">i4")})
    arrays, _ = load_arrays(path)
    assert same_bits(arrays["a"], np.array(view, order="C"))
    assert arrays["slice"].tolist() == [0, 3, 6, 9]
    assert arrays["big"].tolist() == [0, 1, 2]


def test_loaded_arrays_are_writable_and_metadata_keeps_its_types(tmp_path):
    metadata = {"name": "ü<&>", "list": [1, 2.5, None, True], "nested": {"x": 0.1}}
    save_arrays(tmp_path / "a.safetensors", {"a": np.zeros(3)}, metadata)
    arrays, found = load_arrays(tmp_path / "a.safetensors")
    arrays["a"][0] = 1.0
    assert found == metadata


def test_same_content_gives_the_same_bytes_in_every_process(tmp_path):
    code = (
        "import numpy as np, sys; from robust_rl.training import save_arrays;"
        "save_arrays(sys.argv[1], {'b': np.ones(2), 'a': np.zeros(3, bool)}, {'y': 1, 'x': {'q': 2, 'p': 3}})"
    )
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("bad", [np.array(["text"]), np.array([1 + 2j]), np.array([None]), np.longdouble(1)])
def test_a_dtype_the_file_cannot_hold_is_refused_by_name(tmp_path, bad):
    with pytest.raises(InvalidArgumentError, match="'weights'.*dtype"):
        save_arrays(tmp_path / "a", {"weights": bad})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", [{"x": float("nan")}, {"x": object()}])
def test_metadata_json_cannot_hold_is_refused(tmp_path, bad):
    with pytest.raises(InvalidArgumentError, match="metadata"):
        save_arrays(tmp_path / "a", {}, bad)


def test_every_truncation_is_refused_with_the_files_name(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"a": np.arange(4.0)}, {"x": 1})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match="a.safetensors"):
            load_arrays(path)


def test_damaged_bytes_never_raise_anything_but_the_format_error(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"a": np.arange(4.0)}, {"x": 1})
    whole = bytearray(path.read_bytes())
    for position in range(len(whole)):
        for change in (1, 0x80):
            damaged = bytearray(whole)
            damaged[position] ^= change
            path.write_bytes(damaged)
            # A flipped bit in the data itself is the business of the checkpoint's checksum.
            with suppress(FileFormatError):
                load_arrays(path)


def test_foreign_and_missing_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(2)}, tmp_path / "foreign.safetensors")
    save_file({"a": np.zeros(2)}, tmp_path / "other.safetensors", {"robust_rl": "not json"})
    for name in ("foreign.safetensors", "other.safetensors", "missing.safetensors"):
        with pytest.raises(FileFormatError, match=name):
            load_arrays(tmp_path / name)


def test_format_and_version_are_checked(tmp_path):
    save_arrays(tmp_path / "p", {}, format="robust-rl policy", version=3)
    load_arrays(tmp_path / "p", format="robust-rl policy", version=3)
    load_arrays(tmp_path / "p", format="robust-rl policy", version=4)
    with pytest.raises(FileFormatError, match="upgrade"):
        load_arrays(tmp_path / "p", format="robust-rl policy", version=2)
    with pytest.raises(FileFormatError, match="robust-rl policy"):
        load_arrays(tmp_path / "p")


def test_bfloat16_from_elsewhere_is_refused_not_misread(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    entry = json.dumps({"format": "robust-rl arrays", "version": 1, "metadata": {}})
    save_file({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "a", {"robust_rl": entry})
    with pytest.raises(FileFormatError):
        load_arrays(tmp_path / "a")


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_a_restored_generator_continues_the_stream_and_its_children(kind):
    generator = np.random.Generator(getattr(np.random, kind)(12345))
    generator.spawn(2)
    generator.integers(0, 10, dtype=np.int32)  # leaves half of a 64-bit word behind
    state = json.loads(json.dumps(generator_state(generator), allow_nan=False))
    restored = restore_generator(state)
    assert generator_state(restored) == generator_state(generator)
    assert np.array_equal(generator.normal(size=9), restored.normal(size=9))
    assert np.array_equal(generator.integers(0, 10, 3, np.int32), restored.integers(0, 10, 3, np.int32))
    assert generator.spawn(1)[0].random() == restored.spawn(1)[0].random()


def test_generator_state_holds_no_integer_beyond_64_bits():
    def check(value):
        if isinstance(value, dict):
            [check(entry) for entry in value.values()]
        elif isinstance(value, list):
            [check(entry) for entry in value]
        else:
            assert value is None or isinstance(value, str) or abs(value) < 2**63

    check(generator_state(np.random.default_rng()))


@pytest.mark.parametrize("bad", [{}, {"bit_generator": "os.system"}, {"bit_generator": "PCG64", "seed": None, "state": 3}])
def test_a_state_that_is_none_is_refused(bad):
    with pytest.raises(FileFormatError):
        restore_generator(bad)
