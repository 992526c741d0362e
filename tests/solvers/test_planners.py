"""All planners on one list: they agree with optima found by enumeration and with each other, and their bounds always hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import robust_rl as rr
from robust_rl.envs import domains
from robust_rl.errors import InvalidArgumentError, UnknownNameError
from robust_rl.solvers import ValueIteration, planner
from robust_rl.solvers.anderson import Anderson
from robust_rl.solvers.elimination import without_eliminated
from robust_rl.solvers.linear import approximate
from robust_rl.solvers.planning import METHODS
from robust_rl.solvers.policy_iteration import PolicyIteration
from tests.solvers.test_certificate import robust_optimum, small_model, stopping_model
from tests.worlds import random_model

SETS = {
    "none": None,
    "tv free": rr.TotalVariation(0.2, support="free"),
    "tv nominal": rr.TotalVariation(0.2, support="nominal"),
    "kl": rr.KL(0.3),
    "linf": rr.LInfinity(0.1, support="reachable"),
}


def watched(model, ball, *, steps=3000, **arguments):
    """Run a planner to its end; return it with the certificate of every step."""
    solver, bounds = planner(model, ball, **arguments), []
    while not solver.done and len(bounds) < steps:
        solver.step()
        bounds.append(solver.certificate)
    return solver, bounds


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    radius=st.floats(0, 1),
    discount=st.sampled_from([0.0, 0.3, 0.9, 0.99]),
    transition_rewards=st.booleans(),
)
def test_every_method_brackets_the_enumerated_optimum_at_every_step(method, seed, radius, discount, transition_rewards):
    """Fails if a bound is on the wrong side by more than the enumeration's own rounding, or a method doesn't get there."""
    model = small_model(seed, transition_rewards)
    optimum = robust_optimum(model, radius, discount)
    slack = 1e-11 * (1 + abs(optimum).max())
    solver, bounds = watched(model, rr.TotalVariation(radius, support="free"), discount=discount, method=method, tol=1e-9)
    for bound in bounds:
        assert (bound.lower <= optimum + slack).all()
        assert (optimum <= bound.upper + slack).all()
    solution = solver.solution()
    assert solution.certificate.gap <= 1e-9
    worth = rr.policy_value(model, solution.policy, solution.uncertainty, discount=discount)
    assert (worth >= solution.certificate.lower - slack).all(), "the greedy policy is worth at least the lower bound"


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), sparse=st.booleans(), discount=st.sampled_from([0.5, 0.9, 0.99]))
def test_all_methods_agree(name, seed, sparse, discount):
    """Terminal states, masked actions, r(s,a,s'): every pair of certificates overlaps at every step of every method."""
    model = random_model(seed, states=8, sparse=sparse)
    reference = rr.solve(model, SETS[name], discount=discount, method="value_iteration", tol=1e-7).certificate
    for method in METHODS:
        solver, bounds = watched(model, SETS[name], discount=discount, method=method, tol=1e-7)
        assert solver.certificate.gap <= 1e-7, method
        for bound in bounds:
            assert (bound.lower <= reference.upper).all(), method
            assert (reference.lower <= bound.upper).all(), method


@pytest.mark.parametrize("method", METHODS)
def test_shortest_paths(method):
    """Discount 1: all methods are sound where every policy ends, and refuse where one may not."""
    for seed in range(5):
        model, ball = stopping_model(seed), rr.TotalVariation(0.1, support="free")
        reference = rr.solve(model, ball, discount=0.9999999, method="value_iteration", tol=1e-6).value
        solver, bounds = watched(model, ball, discount=1.0, method=method, tol=1e-9)
        assert solver.certificate.gap <= 1e-9
        for bound in bounds:
            assert (bound.lower <= reference + 1e-4).all()
            assert (reference <= bound.upper + 1e-4).all()
        np.testing.assert_allclose(solver.solution().value, reference, atol=1e-4)
    with pytest.raises(InvalidArgumentError, match="may never end"):
        planner(rr.envs.tabular("CliffWalking-v1"), None, discount=1.0, method=method)


def edge_models():
    one = np.ones((1, 1, 1))
    yield "one state", rr.TabularMDP(one, np.array([[2.0]])), [20.0]
    yield "all terminal", rr.TabularMDP(np.tile(np.eye(3)[:, None], (1, 2, 1)), np.ones((3, 2)), terminal=[True] * 3), [0.0] * 3
    chain = np.zeros((3, 1, 3))
    chain[0, 0, 1] = chain[1, 0, 2] = chain[2, 0, 2] = 1.0
    yield "one action", rr.TabularMDP(chain, np.array([[1.0], [1.0], [0.0]]), terminal=[False, False, True]), [1.9, 1.0, 0.0]
    swap = rr.TabularMDP(np.array([[[0.0, 1.0]], [[1.0, 0.0]]]), np.array([[1.0], [0.0]]))
    yield "period 2", swap, [1 / (1 - 0.81), 0.9 / (1 - 0.81)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("model", "value"), [pytest.param(m, v, id=name) for name, m, v in edge_models()])
def test_models_at_the_edge(method, model, value):
    for ball in (None, rr.TotalVariation(0.0, support="free"), rr.KL(0.5)):
        solution = rr.solve(model, ball, discount=0.9, method=method, tol=1e-9)
        np.testing.assert_allclose(solution.value, value, atol=1e-9)
    rewards = np.where(model.terminal, 0.0, model.rewards[:, 0])
    np.testing.assert_allclose(rr.solve(model, None, discount=0.0, method=method).value, rewards, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_tolerance_below_rounding_ends(method):
    """Fails if a method goes on for ever, or claims more than floating point can prove."""
    with pytest.warns(rr.errors.ConvergenceWarning, match="not to tol=1e-16"):
        solution = rr.solve(domains.river_swim(), SETS["tv free"], discount=0.9, method=method, tol=1e-16)
    assert 1e-16 < solution.certificate.gap < 1e-10


def test_policy_iteration_takes_few_steps():
    """As many as there are policies on the way: value iteration takes 1518 here."""
    solver, _ = watched(domains.machine(), None, discount=0.99, method="policy_iteration")
    assert solver.gap <= 1e-6
    assert solver.iterations <= 12


def test_partial_policy_iteration_needs_few_backups():
    """Against value iteration, whose history counts the same things."""
    for model, factor in ((domains.garnet(300, 8, 5, seed=0), 1.5), (domains.machine(), 20), (domains.river_swim(100), 5)):
        plain = rr.solve(model, SETS["tv nominal"], discount=0.99, method="value_iteration").history["backups"]
        partial = rr.solve(model, SETS["tv nominal"], discount=0.99, method="partial_policy_iteration").history["backups"]
        assert factor * partial[-1] <= plain[-1]
        assert (np.diff(plain) > 0).all()


class Steering(Anderson):
    """Proposes nonsense now and then, to try the safeguard."""

    def _combine(self):
        rng = np.random.default_rng(len(self._changes))
        return super()._combine() + rng.normal(size=self._last[0].shape) * 10


@pytest.mark.parametrize("seed", range(3))
def test_anderson_is_safeguarded(seed):
    """With proposals that are all nonsense, it must still end, after at most two steps and a few for one of value iteration."""
    model = random_model(seed, states=12, terminal=False)
    plain, _ = watched(model, SETS["tv free"], discount=0.95, method="value_iteration")
    steered = ValueIteration(model, SETS["tv free"], discount=0.95, acceleration=Steering())
    while not steered.done:
        steered.step()
    assert steered.gap <= 1e-6
    assert steered.iterations <= 2 * plain.iterations + 6
    sound, _ = watched(model, SETS["tv free"], discount=0.95, method="anderson")
    assert sound.iterations <= 2 * plain.iterations + 6


def test_anderson_is_fast_where_mixing_is_slow():
    """The residuals of `machine` shrink by .99 a sweep; combinations of six do far better."""
    counts = {m: watched(domains.machine(), None, discount=0.99, method=m)[0].iterations for m in ("value_iteration", "anderson")}
    assert 5 * counts["anderson"] <= counts["value_iteration"]


@pytest.mark.parametrize("name", SETS)
def test_elimination_never_drops_an_optimal_action(name):
    """At every sweep of value iteration, against Q* from a long run; at the end it has found all that is worse by the gap."""
    dropped = 0
    for seed in range(10):
        model = random_model(seed, states=6, terminal=seed % 2 == 0)
        best = rr.solve(model, SETS[name], discount=0.9, tol=1e-9)
        optimal = best.action_values >= best.action_values.max(axis=1, keepdims=True) - 1e-8
        solver = ValueIteration(model, SETS[name], discount=0.9, tol=1e-8)
        rows = np.flatnonzero((optimal & ~model.terminal[:, None]).ravel())
        while not solver.done:
            before = solver._applied if solver.iterations else np.zeros(6)
            solver.step()
            groups = without_eliminated(solver.backup, solver.backup.groups, before, solver.value, solver.gap)
            assert np.isin(rows, groups.rows.astype(int)).all()
        assert np.isin(groups.rows.astype(int), rows).all() == (len(groups.rows) == len(rows))
        dropped += len(solver.backup.groups.rows) - len(groups.rows)
    assert dropped > 50


def test_long_runs_eliminate_actions_and_find_the_same():
    """Value iteration on `machine` needs 1518 sweeps; most of them are of rows that may be optimal."""
    model = domains.machine()
    solver, bounds = watched(model, SETS["kl"], discount=0.99, method="value_iteration", tol=1e-8)
    exact = rr.solve(model, SETS["kl"], discount=0.99, method="policy_iteration", tol=1e-8).certificate
    assert solver.num_rows < 0.6 * model.num_states * model.num_actions
    assert all((b.lower <= exact.upper).all() and (exact.lower <= b.upper).all() for b in bounds)


def test_auto_says_what_it_chose_and_why():
    certain = rr.solve(rr.envs.tabular("CliffWalking-v1"), None, discount=0.99)
    assert certain.method == "value iteration (auto: no chance, and states settle one after the other)"
    assert rr.solve(domains.machine(), None, discount=0.99).method.startswith("partial policy iteration (auto: ")
    # without an end, no state settles: the choice is taken back
    loop = rr.TabularMDP(np.roll(np.eye(40), 1, axis=1)[:, None], np.arange(40.0)[:, None])
    assert rr.solve(loop, None, discount=0.999).method.startswith("partial policy iteration (auto: ")


def test_sets_that_randomise_are_refused_by_policy_iterations():
    ball = rr.SRectangular(rr.TotalVariation(0.1, support="free"))
    for method in ("policy_iteration", "modified_policy_iteration", "partial_policy_iteration"):
        with pytest.raises(InvalidArgumentError, match="policy iteration evaluates policies without chance"):
            planner(random_model(0), ball, discount=0.9, method=method)
    assert rr.solve(random_model(0), ball, discount=0.9).method.startswith("anderson acceleration (auto: ")


def test_looking_at_a_solution_changes_nothing():
    """KL's root finders remember; a look in the middle must not show in later bits."""
    model, runs = random_model(1, states=20), []
    for look in (False, True):
        solver = planner(model, rr.KL(0.2), discount=0.9, method="anderson")
        while not solver.done:
            solver.step()
            if look:
                solver.solution()
        runs.append(solver.value.tobytes())
    assert runs[0] == runs[1]


def test_a_checkpoint_of_another_method_is_refused(tmp_path):
    first = planner(random_model(0), None, discount=0.9, method="anderson")
    first.step()
    first.save_checkpoint(tmp_path)
    with pytest.raises(InvalidArgumentError, match="its acceleration is 'Anderson', not 'PolicyIteration'"):
        ValueIteration(random_model(0), None, discount=0.9, acceleration=PolicyIteration()).load_checkpoint(tmp_path)


def test_bad_names_are_refused():
    with pytest.raises(UnknownNameError, match="no method named 'andersen'.*did you mean anderson"):
        rr.solve(random_model(0), None, discount=0.9, method="andersen")
    with pytest.raises(UnknownNameError, match="no method named"):
        rr.RobustVI(random_model(0), None, discount=0.9, method="vi")
    assert (
        rr.RobustVI(random_model(0), None, discount=0.9, method="anderson").learn().summary()["method"] == "anderson acceleration"
    )


@pytest.mark.parametrize(("size", "kind"), [(40, "dense"), (300, "dense"), (300, "sparse"), (3000, "local"), (3000, "sparse")])
def test_approximate_solutions_of_chains(size, kind):
    """Every branch of the choice of a solver, against the equation itself."""
    rng = np.random.default_rng(size)
    if kind == "dense":
        p = csr_array(rng.dirichlet(np.ones(size), size=size))
    else:
        at = (
            np.arange(size)[:, None] + rng.integers(-3, 4, size=(size, 4))
            if kind == "local"
            else rng.integers(size, size=(size, 4))
        )
        p = csr_array((np.full(4 * size, 0.25), (np.repeat(np.arange(size), 4), at.ravel() % size)), shape=(size, size))
    b = rng.normal(size=size)
    x = approximate(p, b, 0.99)
    assert abs(b + 0.99 * (p @ x) - x).max() <= 1e-6 * abs(b).max()


def test_a_singular_chain_gives_a_sweep():
    b = np.ones(2)
    np.testing.assert_array_equal(approximate(csr_array(np.eye(2)), b, 1.0), b)


@pytest.mark.parametrize("method", ["policy_iteration", "partial_policy_iteration", "auto"])
@pytest.mark.parametrize("ball", [None, rr.KL(0.1)], ids=["none", "kl"])
def test_a_discount_near_one_leaves_room_below_rounding(method, ball):
    """Values of 1e4 would cost 1e4 * 1e4 units in the last place, and KL's root finder more; a constant in V costs nothing."""
    solver, _ = watched(domains.garnet(200, 4, 10, seed=0), ball, discount=0.9999, method=method, steps=30)
    assert solver.gap <= 1e-6
    assert abs(solver.value).max() < 100
