"""Small files that unpack to tens of gigabytes, or to themselves without end. A reader must refuse each before memory goes.

``bombs()`` is name -> (a function that writes the file, the reader).
"""

import functools
import gzip
import io
import shutil
import struct
import zlib

import numpy as np

from tests import fuzz_cases
from tests.fuzzing import outcome

SIZE = 32 * 2**30
BLOCK = 2**24


@functools.cache
def zeros(size):
    """Return ``size`` bytes of zeros as a deflate stream without its end: one block's, again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (size // BLOCK)


def deflated(start, size):
    """Return ``start`` and then zeros, as a whole deflate stream. Its end is the empty block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH) + zeros(size) + b"\x03\x00"


def archive(path, members, *, claimed=None):
    """Write an archive of deflated members, (stream, unpacked size) by name; ``claimed`` is a size to write in place of the true.

    The check sums are 0: whoever comes to compare them has unpacked everything.
    """
    out, directory = io.BytesIO(), io.BytesIO()
    for name, (stream, size) in members.items():
        at, size, label = out.tell(), claimed or size, name.encode()
        extra = struct.pack("<HHQQ", 1, 16, size, len(stream))  # zip64: the sizes
        head = struct.pack("<HHHHHIIIHH", 45, 0, 8, 0, 33, 0, 2**32 - 1, 2**32 - 1, len(label), len(extra))
        out.write(b"PK\x03\x04" + head + label + extra + stream)
        directory.write(b"PK\x01\x02" + struct.pack("<H", 45) + head + struct.pack("<HHHII", 0, 0, 0, 0, at) + label + extra)
    start, listing = out.tell(), directory.getvalue()
    out.write(listing + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(listing), start, 0))
    path.write_bytes(out.getvalue())
    return path


def npz(*names, claimed=None):
    """A model, game or log whose arrays are all zeros, tens of gigabytes of them."""

    def write(folder):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (SIZE // 8,)})
        start = header.getvalue()
        member = (deflated(start, SIZE), SIZE + len(start))
        return archive(folder / "a.npz", {f"{name}.npy": member for name in names}, claimed=claimed)

    return write


def gzipped(name, start=b"", size=SIZE):
    """A stream of gzip."""

    def write(folder):
        path = folder / name
        path.write_bytes(
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + deflated(start, size) + struct.pack("<II", 0, size % 2**32)
        )
        return path

    return write


def tar_header(name, size, kind=b"0"):
    head = bytearray(512)
    head[:100], head[156:157] = name.encode().ljust(100, b"\0"), kind
    head[124:136] = b"\x80" + size.to_bytes(11, "big")  # sizes above 8 GB are binary
    head[257:265], head[148:156] = b"ustar\x0000", b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


def sentences(name, kind=b"0"):
    return gzipped("texts.tar.gz", tar_header(name, SIZE, kind))


def nested(folder):
    """An archive in an archive in an archive, a hundred deep."""
    import tarfile

    from robust_rl.extras.matte.vader import ARCHIVE

    content = b""
    for _ in range(100):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as outer:
            member = tarfile.TarInfo(ARCHIVE)
            member.size = len(content)
            outer.addfile(member, io.BytesIO(content))
        content = gzip.compress(out.getvalue(), 9)
    (folder / "texts.tar.gz").write_bytes(content)
    return folder / "texts.tar.gz"


def parquet(columns, rows=2**30):
    """Equal rows: a few bytes for each million of them."""

    def write(folder):
        import pyarrow
        from pyarrow import parquet as files

        same = pyarrow.array(np.zeros(2**20, "i4"))
        part = {name: pyarrow.DictionaryArray.from_arrays(same, pyarrow.array([value])) for name, value in columns.items()}
        part = pyarrow.table(part)
        path = folder / "a.parquet"
        with files.ParquetWriter(
            path, part.schema, compression="zstd", store_schema=False
        ) as writer:  # no dictionaries to the reader
            for _ in range(rows // 2**20):
                writer.write_table(part)
        return path

    return write


def picture(kind):
    """A picture of 10^10 points."""

    def write(folder):
        path = folder / f"a.{kind}"
        width = height = 100_000

        def chunk(name, data):
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

        if kind == "png":
            head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            data = b"\x78\x9c" + deflated(b"", SIZE // 4) + b"\0\0\0\0"
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b""))
        else:
            path.write_bytes(b"P5 %d %d 255\n" % (width, height) + bytes(1000))
        return path

    return write


def laughs(folder):
    """Nine lists of nine references to the list before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    lines += ["beta: *a9", "model_name_or_path: *a9", "dataset_name: *a9"]
    (folder / "vpo.yaml").write_text("\n".join(lines) + "\n")
    return folder / "vpo.yaml"


def bombs():
    """Return name -> (writer, reader), as far as the packages that they need are installed."""
    cases = fuzz_cases.cases()
    found = {
        "a model": (npz("transitions", "rewards"), "models: npz, folder"),
        "a model that claims to be small": (npz("transitions", "rewards", claimed=1000), "models: npz, folder"),
        "a game": (npz("transitions", "rewards"), "games: npz"),
        "a data set": (npz("observations", "actions", "rewards", "next_observations"), "data sets: npz"),
        "a calibration log": (npz("states", "actions", "next_states"), "calibration logs: npz"),
    }
    if fuzz_cases.have("pyarrow"):
        numbers = {"state": 0, "action": 0, "next_state": 0, "probability": 1.0}
        found["a table"] = (parquet(numbers), "tables: csv, parquet")
        found["preferences"] = (parquet({"prompt": "a", "chosen": "b", "rejected": "c"}, 2**26), "vpo: preferences, tokenized")
        found["long preferences"] = (
            parquet({"prompt": "a", "chosen": "b" * 2**20, "rejected": "c"}, 2**22),
            "vpo: preferences, tokenized",
        )
    if "MATTE: sentences" in cases:
        names = {"a text": "hutto/tweets_GroundTruth.txt", "another file": "x", "the archive inside": "hutto_ICWSM_2014.tar.gz"}
        found |= {f"{what} in an archive": (sentences(name), "MATTE: sentences") for what, name in names.items()}
        found["a long name in an archive"] = (sentences("x", b"x"), "MATTE: sentences")
        found["archives in archives"] = (nested, "MATTE: sentences")
    if "concepts: tables" in cases:
        found["a table that is compressed"] = (gzipped("a.csv.gz", b"a,b\n" + b"0,1\n" * 10), "concepts: tables")
    for kind in ("png", "ppm"):
        found[f"a picture, {kind}"] = (picture(kind), "pictures")
    found["a configuration"] = (laughs, "vpo: configurations")
    return {name: (write, cases[reader]) for name, (write, reader) in found.items() if reader in cases}


def prepare(place):
    """Write the files, and return a function that reads the one of a number."""
    found = bombs()
    for name, (write, _) in found.items():
        folder = place / name
        if not (folder / "written").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            path = write(folder)
            (folder / "written").write_text(path.name)
    for _, case in found.values():  # imports what reading needs, before the limits
        outcome(lambda case=case: case.read(place / "nothing"))

    def one(number):
        name = list(found)[number]
        path = place / name / (place / name / "written").read_text()
        escape, refused = outcome(lambda: found[name][1].read(path))
        return name, escape or (None if refused else f"it was read [{name}"), refused

    return one
