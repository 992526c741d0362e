"""max over x of min_j P_j x, over the distributions x with G x <= 0, by HiGHS: slow, robust, one program at a time."""

from __future__ import annotations

import highspy
import numpy as np

from robust_rl.equilibria.checks import Array
from robust_rl.errors import ConvergenceError


def max_min(objectives: Array, incentives: Array) -> tuple[Array, Array]:
    """Return x (M,) and the multipliers (k,) of the objectives P (k, M), which sum to 1; G is (m, M)."""
    k, joint = objectives.shape
    m = len(incentives)
    rows = np.zeros((k + m + 1, joint + 1))  # variables: x, and t <= P_j x
    rows[:k, :joint], rows[:k, joint] = -objectives, 1.0
    rows[k : k + m, :joint] = incentives
    rows[-1, :joint] = 1.0
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = joint + 1, k + m + 1
    program.sense_ = highspy.ObjSense.kMaximize
    program.col_cost_ = np.append(np.zeros(joint), 1.0)
    program.col_lower_ = np.append(np.zeros(joint), -highspy.kHighsInf)
    program.col_upper_ = np.full(joint + 1, highspy.kHighsInf)
    program.row_lower_ = np.append(np.full(k + m, -highspy.kHighsInf), 1.0)
    program.row_upper_ = np.append(np.zeros(k + m), 1.0)
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    row, column = np.nonzero(rows)
    program.a_matrix_.start_ = np.searchsorted(row, np.arange(len(rows) + 1))
    program.a_matrix_.index_ = column
    program.a_matrix_.value_ = rows[row, column]
    solver = highspy.Highs()
    solver.silent()
    for tolerance in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
        solver.setOptionValue(tolerance, 1e-10)
    solver.passModel(program)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise ConvergenceError(f"HiGHS: {solver.modelStatusToString(solver.getModelStatus())}")
    solution = solver.getSolution()
    x = np.maximum(np.array(solution.col_value)[:joint], 0.0)
    y = np.maximum(np.array(solution.row_dual)[:k], 0.0)
    return x / x.sum(), y / y.sum()
