"""What DROP and DROPV do as agents; their algorithms are tested in tests/solvers."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.features import Aggregation, FeatureMap, Hat, OneHot, Radial, Table, Tiles
from robust_rl.training import RunDirectory
from tests.solvers.test_drop import ball, log, simplex_table

BOTH = pytest.mark.parametrize("kind", [rr.DROP, rr.DROPV])


def cart_pole(kind, features, **options):
    data = rr.datasets.collect("CartPole-v1", None, 60, seed=0)
    return kind(data, ball(0.1), features=features, horizon=8, v_min=0.0, penalty=0.1, **options)


@BOTH
def test_predict_walks_through_the_stages(kind):
    agent = kind(log(0), ball(0.1), features=OneHot(5, 2), horizon=3, penalty=0.1).learn()
    policy = agent.solution.policy(np.arange(5))
    state = None
    for h in range(3):
        assert [agent.predict(s, state)[0] for s in range(5)] == policy[h].tolist()
        actions, following = agent.predict(np.arange(5), state)
        np.testing.assert_array_equal(actions, policy[h])
        state = following
    with pytest.raises(InvalidArgumentError, match="beyond the horizon of 3"):
        agent.predict(0, state)


@BOTH
@pytest.mark.parametrize("features", [Tiles(3), Hat(2), Radial(2, bandwidth=0.7)], ids=repr)
def test_a_saved_agent_of_continuous_states_predicts_the_same(kind, features, tmp_path):
    agent = cart_pole(kind, features).learn()
    loaded = kind.load(agent.save(tmp_path / "policy"))
    points = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    for h in range(8):
        np.testing.assert_array_equal(loaded.predict(points, h)[0], agent.predict(points, h)[0])
    assert isinstance(agent.predict(points[0])[0], int)
    np.testing.assert_array_equal(loaded.solution.value(points), agent.solution.value(points))
    assert loaded.uncertainty == agent.uncertainty
    with pytest.raises(InvalidArgumentError, match="no data to learn from"):
        loaded.learn()


@pytest.mark.parametrize(
    "features", [OneHot(5, 2), Aggregation([0, 0, 1, 2, 3], 2), simplex_table(0)], ids=["one", "groups", "table"]
)
def test_a_saved_agent_of_indices_predicts_the_same(features, tmp_path):
    radius = np.random.default_rng(0).random((3, features.dimension))
    agent = rr.DROP(log(0), ball(radius), features=features, horizon=3).learn()
    loaded = rr.DROP.load(agent.save(tmp_path / "policy"))
    np.testing.assert_array_equal(loaded.solution.value(np.arange(5)), agent.solution.value(np.arange(5)))
    np.testing.assert_array_equal(loaded.solution.problem.radius, radius)


@BOTH
def test_a_killed_run_is_resumed_and_leaves_its_policy(kind, tmp_path):
    def make():
        return kind(log(0), ball(0.1), features=OneHot(5, 2), horizon=3)

    run = RunDirectory(tmp_path / "run")
    with pytest.raises(InvalidArgumentError, match="call learn"):
        _ = make().learn(2, run=run, checkpoint_every=1).solution
    agent = make().learn(run=tmp_path / "run")
    np.testing.assert_array_equal(agent.solution.weights, make().learn().solution.weights)
    assert kind.load(run.result / "policy").predict(1) == agent.predict(1)
    with pytest.raises(InvalidArgumentError, match="another problem: its radius"):
        kind(log(0), ball(0.2), features=OneHot(5, 2), horizon=3).learn(run=tmp_path / "run")


def test_is_rolled_out_by_collect():
    agent = cart_pole(rr.DROP, Tiles(3)).learn()
    played = rr.datasets.collect("CartPole-v1", agent, 3, seed=1, horizon=8)
    for h in range(8):
        rows = played.at_stage(h)
        np.testing.assert_array_equal(played.actions[rows], agent.predict(played.observations[rows], h)[0])


def test_under_the_largest_shift_robust_agents_end_above_the_nominal_one_and_cross_it_where_two_plans_tie():
    """The simulated linear model: the goal's factor of the first decision turns into the fail state with probability q.

    The first decision is bold (a = 1, 1, 1, 1) or cautious (all -1). Each returns 2 (1 - q) e + (1 - e) V, with V = 1.25 from the
    middle on, whence they tie at q = 1 - V / 2 = 0.375, and any two averages of the two cross there.
    """
    model, states = rr.envs.simulated_linear(0.2), np.arange(5)
    shifted = [rr.envs.simulated_linear(0.2, q=q) for q in (0.0, 0.375, 1.0)]
    radius = np.zeros((3, 4))
    radius[0, 3] = 0.5
    returns = {"PEVI": [], "DROP": [], "DROP-V": []}
    for seed in range(30):
        data = rr.datasets.from_arrays(*model.sample(100, np.random.default_rng(seed)))
        for name, values in returns.items():
            kind, uncertainty = rr.DROPV if name == "DROP-V" else rr.DROP, None if name == "PEVI" else ball(radius)
            agent = kind(data, uncertainty, features=Table(model.phi), horizon=3, ridge=0.1, penalty=1.0).learn()
            policy = agent.solution.policy(states)
            values.append([rr.solvers.linear_values(target, None, policy).value[0, 0] for target in shifted])
    ends = {}
    for name, values in returns.items():
        half = 1.96 * np.std(values, axis=0, ddof=1) / np.sqrt(len(values))
        ends[name] = np.mean(values, axis=0) - half, np.mean(values, axis=0) + half
    print(ends)
    (nominal_low, nominal_high) = ends["PEVI"]
    for name in ("DROP", "DROP-V"):
        low, high = ends[name]
        assert low[2] > nominal_high[2]
        assert high[0] < nominal_low[0]
        np.testing.assert_allclose(np.mean(returns[name], axis=0)[1], np.mean(returns["PEVI"], axis=0)[1], atol=2e-3)


class Own(FeatureMap):
    num_actions, dimension = 2, 2

    def __call__(self, observations, actions):
        return np.eye(2)[actions]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: rr.DROP(log(0), None, features=OneHot(5, 2), horizon=3).predict(0), InvalidArgumentError, "call learn"),
        (lambda path: rr.DROP(log(0), None, features=OneHot(5, 2), horizon=3).learn(0), InvalidArgumentError, "total_steps is 0"),
        (lambda path: _own().learn(run=path / "run"), InvalidArgumentError, "features Own can't be saved"),
        (lambda path: _own().learn().predict([[0]]), InvalidArgumentError, r"shape \(1, 1\)"),
        (lambda path: rr.DROPV.load(_own(OneHot(5, 2)).learn().save(path / "p")), FileFormatError, "holds a DROP, not a DROPV"),
    ],
)
def test_bad_arguments_are_named(make, error, message, tmp_path):
    with pytest.raises(error, match=message):
        make(tmp_path)


def _own(features=None):
    return rr.DROP(log(0), None, features=features or Own(), horizon=3, states=np.arange(5))
