"""Hostile files and command lines, many of them: what gets through.

    python benchmarks/fuzz.py --inputs 5000          # for each reader; goes on where it stopped; --write for the .md
    python benchmarks/fuzz.py --only policies --first 0 --inputs 50 --show

Each reader runs in a forked child that may take 1 GB more than it has after a first valid file (RLIMIT_AS), and 5 seconds
of processor time an input. Allowed is an object or a RobustRLError; for a command line, exit code 0, or 1 or 2 with one
line. tests/fuzzing.py, fuzz_cases.py and fuzz_commands.py have the mutations and the readers.
"""

import os

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NO_COLOR": "1"}
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "critical", "TOKENIZERS_PARALLELISM": "false"}

import argparse
import json
import resource
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))
GIGABYTE, SECONDS, UNPREPARED = 2**30, 5, 77


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm/robust-rl-fuzz"))
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--show", action="store_true", help="print escapes, keep no record")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    record = arguments.scratch / "counts.json"
    counts = json.loads(record.read_text()) if record.exists() and not arguments.show else {}
    end = time.time() + 60 * arguments.minutes
    for name in names() if arguments.inputs else ():
        if (arguments.only and name not in arguments.only) or name in arguments.without:
            continue
        entry = counts.setdefault(name, {"inputs": arguments.first, "refused": 0, "seconds": 0.0, "escapes": {}})
        last = arguments.first + arguments.inputs
        while entry["inputs"] < last and time.time() < end:
            share = min(500, last - entry["inputs"])
            batch(name, entry, share, arguments.scratch)
            if not arguments.show:
                record.parent.mkdir(parents=True, exist_ok=True)
                record.write_text(json.dumps(counts, indent=1))
        counted = f"{entry['inputs']} inputs, {entry['refused']} refused, {entry['seconds']:.0f} s"
        print(f"{name}: {counted}, {len(entry['escapes'])} escapes")
        for what, where in entry["escapes"].items() if arguments.show else ():
            print("   ", where["count"], what, where["first"])
        sys.stdout.flush()
    if arguments.write:
        HERE.with_suffix(".md").write_text(page(counts))


def names():
    from tests.fuzz_cases import cases

    return [*cases(), "command lines"]


def batch(name, entry, share, scratch):
    """Run some inputs of a reader in a child; count its death as an escape of the input it died of."""
    reading, writing = os.pipe()
    start = time.time()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child(name, entry["inputs"], share, scratch, os.fdopen(writing, "w"))
    os.close(writing)
    last = entry["inputs"] - 1
    with os.fdopen(reading) as lines:
        for line in lines:
            report = json.loads(line)
            last = report["number"]
            if report["number"] >= entry["inputs"]:
                entry["inputs"] += 1
            entry["refused"] += report["refused"]
            if report["escape"]:
                escaped(entry, report["escape"], f"{report['number']}: {report['done']}")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status != UNPREPARED, f"no valid files for {name}"
    if status:
        escaped(entry, f"the process ended with status {status}", f"{last + 1}")
        entry["inputs"] = max(entry["inputs"], last + 2)
    entry["seconds"] += time.time() - start


def escaped(entry, what, where):
    kind = what.rpartition("[")[2] + what.partition(":")[0] if "[" in what else what
    noted = entry["escapes"].setdefault(kind, {"count": 0, "first": f"{where}: {what}"})
    noted["count"] += 1


class Slow(BaseException):
    """An input took too long."""


def child(name, first, share, scratch, report):
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    try:
        one = prepare(name, scratch)
    except BaseException:
        traceback.print_exc()
        os._exit(UNPREPARED)
    try:
        signal.signal(signal.SIGPROF, too_long)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + GIGABYTE, size + GIGABYTE))
        for number in range(first, first + share):
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.alarm(60)  # a reader that waits, for input or a lock, uses no processor time; the default action ends it
            try:
                done, escape, refused = one(number)
            except Slow:
                done, escape, refused = "", f"over {SECONDS} s [{name}", 0
            except MemoryError as error:
                done, escape, refused = "", f"MemoryError: {error} [{name}", 0
            signal.setitimer(signal.ITIMER_PROF, 0)
            report.write(json.dumps({"number": number, "done": done, "escape": escape, "refused": refused}) + "\n")
            report.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def too_long(*_):
    raise Slow


def prepare(name, scratch):
    """Return a function that tries one input."""
    if name == "command lines":
        from tests import fuzz_commands

        return fuzz_commands.prepare(scratch / "commands")
    from tests import fuzz_cases, fuzzing

    case = fuzz_cases.cases()[name]
    place = scratch / "".join(letter if letter.isalnum() else "-" for letter in name)
    seeds = place / "seeds"
    listing = place / "seeds.json"
    if not listing.exists():
        shutil.rmtree(place, ignore_errors=True)
        seeds.mkdir(parents=True)
        listing.write_text(json.dumps([str(path) for path in case.make(seeds)]))
    case.seeds = [Path(path) for path in json.loads(listing.read_text())]
    for path in case.seeds:  # valid files must be read, and what reading imports and compiles must be there before the limit
        copy = place / "warm"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        if path.is_dir():
            shutil.copytree(path, copy / path.name)
        else:
            for beside in path.parent.glob(path.stem + ".*"):
                shutil.copyfile(beside, copy / beside.name)
        case.read(copy / path.name)
    return lambda number: fuzzing.attempt(case, number, place)


def page(counts):
    rows, escapes = [], []
    for name, entry in counts.items():
        escaped = sum(one["count"] for one in entry["escapes"].values())
        rows.append(f"| {name} | {entry['inputs']:,} | {entry['refused']:,} | {escaped} | {entry['seconds']:.0f} |")
        escapes += [f"- {name}: {where['first']} ({where['count']})" for where in entry["escapes"].values()]
    total = sum(entry["inputs"] for entry in counts.values())
    return TEXT.format(total=total, rows="\n".join(rows), escapes="\n".join(escapes) or "none")


TEXT = """# Hostile input

    python benchmarks/fuzz.py --write     # what is mutated and what is allowed stands at the top of that file

{total:,} inputs. Refused: answered by a RobustRLError (a command line by exit code 1 or 2); the rest was read, as a file with a
changed number may be. Seconds of wall clock, x86_64, one thread beside other work.

| reader | inputs | refused | escapes | s |
|---|---|---|---|---|
{rows}

Escapes:

{escapes}
"""


if __name__ == "__main__":
    main()
