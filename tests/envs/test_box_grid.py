import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_rl.envs.box_grid import BoxGrid


def grid(bins, low=-1.0, high=1.0, periodic=False):
    axes = len(bins)
    return BoxGrid(np.full(axes, low), np.full(axes, high), np.array(bins), np.full(axes, periodic))


def test_cells_are_numbered_with_the_last_axis_fastest():
    made = grid((2, 3))
    points = np.array([[-0.5, -0.9], [-0.5, 0.0], [-0.5, 0.9], [0.5, -0.9]])
    assert made.cells(points).tolist() == [0, 1, 2, 3]
    assert made.cells(made.corners() + made.width / 2).tolist() == list(range(6))


def test_points_beyond_the_box_count_as_on_its_border_or_come_round():
    far = np.array([[-7.0], [7.0], [1e300], [-1e300]])
    assert grid((4,)).cells(far).tolist() == [0, 3, 3, 0]
    turned = grid((4,), -np.pi, np.pi, periodic=True)
    assert turned.cells(np.array([[np.pi + 0.1], [-np.pi - 0.1]])).tolist() == [0, 3]
    cells, shares = turned.shares(np.array([[np.pi]]))
    assert sorted(cells[0].tolist()) == [0, 3]
    np.testing.assert_allclose(shares, 0.5)


@given(st.lists(st.floats(-0.75, 0.75), min_size=3, max_size=3), st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_shares_reproduce_any_line_between_the_centres(point, weights):
    made = grid((4, 5, 7), -0.95, 0.95)
    centres = made.corners() + made.width / 2
    inside = np.clip(point, centres.min(axis=0), centres.max(axis=0))
    cells, shares = made.shares(inside[None])
    assert shares.min() >= 0
    assert shares.sum() == pytest.approx(1)
    line = centres @ weights[:3] + weights[3]
    assert (line[cells] * shares).sum() == pytest.approx(inside @ weights[:3] + weights[3], abs=1e-12)


@given(st.floats(-5, 5), st.booleans())
def test_the_largest_share_goes_to_the_cell_that_holds_the_point(x, periodic):
    made = grid((5,), periodic=periodic)
    cells, shares = made.shares(np.array([[x]]))
    best = cells[0, shares[0] >= shares.max() - 1e-9]
    assert made.cells(np.array([[x]]))[0] in best
