"""Calibrated sets hold the real system, and the values they guarantee are kept."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError
from tests.worlds import random_model

BOUNDS = ["simulator", "weissman", "hoeffding", "clopper-pearson"]
CONFIDENCE = 0.9
REAL = random_model(1)
ACTIVE = REAL.active_rows.reshape(REAL.num_states, -1)
SIMULATOR = REAL.replace(transitions=0.8 * REAL.transitions + 0.2 / REAL.num_states)


def draw(rng, n=60, real=REAL):
    """n transitions from every available pair."""
    counts = rng.multinomial(n, real.transitions)
    counts[~real.active_rows.reshape(counts.shape[:2])] = 0
    return counts


def covered(found, real=REAL):
    active = real.active_rows.reshape(real.num_states, -1)
    if isinstance(found.uncertainty, rr.Interval):
        inside = (found.uncertainty.lower <= real.transitions + 1e-12) & (real.transitions <= found.uncertainty.upper + 1e-12)
        return inside[active].all()
    apart = abs(found.kernel - real.transitions).sum(axis=2) / 2
    return (apart <= found.radius + 1e-12)[active].all()


def check_rate(kept, confidence=CONFIDENCE):
    """The 99.9 % binomial interval of the rate must reach the promise."""
    assert stats.binomtest(int(np.sum(kept)), len(kept)).proportion_ci(0.999, "exact").high >= confidence


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_real_system_is_covered_at_the_promised_rate(bound):
    rng = np.random.default_rng(0)
    logs = [draw(rng) for _ in range(1000)]
    check_rate([covered(rr.calibrate(SIMULATOR, log, confidence=CONFIDENCE, bound=bound, sampling="generative")) for log in logs])
    pattern = {"support": REAL.transitions > 0} if bound != "simulator" else {}
    arguments = {"confidence": CONFIDENCE, "bound": bound, "sampling": "generative"} | pattern
    check_rate([covered(rr.calibrate(REAL, log, **arguments)) for log in logs])


@pytest.mark.parametrize("sampling", ["generative", "trajectories"])
def test_a_log_that_stops_when_it_looks_good_is_covered_only_by_trajectories(sampling):
    """One fair coin, which the simulator calls always tails; the logger stops, within 2000 throws, where heads look rarest."""
    real = rr.TabularMDP([[[0.5, 0.5]], [[0.0, 1.0]]], [[1.0], [0.0]], terminal=[1])
    simulator = real.replace(transitions=[[[0.0, 1.0]], [[0.0, 1.0]]])
    heads = (np.random.default_rng(1).random((400, 2000)) < 0.5).cumsum(axis=1)
    n = np.arange(1, 2001)
    stops = ((heads - n / 2) / np.sqrt(n)).argmin(axis=1)
    logs = [np.array([[[run[stop], n[stop] - run[stop]]], [[0, 0]]]) for run, stop in zip(heads, stops, strict=True)]
    kept = [covered(rr.calibrate(simulator, log, confidence=CONFIDENCE, sampling=sampling), real) for log in logs]
    if sampling == "trajectories":
        check_rate(kept)
    else:
        assert np.mean(kept) < CONFIDENCE - 0.15


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_guaranteed_value_is_kept_in_the_real_world(bound):
    """The robust value bounds the policy's value in the real model, for 200 logs."""
    rng = np.random.default_rng(2)
    kept, gains = [], []
    for _ in range(200):
        found = rr.calibrate(SIMULATOR, draw(rng, 400), confidence=CONFIDENCE, bound=bound)
        solution = rr.solve(SIMULATOR.replace(transitions=found.kernel), found.uncertainty, discount=0.9)
        true = rr.policy_value(REAL, solution.policy, discount=0.9)
        kept.append((solution.certificate.lower <= true + 1e-9).all())
        gains.append(REAL.start @ (true - solution.certificate.lower))
    check_rate(kept)
    assert 0 < np.mean(gains) < 10, "a guarantee, and one that says something"


def test_a_model_of_the_lake_gives_a_lower_bound_for_another_one():
    """Trajectories of a random policy through Gymnasium's own environment, read as arrays."""
    env = rr.envs.make("FrozenLake-v1", is_slippery=True, success_rate=0.7)
    states, actions, successors = [], [], []
    env.action_space.seed(0)
    state, _ = env.reset(seed=0)
    for _ in range(20_000):
        action = env.action_space.sample()
        successor, _, terminated, truncated, _ = env.step(action)
        states.append(state), actions.append(action), successors.append(successor)
        state = env.reset()[0] if terminated or truncated else successor
    simulator, real = (rr.envs.tabular("FrozenLake-v1", success_rate=rate) for rate in (0.8, 0.7))
    found = rr.calibrate(simulator, (states, actions, successors), confidence=0.95, support="reachable")
    assert covered(found, real)
    solution = rr.solve(simulator, found.uncertainty, discount=0.99)
    assert 0 < solution.certificate.lower[0] < rr.policy_value(real, solution.policy, discount=0.99)[0]
    assert "44 state-action pairs, all numbers of visits" in found.guarantee
    assert "if it goes only where the support allows" in found.guarantee
    costly = found.drivers_of_value(simulator, solution)
    assert costly.columns == ("visits", "bound", "slope of the value", "slope x bound")
    costs = [cells[3].low for cells in costly.cells]
    assert costs == sorted(costs)
    assert costs[-1] < 0


@pytest.mark.parametrize("bound", BOUNDS)
def test_the_radius_approaches_the_true_distance(bound):
    centre = SIMULATOR if bound == "simulator" else REAL
    true = np.where(ACTIVE, abs(centre.transitions - REAL.transitions).sum(axis=2) / 2, 0.0)
    excess = []
    for n in (100, 10_000, 1_000_000):
        found = rr.calibrate(SIMULATOR, draw(np.random.default_rng(3), n), confidence=0.99, bound=bound)
        excess.append((found.radius - true)[ACTIVE].max())
        assert (found.radius >= true - 1e-12)[ACTIVE].all()
    assert excess[0] > 5 * excess[1] > 25 * excess[2]
    assert excess[2] < 0.005


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(BOUNDS), st.floats(0.5, 0.98), st.booleans())
def test_more_confidence_is_a_larger_set_and_every_layout_the_same(seed, bound, confidence, is_sparse):
    real, model = random_model(seed), random_model(seed, sparse=is_sparse)
    counts = draw(np.random.default_rng(seed), 30, real)
    less, more = (rr.calibrate(model, counts, confidence=level, bound=bound) for level in (confidence, (1 + confidence) / 2))
    assert (less.radius <= more.radius + 1e-9).all()
    fixed = rr.calibrate(model, counts, confidence=confidence, bound=bound, sampling="generative")
    assert (fixed.radius <= less.radius + 1e-9).all()
    columns = tuple(np.repeat(axis, counts.ravel()) for axis in np.indices(counts.shape).reshape(3, -1))
    again = rr.calibrate(model, columns, confidence=confidence, bound=bound)
    assert again.uncertainty == less.uncertainty
    nominal = rr.solve(model.replace(transitions=less.kernel), None, discount=0.9).value
    assert (
        rr.solve(model.replace(transitions=less.kernel), less.uncertainty, discount=0.9).certificate.lower <= nominal + 1e-9
    ).all()


def test_every_form_of_a_log_counts_alike(tmp_path):
    counts = draw(np.random.default_rng(4), 9)
    s, a, after = (np.repeat(axis, counts.ravel()) for axis in np.indices(counts.shape).reshape(3, -1))
    np.savez(tmp_path / "counts.npz", counts=counts)
    np.savez(tmp_path / "columns.npz", states=s, actions=a, next_states=after, rewards=np.zeros(len(s)))
    logs = [
        counts, sparse.csr_array(counts.reshape(-1, REAL.num_states)), (s, a, after), [list(s), list(a), list(after)],
        {"states": s, "actions": a, "next_states": after}, {"counts": counts.tolist()},
        SimpleNamespace(observations=s.astype(float)[:, None], actions=a, next_observations=after[:, None]),
        tmp_path / "counts.npz", str(tmp_path / "columns.npz"),
    ]  # fmt: skip
    for bound in BOUNDS:
        found = [rr.calibrate(SIMULATOR, log, confidence=0.9, bound=bound) for log in logs]
        assert all(one.uncertainty == found[0].uncertainty for one in found)
        assert all((one.visits == 9 * ACTIVE).all() for one in found)
    assert (rr.calibrate(None, counts, confidence=0.9, bound="weissman").kernel[0, 0] == np.eye(REAL.num_states)[0]).all()


def test_what_was_never_visited_may_do_anything_unless_it_is_assumed_not_to():
    counts = draw(np.random.default_rng(5), 500)
    counts[3, 1] = 0
    plain = rr.calibrate(SIMULATOR, counts, confidence=0.9)
    assert plain.radius[3, 1] == 1
    assert plain.drivers.rows[0] == "s=3, a=1"
    assert plain.drivers["s=3, a=1", "visits"].low == 0
    assert rr.calibrate(SIMULATOR, counts, confidence=0.9, pooled=True).radius == 1
    assumed = rr.calibrate(SIMULATOR, counts, confidence=0.9, visited_only=True)
    assert assumed.radius[3, 1] == np.delete(plain.radius.ravel(), 3 * REAL.num_actions + 1).max() < 1
    assert "assumed, not shown, for 1 unvisited ones" in assumed.guarantee
    pooled = rr.calibrate(SIMULATOR, counts, confidence=0.9, visited_only=True, pooled=True)
    assert pooled.radius == pooled.uncertainty.radius == assumed.radius.max()
    assert rr.calibrate(SIMULATOR, counts, confidence=0.9, bound="weissman").radius[3, 1] == 1
    bounds = rr.calibrate(SIMULATOR, counts, confidence=0.9, bound="clopper-pearson").uncertainty
    assert (bounds.lower[3, 1] == 0).all()
    assert (bounds.upper[3, 1] == 1).all()


@pytest.mark.parametrize("bound", BOUNDS[1:])
def test_knowing_where_the_system_can_go_makes_the_set_smaller(bound):
    counts = draw(np.random.default_rng(6))
    free = rr.calibrate(REAL, counts, confidence=0.9, bound=bound)
    nominal = rr.calibrate(REAL, counts, confidence=0.9, bound=bound, support="nominal")
    assert (nominal.radius <= free.radius + 1e-12).all()
    assert nominal.radius[ACTIVE].sum() < free.radius[ACTIVE].sum()
    model = REAL.replace(transitions=nominal.kernel)
    worst = rr.solve(model, nominal.uncertainty, discount=0.9).kernel.toarray().reshape(REAL.transitions.shape)
    assert (worst[ACTIVE] <= (REAL.transitions > 0)[ACTIVE] + 1e-12).all(), "the adversary keeps to the support"


GOOD = ([1, 2], [0, 2], [2, 2])


@pytest.mark.parametrize(
    ("log", "arguments", "message"),
    [
        (GOOD, {"confidence": 1.0}, "confidence is 1.0; it must be a number in"),
        (GOOD, {"confidence": float("nan")}, "confidence is nan"),
        (GOOD, {"confidence": 95}, "confidence is 95"),
        (GOOD, {"bound": "weisman"}, "did you mean weissman"),
        (GOOD, {"sampling": "iid"}, "expected one of trajectories, generative"),
        (GOOD, {"bound": "weissman", "visited_only": True}, "needs a model to believe in"),
        (GOOD, {"bound": "hoeffding", "pooled": True}, "can't be pooled"),
        (GOOD, {"support": "somewhere"}, "calibrate needs support"),
        (GOOD, {"support": np.ones((4, 4), bool)}, r"support has shape \(4, 4\)"),
        (GOOD, {"support": np.zeros((5, 3, 5), bool)}, "that support given rules out"),
        (([1, 7], [0, 1], [2, 2]), {}, r"states\[1\] is 7; the model has only 0..4"),
        (([1, 2], [0, -1], [2, 2]), {}, r"actions\[1\] is -1"),
        (([1, 2], [0, 1], [2, 5]), {}, r"next_states\[1\] is 5"),
        (([1, 2], [0, 1], [2]), {}, "columns of the log don't fit"),
        ((np.eye(5)[[1, 2]], [0, 2], np.eye(5)[[2, 2]]), {}, "give one index a transition"),
        (([1, float("nan")], [0, 1], [2, 2]), {}, "states has an entry nan"),
        (([1, 1.5], [0, 1], [2, 2]), {}, "states has an entry 1.5"),
        ((["a", "b"], [0, 1], [2, 2]), {}, "states is not an array of numbers"),
        (([], [], []), {}, "the log is empty"),
        (([0], [0], [2]), {}, "acts in \\(s=0, a=0\\), where the model's state is terminal"),
        (([2], [1], [2]), {}, "acts in \\(s=2, a=1\\), where .* or the action masked"),
        (np.zeros((5, 3, 5)), {}, "the log is empty"),
        (np.full((5, 3, 5), -1), {}, "an entry -1"),
        (np.full((5, 3, 5), np.nan), {}, "an entry nan"),
        (np.ones((4, 3, 4)), {}, "expected 5 states and 3 actions"),
        (np.ones((5, 3)), {}, r"counts have shape \(5, 3\)"),
        (sparse.csr_array(np.ones((14, 5))), {}, "14 rows"),
        (object(), {}, "is no log of transitions"),
    ],
)
def test_a_mistake_is_named(log, arguments, message):
    with pytest.raises(ValueError, match=message):
        rr.calibrate(REAL, log, **({"confidence": 0.9} | arguments))


def test_more_mistakes_are_named(tmp_path):
    with pytest.raises(InvalidArgumentError, match="needs the simulator's model"):
        rr.calibrate(None, np.ones((2, 1, 2)), confidence=0.9)
    with pytest.raises(InvalidArgumentError, match="how many states"):
        rr.calibrate(None, GOOD, confidence=0.9, bound="weissman")
    with pytest.raises(InvalidArgumentError, match="about a model's successors"):
        rr.calibrate(None, np.ones((2, 1, 2)), confidence=0.9, bound="weissman", support="nominal")
    with pytest.raises(InvalidArgumentError, match="is no TabularMDP"):
        rr.calibrate("FrozenLake-v1", GOOD, confidence=0.9)
    with pytest.raises(FileFormatError, match="no log at"):
        rr.calibrate(REAL, tmp_path / "none.npz", confidence=0.9)
    (tmp_path / "bad.npz").write_bytes(b"nothing of the kind")
    with pytest.raises(FileFormatError, match="an .npz file of plain arrays"):
        rr.calibrate(REAL, tmp_path / "bad.npz", confidence=0.9)
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    with pytest.raises(FileFormatError, match="none of the names"):
        rr.calibrate(REAL, tmp_path / "other.npz", confidence=0.9)
    np.savez(tmp_path / "objects.npz", states=np.array([{}]), actions=[0], next_states=[0])
    with pytest.raises(FileFormatError, match="an .npz file of plain arrays"):
        rr.calibrate(REAL, tmp_path / "objects.npz", confidence=0.9)
