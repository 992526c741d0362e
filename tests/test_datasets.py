import numpy as np
import pytest

import robust_rl as rr
from robust_rl import datasets
from robust_rl.errors import FileFormatError, InvalidArgumentError

S, A, R, N = [[0, 1], [0, 2]], [[1, 0], [0, 0]], [[0.0, 1.0], [0.0, 0.5]], [[1, 2], [2, 2]]


def same(one, other):
    names = ("observations", "actions", "rewards", "next_observations", "terminations", "stage")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_three_layouts_of_the_same_episodes_agree():
    """The first episode ends after one transition; what (K, H) arrays hold beyond it is padding."""
    padded = datasets.from_arrays(S, A, R, N, terminations=[[True, False], [False, True]])
    flat = datasets.from_arrays([0, 0, 2], [1, 0, 0], [0.0, 0.0, 0.5], [1, 2, 2], [True, False, True])
    episodes = datasets.from_episodes(
        [
            {"observations": [0, 1], "actions": [1], "rewards": [0.0], "terminations": [True]},
            {"observations": [0, 2, 2], "actions": [0, 0], "rewards": [0.0, 0.5], "terminations": [False, True]},
        ]
    )
    assert same(padded, flat)
    assert same(padded, episodes)
    assert padded.stage.tolist() == [0, 0, 1]
    assert padded.episode.tolist() == [0, 1, 1]
    assert (padded.num_episodes, padded.horizon, len(padded)) == (2, 2, 3)


def test_truncation_ends_an_episode_without_terminating_it():
    data = datasets.from_arrays([0, 1, 0], [0, 0, 0], [1.0, 1.0, 1.0], [1, 2, 1], truncations=[False, True, False])
    assert data.stage.tolist() == [0, 1, 0]
    assert not data.terminations.any()


def test_collect_logs_what_the_environment_did_and_repeats_by_seed():
    env = rr.envs.make("robust_rl/RiverSwim-v0")
    data = datasets.collect(env, None, 20, seed=3, horizon=7)
    assert (data.num_episodes, data.horizon, len(data)) == (20, 7, 140)
    assert same(data, datasets.collect(env, None, 20, seed=3, horizon=7))
    assert not same(data, datasets.collect(env, None, 20, seed=4, horizon=7))
    inner = data.stage[1:] > 0
    assert (data.observations[1:][inner] == data.next_observations[:-1][inner]).all()
    model = rr.envs.tabular(env)
    assert (model.transitions[data.observations, data.actions, data.next_observations] > 0).all()


def test_collect_asks_agents_and_callables():
    agent = rr.RobustVI("robust_rl/RiverSwim-v0", None, horizon=5).learn()
    env = rr.envs.make("robust_rl/RiverSwim-v0")
    data = datasets.collect(env, agent, 3, horizon=5)
    assert (data.actions == agent.solution.policy[data.stage, data.observations]).all()
    always = datasets.collect(env, lambda observation, rng: 1, 2, horizon=4)
    assert (always.actions == 1).all()


def test_continuous_observations_terminate():
    data = datasets.collect("CartPole-v1", None, 5, seed=0)
    assert data.observations.shape == (len(data), 4)
    assert data.terminations.sum() == 5
    assert data.statistics().visits is None
    assert data.statistics().terminated == 1.0


def test_statistics_count_visits_by_stage():
    data = datasets.from_arrays(S, A, R, N)
    stats = data.statistics()
    expected = np.zeros((2, 3, 2))
    for state, action, stage in zip(data.observations, data.actions, data.stage, strict=True):
        expected[stage, state, action] += 1
    np.testing.assert_array_equal(stats.visits, expected)
    assert stats.coverage.tolist() == [1.0, 0.5]  # both actions in state 0; one of two in states 1 and 2
    assert stats.effective_pairs.tolist() == [2.0, 2.0]
    assert stats.returns.tolist() == [1.0, 0.5]
    assert "2 episodes, 4 transitions" in str(stats)


def test_split_keeps_episodes_whole_and_loses_none():
    data = datasets.collect(rr.envs.make("FrozenLake-v1"), None, 31, seed=1)
    parts = data.split(3, np.random.default_rng(0))
    assert sorted(part.num_episodes for part in parts) == [10, 10, 11]
    assert sorted(np.concatenate([part.statistics().lengths for part in parts])) == sorted(data.statistics().lengths)


def test_saved_data_come_back_bit_for_bit(tmp_path):
    data = datasets.collect("CartPole-v1", None, 3, seed=0)
    path = data.save(tmp_path / "log")
    loaded = datasets.load(path)
    assert same(data, loaded)
    assert loaded.observations.dtype == data.observations.dtype == np.float32


def test_plain_arrays_in_a_file_are_read_by_their_names(tmp_path):
    names = {"observations": S, "actions": A, "rewards": R, "next_observations": N}
    np.savez(tmp_path / "plain.npz", **names, truncations=[[True, False], [False, False]], note=np.zeros(3))
    read = datasets.read(tmp_path / "plain.npz")
    assert same(read, datasets.from_arrays(S, A, R, N, truncations=[[True, False], [False, False]]))
    np.savez(tmp_path / "part.npz", observations=S, actions=A)
    with pytest.raises(FileFormatError, match="lacks rewards, next_observations"):
        datasets.read(tmp_path / "part.npz")


def test_a_pickle_in_a_file_is_not_executed(tmp_path):
    ran = []

    class Trap:
        def __reduce__(self):
            return ran.append, (1,)

    np.savez(tmp_path / "trap.npz", format=np.array([Trap()], dtype=object))
    ran.clear()
    with pytest.raises(FileFormatError, match="cannot read"):
        datasets.load(tmp_path / "trap.npz")
    assert not ran


def test_files_that_are_no_data_sets_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(FileFormatError, match="is not a robust-rl offline dataset"):
        datasets.load(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(FileFormatError, match="cannot read"):
        datasets.load(tmp_path / "text.npz")
    with pytest.raises(FileFormatError, match=r"no data set at .*missing.npz"):
        datasets.load(tmp_path / "missing.npz")
    np.savez(tmp_path / "format.npz", format=np.array("robust-rl tabular model"))
    with pytest.raises(FileFormatError, match="is not a robust-rl offline dataset; OfflineDataset.save writes one"):
        datasets.load(tmp_path / "format.npz")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: datasets.from_arrays([], [], [], []), "empty"),
        (lambda: datasets.from_episodes([]), "empty"),
        (lambda: datasets.from_arrays([0, 0], [0, 0], [0.0, np.nan], [0, 0]), r"rewards\[1\] is nan"),
        (lambda: datasets.from_arrays([[0.0], [np.inf]], [0, 0], [0.0, 0.0], [[0.0], [0.0]]), r"observations\[1\]"),
        (lambda: datasets.from_arrays([0], [0, 0], [0.0, 0.0], [0, 0]), "expected 2 rows"),
        (lambda: datasets.from_arrays([0, 0], [0, 0], [0.0, 0.0], [[0], [0]]), "must be alike"),
        (lambda: datasets.from_arrays(["a"], [0], [0.0], ["b"]), "expected numbers"),
        (lambda: datasets.from_arrays([{}], [0], [0.0], [{}]), "flatten composite spaces"),
        (lambda: datasets.from_episodes([{"observations": [0], "actions": [0], "rewards": [0.0]}]), r"expected \(T \+ 1"),
        (lambda: datasets.from_episodes([{"observations": [0, 1], "rewards": [0.0]}]), "episode 0 has no actions"),
        (lambda: datasets.from_arrays(S, A, R, N).check_horizon(3), "longest episode has 2 transitions"),
        (lambda: datasets.from_arrays(S, A, R, N).split(3, np.random.default_rng(0)), "can't be split into 3"),
        (lambda: datasets.collect("CartPole-v1", None, 0), "must be at least 1"),
        (lambda: _with_stage([0, 2, 0, 1]), r"stage\[1\] is 2"),
        (lambda: _with_stage([0, 1, 2, 3], [True, False, False, False]), "row 0 terminates its episode"),
    ],
)
def test_bad_data_are_named(make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make()


def _with_stage(stage, terminations=(False,) * 4):
    data = datasets.from_arrays(S, A, R, N)
    columns = (data.observations, data.actions, data.rewards, data.next_observations)
    return datasets.OfflineDataset(*columns, np.array(terminations), np.array(stage))


def test_minari_data_sets_are_read_from_this_machine_only(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    played = datasets.collect("CartPole-v1", None, 4, seed=0)
    buffers = []
    for number in range(4):
        part = played.select(number)
        last = np.zeros(len(part), dtype=bool)
        buffers.append(
            minari.data_collector.EpisodeBuffer(
                id=number,
                observations=np.concatenate([part.observations, part.next_observations[-1:]]),
                actions=part.actions,
                rewards=part.rewards,
                terminations=part.terminations,
                truncations=last,
                infos={},
            )
        )
    minari.create_dataset_from_buffers("logs/cartpole-v0", buffer=buffers, env="CartPole-v1", algorithm_name="random")
    data = datasets.read("logs/cartpole-v0")
    assert same(data, played)
    with pytest.raises(InvalidArgumentError, match="local ones: logs/cartpole-v0"):
        datasets.from_minari("logs/cartpole-v1")
