"""Hostile files, archives that unpack to no end, and command lines, many of them: what gets through.

    python benchmarks/fuzz.py                               # goes on where fuzz.json stopped, to the end; --write for the page
    python benchmarks/fuzz.py --only policies --anew        # counts a reader anew, whose code has changed
    python benchmarks/fuzz.py --again                       # tries what escaped once more, after a mend
    python benchmarks/fuzz.py --only policies --show --first 50 --inputs 10       # prints what escapes, keeps no record

Each reader runs in a forked child that may take 1 GB more than it has after a first valid file (RLIMIT_AS), and 5 seconds of
processor time an input, 60 of the clock. Allowed is an object or a RobustRLError; for a command line, exit code 0, or 1 or 2 with
one line. Code of a file that is run leaves a mark, and counts as an escape. tests/fuzzing.py has the mutations, fuzz_cases.py and
fuzz_cases_torch.py the readers, fuzz_bombs.py the archives, fuzz_commands.py the command lines.
"""

import os

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NO_COLOR": "1"}
os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "critical", "TOKENIZERS_PARALLELISM": "false"}
os.environ |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "RUST_BACKTRACE": "0"}

import argparse
import fcntl
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]
RECORD, PAGE = HERE.with_suffix(".json"), HERE.with_suffix(".md")
sys.path.insert(0, str(ROOT))
GIGABYTE, SECONDS, CLOCK, UNPREPARED = 2**30, 5, 60, 77
BOMBS, LINES, PLANNING = "archives that unpack to no end", "command lines", "command lines: planning, games, logs"
INPUTS = 5000
SLOW = (
    "runs: checkpoints of torch", "LESS kernels", "optimizer states", "language models", "reward models", "GGUF",
    "diffusion models", "masked images: models, pictures", "MATTE: models", "MATTE: encoder-decoders",
    "vpo: preferences, tokenized", "vpo: configurations", "runs: evaluations", "pictures",
)  # fmt: skip
FEWER = dict.fromkeys(SLOW, 1000) | {LINES: 2500, PLANNING: 2500}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm/robust-rl-fuzz"))
    parser.add_argument("--inputs", type=int, help=f"for each reader; default {INPUTS}, fewer for the slowest")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--anew", action="store_true", help="forget the counts of these readers")
    parser.add_argument("--again", action="store_true", help="try the inputs that escaped once more, and no others")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--show", action="store_true", help="print escapes, keep no record")
    parser.add_argument("--write", action="store_true", help="make the page from the record, and run nothing")
    arguments = parser.parse_args()
    os.environ["HF_HOME"] = str(arguments.scratch / "hf")  # what datasets caches of each file goes with the rest
    end = time.time() + 60 * arguments.minutes
    for name in () if arguments.write else names():
        if (not arguments.only or name in arguments.only) and name not in arguments.without:
            again(name, arguments.scratch) if arguments.again else count(name, arguments, end)
    if arguments.write:
        PAGE.write_text(page(json.loads(RECORD.read_text())))


def names():
    from tests.fuzz_cases import cases

    return [*cases(), BOMBS, PLANNING, LINES]


def wanted(name, given):
    if name == BOMBS:
        from tests.fuzz_bombs import bombs

        return len(bombs())
    return given or FEWER.get(name, INPUTS)


def count(name, arguments, end):
    """Try a reader's inputs from the first that hasn't been, and note in the record what became of them."""
    entry = empty(arguments.first)
    if not arguments.show:
        with record() as known:
            entry = entry if arguments.anew else known.get(name, entry)
    last = arguments.first + wanted(name, arguments.inputs)
    while entry["inputs"] < last and time.time() < end:
        if revision() not in entry["commits"]:
            entry["commits"].append(revision())
        batch(name, entry, min(500, last - entry["inputs"]), arguments.scratch)
        if not arguments.show:
            with record() as known:
                known[name] = entry
    escapes = sum(len(one["numbers"]) for one in entry["escapes"].values())
    print(f"{name}: {entry['inputs']} inputs, {entry['refused']} refused, {entry['seconds']:.0f} s, {escapes} escapes")
    for what, where in entry["escapes"].items() if arguments.show else ():
        print("   ", len(where["numbers"]), what, where["first"])
    sys.stdout.flush()


def again(name, scratch):
    """Try the inputs that escaped, and move those that don't any more to a list of their own."""
    with record() as known:
        entry = known.get(name, empty())
    for kind, where in list(entry["escapes"].items()):
        still = []
        for number in where["numbers"]:
            trial = empty(number)
            batch(name, trial, 1, scratch)
            still += [number] if trial["escapes"] else []
        mended = len(where["numbers"]) - len(still)
        print(f"{name}: {kind}: {mended} mended, {len(still)} not")
        if mended:
            entry["mended"].append({"count": mended, "first": where["first"], "commit": revision()})
        where["numbers"] = still
        if not still:
            del entry["escapes"][kind]
    with record() as known:
        known[name] = entry


def empty(first=0):
    return {"inputs": first, "refused": 0, "seconds": 0.0, "commits": [], "escapes": {}, "mended": []}


@contextmanager
def record():
    """Yield the counts by reader, and write them back; several of these programs may run at once."""
    lock = os.open(RECORD.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        yield known
        RECORD.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    finally:
        os.close(lock)


def revision():
    """Return the commit, with a plus sign where the library or the tests are not as committed."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "robust_rl", "tests") else "")


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
            entry["inputs"] = last + 1
            entry["refused"] += report["refused"]
            if report["escape"]:
                escaped(entry, report["escape"], last, report["done"])
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == UNPREPARED:
        sys.exit(f"no valid files for {name}")
    if status:
        escaped(entry, f"the process ended with status {status}", last + 1, "")
        entry["inputs"] = last + 2
    entry["seconds"] = round(entry["seconds"] + time.time() - start, 1)


def escaped(entry, what, number, done):
    kind = what.rpartition("[")[2] + what.partition(":")[0] if "[" in what else what
    entry["escapes"].setdefault(kind, {"numbers": [], "first": f"{number}: {done}: {what}"})["numbers"].append(number)


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
    if "FUZZ_STDERR" not in os.environ:
        os.dup2(null, 2)  # other libraries' warnings
    try:
        signal.signal(signal.SIGPROF, too_long)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + GIGABYTE, size + GIGABYTE))
        for number in range(first, first + share):
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.alarm(CLOCK)  # waiting, for input or a lock, uses no processor time; the default action ends the process
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
    if name in (LINES, PLANNING):
        from tests import fuzz_commands

        return fuzz_commands.prepare(scratch / ("commands" if name == LINES else "planning"), papers=name == LINES)
    from tests import fuzz_bombs, fuzz_cases, fuzzing

    place = scratch / "".join(letter if letter.isalnum() else "-" for letter in name)
    if name == BOMBS:
        return fuzz_bombs.prepare(place)
    case = fuzz_cases.cases()[name]
    seeds = place / "seeds"
    listing = place / "seeds.json"
    if not listing.exists():
        shutil.rmtree(place, ignore_errors=True)
        seeds.mkdir(parents=True)
        listing.write_text(json.dumps([str(path) for path in case.make(seeds)]))
    case.seeds = [Path(path) for path in json.loads(listing.read_text())]
    for path in case.seeds:  # what reading imports and compiles must be there before the limit
        fuzzing.warm(case, path, place / "warm")
    return lambda number: fuzzing.attempt(case, number, place)


def page(counts):
    rows, escapes, mended = [], [], []
    for name, entry in counts.items():
        escaped = sum(len(one["numbers"]) for one in entry["escapes"].values())
        figures = f"{entry['inputs']:,} | {entry['refused']:,} | {escaped} | {entry['seconds']:.0f}"
        rows.append(f"| {name} | {figures} | {', '.join(entry['commits'])} |")
        escapes += [f"- {name}: {where['first']} ({len(where['numbers'])})" for where in entry["escapes"].values()]
        mended += [f"- {name}: {where['first']} ({where['count']}; {where['commit']})" for where in entry.get("mended", [])]
    total, refused = (sum(entry[key] for entry in counts.values()) for key in ("inputs", "refused"))
    lists = {"escapes": escapes, "mended": mended}
    shown = {key: "\n\n" + "\n".join(lines) if lines else " none." for key, lines in lists.items()}
    return TEXT.format(total=total, refused=refused, rows="\n".join(rows), **shown)


TEXT = """# Hostile input

    python benchmarks/fuzz.py             # goes on where fuzz.json stopped; what is mutated and allowed stands at its top
    python benchmarks/fuzz.py --write     # makes this page from fuzz.json

{total:,} inputs, of which {refused:,} were refused: answered by a RobustRLError (a command line by exit code 1 or 2). The rest
was read, as a file with a changed number may be. Seconds of wall clock, x86_64, one thread beside other work.

| reader | inputs | refused | escapes | s | commits |
|---|---|---|---|---|---|
{rows}

Escapes:{escapes}

Escapes that were mended after the count, their inputs tried again (number, commit):{mended}

## Every place where a file is read

| in robust_rl | tried as |
|---|---|
| formats/ | tables, Storm's drn, PRISM's tra |
| models/npz.py, model_file.py, game_file.py | models, games |
| datasets.py, features.py, calibration/ | data sets, features, calibration logs |
| policy_file.py and the agents, rllib/network_policy.py | policies, network policies: read, then asked for actions |
| training/: arrays, files, checkpoints, metrics_file, run_directory, trainer, trials | arrays, runs |
| every `load_checkpoint` but those under rllib/ | runs: checkpoints, with and without torch |
| table.py, cli/evaluate.py | runs: evaluations |
| alignment/data.py, jsonl.py | preferences, read and tokenized for a training |
| alignment/vpo.py (YAML of `--config`) | vpo: configurations, up to the training |
| alignment/judges.py, gguf.py, optimizer_state.py | lexicons, reward models, GGUF, optimizer states |
| extras/llm_loading.py, less/kernels.py | language models (sound, pickled, with code), LESS kernels |
| extras/matte/: text, study, vader, backbone | MATTE: models, settings, sentences, encoder-decoders |
| extras/mim/folders.py, dpnp/restoration.py, dpnp/model_folder.py | masked images, pictures, diffusion models |
| extras/concepts/page.py | concepts: tables, graphs |
| texts of `griffin`, `less`, `matte transfer` | command lines |

Not tried: the folders of an unfinished `vpo-online` (`rounds/`), `mim`'s snapshots, and what Ray and Transformers keep to resume
from, which are pickles and local only ([what is trusted](../docs/security.md)). A configuration of accelerate is read by
accelerate, in a process of its own.
"""


if __name__ == "__main__":
    main()
