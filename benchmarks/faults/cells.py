"""What came of each cell, and at which commit, in one file: a line a cell, so that changes of it can be read."""

import json

from faults.processes import alone
from faults.reading import reference, summary


class Cells:
    """The file at ``path``: what was found out, and what a run without faults is like."""

    def __init__(self, path):
        self.path = path
        self.read()

    def read(self):
        """Take over what is in the file."""
        content = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.references, self.cells = content.get("references", {}), content.get("cells", {})

    def commit(self, job, fault, seed):
        """Return at which commit the cell was run, or None."""
        return self.cells.get(key(job, fault, seed), {}).get("commit")

    def of(self, job, fault):
        """Return the cells of all seeds."""
        return [one for name, one in self.cells.items() if name.startswith(f"{job}|{fault}|")]

    def keep(self, job, fault, seed, found, scratch):
        """Write down what was found, whole or not at all, beside what another process wrote meanwhile."""
        with alone(scratch / "cells.lock"):
            self.read()
            self.references[job] = summary(job, reference(scratch, job))
            self.cells[key(job, fault, seed)] = found
            self.write()

    def write(self):
        """Write the file."""
        parts = [f'"{name}": {{\n{lines(entries)}\n}}' for name, entries in vars(self).items() if name != "path"]
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("{" + ",\n".join(parts) + "}\n")
        temporary.replace(self.path)


def lines(entries):
    return ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(entries.items()))


def key(job, fault, seed):
    return f"{job}|{fault}|{seed}"
