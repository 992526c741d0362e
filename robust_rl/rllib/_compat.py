"""Every import from ray. A new version of Ray is met here, and by the tests in ``tests/rllib`` that check what we rest on."""

from __future__ import annotations

from robust_rl.training.optional import require

require("ray", "robust-rl[rllib]")
