"""One budget for a state's actions, against linear and conic programs, saddle points, and its (s,a)-rectangular neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

import robust_rl as rr
from robust_rl.errors import InvalidArgumentError, InvalidUncertaintyError
from robust_rl.evaluation import rollout
from robust_rl.solvers import BellmanOperator, ValueIteration, policy_value
from tests.worlds import expected_rewards, random_model

from .duals import chi_square_divergence, kl_divergence

FREE = {"support": "free"}
BALLS = {
    "tv": (lambda k: rr.TotalVariation(k, **FREE), lambda q, p: abs(q - p).sum() / 2),
    "l1": (lambda k: rr.L1(k, **FREE), lambda q, p: abs(q - p).sum()),
    "l2": (lambda k: rr.L2(k, **FREE), lambda q, p: np.linalg.norm(q - p)),
    "linf": (lambda k: rr.LInfinity(k, **FREE), lambda q, p: abs(q - p).max()),
    "kl": (rr.KL, kl_divergence),
    "reverse-kl": (lambda k: rr.ReverseKL(k, **FREE), lambda q, p: kl_divergence(p, q)),
    "chi2": (rr.ChiSquare, chi_square_divergence),
    "contamination": (lambda k: rr.Contamination(k, **FREE), lambda q, p: (1 - q[p > 0] / p[p > 0]).max()),
}
by_ball = pytest.mark.parametrize("name", BALLS)
NOMINAL_SUPPORT = {"kl", "chi2"}


def random_states(count, seed):
    """Rows of a state's actions with zeros, z with ties, extreme budgets, sometimes a single action."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        actions, n = rng.integers(1, 5), rng.integers(2, 7)
        p = rng.dirichlet(np.full(n, 0.7), size=actions) * (rng.random((actions, n)) < 0.7)
        p[:, 0] += p.sum(axis=1) == 0
        z = rng.normal(size=(actions, n)) * 10.0 ** rng.integers(-1, 2)
        z = np.round(z) if rng.random() < 0.4 else z
        yield p / p.sum(axis=1, keepdims=True), z, float(rng.choice([0.0, 1e-3, 0.05, 0.3, 1.0]))


def linear_program(p, z, kappa, policy=None):
    """min over (q_a) with sum_a ||q_a - p_a||_1 <= kappa of max_a q_a . z_a; or of sum_a policy_a q_a . z_a. Also its duals."""
    actions, n = p.shape
    size = actions * n
    cost = (
        np.append(np.zeros(2 * size), 1.0)
        if policy is None
        else np.concatenate([(policy[:, None] * z).ravel(), np.zeros(size + 1)])
    )
    eye, none = np.eye(size), np.zeros((size, 1))
    levels = np.hstack([sparse.block_diag(list(z[:, None])).toarray(), np.zeros((actions, size)), -np.ones((actions, 1))])
    rules = np.vstack(
        [
            levels,
            np.hstack([eye, -eye, none]),
            np.hstack([-eye, -eye, none]),
            np.append(np.append(np.zeros(size), np.ones(size)), 0.0),
        ]
    )
    limits = np.concatenate([np.zeros(actions), p.ravel(), -p.ravel(), [kappa]])
    if policy is not None:
        rules, limits = rules[actions:], limits[actions:]
    sums = np.hstack([np.kron(np.eye(actions), np.ones(n)), np.zeros((actions, size + 1))])
    found = linprog(cost, rules, limits, sums, np.ones(actions), [(0, None)] * (2 * size) + [(None, None)], method="highs-ds")
    assert found.status == 0
    return found.fun, -found.ineqlin.marginals[:actions]


def against(ball, p, z, policy):
    """What a policy is worth, and what the adversary spends on each action, by the library."""
    shared = rr.SRectangular(ball)
    layout, shape = shared._lay_out_rows(p, z, None)
    backup = shared.backup(layout, shape, 0.0)
    worst = backup.worst_case(np.zeros(p.shape[1]), layout.rows, policy=np.ascontiguousarray(policy))
    q = np.zeros(p.shape)
    q[np.repeat(layout.rows, np.diff(layout.ptr)), layout.indices] = worst.q
    return float(policy @ worst.values), q


@pytest.mark.parametrize("scale", [1, 2], ids=["l1", "tv"])
def test_l1_agrees_with_a_linear_program_and_its_dual(scale):
    """Value within 1e-8, and the program's dual, an optimal policy, is worth the same as ours."""
    for p, z, kappa in random_states(300, seed=scale):
        ball = rr.L1(kappa, **FREE) if scale == 1 else rr.TotalVariation(kappa, **FREE)
        worst = rr.SRectangular(ball).worst_case(p, z)
        expected, dual = linear_program(p, z, scale * kappa)
        slack = 1e-8 * (1 + abs(z).max())
        assert abs(worst.value - expected) <= slack
        assert abs(against(ball, p, z, dual / dual.sum())[0] - expected) <= slack
        other = np.random.default_rng(0).dirichlet(np.ones(len(p)))
        assert abs(against(ball, p, z, other)[0] - linear_program(p, z, scale * kappa, other)[0]) <= slack


@by_ball
def test_policy_and_worst_case_are_a_saddle_point(name):
    """max_d min_q = min_q max_d at the answer: each is optimal against the other, whatever method found them."""
    build, distance = BALLS[name]
    for p, z, kappa in random_states(150, seed=2):
        worst, slack = rr.SRectangular(build(kappa)).worst_case(p, z), 1e-10 * (1 + abs(z).max())
        assert (worst.q >= 0).all()
        np.testing.assert_allclose(worst.q.sum(axis=1), 1, atol=1e-12)
        assert sum(distance(q, row) for q, row in zip(worst.q, p, strict=True)) <= kappa * (1 + 1e-9) + 1e-12
        assert (worst.policy >= 0).all()
        assert worst.policy.sum() == pytest.approx(1, abs=1e-12)
        assert abs((worst.q * z).sum(axis=1).max() - worst.value) <= slack, "no policy does better against q"
        value, q = against(build(kappa), p, z, worst.policy)
        assert abs(value - worst.value) <= slack, "nor does any adversary against the policy"
        assert sum(distance(row, nominal) for row, nominal in zip(q, p, strict=True)) <= kappa * (1 + 1e-9) + 1e-12


def conic_program(name, p, z, kappa, policy=None):
    cp = pytest.importorskip("cvxpy")
    rows = [cp.Variable(p.shape[1], nonneg=True) for _ in p]
    size = 1 + abs(z).max()
    distances = {
        "tv": lambda q, k: cp.norm1(q - k) / 2,
        "l1": lambda q, k: cp.norm1(q - k),
        "l2": lambda q, k: cp.norm(q - k),
        "linf": lambda q, k: cp.norm_inf(q - k),
        "kl": lambda q, k: cp.sum(cp.kl_div(q[k > 0], k[k > 0])),
        "reverse-kl": lambda q, k: cp.sum(cp.rel_entr(k[k > 0], q[k > 0])),
        "chi2": lambda q, k: cp.sum(cp.multiply(1 / k[k > 0], cp.square(q[k > 0] - k[k > 0]))),
        "contamination": lambda q, k: cp.max(1 - cp.multiply(1 / k[k > 0], q[k > 0])),
    }
    rules = [cp.sum(q) == 1 for q in rows]
    if name in NOMINAL_SUPPORT:
        rules += [q[k == 0] == 0 for q, k in zip(rows, p, strict=True) if (k == 0).any()]
    rules.append(sum(distances[name](q, k) for q, k in zip(rows, p, strict=True)) <= kappa)
    level = cp.Variable()
    goal = level if policy is None else sum(w * (x / size @ q) for w, x, q in zip(policy, z, rows, strict=True))
    if policy is None:
        rules += [level >= x / size @ q for x, q in zip(z, rows, strict=True)]
    problem = cp.Problem(cp.Minimize(goal), rules)
    problem.solve(solver="CLARABEL")
    return problem.value * size


@by_ball
@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
def test_agrees_with_a_conic_program(name):
    """To 1e-6 of the size of z, the conic solver's precision, optimal policies and others alike."""
    rng = np.random.default_rng(3)
    for p, z, kappa in random_states(12, seed=4):
        if kappa == 0:
            continue
        slack = 2e-6 * (1 + abs(z).max())
        ball = BALLS[name][0](kappa)
        assert abs(rr.SRectangular(ball).worst_case(p, z).value - conic_program(name, p, z, kappa)) <= slack
        policy = rng.dirichlet(np.ones(len(p)))
        assert abs(against(ball, p, z, policy)[0] - conic_program(name, p, z, kappa, policy)) <= slack


@by_ball
def test_lies_between_the_nominal_and_the_rectangular_value(name):
    """A budget for each action contains one for all; one action is the same; a budget of 0 is the nominal maximum."""
    build, _ = BALLS[name]
    for p, z, kappa in random_states(100, seed=5):
        slack = 1e-11 * (1 + abs(z).max())
        value = rr.SRectangular(build(kappa)).worst_case(p, z).value
        rectangular = build(kappa).worst_case(p, z).value.max()
        nominal = (p * z).sum(axis=1).max()
        assert rectangular - slack <= value <= nominal + slack
        assert kappa > 0 or value == pytest.approx(nominal, abs=slack)
        single = rr.SRectangular(build(kappa)).worst_case(p[:1], z[:1])
        assert single.value == pytest.approx(build(kappa).worst_case(p[0], z[0]).value, abs=slack)
        assert single.policy == 1.0


@by_ball
def test_multiplier_is_minus_the_derivative_in_the_budget(name):
    rng, build = np.random.default_rng(6), BALLS[name][0]
    for _ in range(50):
        p, z, kappa = rng.dirichlet(np.ones(5), size=3), rng.normal(size=(3, 5)), rng.uniform(0.05, 0.6)
        worst = rr.SRectangular(build(kappa)).worst_case(p, z)
        slope = (rr.SRectangular(build(kappa + 1e-6)).worst_case(p, z).value - worst.value) / 1e-6
        assert worst.multiplier == pytest.approx(-slope, abs=2e-5, rel=1e-4)


def test_a_huge_budget_leaves_the_best_of_the_minima():
    p, z = np.full((2, 3), 1 / 3), np.array([[0.0, 5.0, 6.0], [1.0, 1.5, 2.0]])
    worst = rr.SRectangular(rr.KL(50.0)).worst_case(p, z)
    assert worst.value == pytest.approx(1.0)
    np.testing.assert_allclose(worst.policy, [0, 1], atol=1e-12)


def test_batches_and_supports_agree_with_single_states():
    rng = np.random.default_rng(7)
    p = rng.dirichlet(np.ones(5), size=(4, 3)) * (rng.random((4, 3, 5)) < 0.6)
    p[..., 0] += p.sum(-1) == 0
    p /= p.sum(-1, keepdims=True)
    z = rng.normal(size=(4, 3, 5))
    for support in ("free", "nominal", "reachable"):
        for ball in (rr.L1, rr.L2):
            batch = rr.SRectangular(ball(np.array([0.1, 0.2, 0.3, 0.4]), support=support)).worst_case(p, z)
            for s in range(4):
                single = rr.SRectangular(ball(0.1 * (s + 1), support=support)).worst_case(p[s], z[s])
                assert batch.value[s] == pytest.approx(single.value, abs=1e-12)
                np.testing.assert_allclose(batch.policy[s], single.policy, atol=1e-9)


SUPPORTS = ["free", "nominal", "reachable"]


@pytest.mark.parametrize("support", SUPPORTS)
@pytest.mark.parametrize("layout", ["dense", "sparse", "full"])
@pytest.mark.parametrize("transition_rewards", [False, True], ids=["r(s,a)", "r(s,a,s')"])
def test_backup_of_a_model_agrees_with_its_states(support, layout, transition_rewards):
    """Every way to lay out a model, with masked actions and terminal states, against worst_case of one state at a time."""
    for seed in range(3):
        model = random_model(seed, sparse=layout == "sparse", transition_rewards=transition_rewards)
        if layout == "full":  # rows that reach every state
            model = model.replace(transitions=0.9 * model.transitions + 0.02)
        value = np.random.default_rng(seed).normal(size=5) * 3
        p = model.csr().toarray().reshape(5, 3, 5)
        r = model.rewards.toarray() if sparse.issparse(model.rewards) else model.rewards
        r = r.reshape(5, 3, 5) if transition_rewards else np.repeat(r[..., None], 5, axis=2)
        for ball in (
            rr.L1(0.3, support=support),
            rr.TotalVariation(np.full(5, 0.2), support=support),
            rr.L2(0.2, support=support),
        ):
            op = BellmanOperator(model, rr.SRectangular(ball), 0.9)
            values, policy = op(value)
            kernel, rewards = op.worst_case(value)
            attained = (expected_rewards(kernel, rewards) + 0.9 * (kernel @ value)).reshape(5, 3)
            np.testing.assert_allclose(
                op.q_values(value)[model.action_mask],
                np.where(model.terminal[:, None], 0, attained)[model.action_mask],
                atol=1e-12,
            )
            for s in range(5):
                if model.terminal[s]:
                    assert values[s] == 0
                    assert policy[s].tolist() == [1, 0, 0]
                    continue
                open_actions = np.flatnonzero(model.action_mask[s])
                z = r[s] + 0.9 * value
                reaching = np.where(p[s, open_actions] > 0, r[s, open_actions], np.inf).min(axis=0)
                if transition_rewards:  # the convention for successors that the action itself never reaches
                    z = np.where(p[s] > 0, r[s], np.where(np.isinf(reaching), r[s], reaching)) + 0.9 * value
                inner = type(ball)(**ball.describe() | {"radius": np.ravel(ball.radius)[0]})
                single = rr.SRectangular(inner).worst_case(p[s, open_actions], z[open_actions])
                assert values[s] == pytest.approx(float(single.value), abs=1e-10)
                np.testing.assert_allclose(policy[s, open_actions], single.policy, atol=1e-8)
                assert policy[s, ~model.action_mask[s]].sum() == 0
                assert attained[s, open_actions].max() == pytest.approx(values[s], abs=1e-10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "ball", [rr.L1(0.3, support="free"), rr.KL(0.1), rr.LInfinity(0.1, support="reachable")], ids=lambda b: b.name
)
def test_solution_is_worth_what_its_certificate_says(ball, seed):
    """The randomised policy against the adversary's own policy iteration; and dearer than with a budget for every action."""
    model = random_model(seed, sparse=seed % 2 == 1)
    solution = rr.solve(model, rr.SRectangular(ball), discount=0.9, tol=1e-8)
    assert solution.randomised
    assert solution.policy.shape == (5, 3)
    worth = policy_value(model, solution.policy, solution.uncertainty, discount=0.9)
    assert (worth >= solution.certificate.lower - 1e-10).all()
    assert (worth <= solution.certificate.upper + 1e-10).all()
    rectangular = rr.solve(model, ball, discount=0.9, tol=1e-8)
    assert (solution.certificate.upper >= rectangular.certificate.lower).all()
    played = policy_value(model, rectangular.policy, solution.uncertainty, discount=0.9)
    assert (played <= solution.certificate.upper + 1e-10).all(), "no deterministic policy beats the optimum"
    np.testing.assert_allclose(solution.action_values.max(axis=1), solution.value, atol=1e-6)
    best_reply = rr.solve(
        model.replace(transitions=_proper(solution.kernel, model), rewards=solution.rewards), None, discount=0.9
    )
    assert (best_reply.certificate.lower <= solution.certificate.upper + 1e-6).all(), "nor anyone against the worst kernel"


def _proper(kernel, model):
    """Rows that the adversary doesn't have are ignored."""
    return kernel if model.is_sparse else kernel.toarray().reshape(model.transitions.shape)


def test_randomising_beats_every_deterministic_policy():
    """Each action pays 4 in one of two states that follow; an adversary with one budget can't lower both chances in full."""
    transitions = np.tile(np.eye(3)[:, None], (1, 2, 1))
    transitions[0] = [0.0, 0.5, 0.5]
    rewards = np.zeros((3, 2, 3))
    rewards[0, 0, 1] = rewards[0, 1, 2] = 4.0
    model = rr.TabularMDP(transitions, rewards, terminal=[1, 2])
    solution = rr.solve(model, rr.SRectangular(rr.L1(0.4, support="nominal")), discount=0.9)
    np.testing.assert_allclose(solution.policy[0], [0.5, 0.5], atol=1e-12)
    assert solution.value[0] == pytest.approx(1.6, abs=1e-9)
    for action in (0, 1):
        worth = policy_value(model, np.full(3, action), solution.uncertainty, discount=0.9)
        assert worth[0] == pytest.approx(1.2, abs=1e-9)


def test_finite_horizon_equals_plain_loops():
    model, ball = random_model(3, masked=False, transition_rewards=False), rr.L1(0.3, support="free")
    solution = rr.solve(model, rr.SRectangular(ball), horizon=5)
    value = np.zeros(5)
    for h in reversed(range(5)):
        value = np.array(
            [
                0.0 if model.terminal[s] else linear_program(model.transitions[s], model.rewards[s][:, None] + value, 0.3)[0]
                for s in range(5)
            ]
        )
        np.testing.assert_allclose(solution.value[h], value, atol=1e-8)
    assert solution.policy.shape == (5, 5, 3)
    worth = policy_value(model, solution.policy, solution.uncertainty, horizon=5)
    np.testing.assert_allclose(worth, solution.value, atol=1e-9)
    low, high = rr.tie_range(solution, model)
    np.testing.assert_array_equal(low, high)


def test_shortest_paths_are_certified():
    model = random_model(1, masked=False, transition_rewards=False)
    p = 0.7 * model.transitions
    p[..., 0] += 0.3
    model = model.replace(transitions=p)
    for ball in (rr.L1(0.2, support="free"), rr.L1(np.full(5, 0.2), support="free")):
        solver = ValueIteration(model, rr.SRectangular(ball), discount=1.0, tol=1e-8)
        while not solver.done:
            solver.step()
        solution = solver.solution()
        worth = policy_value(model, solution.policy, solution.uncertainty, discount=1.0)
        np.testing.assert_allclose(worth, solution.value, atol=1e-7)


def test_an_agent_draws_its_actions_and_gets_the_robust_value():
    """10^4 episodes in the worst case; a kernel or a probability off by a little leaves the 99.9 % interval."""
    agent = rr.RobustVI(random_model(5, masked=False), rr.SRectangular(rr.L1(0.5, support="free")), discount=0.8).learn()
    assert ((agent.solution.policy > 0.05).sum(axis=1) > 1).any(), "the example must randomise to test anything"

    def predict(observation, state):
        return agent.predict(observation, state, deterministic=False)

    returns = rollout(agent.worst_case_env(), predict, 10_000, discount=0.8, horizon=45, seed=7)
    expected = agent.model.start @ agent.solution.value
    assert abs(returns.mean() - expected) <= 3.29 * returns.std(ddof=1) / 100 + 1e-4 * abs(agent.solution.value).max()
    states = np.repeat(np.arange(5), 4000)
    agent.np_random = np.random.default_rng(1)
    drawn, _ = agent.predict(states, deterministic=False)
    frequency = np.array([np.bincount(drawn[states == s], minlength=3) for s in range(5)]) / 4000
    assert abs(frequency - agent.solution.policy).max() < 4 * 0.5 / np.sqrt(4000), (
        "15 frequencies, each 4 standard errors at most"
    )
    agent.np_random = np.random.default_rng(1)
    np.testing.assert_array_equal(agent.predict(states, deterministic=False)[0], drawn)
    likeliest, _ = agent.predict(np.arange(5))
    np.testing.assert_array_equal(likeliest, agent.solution.policy.argmax(axis=1))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-5, 5), factor=st.floats(0.1, 5), name=st.sampled_from(sorted(BALLS)))
def test_is_monotone_concave_and_equivariant(seed, shift, factor, name):
    p, z, kappa = next(iter(random_states(1, seed)))
    shared, slack = rr.SRectangular(BALLS[name][0](kappa)), 1e-9 * (1 + abs(z).max()) * 5

    def value(x):
        return float(shared.worst_case(p, x).value)

    other = np.random.default_rng(seed).normal(size=z.shape)
    assert value(z + shift) == pytest.approx(value(z) + shift, abs=slack)
    assert value(factor * z) == pytest.approx(factor * value(z), abs=slack)
    assert value(np.maximum(z, other)) >= value(z) - slack
    larger = rr.SRectangular(BALLS[name][0](min(1.0, 2 * kappa + 0.01))).worst_case(p, z).value
    assert larger <= value(z) + slack


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: rr.SRectangular(rr.CVaR(0.5)),
            r"SRectangular shares the radius of a ball; give one of TotalVariation.*not CVaR",
        ),
        (lambda: rr.SRectangular(0.3), "not 0.3"),
        (lambda: rr.SRectangular(rr.KL(np.full((4, 3), 0.1))), r"radii of shape \(4, 3\); a state's actions share one"),
        (lambda: rr.SRectangular(rr.KL(0.1)).worst_case([0.5, 0.5], [0, 1]), r"p has shape \(2,\); .*rows of all actions"),
        (
            lambda: rr.solve(random_model(0), rr.SRectangular(rr.KL(np.full(4, 0.1))), discount=0.9),
            r"radii of shape \(4,\).*\(5,\)",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(InvalidUncertaintyError, match=message):
        build()


def test_methods_for_deterministic_policies_are_refused_by_name():
    model, shared = random_model(0), rr.SRectangular(rr.L1(0.2, support="nominal"))
    assert "anderson" in rr.solve(model, shared, discount=0.9).method.lower()
    for uncertainty in (shared, rr.UncertainRewards(0.1, shared)):
        with pytest.raises(InvalidArgumentError, match="policy iteration evaluates policies without chance.*SRectangular"):
            rr.solve(model, uncertainty, discount=0.9, method="policy_iteration")
