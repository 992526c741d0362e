"""What a run holds, by this file's own reading, and what it holds when nothing strikes it."""

import hashlib
import json
import re
import shutil
import time

from faults.jobs import JOBS
from faults.processes import Command, processor_time

TIMELESS = ("run.json", ".lock")  # what a run records about itself, and when
KEPT_OUT = ("events.out", ".lock")


def saved(job, run):
    """Return the step of the newest whole checkpoint (0: none), and how many whole ones there are."""
    pattern = JOBS[job].checkpoints
    if pattern == "ours":
        steps = list(map(whole_step, (run / "checkpoints").glob("step_*")))
    else:
        steps = [read_step(path) for path in run.glob(pattern)]
    steps = [step for step in steps if step is not None]
    return max(steps, default=0), len(steps)


def whole_step(directory):
    """Return the step of a checkpoint of ours whose files have the checksums that they should."""
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
        sums = [hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in manifest["files"]]
    except (OSError, ValueError):
        return None
    return manifest["step"] if sums == list(manifest["files"].values()) else None


def read_step(path):
    """Return the step of a checkpoint of transformers, or the last one of a round of two steps."""
    try:
        content = json.loads(path.read_text())
    except ValueError:
        return None
    return content["global_step"] if "global_step" in content else 2 * (content["round"] + 1)


def metrics(run):
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def leaves(job, run):
    """Return everything a finished run says, as name -> value: JSON by its leaves, other files by their digest."""
    found = {}
    newest = max((run / "checkpoints").glob("step_*"), default=None)
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        passing = "checkpoints" in path.parts and newest is not None and newest not in path.parents
        if not path.is_file() or path.name.startswith(KEPT_OUT) or path.name in (*TIMELESS, *JOBS[job].uncompared) or passing:
            continue
        if path.suffix == ".json":
            flatten(name, json.loads(path.read_text()), found)
        elif path.suffix == ".jsonl":
            for i, line in enumerate(path.read_text().splitlines()):
                said = {key: value for key, value in json.loads(line).items() if not key.startswith("run/")}  # of this process
                flatten(f"{name}:{i}", said, found)
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
        given = bring(scratch, job, place)
        command = Command(job, place, "run")
        seen = {"begin": 0.0, "end": 0.0, "all": 0.0}

        def watch(command=command, seen=seen, record=place / "run/run.json"):
            seen["all"] = max(seen["all"], processor_time(command.pid))
            status = record.read_text() if record.exists() else ""
            if '"running"' in status:
                seen["begin"], seen["end"] = seen["begin"] or seen["all"], seen["all"]
            return False

        started, code = time.time(), command.wait(watch)
        assert code == 0, (job, code, command.errors.read_text()[-2000:])
        both.append(leaves(job, place / "run"))
    run = place / "run"
    agreed = {name: value for name, value in both[0].items() if both[1].get(name, "absent") == value}
    content = {
        "agreed": agreed,
        "differ": sorted(set(both[0]) ^ set(agreed) | set(both[1]) ^ set(agreed)),
        "seconds": seen["all"],
        "wall": time.time() - started,
        "loop": [seen["begin"], seen["end"]] if seen["end"] > seen["begin"] else [0.0, seen["all"]],
        "given": given,
        "bytes": size(run),
        "checkpoints": saved(job, run)[1],
        "steps": [line["step"] for line in metrics(run)],
    }
    noted.write_text(json.dumps(content))
    return content


def summary(job, content):
    """Return what the page tells of a reference: no more than that is kept beside the cells."""
    names = {*JOBS[job].uncompared} | {re.sub(r"/\d+(?=/|$)", "/*", re.sub(r":\d+", "", name)) for name in content["differ"]}
    return {"seconds": round(content["seconds"], 1), "compared": len(content["agreed"]), "differ": sorted(names)}


def bring(scratch, job, place):
    """Copy what the command finds in its run already, and return its size."""
    if JOBS[job].given is None:
        return 0
    shutil.copytree(scratch / JOBS[job].given, place / "run")
    return size(place / "run")


def size(folder):
    return sum(4096 + path.stat().st_size for path in folder.rglob("*"))


def fresh(place):
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def slug(job):
    return job.replace(" ", "-")
