import gymnasium
import numpy as np
import pytest

import robust_rl as rr
from robust_rl.errors import FileFormatError, InvalidArgumentError, NoTableError, UnknownNameError
from robust_rl.evaluation import confidence_interval, rollout
from robust_rl.training import RunDirectory, load_arrays, save_arrays
from tests.worlds import TAXI, random_model

REACHABLE = rr.TotalVariation(0.1, support="reachable")

# every agent of the library, learned on something small; a new one joins with one line
AGENTS = {
    "RobustVI": lambda: rr.RobustVI("FrozenLake-v1", REACHABLE, discount=0.95).learn(),
    "RobustVI, nominal": lambda: rr.RobustVI("CliffWalking-v1", None, discount=0.95).learn(),
    "RobustVI, horizon": lambda: rr.RobustVI("FrozenLake-v1", REACHABLE, horizon=12).learn(),
    "RobustVI, composite observations": lambda: rr.RobustVI(
        "Blackjack-v1", REACHABLE, discount=1.0, env_kwargs={"sab": False}
    ).learn(),
    "RobustVI, sparse": lambda: rr.RobustVI(TAXI, REACHABLE, discount=0.9).learn(),
    "RobustVI, arrays": lambda: rr.RobustVI(
        random_model(1, sparse=True), rr.TotalVariation(np.full((5, 3), 0.1), support=np.ones((5, 3, 5), bool)), discount=0.9
    ).learn(),
    **{
        f"RobustVI, {ball.name}": lambda ball=ball: rr.RobustVI("FrozenLake-v1", ball, discount=0.9).learn()
        for ball in (
            rr.L1(0.2, support="reachable"),
            rr.L2(0.1, support="nominal"),
            rr.KL(0.1),
            rr.ReverseKL(0.1, support="free"),
            rr.ChiSquare(0.1),
            rr.CVaR(0.5),
            rr.Contamination(0.1, support="free"),
            rr.LInfinity(0.1, support="free"),
            rr.WeightedL1(0.2, weights=np.linspace(1, 2, 16), support="free"),
            rr.Wasserstein(0.2, metric=rr.graph_metric(rr.envs.tabular("FrozenLake-v1"))),
        )
    },
    "RobustVI, wasserstein near": lambda: rr.RobustVI(
        "FrozenLake-v1", rr.Wasserstein(0.2, metric=rr.graph_metric(rr.envs.tabular("FrozenLake-v1"), cutoff=2)), discount=0.9
    ).learn(),
    "RobustVI, s-rectangular": lambda: rr.RobustVI("FrozenLake-v1", rr.SRectangular(REACHABLE), discount=0.9).learn(),
    "RobustVI, s-rectangular, horizon": lambda: rr.RobustVI(
        random_model(1), rr.SRectangular(rr.KL(np.full(5, 0.1))), horizon=4
    ).learn(),
    "RobustVI, uncertain rewards": lambda: rr.RobustVI(
        random_model(1, sparse=True), rr.UncertainRewards(np.full((5, 3), 0.1), rr.SRectangular(REACHABLE)), discount=0.9
    ).learn(),
    "RobustVI, interval": lambda: rr.RobustVI(random_model(2), rr.Interval(0.0, 0.8), discount=0.9).learn(),
    "RobustQLearning": lambda: rr.RobustQLearning("FrozenLake-v1", REACHABLE, discount=0.9).learn(1),
    "RobustQLearning, composite observations": lambda: rr.RobustQLearning(
        "Blackjack-v1", None, discount=0.9, env_kwargs={"sab": False}, epsilon=0.5
    ).learn(1),
}
by_agent = pytest.mark.parametrize("name", AGENTS)


@by_agent
def test_every_agent_keeps_the_contract(name, tmp_path):
    """learn returns the agent, predict gives actions of the space, and a saved agent comes back the same."""
    agent = AGENTS[name]()
    path = agent.save(tmp_path / "policy")
    assert path == tmp_path / "policy.safetensors"
    loaded = type(agent).load(tmp_path / "policy")
    assert loaded.uncertainty == agent.uncertainty
    assert (loaded.env_id, loaded.env_kwargs) == (agent.env_id, agent.env_kwargs)
    assert (loaded.observation_space, loaded.action_space) == (agent.observation_space, agent.action_space)
    for field in ("value", "policy", "action_values"):
        np.testing.assert_array_equal(getattr(loaded.solution, field), getattr(agent.solution, field))
    agent.observation_space.seed(0)
    for _ in range(10):
        observation = agent.observation_space.sample()
        action, state = agent.predict(observation)
        assert agent.action_space.contains(action)
        assert loaded.predict(observation) == (action, state)
    if not hasattr(agent.solution, "certificate"):
        return
    np.testing.assert_array_equal(loaded.solution.certificate.upper, agent.solution.certificate.upper)
    one, two = (
        np.sort(rollout(a.worst_case_env(), a.predict, 3, discount=a.discount, horizon=a.horizon or 30)) for a in (agent, loaded)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("env", "kwargs", "uncertainty", "discount"),
    [
        ("CliffWalking-v1", {}, REACHABLE, 0.99),
        ("FrozenLake-v1", {}, rr.TotalVariation(0.1, support="nominal"), 0.9),
        ("robust_rl/RiverSwim-v0", {}, rr.TotalVariation(0.1, support="free"), 0.9),
        ("robust_rl/MachineReplacementCRAAM-v0", {}, rr.Contamination(0.1, support="free"), 0.8),
        ("FrozenLake-v1", {}, rr.LInfinity(0.1, support="reachable"), 0.9),
    ],
)
def test_worst_case_env_returns_the_robust_value(env, kwargs, uncertainty, discount):
    """10^4 episodes; a kernel, reward or state off by one leaves the 99.9 % interval (3.29 standard errors)."""
    agent = rr.RobustVI(env, uncertainty, discount=discount, env_kwargs=kwargs).learn()
    cut = int(np.ceil(np.log(1e-4) / np.log(discount)))  # what is cut off is worth 1e-4 of the largest return
    returns = rollout(agent.worst_case_env(), agent.predict, 10_000, discount=discount, horizon=cut, seed=7)
    expected = agent.model.start @ agent.solution.value
    bias = 1e-4 * abs(agent.solution.value).max()
    assert abs(returns.mean() - expected) <= 3.29 * returns.std(ddof=1) / 100 + bias


def test_worst_case_env_over_a_horizon():
    agent = rr.RobustVI(random_model(3, masked=False), rr.TotalVariation(0.2, support="free"), horizon=5).learn()
    returns = rollout(agent.worst_case_env(), agent.predict, 10_000, horizon=5, seed=11)
    expected = agent.model.start @ agent.solution.value[0]
    assert abs(returns.mean() - expected) <= 3.29 * returns.std(ddof=1) / 100
    with pytest.raises(InvalidArgumentError, match="stage 5 is beyond the horizon of 5"):
        agent.predict(1, 5)


def test_predict_takes_arrays_and_composite_observations():
    agent = AGENTS["RobustVI"]()
    np.testing.assert_array_equal(agent.predict(np.arange(16))[0], agent.solution.policy)
    blackjack = AGENTS["RobustVI, composite observations"]()
    action, _ = blackjack.predict((21, 10, 0))
    assert action == 0, "stick on 21"
    with pytest.raises(InvalidArgumentError, match="not in"):
        agent.predict(16)


def test_predict_refuses_states_that_are_not_there():
    agent, blackjack = AGENTS["RobustVI"](), AGENTS["RobustVI, composite observations"]()
    for observations in (np.array([-1, 3]), np.array([99])):
        with pytest.raises(InvalidArgumentError, match="there is no state"):
            agent.predict(observations)
    with pytest.raises(InvalidArgumentError, match="array of float64"):
        agent.predict(np.array([0.5]))
    with pytest.raises(InvalidArgumentError, match="there is no state 1000"):
        blackjack.predict(1000)


def test_an_environment_made_by_gymnasium_keeps_its_id_and_one_with_wrappers_does_not():
    made = gymnasium.make("FrozenLake-v1", map_name="8x8")
    assert rr.RobustVI(made, REACHABLE, discount=0.9).env_kwargs == {"map_name": "8x8"}
    noisy = rr.envs.shift(made, action_noise=0.1)
    assert rr.RobustVI(noisy, REACHABLE, discount=0.9).env_id is None


def test_arguments_that_cannot_be_saved_are_refused_before_solving(tmp_path):
    agent = rr.RobustVI("robust_rl/Garnet-v0", None, discount=0.5, env_kwargs={"seed": np.int64(3)}, tol=np.float32(1e-3)).learn()
    assert rr.RobustVI.load(agent.save(tmp_path / "policy")).env_kwargs["seed"] == 3


def test_a_run_of_another_model_is_refused_and_left_as_it_was(tmp_path):
    """Same sizes, same set, another kernel: going on from that checkpoint would certify a wrong optimum."""
    ball = rr.TotalVariation(0.1, support="free")
    rr.RobustVI("robust_rl/Chain-v0", ball, discount=0.99).learn(run=tmp_path / "run")
    other = rr.RobustVI("robust_rl/Chain-v0", ball, discount=0.99, env_kwargs={"success": 0.5})
    with pytest.raises(InvalidArgumentError, match="another problem: its model is"):
        other.learn(run=tmp_path / "run")
    assert RunDirectory(tmp_path / "run").read()["status"] == "finished"
    radii = np.full((10, 2), 0.1)
    radii[3, 1] = 0.2
    shuffled = radii[::-1].copy()
    model = rr.envs.tabular("robust_rl/Chain-v0")
    rr.RobustVI(model, rr.TotalVariation(radii, support="free"), discount=0.9).learn(run=tmp_path / "radii")
    with pytest.raises(InvalidArgumentError, match="uncertainty's arrays"):
        rr.RobustVI(model, rr.TotalVariation(shuffled, support="free"), discount=0.9).learn(run=tmp_path / "radii")


def test_a_horizon_cut_short_says_so(tmp_path):
    agent = rr.RobustVI("FrozenLake-v1", REACHABLE, horizon=10).learn(3, run=tmp_path / "run")
    with pytest.raises(InvalidArgumentError, match="no solution yet; call learn"):
        agent.predict(0)
    assert rr.RobustVI("FrozenLake-v1", REACHABLE, horizon=10).learn(run=tmp_path / "run").solution.horizon == 10


def test_learning_into_a_run_leaves_metrics_policy_and_checkpoints(tmp_path):
    run = RunDirectory(tmp_path / "run")
    agent = rr.RobustVI("FrozenLake-v1", REACHABLE, discount=0.95)
    agent.learn(run=run, checkpoint_every=10)
    gaps = [line["solve/gap"] for line in run.metrics()]
    np.testing.assert_array_equal(gaps, agent.solution.history["gap"])
    assert run.read()["status"] == "finished"
    assert rr.RobustVI.load(run.result / "policy").predict(0) == agent.predict(0)


def test_a_run_cut_short_goes_on(tmp_path):
    with pytest.warns(Warning, match="after 5 steps"):
        rr.RobustVI("FrozenLake-v1", REACHABLE, discount=0.95).learn(5, run=tmp_path / "run")
    resumed = rr.RobustVI("FrozenLake-v1", REACHABLE, discount=0.95).learn(run=tmp_path / "run")
    whole = rr.RobustVI("FrozenLake-v1", REACHABLE, discount=0.95).learn()
    np.testing.assert_array_equal(resumed.solution.value, whole.solution.value)
    np.testing.assert_array_equal(resumed.solution.history["gap"], whole.solution.history["gap"])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rr.RobustVI("CliffWalkin-v1", None, discount=0.9), UnknownNameError, "did you mean CliffWalking-v1"),
        (lambda: rr.RobustVI("CartPole-v1", None, discount=0.9), NoTableError, "no transition table.*TabularMDP"),
        (lambda: rr.RobustVI("FrozenLake-v1", None, discount=0.9, env_kwargs={"size": 3}), InvalidArgumentError, "size"),
        (lambda: rr.RobustVI("FrozenLake-v1", None), InvalidArgumentError, "exactly one of discount and horizon"),
        (lambda: rr.RobustVI("FrozenLake-v1", None, discount="0.9"), InvalidArgumentError, "discount is '0.9'"),
        (lambda: rr.RobustVI("FrozenLake-v1", None, horizon=float("nan")), InvalidArgumentError, "horizon is nan"),
        (lambda: rr.RobustVI("FrozenLake-v1", None, discount=0.9).learn(0), InvalidArgumentError, "total_steps is 0"),
        (
            lambda: rr.RobustVI("FrozenLake-v1", None, discount=0.9, env_kwargs={"desc": np.array([["S", "G"]], dtype="c")}),
            InvalidArgumentError,
            "desc=.*can't be saved",
        ),
        (
            lambda: rr.RobustVI("FrozenLake-v1", None, discount=0.9).predict(0),
            InvalidArgumentError,
            "no solution yet; call learn",
        ),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_foreign_corrupt_and_newer_files_are_refused(tmp_path):
    agent = AGENTS["RobustVI"]()
    path = agent.save(tmp_path / "policy")
    with pytest.raises(FileFormatError, match="nowhere"):
        rr.RobustVI.load(tmp_path / "nowhere")
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(FileFormatError, match="policy.safetensors"):
        rr.RobustVI.load(path)
    path.write_bytes(b"not a policy at all")
    with pytest.raises(FileFormatError, match="policy.safetensors"):
        rr.RobustVI.load(path)
    save_arrays(path, {"x": np.zeros(1)})
    with pytest.raises(FileFormatError, match="robust-rl policy"):
        rr.RobustVI.load(path)
    path.write_bytes(good)
    arrays, metadata = load_arrays(path, format="robust-rl policy")
    save_arrays(path, arrays, metadata, format="robust-rl policy", version=2)
    with pytest.raises(FileFormatError, match="upgrade"):
        rr.RobustVI.load(path)
    save_arrays(path, arrays, metadata | {"agent": "Another"}, format="robust-rl policy")
    with pytest.raises(FileFormatError, match="holds a Another, not a RobustVI"):
        rr.RobustVI.load(path)
    del arrays["value"]
    save_arrays(path, arrays, metadata, format="robust-rl policy")
    with pytest.raises(FileFormatError, match="value"):
        rr.RobustVI.load(path)


def test_one_episode_gives_no_interval():
    with pytest.raises(InvalidArgumentError, match="at least 2"):
        confidence_interval(np.zeros(1))
