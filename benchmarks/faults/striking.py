"""The faults, and what is held against a promise: each note says where one struck, each problem what was broken."""

import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from faults.jobs import JOBS
from faults.processes import Command
from faults.reading import bring, fresh, leaves, metrics, reference, saved, slug


def strike(scratch, job, fault, seed):
    """Strike a job, end it, and return what came of it: ``problems`` and ``notes``."""
    expected = reference(scratch, job)
    place, rng = fresh(scratch / f"{slug(job)}-{fault}-{seed}"), random.Random(f"{job}|{fault}|{seed}")
    cell = Cell(scratch, job, fault, place, expected, rng)
    try:
        FAULTS[fault](cell)
        check_end(cell)
    finally:
        subprocess.run(["umount", "-l", cell.place], capture_output=True, check=False)
    if not cell.problems:
        shutil.rmtree(cell.place, ignore_errors=True)
        for errors in scratch.glob(f"{cell.place.name}-*.stderr"):
            errors.unlink()
    return {"problems": cell.problems, "notes": cell.notes}


@dataclass
class Cell:
    """A job, a fault and a seed while they are tried."""

    scratch: Path
    job: str
    fault: str
    place: Path
    expected: dict
    rng: random.Random
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    noted: tuple[int, float] | None = None  # the step that was saved, and when that was looked at

    @property
    def run(self):
        """Where the command has its run."""
        return self.place / "run"

    def bring(self):
        """Put there what the command finds in its run."""
        bring(self.scratch, self.job, self.place)

    def note_saved(self):
        """Remember the newest whole checkpoint, and return its step."""
        self.noted = (saved(self.job, self.run)[0], time.time())
        return self.noted[0]

    def command(self, name):
        """Start the command as a user would: with what resumes it, if that takes more and there is a checkpoint."""
        resume = JOBS[self.job].resume
        return Command(self.job, self.place, name, resume if resume and saved(self.job, self.run)[1] else ())


def kill(cell):
    cell.bring()
    for number in range(2):
        send(cell, signal.SIGKILL, number)
    finish(cell)


def term(cell):
    cell.bring()
    send(cell, signal.SIGTERM, 0)
    finish(cell)


def send(cell, number, which):
    """Start the command and send it a signal at a random moment, four times in five while its run.json says "running"."""
    seconds = cell.expected["seconds"]
    begin, end = cell.expected["loop"] if cell.rng.random() < 0.8 else (0.0, seconds)
    moment = cell.rng.uniform(begin, end)
    command = cell.command(f"strike{which}")
    code = command.wait_for_cpu(moment)
    if code is None:
        code = command.end(number)
    step = cell.note_saved()
    last = max(cell.expected["steps"], default=0)
    cell.notes.append(f"{signal.Signals(number).name} at {moment / seconds:.2f}: exit {code}, saved {step} of {last}")
    if number == signal.SIGTERM and code not in (0, 130, -signal.SIGTERM):
        cell.problems.append(f"exit code {code} after SIGTERM")
    if number == signal.SIGTERM and code == 130 and not any("same command" in line for line in command.complaint()):
        cell.problems.append("no word on how to go on")
    check_clean(command, cell)


def full(cell):
    given, whole = cell.expected["given"], cell.expected["bytes"]
    size = given + int(cell.rng.uniform(0.05, 0.95) * (whole - given)) // 4096 * 4096 + 8192
    mount(cell.place, f"size={size}")
    cell.bring()
    fails(cell, f"disk of {size} bytes, run of {whole}", allowed=(0, 1))
    mount(cell.place, "remount,size=1g")
    cell.note_saved()
    finish(cell)


def read_only(cell):
    mount(cell.place, "size=1g")
    cell.bring()
    mount(cell.place, "remount,ro")
    fails(cell, "read-only folder")
    mount(cell.place, "remount,rw")
    send(cell, signal.SIGKILL, 0)
    mount(cell.place, "remount,ro")
    fails(cell, "read-only run")
    mount(cell.place, "remount,rw")
    finish(cell)


def damaged(cell):
    """Damage the newest checkpoint: of a killed run where there are two, else of a finished run."""
    command, count = cell.command("first"), cell.expected["checkpoints"]
    wanted = 2 if count > 1 else 99
    if command.wait(lambda: saved(cell.job, cell.run)[1] >= wanted) is None:
        command.end()
    newest = max((cell.run / "checkpoints").glob("step_*"))
    path = cell.rng.choice(sorted(path for path in newest.rglob("*") if path.is_file() and path.stat().st_size))
    content = bytearray(path.read_bytes())
    if cell.fault == "truncated":
        del content[cell.rng.randrange(len(content)) :]
    else:
        content[cell.rng.randrange(len(content))] ^= 1 << cell.rng.randrange(8)
    path.write_bytes(content)
    cell.note_saved()
    intact = saved(cell.job, cell.run)[1]
    cell.notes.append(f"{cell.fault} {newest.name}/{path.relative_to(newest)}, {intact} intact left")
    if intact == 0:
        fails(cell, "no intact checkpoint")
        shutil.rmtree(cell.run / "checkpoints")  # as the message says
    again = finish(cell)
    if intact and not any("skipping the checkpoint" in line for line in again.warnings()):
        cell.problems.append("a damaged checkpoint was used, or skipped without a word")


def two(cell):
    """A second process: at a random moment of the first's work, and at its very start."""
    cell.bring()
    first = cell.command("first")
    if cell.rng.random() < 0.5:
        first.wait_for_cpu(cell.rng.uniform(0.02, 0.9) * cell.expected["seconds"])
    second = cell.command("second")
    codes = sorted([second.wait(), first.wait()])
    cell.notes.append(f"exit codes {codes}")
    if codes not in ([0, 0], [0, 1]):
        cell.problems.append(f"exit codes {codes} of two processes")
    for command in (first, second):
        check_clean(command, cell)
        if codes == [0, 1] and command.complaint() and "is in use by process" not in command.complaint()[-1]:
            cell.problems.append(f"turned away with {command.complaint()}")
    if codes == [0, 1] and not (first.complaint() or second.complaint()):
        cell.problems.append("turned away without a word")


FAULTS = {"kill": kill, "term": term, "full": full, "read-only": read_only, "truncated": damaged, "flipped": damaged, "two": two}


def fails(cell, what, allowed=(1,)):
    command = cell.command("failing")
    code, said = command.wait(), command.complaint()
    cell.notes.append(f"{what}: exit {code}, {' / '.join(said)[:300]}")
    check_clean(command, cell)
    if code not in allowed:
        cell.problems.append(f"exit code {code}: {what}")
    if code and (len(said) != 1 or not said[0].startswith("error: ")):
        cell.problems.append(f"{len(said)} lines in place of one: {' / '.join(said)[:400]}")


def finish(cell):
    command = cell.command("last")
    code = command.wait()
    if code != 0:
        cell.problems.append(f"the last run ended with exit code {code}: {' / '.join(command.complaint())[-400:]}")
    check_clean(command, cell)
    return command


def check_clean(command, cell):
    if "Traceback" in (text := command.errors.read_text(errors="replace")):
        frames = [line.strip() for line in text.splitlines() if line.startswith("  File") and "robust_rl" in line]
        cell.problems.append(f"traceback: {text.strip().splitlines()[-1][:300]} {' '.join(frames[-2:])}")


def check_end(cell):
    """Compare a finished run with the uninterrupted ones."""
    lines, expected = metrics(cell.run), cell.expected
    steps = [line["step"] for line in lines]
    if steps != expected["steps"]:
        cell.problems.append(f"steps in metrics.jsonl: {steps[:3]} .. {steps[-3:]}, {len(steps)} for {len(expected['steps'])}")
    if cell.noted is not None:
        step, moment = cell.noted
        went_on = max((line["step"] for line in lines if line["time"] < moment), default=0)
        if went_on < step:
            cell.problems.append(f"step {step} was saved, and the run went on from {went_on}")
    if not JOBS[cell.job].exact:
        return
    found = leaves(cell.job, cell.run)
    wrong = [name for name, value in expected["agreed"].items() if found.get(name, "absent") != value]
    more = sorted(found.keys() - expected["agreed"].keys() - set(expected["differ"]))
    if wrong or more:
        cell.problems.append(f"differs from an uninterrupted run: {wrong[:5]} ({len(wrong)}), more: {more[:5]}")


def mount(place, options):
    # the folder's content moves onto the small disk with it: there is none yet
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
