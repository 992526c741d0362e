"""That costs are measured, not what they are: times are for `benchmarks/`."""

import pytest

import robust_rl as rr
from robust_rl.envs.domains import garnet
from robust_rl.errors import InvalidArgumentError
from robust_rl.speed import backup_ratios


def test_ratios_have_a_row_a_set_and_the_floor():
    sets = {"none": None, "tv": rr.TotalVariation(0.1, support="free"), "kl": rr.KL(0.1)}
    table = backup_ratios(garnet(50, 2, 3), sets, rounds=3, title="garnet")
    assert table.rows == ("P V, ms", "none", "tv", "kl")
    for row in table.cells:
        for cell in row:
            assert 0 < cell.low <= cell.middle <= cell.high


def test_rounds_must_be_positive():
    with pytest.raises(InvalidArgumentError, match="rounds is 0"):
        backup_ratios(garnet(5, 2, 3), {}, rounds=0)
