"""Models in files of other programs: tables (CSV, Parquet), Storm's DRN and PRISM's explicit files, with interval models.

All of these may come from strangers: nothing in them is evaluated or unpickled, and a malformed line is named.
"""

from robust_rl.formats.any_file import SUFFIXES, read_model
from robust_rl.formats.drn import read_drn, write_drn
from robust_rl.formats.interval_model import IntervalModel
from robust_rl.formats.prism import read_prism, write_prism
from robust_rl.formats.table import TableModel, from_columns, read_table, write_table

__all__ = [
    "SUFFIXES",
    "IntervalModel",
    "TableModel",
    "from_columns",
    "read_drn",
    "read_model",
    "read_prism",
    "read_table",
    "write_drn",
    "write_prism",
    "write_table",
]
