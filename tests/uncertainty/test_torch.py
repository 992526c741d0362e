"""The sweeps in torch against the compiled ones, on the processor and, where there is one, on a GPU.

Both compute the same numbers by different means (cumulated sums and Newton steps on whole tables against one pass a row), and
the compiled ones are tested against linear programs and duals in test_backup.py.
"""

import numpy as np
import pytest
from scipy.sparse import csr_array

import robust_rl as rr
from robust_rl.envs.domains import garnet
from robust_rl.errors import InvalidArgumentError, MissingDependencyError
from robust_rl.solvers import BellmanOperator
from tests.worlds import random_model

from .cases import CASES
from .test_backup import a_mask

torch = pytest.importorskip("torch")
from robust_rl.uncertainty import torch_backup, torch_rows  # noqa: E402

DEVICES = [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]
ON_DEVICE = {kind.name for kind in torch_rows.RULES}
SETS = [case for case in CASES if case.name in ON_DEVICE and case.name != "interval"]
TOLERANCE = 1e-10

by_device = pytest.mark.parametrize("device", DEVICES, ids=str)
by_layout = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
by_rewards = pytest.mark.parametrize("transition_rewards", [False, True], ids=["r(s,a)", "r(s,a,s')"])


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_equal_backups(compiled, on_device, value, sweeps=3):
    """Equal Q in value, equal greedy actions unless two are within 1e-9; from one sweep to the next, so that memories count."""
    terminal = compiled.model.terminal
    for _ in range(sweeps):
        q, found = compiled.q_values(value), on_device.q_values(value)
        size = abs(value).max() + compiled.largest_reward
        np.testing.assert_array_equal(np.isneginf(found), np.isneginf(q))
        live = np.isfinite(q)
        np.testing.assert_allclose(found[live], q[live], rtol=0, atol=TOLERANCE * size)
        best, actions = on_device(value)
        value, expected = compiled(value)
        np.testing.assert_allclose(best, value, rtol=0, atol=TOLERANCE * size)
        second = np.sort(np.where(live, q, -np.inf), axis=1)[:, -2]
        clear = terminal | (q.max(axis=1) - second > 1e-9)
        np.testing.assert_array_equal(actions[clear], expected[clear])


@by_device
@by_layout
@by_rewards
@pytest.mark.parametrize("case", SETS, ids=lambda case: case.name)
def test_equals_the_compiled_backup(case, sparse, transition_rewards, device):
    for support in ("free", "nominal", "reachable", "mask") if case.supports else ("nominal",):
        for seed, radius in enumerate((0.0, 0.03, 0.3, 0.9)):
            model = random_model(seed, states=9, sparse=sparse, transition_rewards=transition_rewards)
            uncertainty = case.build(np.empty(0), radius, a_mask(model) if support == "mask" else support)
            value = np.random.default_rng(seed).normal(size=9) * 5
            operators = [BellmanOperator(model, uncertainty, 0.9, device=where) for where in ("cpu", device)]
            assert_equal_backups(*operators, value)


@by_device
@by_layout
@by_rewards
def test_nominal_and_interval_equal_the_compiled_backup(sparse, transition_rewards, device):
    for seed in range(3):
        model = random_model(seed, states=9, sparse=sparse, transition_rewards=transition_rewards)
        p = model.csr().toarray().reshape(9, 3, 9)
        narrow = rr.Interval(0.5 * p, np.minimum(1.4 * p, 1.0))
        for uncertainty in (None, narrow, rr.Interval(0.2 * p, np.minimum(p + 0.1, 1.0))):
            operators = [BellmanOperator(model, uncertainty, 0.9, device=where) for where in ("cpu", device)]
            assert_equal_backups(*operators, np.random.default_rng(seed).normal(size=9))


@by_device
@pytest.mark.parametrize("case", SETS, ids=lambda case: case.name)
def test_radii_per_state_and_action(case, device):
    """Among them zero, and so large that nothing is left of the row."""
    model = random_model(3, states=9, masked=False, terminal=False, transition_rewards=False)
    radii = np.random.default_rng(0).random((9, 3))
    radii[:, 0], radii[::2, 1] = 0.0, 1.0
    uncertainty = case.build(np.empty(0), radii, "reachable")
    operators = [BellmanOperator(model, uncertainty, 0.9, device=where) for where in ("cpu", device)]
    assert_equal_backups(*operators, np.random.default_rng(1).normal(size=9))


@by_device
def test_rows_of_very_different_length_take_little_more_memory_than_their_entries(device):
    """One row reaches all 600 states, most only one to three: padding to the longest would take 600 entries a row."""
    rng, states = np.random.default_rng(0), 600
    lengths = np.minimum(1 + rng.geometric(0.5, size=states * 2), 40)
    lengths[0] = states
    columns = np.concatenate([rng.choice(states, size=n, replace=False) for n in lengths])
    p = np.concatenate([rng.dirichlet(np.ones(n)) for n in lengths])
    model = rr.TabularMDP(
        csr_array((p, columns, np.append(0, np.cumsum(lengths))), shape=(states * 2, states)), rng.random((600, 2))
    )
    value = rng.normal(size=states)
    for uncertainty in (rr.TotalVariation(0.2, support="free"), rr.KL(0.2), rr.LInfinity(0.1, support="nominal"), rr.CVaR(0.7)):
        compiled, on_device = (BellmanOperator(model, uncertainty, 0.9, device=where) for where in ("cpu", device))
        assert_equal_backups(compiled, on_device, value)
        assert sum(block.p.numel() for block in on_device.rows._blocks) <= 2 * len(p)


@by_device
@pytest.mark.parametrize("size", [8 * 1000, 1 << 22])
def test_wide_rows_and_many_tables(size, device, monkeypatch):
    """Rows wider than what is worked on in one piece, in few tables and in tables of three rows."""
    monkeypatch.setattr(torch_backup, "PROCESSOR_TABLE", size)
    monkeypatch.setattr(torch_backup, "DEVICE_TABLE", size)
    rng = np.random.default_rng(0)
    model = rr.TabularMDP(rng.dirichlet(np.full(300, 0.3), size=(300, 2)), rng.random((300, 2)))
    radii = rng.random((300, 2)) * rng.integers(2, size=(300, 2))
    sets = (
        rr.TotalVariation(radii, support="free"), rr.CVaR(0.05), rr.CVaR(1 - 0.9 * radii), rr.LInfinity(0.01, support="free"),
        rr.KL(radii), rr.ChiSquare(radii),
    )  # fmt: skip
    for uncertainty in sets:
        operators = [BellmanOperator(model, uncertainty, 0.95, device=where) for where in ("cpu", device)]
        assert_equal_backups(*operators, rng.normal(size=300))


@by_device
@pytest.mark.parametrize("make", [rr.KL, rr.ChiSquare, lambda r: rr.ReverseKL(r, support="reachable")])
@pytest.mark.parametrize("radius", [1e-28, 1e-20, 1e-12, 1e-6, 1e-2, 3.0, 30.0])
def test_root_finders_at_extreme_radii(make, radius, device):
    """Against the sets' own row functions, which are tested against duals; 1e-11 is what the worst of these keeps at 30."""
    for seed in range(3):
        model = random_model(seed, states=9, transition_rewards=False, masked=False, terminal=False)
        value = np.random.default_rng(seed).normal(size=9) * 100
        on_device = BellmanOperator(model, make(radius), 1.0, device=device)
        expected = make(radius).worst_case(model.transitions, value).value + model.rewards
        for _ in range(3):
            np.testing.assert_allclose(on_device.q_values(value), expected, rtol=0, atol=1e-11 * abs(value).max())


@by_device
@pytest.mark.parametrize("states", [7, 700])
def test_ties_go_to_the_lowest_action(states, device, monkeypatch):
    """Actions alike have values alike, to the bit, wherever their rows lie in a table: fails if a sum depends on that."""
    monkeypatch.setattr(torch_backup, "PROCESSOR_TABLE", 8 * 7 * states)  # seven rows a table
    rng = np.random.default_rng(0)
    p = np.repeat(rng.dirichlet(np.full(states, 0.4), size=(min(states, 60), 1)), 3, axis=1)
    p = np.concatenate([p, np.broadcast_to(np.eye(states)[0], (states - len(p), 3, states))])
    sets = (
        None, rr.TotalVariation(0.2, support="free"), rr.LInfinity(0.01, support="free"), rr.CVaR(0.3), rr.KL(0.1),
        rr.ChiSquare(0.2), rr.ReverseKL(0.1, support="free"),
    )  # fmt: skip
    for model in (
        rr.TabularMDP(p, np.zeros((states, 3))),
        rr.TabularMDP(csr_array(p.reshape(-1, states)), np.zeros((states, 3))),
    ):
        for uncertainty in sets:
            actions = BellmanOperator(model, uncertainty, 0.9, device=device)(rng.normal(size=states))[1]
            assert not actions.any()


@by_device
def test_groups_of_some_rows(device):
    """The rows of a policy alone, in turn with all rows."""
    for seed in range(3):
        model = random_model(seed, states=9)
        compiled, on_device = (
            BellmanOperator(model, rr.TotalVariation(0.2, support="free"), 0.9, device=where) for where in ("cpu", device)
        )
        value = np.random.default_rng(seed).normal(size=9)
        for _ in range(3):
            policy = compiled(value)[1]
            np.testing.assert_allclose(on_device(value)[0], compiled(value)[0], atol=1e-12)
            expected = compiled(value, compiled.policy_groups(policy))
            found = on_device(value, on_device.policy_groups(policy))
            np.testing.assert_allclose(found[0], expected[0], atol=1e-12)
            np.testing.assert_array_equal(found[1], expected[1])
            value = expected[0]


def test_the_same_value_and_memory_give_the_same_bits():
    """Whatever the sweeps before: one operator comes from other values, the other starts afresh with its memory."""
    model, rng = garnet(60, 3, 8, seed=0), np.random.default_rng(0)
    for uncertainty in (rr.TotalVariation(0.2, support="free"), rr.KL(0.3), rr.ChiSquare(0.5), rr.ReverseKL(0.1, support="free")):
        old, new = (BellmanOperator(model, uncertainty, 0.9, device=torch.device("cpu")) for _ in range(2))
        for _ in range(4):
            old(rng.normal(size=60))
        value = rng.normal(size=60)
        new.rows.memory[:] = old.rows.memory
        np.testing.assert_array_equal(old(value)[0], new(value)[0])
        np.testing.assert_array_equal(old.rows.memory, new.rows.memory)
        old.rows.release()
        new.rows.memory = old.rows.memory
        np.testing.assert_array_equal(old(value)[0], new(value)[0])


@by_device
@pytest.mark.parametrize("case", SETS, ids=lambda case: case.name)
def test_whole_solves_agree_within_their_certificates(case, device):
    model = garnet(40, 3, 5, seed=1)
    uncertainty = case.build(np.empty(0), 0.2, "reachable")
    here, there = (rr.solve(model, uncertainty, discount=0.9, tol=1e-9, device=where) for where in ("cpu", device))
    assert there.certificate.gap <= 1e-9
    assert (here.certificate.lower <= there.certificate.upper).all()
    assert (there.certificate.lower <= here.certificate.upper).all()
    staged = [rr.solve(model, uncertainty, horizon=5, device=where).value for where in ("cpu", device)]
    np.testing.assert_allclose(*staged, atol=1e-10)


def test_sets_that_do_not_run_on_a_device_are_named():
    model = random_model(0, transition_rewards=False)
    with pytest.raises(InvalidArgumentError, match=r"L2 doesn't run on device 'cpu'.*sets that run.*TotalVariation"):
        rr.solve(model, rr.L2(0.1, support="free"), discount=0.9, device=torch.device("cpu"))


def test_devices_that_are_not_there_are_named(monkeypatch):
    model = random_model(0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidArgumentError, match=r"device is 'cuda:1', but torch .* finds no CUDA GPU.*device=\"cpu\""):
        rr.solve(model, None, discount=0.9, device="cuda:1")
    with pytest.raises(InvalidArgumentError, match="device is 'gpu'; expected"):
        rr.solve(model, None, discount=0.9, device="gpu")
    if not torch.backends.mps.is_available():
        with pytest.raises(InvalidArgumentError, match="device is 'mps', which can't hold float64"):
            rr.solve(model, None, discount=0.9, device="mps")


def test_missing_torch_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"robust-rl\[torch\]"):
        rr.solve(random_model(0), None, discount=0.9, device="cuda")
