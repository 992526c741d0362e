import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.features import (
    MAPS,
    Aggregation,
    FeatureMap,
    Hat,
    OneHot,
    Radial,
    Table,
    Tiles,
    check_simplex,
    describe,
    effective_features,
    parse,
)


def logs(points, actions=(0, 1, 2)):
    n = len(points)
    return rr.datasets.from_arrays(points, np.resize(actions, n), np.zeros(n), points)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([Tiles, Hat, Radial]),
    st.integers(2, 5),
    st.integers(1, 3),
    st.integers(0, 1000),
)
def test_maps_of_boxes_are_on_the_simplex_and_agree_with_their_shortcut(kind, bins, axes, seed):
    rng = np.random.default_rng(seed)
    data = logs(rng.normal(size=(30, axes)))
    phi = kind(bins).fit(data)
    beyond = 3 * rng.normal(size=(25, axes))
    actions = rng.integers(3, size=25)
    check_simplex(phi, beyond, actions)
    assert phi.dimension == 3 * bins**axes
    weights = rng.normal(size=phi.dimension)
    np.testing.assert_allclose(phi.action_values(beyond, weights), FeatureMap.action_values(phi, beyond, weights), atol=1e-12)


def test_hats_interpolate_linear_functions_exactly():
    """Multilinear interpolation reproduces x, y and x y."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, 2], [3, 5], size=(50, 2))
    phi = Hat(4, low=[-1, 2], high=[3, 5], num_actions=1)
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(-1, 3, 4), np.linspace(2, 5, 4), indexing="ij"))
    rows = phi(points, np.zeros(50, dtype=int))
    np.testing.assert_allclose(rows @ np.stack([x, y, x * y], axis=1), np.stack([*points.T, points.prod(axis=1)], axis=1))


def test_tiles_partition_the_box():
    phi = Tiles(4, low=0.0, high=1.0, num_actions=1)
    tiles = phi.encode(np.array([0.0, 0.2499, 0.25, 0.99, 1.0, -7.0])).argmax(axis=1)
    assert tiles.tolist() == [0, 0, 1, 3, 3, 0]


def test_radial_features_are_gaussians_over_their_sum():
    phi = Radial(3, low=[0, 0], high=[2, 4], num_actions=1, bandwidth=0.7)
    point = np.array([0.3, 3.1])
    centres = np.array([(x, y) for x in (0, 1, 2) for y in (0, 2, 4)])
    bumps = np.exp(-0.5 * (((point - centres) / [1, 2] / 0.7) ** 2).sum(axis=1))
    np.testing.assert_allclose(phi.encode(point[None])[0], bumps / bumps.sum(), rtol=1e-12)
    far = Radial(3, low=0, high=1, num_actions=1, bandwidth=1e-3).encode(np.array([0.26]))
    np.testing.assert_array_equal(far, [[0, 1, 0]])  # every bump underflows; the nearest keeps the whole weight


def test_one_hot_reads_sizes_from_the_data():
    data = rr.datasets.from_arrays([0, 1], [1, 0], [0.0, 0.0], [1, 4])
    phi = OneHot().fit(data)
    assert (phi.num_states, phi.num_actions, phi.dimension) == (5, 2, 10)
    assert phi(np.array([3]), np.array([1]))[0].argmax() == 1 * 5 + 3
    weights = np.arange(10.0)
    np.testing.assert_array_equal(phi.action_values(np.array([3, 0]), weights), [[3, 8], [0, 5]])
    assert OneHot(7, 3).fit(data) == OneHot(7, 3)


def test_aggregation_of_singletons_is_one_hot():
    states, actions = np.array([0, 2, 1]), np.array([1, 0, 1])
    np.testing.assert_array_equal(Aggregation([0, 1, 2], 2)(states, actions), OneHot(3, 2)(states, actions))
    np.testing.assert_array_equal(Aggregation([0, 1, 0], 1).encode(states), [[1, 0], [1, 0], [0, 1]])


def test_maps_are_made_again_from_their_description():
    for phi in (Tiles(3, low=[0.0], high=[1.0], num_actions=2), Radial(3, low=0, high=1, num_actions=1, bandwidth=0.3)):
        again = MAPS[type(phi).__name__](**describe(phi))
        points = np.linspace(0, 1, 9)
        np.testing.assert_array_equal(phi.encode(points), again.encode(points))


class Polynomial(FeatureMap):
    num_actions, dimension = 1, 2

    def __init__(self, columns):
        self.columns = columns

    def __call__(self, observations, actions):
        return np.stack([column(observations) for column in self.columns], axis=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, a: check_simplex(Polynomial([np.sin, lambda x: 1 - np.sin(x)]), x - 1, a), r"row 0 has the entry -0\.8"),
        (lambda x, a: check_simplex(Polynomial([np.ones_like, lambda x: x**2]), x, a), "row 1 sums to 1.25; d-rectangular"),
        (lambda x, a: check_simplex(Polynomial([np.ones_like, lambda x: x * np.nan]), x, a), "sums to nan"),
        (lambda x, a: check_simplex(Polynomial([np.ones_like]), x, a), r"shape \(3, 1\); expected \(3, 2\)"),
        (lambda x, a: Table(np.full((2, 2, 3), 0.3)), "sums to 0.9"),
        (lambda x, a: Table(np.ones((2, 1))), r"expected \(S, A, d\)"),
        (lambda x, a: Tiles(0), "bins=0"),
        (lambda x, a: Hat(1), "at least 2"),
        (lambda x, a: Hat(3, low=1.0, high=1.0), "must be below high"),
        (lambda x, a: Radial(3, bandwidth=0.0), "bandwidth=0.0"),
        (lambda x, a: Aggregation([0, -1]), "numbers the group"),
        (lambda x, a: OneHot().fit(logs([[0.1], [0.2]])), "need indices"),
        (lambda x, a: OneHot(2, 1)(np.array([2]), np.array([0])), r"no state 2; states are 0\.\.1"),
        (lambda x, a: Tiles(2).fit(logs([[0.1], [0.2]]))(np.zeros((1, 2)), np.array([0])), "2 axes, not 1"),
    ],
)
def test_what_is_off_the_simplex_is_refused_with_the_reason(make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make(np.array([0.0, 0.5, 1.0]), np.zeros(3, dtype=int))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("onehot", OneHot()),
        ("onehot:16", OneHot(16)),
        ("onehot:16:4", OneHot(16, 4)),
        ("tiles:8", Tiles(8)),
        ("hat:3", Hat(3)),
        ("radial:4", Radial(4)),
        ("radial:4:0.7", Radial(4, bandwidth=0.7)),
    ],
)
def test_words_stand_for_maps(text, expected):
    found = parse(text)
    assert type(found) is type(expected)
    assert describe(found) == describe(expected)


def test_arrays_of_maps_come_from_files(tmp_path):
    np.save(tmp_path / "groups.npy", [0, 1, 1])
    np.save(tmp_path / "phi.npy", np.full((3, 2, 4), 0.25))
    np.testing.assert_array_equal(parse(f"aggregation:{tmp_path / 'groups.npy'}").groups, [0, 1, 1])
    assert parse(f"table:{tmp_path / 'phi.npy'}").dimension == 4
    np.save(tmp_path / "off.npy", np.full((3, 2, 4), 0.5))
    with pytest.raises(InvalidArgumentError, match="phi of row 0 sums to 2"):
        parse(f"table:{tmp_path / 'off.npy'}")
    np.save(tmp_path / "objects.npy", np.array([{}]))
    for name in ("objects.npy", "missing.npy"):
        with pytest.raises(FileFormatError, match=f"cannot read .*{name} as an array of features"):
            parse(f"table:{tmp_path / name}")


@pytest.mark.parametrize("text", ["tile:8", "tiles", "tiles:eight", "tiles:8:2", "onehot:1:2:3", "radial:4:wide", "table", ""])
def test_unknown_words_list_the_known_ones(text):
    with pytest.raises(InvalidArgumentError, match=r"aren't known; give one of onehot.*, tiles:BINS, .*radial:BINS"):
        parse(text)
    with pytest.raises(InvalidArgumentError, match="bins=0"):
        parse("tiles:0")


def test_effective_features_of_indicators_are_effective_pairs():
    """One-hot features are met as often as their pair is visited; a constant map meets all its features alike."""
    data = rr.datasets.collect(rr.envs.make("FrozenLake-v1"), None, 50, seed=0)
    pairs = data.statistics().effective_pairs[:4]
    np.testing.assert_allclose(effective_features(OneHot(16, 4), data, 4), pairs, rtol=1e-12)
    np.testing.assert_allclose(effective_features(Table(np.full((16, 4, 8), 1 / 8)), data, 4), 8.0, rtol=1e-12)
