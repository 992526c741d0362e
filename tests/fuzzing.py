"""Hostile files: mutations of valid ones, and what a reader may do with them. ``benchmarks/fuzz.py`` runs many, the tests a few.

A reader is a function of a path. Its case has valid files to start from, and the mutations that know their structure. It may
return an object or raise a RobustRLError; every other exception is an escape, and so is a file that a planted pickle makes.
"""

import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import struct
import tarfile
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from robust_rl.errors import RobustRLError

WORDS = [b"nan", b"-nan", b"inf", b"-1", b"0", b"1e309", b"1e-320", b"99999999999999999999", b"2147483648", b"4294967295",
         b"-9223372036854775809", b"9007199254740993", b"", b"\x00", b"\xff\xfe", b"\xc3\xa9", b'"', b",", b":", b"\n", b"\r",
         b"[",
         b"]", b"{", b"}", b"None", b"true", b"0x10", b"1_000", b"../../etc/passwd", b"\xef\xbb\xbf", b"1e400000000"]  # fmt: skip
DEEP = 100_000


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return (os.mkdir, (self.mark,))


@dataclass(eq=False)
class Case:
    """A reader, its valid files (made by ``make(folder)``, which returns their paths), and its mutations."""

    name: str
    make: Callable
    read: Callable
    mutations: tuple = ()
    seeds: list = field(default_factory=list)


# --------------------------------------------------------------------------------------------------------------- bytes and text


def mutate_bytes(rng, content, others=()):
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(8)
        if kind == 0 and content:
            content[at % len(content)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[at:]
        elif kind == 2:
            content[at:at] = rng.randbytes(rng.choice((1, 2, 8, 100)))
        elif kind == 3:
            del content[at : at + rng.choice((1, 4, 64))]
        elif kind == 4:
            content[at : at + 8] = rng.choice((b"\xff" * 8, b"\x00" * 8, struct.pack("<q", 2**62), struct.pack("<q", -1)))
        elif kind == 5 and others:
            other = rng.choice(others)
            content[at:] = other[rng.randrange(len(other) + 1) :]
        elif kind == 6:
            content[at:at] = content[at : at + rng.choice((4, 64, 1000))]
        else:
            content[at : at + 4] = struct.pack("<I", rng.getrandbits(32))
    return bytes(content)


def mutate_ends(rng, content, others=()):
    """Change the first or last kilobytes, where formats of pictures and models keep what the rest means."""
    cut = min(len(content), 2000)
    if rng.random() < 0.7:
        return mutate_bytes(rng, content[:cut]) + content[cut:]
    return content[:-cut] + mutate_bytes(rng, content[-cut:])


def mutate_text(rng, content, others=()):
    """Replace, drop, double and swap tokens and lines."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        by_line = rng.random() < 0.3
        pieces = content.splitlines(keepends=True) if by_line else tokens(content)
        if not pieces:
            return rng.choice(WORDS)
        i, j = rng.randrange(len(pieces)), rng.randrange(len(pieces))
        kind = rng.randrange(5)
        if kind == 0:
            pieces[i] = rng.choice(WORDS) + (b"\n" if by_line else b"")
        elif kind == 1:
            del pieces[i]
        elif kind == 2:
            pieces.insert(j, pieces[i])
        elif kind == 3:
            pieces[i], pieces[j] = pieces[j], pieces[i]
        else:
            pieces[i] = pieces[i] * rng.choice((2, 50))
        content = b"".join(pieces)
    return content


def tokens(content):
    import re

    return re.findall(rb"[\w.+-]+|\s+|[^\w\s]", content)


# ------------------------------------------------------------------------------------------------------------------------- JSON


def mutate_value(rng, value):
    """Return JSON with one or more of its leaves, keys or branches changed."""
    places = []

    def walk(node):
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, entry in items:
            places.append((node, key))
            walk(entry)

    walk(value)
    if not places or rng.random() < 0.03:
        return strange(rng)
    for _ in range(rng.choice((1, 1, 2, 5))):
        node, key = rng.choice(places)
        try:
            if rng.random() < 0.2:
                del node[key]
            elif isinstance(node, dict) and rng.random() < 0.1:
                node[rng.choice(("", "x", "__class__", "\u0000", "é"))] = node.pop(key)
            else:
                node[key] = strange(rng, node[key])
        except (KeyError, IndexError):
            continue
    return value


def strange(rng, like=None):
    choices = [None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 1e308, -0.5, "", "x", "nan", "1", [], [None], {}, {"a": 1},
               [[1, 2], [3]], "\ud800", "../x", "\x00", float("nan"), float("inf")]  # fmt: skip
    if isinstance(like, int | float) and not isinstance(like, bool):
        choices += [-like, like + 1, like * 2, str(like), [like], like * 1000]
    if isinstance(like, list):
        choices += [like[:1], like + like, like[::-1], like[0] if like else 0]
    if isinstance(like, str):
        choices += [like + "x", like[:-1], like.upper(), [like]]
    return rng.choice(choices)


def mutate_json(rng, content, others=()):
    if rng.random() < 0.02:
        return rng.choice((b"[", b'{"a":')) * DEEP
    return json.dumps(mutate_value(rng, json.loads(content))).encode()


def mutate_jsonl(rng, content, others=()):
    lines = content.splitlines()
    i = rng.randrange(len(lines))
    lines[i] = mutate_json(rng, lines[i])
    return b"\n".join(lines) + b"\n"


# ----------------------------------------------------------------------------------------------------------------------- arrays


def mutate_array(rng, array, mark):
    """Return an array with another dtype, shape or content."""
    kind = rng.randrange(16)
    flat = np.array(array, copy=True)
    with np.errstate(all="ignore"):
        if kind == 0:
            return flat.astype(rng.choice(("f4", "f8", "i1", "i8", "u8", "b", "c16", "f2", ">f8", "S5", "U3")), copy=False)
        if kind == 1:
            return flat.ravel()
        if kind == 2:
            return flat[None]
        if kind == 3 and flat.ndim:
            return flat[:-1]
        if kind == 4 and flat.ndim:
            return np.concatenate([flat, flat])
        if kind == 5:
            return flat[..., :0] if flat.ndim else flat.reshape(1)[:0]
        if kind == 6:
            return np.array(rng.choice((0, -1, 1.5, float("nan"), 2**40)))
        if kind in (7, 8) and flat.size:
            value = rng.choice((float("nan"), float("inf"), -1, 0, 2, 1e308, 2**31, 2**62, -(2**31), 0.5))
            target = flat.reshape(-1)
            try:
                target[rng.randrange(flat.size)] = value
            except (ValueError, OverflowError):
                target[:] = -1 if flat.dtype.kind in "if" else 1
            return flat
        if kind == 9 and flat.dtype.kind in "if":
            return -flat
        if kind == 10 and flat.ndim > 1:
            return flat.swapaxes(0, -1)
        if kind == 11:
            return np.full(flat.shape, rng.choice((0, 1, -1, float("nan"))))
        if kind == 12 and mark is not None:
            return np.array([Planted(mark)], dtype=object)
        if kind == 13:
            return np.zeros(flat.shape, dtype=[("a", "f8"), ("b", "i4")])
        if kind == 14:
            return np.array(["x"] * max(1, len(flat) if flat.ndim else 1))
        return flat.astype("M8[s]") if flat.dtype.kind in "iu" else flat.astype("f8") * 1000
    return flat


def npy(array):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), allow_pickle=True)
    return out.getvalue()


def lying_npy(rng, dtype="<f8"):
    """A header that promises far more than comes."""
    shape = rng.choice(((2**40,), (2**31, 2**31), (10**9,), (-1,), (2**62, 4), (1,) * 40, (0, 2**63)))
    header = repr({"descr": rng.choice((dtype, "|O", "<U1000000000", "x")), "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\x00" * 64


def mutate_npz(rng, content, others=(), mark=None):
    """Change an archive's arrays, or the archive itself."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        members = {name: npy(file[name]) for name in file.files}
        arrays = {name: file[name] for name in file.files}
    for _ in range(rng.choice((1, 1, 2))):
        name, kind = rng.choice(list(members)), rng.randrange(12)
        if kind < 7:
            members[name] = npy(mutate_array(rng, arrays.get(name, np.zeros(2)), mark))
        elif kind == 7 and len(members) > 1:
            del members[name]
        elif kind == 8:
            members[rng.choice(("x", "../evil", "a/b", name + ".npy", ""))] = members[name]
        elif kind == 9:
            members[name] = lying_npy(rng)
        elif kind == 10:
            members[name] = mutate_bytes(rng, members[name])
        elif kind == 11:
            members[name] = pickle.dumps(Planted(mark)) if mark is not None else b""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in members.items():
            archive.writestr(name + ".npy", data)
    return out.getvalue()


def mutate_npy(rng, content, others=(), mark=None):
    if rng.random() < 0.2:
        return lying_npy(rng)
    return npy(mutate_array(rng, np.load(io.BytesIO(content)), mark))


def mutate_tar(rng, content, others=()):
    """Change names, contents or headers inside a compressed archive."""
    import gzip

    plain = bytearray(gzip.decompress(content))
    kind = rng.randrange(4)
    if kind == 0:  # a header of 512 bytes stands before every file
        return gzip.compress(mutate_bytes(rng, bytes(plain[:512])) + bytes(plain[512:]))
    if kind == 1:
        return gzip.compress(mutate_bytes(rng, bytes(plain)))
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive, tarfile.open(fileobj=out, mode="w:gz") as other:
        for member in archive.getmembers():
            data = archive.extractfile(member).read()
            if kind == 2:
                data = mutate_tar(rng, data) if member.name.endswith(".gz") else mutate_text(rng, data)
            else:
                member.type = rng.choice((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE))
                member.linkname = rng.choice(("/etc/passwd", member.name, "../x"))
            member.size = len(data)
            other.addfile(member, io.BytesIO(data))
    return out.getvalue()


def mutate_weights(rng, content, others=(), mark=None):
    """Put a pickle where torch's pickled weights are, in the archive that they are kept in or bare."""
    if rng.random() < 0.5:
        return mutate_bytes(rng, content)
    planted = pickle.dumps(Planted(mark), protocol=2)
    if rng.random() < 0.5:
        return planted
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, planted if entry.filename.endswith(".pkl") else old.read(entry))
    return out.getvalue()


def mutate_safetensors(rng, content, others=(), mark=None):
    """Change arrays or metadata of a whole file, or the header as it stands."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    kind = rng.random()
    if kind < 0.45 and "__metadata__" in header:  # our own JSON inside
        for key, text in header["__metadata__"].items():
            try:
                entry = json.loads(text)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("metadata"), dict) and rng.random() < 0.9:
                entry["metadata"] = mutate_value(rng, entry["metadata"])
            else:
                entry = mutate_value(rng, entry)
            if rng.random() < 0.02:
                header["__metadata__"][key] = "[" * DEEP
            else:
                header["__metadata__"][key] = json.dumps(entry)
    elif kind < 0.9:
        return _other_tensors(rng, header, data)
    else:
        header = mutate_value(rng, header)
    text = json.dumps(header).encode()
    if rng.random() < 0.02:
        return struct.pack("<Q", rng.choice((2**63, 2**40, 0, 1, len(text) * 2))) + text + data
    return struct.pack("<Q", len(text)) + text + data


def _other_tensors(rng, header, data):
    from safetensors.numpy import save

    types = {"F64": "f8", "F32": "f4", "I64": "i8", "I32": "i4", "BOOL": "?", "U8": "u1", "I16": "i2", "U32": "u4", "I8": "i1"}
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            arrays[name] = np.frombuffer(data[begin:end], types[entry["dtype"]]).reshape(entry["shape"])
    if not arrays:
        return data
    for _ in range(rng.choice((1, 1, 3))):
        name = rng.choice(list(arrays))
        if rng.random() < 0.1:
            del arrays[name]
        elif rng.random() < 0.05:
            arrays[name + "x"] = arrays[name]
        else:
            array = mutate_array(rng, arrays[name], None)
            if array.dtype.kind in "bifu" and array.dtype.byteorder != ">":
                arrays[name] = np.ascontiguousarray(array)
        if not arrays:
            break
    return save(arrays, header.get("__metadata__"))


# -------------------------------------------------------------------------------------------------------------------------- files


def write_mutant(rng, case, folder, mark):
    """Write one hostile input of a case under ``folder``, and return its path and what was done to it."""
    seed = rng.choice(case.seeds)
    target = folder / seed.name
    if seed.is_dir():
        shutil.copytree(seed, target, symlinks=True)
        files = sorted(path for path in target.rglob("*") if path.is_file())
        changed = rng.choice(files)
    else:
        shutil.copyfile(seed, target)
        for beside in belonging(seed):
            shutil.copyfile(beside, folder / beside.name)
        changed = rng.choice([target, target, *(path for path in folder.iterdir() if path.is_file())])
    content = changed.read_bytes()
    others = [path.read_bytes() for path in case.seeds if path.is_file()]
    kind = rng.random()
    own = [mutation for mutation in case.mutations if applies(mutation, changed)]
    if kind < 0.04:
        done = in_place_of(rng, changed, folder)
    elif kind < 0.07:
        changed.write_bytes(
            rng.choice((b"", rng.randbytes(rng.randrange(1, 2000)), pickle.dumps(Planted(mark)), b"\n", b"\x00" * 999))
        )
        done = "random, empty, or a pickle"
    elif own and kind < 0.7:
        mutation = rng.choice(own)
        try:
            changed.write_bytes(call(mutation, rng, content, others, mark))
            done = mutation.__name__
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, tarfile.TarError):  # can't be written
            changed.write_bytes(mutate_bytes(rng, content, others))
            done = "mutate_bytes"
    else:
        changed.write_bytes(mutate_bytes(rng, content, others))
        done = "mutate_bytes"
    reseal(target, rng)
    return target, f"{done} of {changed.name}"


def belonging(seed):
    """Return the files that a file is read with: those of its name, and the preferences that a configuration names."""
    beside = [path for path in seed.parent.glob(seed.stem + ".*") if path != seed and path.is_file()]
    return [*beside, seed.parent / "pairs.jsonl"] if seed.suffix == ".yaml" else beside


def call(mutation, rng, content, others, mark):
    takes_mark = mutation in (mutate_npz, mutate_npy, mutate_safetensors, mutate_weights)
    return mutation(rng, content, others, mark) if takes_mark else mutation(rng, content, others)


def applies(mutation, path):
    wanted = {
        mutate_npz: (".npz",), mutate_npy: (".npy",), mutate_safetensors: (".safetensors",), mutate_json: (".json",),
        mutate_jsonl: (".jsonl",), mutate_tar: (".gz",), mutate_weights: (".bin",),
        mutate_ends: (".png", ".jpg", ".gif", ".bmp", ".tiff", ".webp", ".ppm", ".gguf", ".parquet", ".hdf5"),
    }.get(mutation)  # fmt: skip
    return (
        path.suffix in wanted
        if wanted
        else path.suffix not in (".npz", ".npy", ".safetensors", ".parquet", ".gz", ".bin", ".hdf5")
    )


def in_place_of(rng, path, folder):
    """Put something that is no plain file in a file's place."""
    path.unlink()
    kind = rng.randrange(6)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        path.symlink_to(path.name)
    elif kind == 2:
        path.symlink_to("nowhere")
    elif kind == 3:
        path.symlink_to("/etc/passwd")
    elif kind == 4:
        path.symlink_to(folder)
    return ("a directory", "a link to itself", "a dangling link", "a link elsewhere", "a link to a folder", "nothing")[kind]


def reseal(target, rng):
    """Make a damaged checkpoint's manifest fit half of the time, as someone would who means harm."""
    import hashlib

    manifests = [target / "manifest.json", *target.glob("checkpoints/step_*/manifest.json")] if target.is_dir() else []
    for manifest in manifests:
        if manifest.is_file() and rng.random() < 0.8:
            try:
                content = json.loads(manifest.read_bytes())
                content["files"] = {
                    name: hashlib.sha256((manifest.parent / name).read_bytes()).hexdigest() for name in content["files"]
                }
                manifest.write_text(json.dumps(content))
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue


def warm(case, path, place):
    """Read a valid file, with what lies beside it, in a place of its own."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    if path.is_dir():
        shutil.copytree(path, place / path.name)
    else:
        for file in (path, *belonging(path)):
            shutil.copyfile(file, place / file.name)
    with contextlib.suppress(RobustRLError) if path.name in ("pickled", "code") else contextlib.nullcontext():
        case.read(place / path.name)


def attempt(case, number, scratch):
    """Try input ``number`` of a case; return what was done to it, the escape or None, and whether it was refused."""
    rng = random.Random(f"{case.name}|{number}")
    folder, mark = scratch / "input", scratch / "mark"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ["FUZZ_MARK"] = str(mark)  # for code that a file brings along
    path, done = write_mutant(rng, case, folder, mark)
    escape, refused = outcome(lambda: case.read(path))
    if mark.exists():
        mark.rmdir()
        escape = "code of the file was executed"
    return done, escape, refused


@contextlib.contextmanager
def one_gigabyte_more():
    """Limit this process to what it has and a gigabyte."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**30, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def outcome(job):
    """Run something, and return what escaped from it, or None, and whether it was refused."""
    try:
        job()
    except RobustRLError:
        return None, True
    except Exception as error:
        return describe(error), False
    except BaseException as error:  # what a parser in Rust panics with; the harness's own limits go on
        if type(error).__name__ != "PanicException":
            raise
        return describe(error), False
    return None, False


def describe(error):
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "robust_rl" in frame.filename and "tests" not in frame.filename]
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {ours[-1].name}" if ours else "?"
    return f"{type(error).__name__}: {str(error)[:150]} [{where}]"
