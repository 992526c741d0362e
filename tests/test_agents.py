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
    "RobustVI, interval": lambda: rr.RobustVI(random_model(2), rr.Interval(0.0, 0.8), discount=0.9).learn(),
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
    np.testing.assert_array_equal(loaded.solution.certificate.upper, agent.solution.certificate.upper)
    agent.observation_space.seed(0)
    for _ in range(10):
        observation = agent.observation_space.sample()
        action, state = agent.predict(observation)
        assert agent.action_space.contains(action)
        assert loaded.predict(observation) == (action, state)
    one, two = (
        np.sort(rollout(a.worst_case_env(), _player(a), 3, discount=a.discount, horizon=a.horizon or 30)) for a in (agent, loaded)
    )
    np.testing.assert_array_equal(one, two)


def _player(agent):
    """predict with the stage carried along, as a recurrent policy's state would be."""
    state = [None]

    def act(observation):
        action, state[0] = agent.predict(observation, state[0])
        if agent.horizon is not None and state[0] == agent.horizon:
            state[0] = None
        return action

    return act


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
    returns = rollout(agent.worst_case_env(), lambda s: agent.predict(s)[0], 10_000, discount=discount, horizon=cut, seed=7)
    expected = agent.model.start @ agent.solution.value
    bias = 1e-4 * abs(agent.solution.value).max()
    assert abs(returns.mean() - expected) <= 3.29 * returns.std(ddof=1) / 100 + bias


def test_worst_case_env_over_a_horizon():
    agent = rr.RobustVI(random_model(3, masked=False), rr.TotalVariation(0.2, support="free"), horizon=5).learn()
    returns = np.zeros(10_000)
    env = agent.worst_case_env()
    for episode in range(len(returns)):
        observation, _ = env.reset(seed=11 if episode == 0 else None)
        state, over = None, False
        while not over:
            action, state = agent.predict(observation, state)
            observation, reward, over, _, _ = env.step(action)
            returns[episode] += reward
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


def test_learning_into_a_run_leaves_metrics_policy_and_checkpoints(tmp_path):
    run = RunDirectory(tmp_path / "run")
    agent = rr.RobustVI("FrozenLake-v1", REACHABLE, discount=0.95)
    agent.learn(run=run, checkpoint_every=10)
    gaps = [line["solve/gap"] for line in run.metrics()]
    np.testing.assert_array_equal(gaps, agent.solution.history["gap"])
    assert run.read()["status"] == "finished"
    assert rr.RobustVI.load(run.result / "policy").predict(0) == agent.predict(0)


def test_a_run_cut_short_goes_on(tmp_path):
    with pytest.warns(Warning, match="after 5 sweeps"):
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
        (lambda: rr.RobustVI("FrozenLake-v1", None, discount=0.9).predict(0), InvalidArgumentError, "call learn"),
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
