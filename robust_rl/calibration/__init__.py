"""How large the uncertainty set must be, told by data, so that the real system is in it with a given confidence."""

from robust_rl.calibration.radius import calibrate
from robust_rl.calibration.result import Calibration

__all__ = ["Calibration", "calibrate"]
