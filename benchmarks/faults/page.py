"""The page, from the cells and the words of ``page.md``."""

import re
from collections import Counter
from pathlib import Path

from faults.jobs import JOBS, LEFT_OUT, SEEDS


def page(cells):
    """Return the page: a table of cells without a broken promise / cells run."""
    everything = list(cells.cells.values())
    broken = [f"- {name}: {'; '.join(one['problems'])}" for name, one in sorted(cells.cells.items()) if one["problems"]]
    commits = Counter(one["commit"] for one in everything)
    return Path(__file__).with_suffix(".md").read_text().format(
        total=len(everything),
        kept=len(everything) - len(broken),
        commits=", ".join(f"{commit} ({count})" for commit, count in commits.most_common()),
        head=" | ".join(SEEDS),
        bar="|".join("---" for _ in range(len(SEEDS) + 2)),
        rows="\n".join(row(cells, job) for job in JOBS),
        broken="\n".join(broken) or "none.",
        left_out="\n".join(f"- {names}: {why}" for names, why in LEFT_OUT.items()),
        differ="\n".join(f"- {job}: {', '.join(cells.references[job]['differ']) or 'nothing'}" for job in cells.references),
        messages="\n".join(f"- {text} ({count})" for text, count in messages(everything).most_common(40)),
    )  # fmt: skip


def row(cells, job):
    counts = []
    for fault in SEEDS:
        done = cells.of(job, fault)
        counts.append(f"{sum(not one['problems'] for one in done)}/{len(done)}" if fault in JOBS[job].faults else "")
    return f"| {job} | {cells.references.get(job, {}).get('seconds', '')} | " + " | ".join(counts) + " |"


def messages(everything):
    """Return what commands said when something failed them, numbers of steps left out."""
    said = (note.partition(", error: ")[2] for one in everything for note in one["notes"])
    return Counter(re.sub(r"step_\d+", "step_*", text) for text in said if text)
