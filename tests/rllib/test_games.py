"""Games under RLlib: our wrapper against the PettingZoo environment and RLlib's own wrapper, and learning with a radius each."""

import numpy as np
import pytest

import robust_rl as rr

pytest.importorskip("ray.rllib")

from pettingzoo import ParallelEnv

from robust_rl.envs import games
from robust_rl.errors import InvalidArgumentError
from robust_rl.rllib import MarkovGameEnv, RobustPPOConfig, register_envs

GAMES = {"soccer": {"after_goal": "end"}, "fishery": {}, "random_game": {"num_agents": 3, "num_actions": (2, 3, 2)}}


def played(env, agents, sizes, steps, seed):
    """Play random actions, drawn outside, and yield what came back; a new episode where one ended."""
    rng, seeds = np.random.default_rng(seed), iter(range(seed, seed + steps))
    yield env.reset(seed=next(seeds))
    for _ in range(steps):
        actions = {agent: int(rng.integers(size)) for agent, size in zip(agents, sizes, strict=True)}
        back = env.step(actions)
        yield back
        if not env.agents:
            yield env.reset(seed=next(seeds))


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("one_hot", [False, True])
def test_wrapper_equals_the_pettingzoo_environment_step_for_step(name, one_hot):
    plain, wrapped = games.make(name, **GAMES[name]), MarkovGameEnv(games.make(name, **GAMES[name]), one_hot=one_hot)
    agents = plain.possible_agents
    sizes = [plain.action_space(agent).n for agent in agents]
    pairs = zip(played(plain, agents, sizes, 300, 1), played(wrapped, agents, sizes, 300, 1), strict=True)
    ends = set()
    for theirs, ours in pairs:
        assert ours[0].keys() == theirs[0].keys()
        for agent, seen in ours[0].items():
            assert wrapped.get_observation_space(agent).contains(seen)
            assert (seen.argmax() if one_hot else seen) == theirs[0][agent]
        if len(ours) == 5:
            assert ours[1] == theirs[1]
            over, cut = dict(ours[2]), dict(ours[3])
            ends.add((over.pop("__all__"), cut.pop("__all__")))
            assert over == theirs[2]
            assert cut == theirs[3]
    assert ends <= {(False, False), (True, False), (False, True)}
    assert len(ends) > 1, "episodes ended"


def test_rllibs_own_wrapper_gives_the_same_numbers():
    from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv

    ours, theirs = MarkovGameEnv(games.make("soccer"), one_hot=False), ParallelPettingZooEnv(games.make("soccer"))
    rng = np.random.default_rng(0)
    assert ours.reset(seed=2)[0] == theirs.reset(seed=2)[0]
    for _ in range(100):
        actions = {agent: int(rng.integers(5)) for agent in ours.possible_agents}
        one, other = ours.step(actions), theirs.step(actions)
        assert one[:4] == other[:4]


class Leaving(ParallelEnv):
    """Agents in a confusing order; one terminates at step 1 and the other is truncated at step 2."""

    metadata = {"name": "leaving"}
    possible_agents = ["b", "a"]

    def observation_space(self, agent):
        return games.make("fishery").observation_space("player_0")

    action_space = observation_space

    def reset(self, seed=None, options=None):
        self.agents = self.possible_agents[:]
        return dict.fromkeys(self.agents, 0), {agent: {"small": 1, "array": np.zeros(9)} for agent in self.agents}

    def step(self, actions):
        present = self.agents
        first = len(present) == 2
        self.agents = ["b"] if first else []
        ends = {agent: first and agent == "a" for agent in present}
        return dict.fromkeys(present, 0), dict.fromkeys(present, 1.0), ends, dict.fromkeys(present, not first), {}


def test_an_episode_ends_with_its_last_agent_and_says_how():
    env = MarkovGameEnv(Leaving())
    assert env.possible_agents == ["a", "b"], "sorted, in every process"
    assert env.reset()[1] == {"a": {"small": 1}, "b": {"small": 1}}
    _, _, over, cut, _ = env.step({"a": 0, "b": 0})
    assert (over, cut) == ({"a": True, "b": False, "__all__": False}, {"a": False, "b": False, "__all__": False})
    assert env.agents == ["b"]
    _, _, over, cut, _ = env.step({"b": 0})
    assert (over["__all__"], cut["__all__"]) == (False, True), "b was cut, so not everybody ended by the rules"
    with pytest.raises(InvalidArgumentError, match="parallel form"):
        MarkovGameEnv(games.soccer_v0.env())


AGENTS = ["nature", "player_0", "player_1"]


def config_of_three(**env_config):
    """Robust PPO on soccer, with more in the configuration of the game."""
    register_envs()
    return (
        RobustPPOConfig()
        .environment("robust_rl/soccer_v0", env_config={"max_cycles": 20, **env_config})
        .env_runners(num_env_runners=0)
        .training(train_batch_size=200, minibatch_size=100, num_epochs=1)
        .rl_module(model_config={"fcnet_hiddens": [16]})
        .debugging(seed=0)
    )


def test_players_with_a_radius_each_and_nature_learn_soccer(ray_session):
    """Three iterations; only those in policies_to_train move, and what nature earns is what player_0 loses."""
    radii = {"player_0": 0.02, "player_1": 0.2}
    sets = {agent: rr.Contamination(radius, support="free") for agent, radius in radii.items()}
    config = config_of_three(nature={"radius": 0.1, "against": "player_0"}).multi_agent(
        policies=set(AGENTS),
        policy_mapping_fn=lambda agent, episode, **_: agent,
        policies_to_train=["player_0", "player_1"],
        algorithm_config_overrides_per_module={
            agent: RobustPPOConfig.overrides(uncertainty=ball, value_floor=-5.0) for agent, ball in sets.items()
        },
    )
    algo = config.build_algo()
    settings = algo.config.copy(copy_frozen=False)
    assert {agent: settings.get_config_for_module(agent).uncertainty for agent in AGENTS} == {"nature": None} | sets
    before = {agent: weights(algo, agent) for agent in AGENTS}
    for _ in range(3):
        result = algo.train()
    after = {agent: weights(algo, agent) for agent in AGENTS}
    algo.stop()
    returns = result["env_runners"]["agent_episode_returns_mean"]
    assert returns["nature"] == pytest.approx(-returns["player_0"]) == pytest.approx(returns["player_1"])
    moved = {agent: any((before[agent][key] != after[agent][key]).any() for key in before[agent]) for agent in AGENTS}
    assert moved == {"nature": False, "player_0": True, "player_1": True}


def weights(algo, module):
    return {key: value.copy() for key, value in algo.get_weights([module])[module].items()}
