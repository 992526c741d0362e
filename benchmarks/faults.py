"""What faults cost the commands: kills, signals, full and read-only disks, damaged checkpoints, two processes on one run.

    python benchmarks/faults.py               # as root, for the small disks; goes on where it stopped; --write for the .md

A cell is a command, a fault and a seed. The command runs into the fault, and then again, the same command, to its end. Then:

- the run went on at or after the newest checkpoint that was intact when the fault struck (``metrics.jsonl`` tells: lines that
  were kept have their old time), and every step is in ``metrics.jsonl`` once;
- everything the command leaves (results, metrics without times, the last checkpoint) is that of an uninterrupted run, to the bit,
  as far as two uninterrupted runs agree (a report may show a time; what was left out is in the table);
- a failure is one line on stderr and no traceback, with the exit code that ``robust-rl --help`` promises.

Processes are forked from one that has imported everything, so that the faults strike work and not imports. Moments are drawn
uniformly over the processor time of an uninterrupted run, four in five of them while its run.json says that it is running.
"""

import os

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}

import argparse
import hashlib
import importlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve()
SEEDS = {"kill": 6, "term": 4, "full": 4, "read-only": 1, "truncated": 3, "flipped": 3, "two": 2}
TV = ["--set", "tv", "--radius", "0.1"]
JOBS = {
    "solve": ["solve", "FrozenLake-v1", "--set", "tv", "--radius", "0.02", "--support", "nominal", "--discount", "0.9999",
              "--method", "value_iteration", "--tol", "1e-3", "--checkpoint-every", "40"],
    "frontier": ["frontier", "Taxi-v3", "--set", "tv", "--radius", "0.01,0.05,0.1,0.2,0.3", "--support", "reachable",
                 "--discount", "0.99"],
    "game": ["game", "soccer", *TV, "--support", "free", "--equilibrium", "ce", "--horizon", "8"],
    "offline": ["offline", "../data.npz", *TV, "--support", "free", "--features", "onehot:16:4", "--horizon", "20",
                "--variance-weighted", "--penalty", "0.3", "--checkpoint-every", "2"],
    "sweep": ["sweep", "FrozenLake-v1", "--set", "tv", "--radius", "0.01,0.1", "--support", "reachable", "--discount", "0.99",
              "--samples", "10,30", "--repeats", "2"],
    "vpo-bandit": ["vpo-bandit", "online", "--rounds", "60", "--repeats", "5"],
    "diffusion-train": ["diffusion-train", "digits", "--steps", "40", "--batch-size", "4", "--every", "8"],
    "dpnp": ["dpnp", "--model", "../digits", "--operator", "inpainting", "--image", "../digit.png", "--samples", "2",
             "--iterations", "8", "--dds-steps", "6"],
    "less fit": ["less", "fit", "--model", "../lm", "--text", "../corpus.txt", "--length", "48", "--sequences", "16",
                 "--budget", "8", "--epochs", "24", "--hidden", "16", "--checkpoint-every", "20"],
    "rllib train": ["rllib", "train", "FrozenLake-v1", "--algo", "dqn", *TV, "--support", "free", "--discount", "0.95",
                    "--steps", "3000", "--checkpoint-every", "1"],
}  # fmt: skip
JOBS["vpo-bandit"][1:2] = ["--mode", "online"]
INEXACT = {"rllib train"}  # its checkpoints are Ray's: documented
TIMELESS = ("run.json", ".lock")  # what a run records about itself, and when
KEPT_OUT = ("events.out", ".lock")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, default=Path("runs/faults"))
    parser.add_argument("--jobs", nargs="*", default=list(JOBS))
    parser.add_argument("--faults", nargs="*", default=list(SEEDS))
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    scratch = arguments.scratch.resolve()
    cells = read_cells(scratch)
    end = time.time() + 60 * arguments.minutes
    preload(arguments.jobs)
    make_inputs(scratch)
    for seed in range(max(SEEDS.values())):
        for job in arguments.jobs:
            for fault in arguments.faults:
                key = f"{job}|{fault}|{seed}"
                if seed < SEEDS[fault] and key not in cells and time.time() < end:
                    cells[key] = cell(scratch, job, fault, seed)
                    print(key, cells[key], flush=True)
                    write_cells(scratch, cells)
    if arguments.write:
        HERE.with_suffix(".md").write_text(page(cells, scratch))


# ---------------------------------------------------------------------------------------------------------- running a command


DIFFUSION = ("diffusers", "sklearn.datasets", "robust_rl.extras.denoiser.run", "robust_rl.extras.dpnp.restoration")
MODULES = {
    "vpo-bandit": ("torch",),
    "diffusion-train": DIFFUSION,
    "dpnp": DIFFUSION,
    "less fit": ("robust_rl.extras.less.report", "robust_rl.extras.llm_loading"),
    "rllib train": ("torch",),
}
ALWAYS = ("matplotlib.figure", "tensorboardX", "robust_rl.cli.main", "robust_rl.training.report")


def preload(jobs):
    """Import what the commands import, so that a fork starts at work."""
    for module in (*ALWAYS, *(module for job in jobs for module in MODULES.get(job, ()))):
        importlib.import_module(module)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


class Command:
    """A command in a forked process, in the folder ``place``, with ``--out run``."""

    def __init__(self, job, place, name):
        self.errors = place.parent / f"{place.name}-{name}.stderr"
        self.started = time.time()
        self.pid = os.fork()
        if self.pid == 0:
            run_forked([*JOBS[job], "--out", "run"], place, self.errors)

    def poll(self):
        """Return the exit code, or None while it runs; negative for a signal."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return None if pid == 0 else os.waitstatus_to_exitcode(status)

    def wait(self, until=lambda: False):
        """Wait for the end, and return the exit code; or for ``until``, and return None."""
        while (code := self.poll()) is None:
            if until():
                return None
            time.sleep(0.004)
        return code

    def wait_for_cpu(self, seconds):
        """Wait until the command has used so much processor time; return the exit code if it ended before."""
        return self.wait(lambda: processor_time(self.pid) >= seconds)

    def end(self, number=signal.SIGKILL):
        """Send a signal, and return the exit code."""
        os.kill(self.pid, number)
        return self.wait()

    def complaint(self):
        """Return the lines on stderr that are no warnings."""
        lines = self.errors.read_text(errors="replace").splitlines()
        return [line for line in lines if line.strip() and not line.startswith("warning:") and "it/s]" not in line]  # no bars

    def warnings(self):
        """Return the warnings on stderr."""
        return [line for line in self.errors.read_text(errors="replace").splitlines() if line.startswith("warning:")]


def run_forked(arguments, place, errors):
    code = 1
    try:
        os.setsid()
        for number, path in ((1, os.devnull), (2, errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(place)
        sys.argv = ["robust-rl", *arguments]
        from robust_rl.cli.main import main

        main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def processor_time(pid):
    """Return the seconds that a process and its children have used."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += sum(map(int, fields[11:15])) / ticks
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += processor_time(int(child))
    except (OSError, IndexError):
        pass
    return total


# ------------------------------------------------------------------------------------------------------------ what a run holds


def intact_step(run):
    """Return the step of the newest whole checkpoint, and how many whole ones there are, by this file's own reading."""
    steps = []
    for directory in (run / "checkpoints").glob("step_*"):
        try:
            manifest = json.loads((directory / "manifest.json").read_text())
            sums = [hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in manifest["files"]]
        except (OSError, ValueError):
            continue
        if sums == list(manifest["files"].values()):
            steps.append(manifest["step"])
    return max(steps, default=0), len(steps)


def metrics(run):
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def leaves(run):
    """Return everything a finished run says, as name -> value: JSON by its leaves, other files by their digest."""
    found = {}
    newest = max((run / "checkpoints").glob("step_*"), default=None)
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        passing = "checkpoints" in path.parts and newest is not None and newest not in path.parents
        if not path.is_file() or path.name.startswith(KEPT_OUT) or path.name in TIMELESS or passing:
            continue
        if path.suffix == ".json":
            flatten(name, json.loads(path.read_text()), found)
        elif path.suffix == ".jsonl":
            for i, line in enumerate(path.read_text().splitlines()):
                flatten(f"{name}:{i}", json.loads(line), found)
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def flatten(name, value, found):
    if isinstance(value, dict | list):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            flatten(f"{name}/{key}", entry, found)
    else:
        found[name] = value


def reference(scratch, job):
    """Run the command twice without faults; return what both agree on, what they don't, and the size of the work."""
    noted = scratch / f"reference-{slug(job)}.json"
    if noted.exists():
        return json.loads(noted.read_text())
    both = []
    for which in "ab":
        place = fresh(scratch / f"reference-{slug(job)}-{which}")
        command = Command(job, place, "run")
        seen = {"begin": 0.0, "end": 0.0, "all": 0.0}

        def watch(command=command, seen=seen, record=place / "run/run.json"):
            seen["all"] = max(seen["all"], processor_time(command.pid))
            status = record.read_text() if record.exists() else ""
            if '"running"' in status:
                seen["begin"], seen["end"] = seen["begin"] or seen["all"], seen["all"]
            return False

        code = command.wait(watch)
        assert code == 0, (job, code, command.errors.read_text()[-2000:])
        both.append(leaves(place / "run"))
        seconds = seen["all"]
    run = place / "run"
    agreed = {name: value for name, value in both[0].items() if both[1].get(name, "absent") == value}
    steps = [line["step"] for line in metrics(run)]
    content = {
        "agreed": agreed,
        "differ": sorted(set(both[0]) ^ set(agreed) | set(both[1]) ^ set(agreed)),
        "seconds": seconds,
        "loop": [seen["begin"], seen["end"]],
        "bytes": sum(4096 + path.stat().st_size for path in run.rglob("*")),
        "checkpoints": intact_step(run)[1],
        "last": steps[-1],
    }
    noted.write_text(json.dumps(content))
    return content


# ------------------------------------------------------------------------------------------------------------------- the faults


def cell(scratch, job, fault, seed):
    """Return what came of one fault: where it struck, and every promise that was broken."""
    expected = reference(scratch, job)
    rng = random.Random(f"{job}|{fault}|{seed}")
    place = fresh(scratch / f"{slug(job)}-{fault}-{seed}")
    problems, notes = [], []
    try:
        {"kill": kill, "term": term, "full": full, "read-only": read_only, "truncated": damaged, "flipped": damaged, "two": two}[
            fault
        ](job, place, rng, expected, problems, notes, fault)
        check_end(job, place / "run", expected, problems)
    finally:
        subprocess.run(["umount", "-l", place], capture_output=True, check=False)
    if not problems:
        shutil.rmtree(place, ignore_errors=True)
    return {"problems": problems, "notes": notes}


def kill(job, place, rng, expected, problems, notes, fault):
    for number in range(2):
        strike(job, place, rng, expected, problems, notes, signal.SIGKILL, number)
    finish(job, place, problems, notes)


def term(job, place, rng, expected, problems, notes, fault):
    strike(job, place, rng, expected, problems, notes, signal.SIGTERM, 0)
    finish(job, place, problems, notes)


def strike(job, place, rng, expected, problems, notes, number, which):
    """Start the command and send it a signal at a random moment; note where the run was then."""
    begin, end = expected["loop"] if rng.random() < 0.8 else (0.0, expected["seconds"])  # mostly while there is a run
    moment = rng.uniform(begin, end)
    share = moment / expected["seconds"]
    command = Command(job, place, f"strike{which}")
    code = command.wait_for_cpu(moment)
    if code is None:
        code = command.end(number)
    step, _ = intact_step(place / "run")
    notes.append(f"{signal.Signals(number).name} at {share:.2f}: exit {code}, saved {step} of {expected['last']}")
    if number == signal.SIGTERM and code not in (0, 130, -signal.SIGTERM):
        problems.append(f"exit code {code} after SIGTERM")
    if number == signal.SIGTERM and code == 130 and not any("same command" in line for line in command.complaint()):
        problems.append("no word on how to go on")
    check_clean(command, problems)
    (place / "saved").write_text(json.dumps({"step": step, "time": time.time()}))


def full(job, place, rng, expected, problems, notes, fault):
    size = int(rng.uniform(0.05, 0.95) * expected["bytes"]) // 4096 * 4096 + 8192
    mount(place, f"size={size}")
    fails(job, place, problems, notes, f"disk of {size} bytes, run of {expected['bytes']}", allowed=(0, 1))
    (place / "saved").unlink(missing_ok=True)
    step, _ = intact_step(place / "run")
    mount(place, "remount,size=1g")
    (place / "saved").write_text(json.dumps({"step": step, "time": time.time()}))
    finish(job, place, problems, notes)


def read_only(job, place, rng, expected, problems, notes, fault):
    mount(place, "size=1g")
    mount(place, "remount,ro")
    fails(job, place, problems, notes, "read-only folder")
    mount(place, "remount,rw")
    strike(job, place, rng, expected, problems, notes, signal.SIGKILL, 0)
    mount(place, "remount,ro")
    fails(job, place, problems, notes, "read-only run")
    mount(place, "remount,rw")
    finish(job, place, problems, notes)


def damaged(job, place, rng, expected, problems, notes, fault):
    """Damage the newest checkpoint: of a killed run where there are two, else of a finished run."""
    run = place / "run"
    command = Command(job, place, "first")
    wanted = min(2, expected["checkpoints"]) if expected["checkpoints"] > 1 else 99
    if command.wait(lambda: intact_step(run)[1] >= wanted) is None:
        command.end()
    newest = max((run / "checkpoints").glob("step_*"))
    path = rng.choice(sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size))
    content = bytearray(path.read_bytes())
    if fault == "truncated":
        del content[rng.randrange(len(content)) :]
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    step, count = intact_step(run)
    notes.append(f"{fault} {newest.name}/{path.name}, {count} intact left")
    (place / "saved").write_text(json.dumps({"step": step, "time": time.time()}))
    if count == 0:
        fails(job, place, problems, notes, "no intact checkpoint")
        shutil.rmtree(run / "checkpoints")  # as the message says
    again = finish(job, place, problems, notes)
    if count and not any("skipping the checkpoint" in line for line in again.warnings()):
        problems.append("a damaged checkpoint was used, or skipped without a word")


def two(job, place, rng, expected, problems, notes, fault):
    """A second process: at a random moment of the first's work, and at its very start."""
    first = Command(job, place, "first")
    if rng.random() < 0.5:
        first.wait_for_cpu(rng.uniform(0.02, 0.9) * expected["seconds"])
    second = Command(job, place, "second")
    codes = sorted([second.wait(), first.wait()])
    notes.append(f"exit codes {codes}")
    if codes not in ([0, 0], [0, 1]):
        problems.append(f"exit codes {codes} of two processes")
    for command in (first, second):
        check_clean(command, problems)
        if codes == [0, 1] and command.complaint() and "is in use by process" not in command.complaint()[-1]:
            problems.append(f"turned away with {command.complaint()}")
    if codes == [0, 1] and not (first.complaint() or second.complaint()):
        problems.append("turned away without a word")


def fails(job, place, problems, notes, what, allowed=(1,)):
    command = Command(job, place, "failing")
    code = command.wait()
    said = command.complaint()
    notes.append(f"{what}: exit {code}, {' / '.join(said)[:300]}")
    check_clean(command, problems)
    if code not in allowed:
        problems.append(f"exit code {code}: {what}")
    if code and (len(said) != 1 or not said[0].startswith("error: ")):
        problems.append(f"{len(said)} lines in place of one: {' / '.join(said)[:400]}")


def finish(job, place, problems, notes):
    command = Command(job, place, "last")
    code = command.wait()
    if code != 0:
        problems.append(f"the last run ended with exit code {code}: {' / '.join(command.complaint())[-400:]}")
    check_clean(command, problems)
    return command


def check_clean(command, problems):
    if "Traceback" in (text := command.errors.read_text(errors="replace")):
        frames = [line.strip() for line in text.splitlines() if line.startswith("  File") and "robust_rl" in line]
        problems.append(f"traceback: {text.strip().splitlines()[-1][:300]} {' '.join(frames[-2:])}")


def check_end(job, run, expected, problems):
    """Compare a finished run with the uninterrupted ones."""
    lines = metrics(run)
    steps = [line["step"] for line in lines]
    if steps != list(range(1, len(steps) + 1)) or steps[-1:] != [expected["last"]]:
        problems.append(f"steps in metrics.jsonl: {steps[:3]} .. {steps[-3:]}, {len(steps)} lines for {expected['last']} steps")
    saved = run.parent / "saved"
    if saved.exists():
        noted = json.loads(saved.read_text())
        went_on = max((line["step"] for line in lines if line["time"] < noted["time"]), default=0)
        if went_on < noted["step"]:
            problems.append(f"step {noted['step']} was saved, and the run went on from {went_on}")
    if job in INEXACT:
        return
    found = leaves(run)
    wrong = [name for name, value in expected["agreed"].items() if found.get(name, "absent") != value]
    more = sorted(found.keys() - expected["agreed"].keys() - set(expected["differ"]))
    if wrong or more:
        problems.append(f"differs from an uninterrupted run: {wrong[:5]} ({len(wrong)}), more: {more[:5]}")


# ---------------------------------------------------------------------------------------------------------------- odds and ends


def mount(place, options):
    # the folder's content moves onto the small disk with it: there is none yet
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)


def fresh(place):
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def slug(job):
    return job.replace(" ", "-")


def read_cells(scratch):
    path = scratch / "cells.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write_cells(scratch, cells):
    temporary = scratch / "cells.json.tmp"
    temporary.write_text(json.dumps(cells, indent=1))
    temporary.replace(scratch / "cells.json")


def make_inputs(scratch):
    """Make what the commands read, in a process of its own."""
    scratch.mkdir(parents=True, exist_ok=True)
    if (scratch / "inputs-made").exists():
        return
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(scratch)
            write_inputs()
            Path("inputs-made").touch()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.waitpid(pid, 0)
    assert (scratch / "inputs-made").exists()


def write_inputs():
    import numpy as np
    import torch
    from diffusers import DDPMScheduler, UNet2DModel
    from PIL import Image

    from robust_rl import datasets
    from robust_rl.envs.domains import garnet
    from robust_rl.extras.dpnp import DPnPPipeline

    sys.path.insert(0, str(HERE.parents[1]))
    from tests.alignment import tiny

    garnet(400, 4, 10, seed=0).save("model.npz")
    datasets.collect("FrozenLake-v1", None, 2000, horizon=20).save("data.npz")
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    DPnPPipeline(unet.eval(), DDPMScheduler(1000)).save_pretrained("digits")
    Image.fromarray((np.random.default_rng(0).random((8, 8)) * 255).astype(np.uint8)).save("digit.png")
    tiny.model().save_pretrained("lm")
    tiny.tokenizer().save_pretrained("lm")
    Path("corpus.txt").write_text(" ".join(random.Random(0).choices(tiny.WORDS, k=600)))


def page(cells, scratch):
    """Return the table of counts: cells without a broken promise / cells run."""
    rows, messages, left_out = [], Counter(), []
    for job in JOBS:
        row = []
        for fault, seeds in SEEDS.items():
            done = [cells[key] for seed in range(seeds) if (key := f"{job}|{fault}|{seed}") in cells]
            row.append(f"{sum(not one['problems'] for one in done)}/{len(done)}")
            messages.update(note.partition(", error: ")[2] for one in done for note in one["notes"] if ", error: " in note)
        noted = scratch / f"reference-{slug(job)}.json"
        seconds = f"{json.loads(noted.read_text())['seconds']:.1f}" if noted.exists() else ""
        rows.append(f"| {job} | {seconds} | " + " | ".join(row) + " |")
        if noted.exists():
            differ = json.loads(noted.read_text())["differ"]
            names = {name.split(":")[0] + " " + name.rpartition("/")[2] if ":" in name else name for name in differ}
            left_out.append(f"- {job}: {', '.join(sorted(names)[:12]) or 'nothing'}")
    broken = [f"- {key}: {'; '.join(one['problems'])}" for key, one in cells.items() if one["problems"]]
    total = len(cells)
    return TEXT.format(
        total=total, kept=total - len(broken), head=" | ".join(SEEDS), bar="|".join("---" for _ in range(len(SEEDS) + 2)),
        rows="\n".join(rows), broken="\n".join(broken) or "none", left_out="\n".join(left_out),
        messages="\n".join(f"- {text} ({count})" for text, count in messages.most_common(40)),
    )  # fmt: skip


TEXT = """# Faults

    python benchmarks/faults.py --write      # as root; what the columns mean stands at the top of that file

{total} cells, {kept} without a broken promise. A cell shows how many of its seeds kept every promise. x86_64, 2 cores beside
other work; a full disk is a tmpfs of 5 to 95 % of what the run takes, a read-only one a tmpfs mounted so.

| command | s | {head} |
|{bar}|
{rows}

Promises broken: {broken}

Not run yet: `rllib train` (a job of it is in the file), `vpo`, and the later seeds (230 cells are planned for the other
nine). Commands without `--checkpoint-every` (game, vpo-bandit) keep nothing before their end when killed with -9; SIGTERM
makes them save.
A SIGTERM before the first step, or while results are written, ends the process as any other (exit code 143); the same command
then ends the same.
The seeds before these found, and the library mends now: a full disk while results are written (a traceback), and a
DPnP report whose columns came in another order after a resume.

What two uninterrupted runs don't agree on, and was therefore not compared:

{left_out}

What the commands said when the disk, the folder or the checkpoints failed them:

{messages}
"""


if __name__ == "__main__":
    main()
