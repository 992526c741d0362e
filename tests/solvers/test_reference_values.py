"""Optimal robust values at state 0 of known models: total variation, discount 0.99 unless stated.

Computed by robust policy iteration with explicit kernels and checked by a second method, outside this library.
"""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.envs import domains

COLUMNS = [(0, "nominal"), (0.05, "nominal"), (0.05, "free"), (0.1, "nominal"), (0.1, "free"), (0.2, "nominal"), (0.2, "free")]
# max_s V of RiverSwim has a row of its own: the policy stays at 0, whose value says little
ROWS = {
    "RiverSwim-6": (0.99, [0.5, 0.5, 0.409490479, 0.5, 0.332084666, 0.5, 0.211310348]),
    "RiverSwim-6, max": (0.99, [3.28805624, 2.66514327, 2.57800692, 2.45098517, 2.28908147, 2.12797519, 1.84910208]),
    "machine20": (0.99, [-33.6379567, -33.6379567, -36.9900555, -33.6379567, -41.3577034, -33.6379567, -46.534842]),
    "CRAAM machine": (0.8, [-1.76657963, -2.13145319, -3.82865664, -2.55443092, -5.932554, -3.5945611, -10.2365453]),
    "CRAAM RiverSwim": (0.9, [1530.964, 711.697361, 562.839693, 245.729349, 169.631063, 50, 41]),
    "FrozenLake 4x4": (0.99, [0.542025932, 0.347999537, 0.103121145, 0.187129605, 0.0236918742, 0.0198164006, 0.000909719124]),
    "FrozenLake 8x8": (0.99, [.414640362, .20918034, 0.0176436167, 0.0677411758, 0.000877615047, 0.000672491974, 6.43068771e-07]),
}  # fmt: skip


def model(name):
    """These values take the expected reward r(s,a), so that the adversary moves only the value."""
    made = {
        "RiverSwim-6": domains.river_swim,
        "RiverSwim-6, max": domains.river_swim,
        "machine20": domains.machine,
        "CRAAM machine": domains.machine_replacement_craam,
        "CRAAM RiverSwim": domains.river_swim_craam,
        "FrozenLake 4x4": lambda: rr.envs.tabular("FrozenLake-v1"),
        "FrozenLake 8x8": lambda: rr.envs.tabular("FrozenLake-v1", map_name="8x8"),
    }[name]()
    return made.with_expected_rewards()


def digits(number):
    """Half a unit in the last of nine significant digits, or 1e-8 relative, whichever is larger."""
    return max(1e-8 * abs(number), 0.5 * 10.0 ** (np.floor(np.log10(abs(number))) - 8))


# the certificate can't prove 1e-8 of a value of 1e-6 beside values of 1: rounding is 1e-12; the sweeps converge all the same
@pytest.mark.filterwarnings("ignore::robust_rl.errors.ConvergenceWarning")
@pytest.mark.parametrize("name", ROWS)
def test_table_of_reference_values(name):
    discount, expected = ROWS[name]
    for (radius, support), value in zip(COLUMNS, expected, strict=True):
        solution = rr.solve(model(name), rr.TotalVariation(radius, support=support), discount=discount, tol=1e-9 * abs(value))
        found = solution.value.max() if name.endswith("max") else solution.value[0]
        assert found == pytest.approx(value, abs=digits(value)), (radius, support)


@pytest.mark.parametrize(("support", "value"), [("nominal", 0.184465909), ("free", 0.0197857116)])
def test_transition_rewards_move_with_the_mass(support, value):
    """With r(s,a,s') the adversary moves reward and value together, z = r + gamma V."""
    lake = rr.envs.tabular("FrozenLake-v1")
    assert lake.has_transition_rewards
    found = rr.solve(lake, rr.TotalVariation(0.1, support=support), discount=0.99, tol=1e-11).value[0]
    assert found == pytest.approx(value, abs=digits(value))


def test_craam_river_swim_by_hand():
    """The policy stays left; a free adversary moves 0.2 to the worst state, worth 36: V = 5 + 0.9 (0.8 V + 0.2 * 36)."""
    solution = rr.solve(model("CRAAM RiverSwim"), rr.TotalVariation(0.2, support="free"), discount=0.9, tol=1e-9)
    assert solution.value[0] == pytest.approx(41, abs=1e-8)
    assert solution.value.min() == pytest.approx(36, abs=1e-8)


def test_sparse_and_dense_agree_on_the_lakes():
    for radius, support in COLUMNS:
        dense = rr.envs.tabular("FrozenLake-v1")
        sparse = dense.replace(transitions=dense.csr(), rewards=dense.rewards)
        assert sparse.is_sparse
        ball = rr.TotalVariation(radius, support=support)
        one, two = (rr.solve(m, ball, discount=0.99, tol=1e-10).value for m in (dense, sparse))
        np.testing.assert_allclose(one, two, atol=1e-10)
