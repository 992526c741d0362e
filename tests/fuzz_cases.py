"""Every reader of files in the library, with valid files for it. Making one imports what it needs."""

import functools
import importlib.util
import json
import os
import random
import warnings
from pathlib import Path
from unittest import mock

import numpy as np

import robust_rl as rr
from robust_rl import datasets, features, formats
from robust_rl.errors import RobustRLError
from robust_rl.models import MarkovGame, TabularMDP
from robust_rl.training import JSONLLogger, RunDirectory, Trainer, load_arrays, save_arrays
from robust_rl.training.checkpoints import latest_checkpoint
from tests.fuzzing import (
    Case,
    mutate_ends,
    mutate_json,
    mutate_jsonl,
    mutate_npy,
    mutate_npz,
    mutate_safetensors,
    mutate_text,
)
from tests.worlds import random_model

BALL = rr.TotalVariation(0.1, support="free")


def have(*packages):
    return all(importlib.util.find_spec(package) is not None for package in packages)


# ------------------------------------------------------------------------------------------------------------------- models


def tables(folder):
    if not have("pyarrow"):
        return []
    model = random_model(0, masked=False)
    names = [f"state{i}" for i in range(5)]
    paths = [formats.write_table(model, folder / "a.csv"), formats.write_table(model, folder / "b.csv", states=names)]
    return [
        *paths,
        formats.write_table(model, folder / "c.parquet"),
        formats.write_table(model, folder / "d.parquet", states=names),
    ]


def explicit(suffix):
    def make(folder):
        write = formats.write_drn if suffix == ".drn" else formats.write_prism
        model = rr.TabularMDP([[[0.5, 0.5], [0.9, 0.1]], [[0, 1], [0, 1]]], [[1.0, 0.9], [0, 0]], terminal=[1])
        bounds = rr.Interval(np.clip(model.transitions - 0.1, 0, 1), np.clip(model.transitions + 0.1, 0, 1))
        made = [write(model, folder / f"a{suffix}", bounds, labels={"end": [1]}), write(model, folder / f"b{suffix}")]
        larger = random_model(1, states=12, transition_rewards=False, masked=False).replace(start=np.full(12, 1 / 12))
        return [*made, write(larger, folder / f"c{suffix}", labels={"end": [0]})]

    return make


def models(folder):
    made = [random_model(0).save(folder / "a.npz"), random_model(1, sparse=True).save(folder / "b.npz")]
    return [*made, random_model(0).save(folder / "c.model"), random_model(1, sparse=True).save(folder / "d.model")]


def games(folder):
    from tests.games import random_game

    return [Path(random_game(0, 2, staged=staged).save(folder / f"{staged}.npz")) for staged in (False, True)]


def logged(folder):
    data = datasets.collect("FrozenLake-v1", None, 5, horizon=8)
    columns = {name: getattr(data, name) for name in ("observations", "actions", "rewards", "next_observations", "terminations")}
    np.savez(folder / "plain.npz", **columns)
    return [data.save(folder / "own.npz"), folder / "plain.npz"]


def episodes(folder):
    """A store of Minari with one data set: HDF5 and JSON."""
    import minari
    from minari.data_collector import EpisodeBuffer

    played = datasets.collect("FrozenLake-v1", None, 3, horizon=8)
    buffers = []
    for number in range(3):
        part = played.select(number)
        columns = {name: getattr(part, name) for name in ("actions", "rewards", "terminations")}
        seen = np.concatenate([part.observations, part.next_observations[-1:]])
        columns |= {"observations": seen, "truncations": np.zeros(len(part), dtype=bool), "infos": {}}
        buffers.append(EpisodeBuffer(id=number, **columns))
    with mock.patch.dict(os.environ, {"MINARI_DATASETS_PATH": str(folder / "store")}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers("logs/lake-v0", buffer=buffers, env="FrozenLake-v1", algorithm_name="random")
    return [folder / "store"]


def read_episodes(path):
    with mock.patch.dict(os.environ, {"MINARI_DATASETS_PATH": str(path)}):
        datasets.from_minari("logs/lake-v0")


def plain_arrays(folder):
    np.save(folder / "groups.npy", np.array([0, 1, 2, 0]))
    np.save(folder / "phi.npy", np.random.default_rng(0).dirichlet(np.ones(3), size=(4, 2)))
    return [folder / "groups.npy", folder / "phi.npy"]


def read_features(path):
    read_one(lambda: features.parse(f"aggregation:{path}"), lambda: features.parse(f"table:{path}"))


def read_one(*readers):
    """Try each reader, and raise the last refusal if none reads."""
    refusals = []
    for read in readers:
        try:
            read()
        except RobustRLError as refusal:
            refusals.append(refusal)
    if len(refusals) == len(readers):
        raise refusals[-1]


def world():
    return random_model(0, states=4, actions=2, masked=False, terminal=False)


def visits(folder):
    rng = np.random.default_rng(0)
    columns = {"states": rng.integers(4, size=60), "actions": rng.integers(2, size=60), "next_states": rng.integers(4, size=60)}
    np.savez(folder / "columns.npz", **columns)
    np.savez(folder / "counts.npz", counts=rng.integers(5, size=(4, 2, 4)))
    return [folder / "columns.npz", folder / "counts.npz"]


def calibrate(path):
    from robust_rl.calibration import calibrate

    calibrate(world(), path, confidence=0.95, support="free")


# ----------------------------------------------------------------------------------------------------------------- policies


def agents(folder):
    """Return one file of every kind of agent, under its class's name."""
    from tests.test_agents import AGENTS
    from tests.worlds import random_model as worlds

    made = []
    for i, name in enumerate(
        ("RobustVI, arrays", "RobustVI, s-rectangular, horizon", "RobustVI, uncertain rewards", "RobustQLearning")
    ):
        agent = AGENTS[name]()
        made.append(agent.save(folder / f"{type(agent).__name__}-{i}"))
    model, sparse = worlds(2), worlds(1, sparse=True)
    near = rr.Wasserstein(0.2, metric=rr.graph_metric(model, cutoff=2))
    for i, ball in enumerate((None, rr.KL(0.1), rr.CVaR(0.5), rr.Interval(0.0, 0.8), near)):
        made.append(rr.RobustVI(model, ball, discount=0.5).learn().save(folder / f"RobustVI-set-{i}"))
    made.append(rr.RobustVI(sparse, BALL, horizon=3).learn().save(folder / "RobustVI-sparse"))
    data = datasets.collect("FrozenLake-v1", None, 50, horizon=5)
    for kind in (rr.DROP, rr.DROPV):
        agent = kind(data, BALL, features=features.OneHot(16, 4), horizon=5, penalty=0.1).learn()
        made.append(agent.save(folder / f"{kind.__name__}-0"))
    from tests.games import random_game

    game = random_game(0, 2, staged=False).replace(horizon=3)
    made.append(rr.DRNVI(game, BALL, equilibrium="ce").learn().save(folder / "DRNVI-0"))
    if have("torch"):
        from robust_rl.alignment import VPOBandit
        from robust_rl.envs import PreferenceBandit

        made.append(VPOBandit(PreferenceBandit(arms=4, seed=0), mode="offline", alpha=1.0).learn(1).save(folder / "VPOBandit-0"))
        constants = {"hidden": (4,), "iterations": 1, "updates": 1, "dual_updates": 1, "batch_size": 8}
        made.append(rr.RFQI(data, BALL, v_min=0.0, **constants).learn().save(folder / "RFQI-0"))
    return made


def read_policy(path):
    from robust_rl import alignment

    name = path.name.partition("-")[0]
    kind = getattr(alignment, name) if name == "VPOBandit" else getattr(rr, name)
    act(kind.load(path))


def act(agent):
    """Ask a policy for actions, as someone would who was given it: at observations that it says it takes."""
    for seed in range(3):
        agent.predict(observation_of(agent, seed))


def observation_of(agent, seed):
    rng = np.random.default_rng(seed)
    if hasattr(agent, "agents"):
        return dict.fromkeys(agent.agents, int(rng.integers(agent.model.num_states)))
    if hasattr(agent, "observation_shape"):
        return rng.integers(3, size=agent.observation_shape)
    agent.observation_space.seed(seed)
    return agent.observation_space.sample()


def networks(folder):
    from tests.rllib.test_network_policy import POLICIES

    return [Path(policy.save(folder / f"{i}")) for i, policy in enumerate(POLICIES.values())]


def read_network(path):
    from robust_rl.rllib import NetworkPolicy

    act(NetworkPolicy.load(path))


def arrays(folder):
    save_arrays(folder / "a.safetensors", {"x": np.arange(6.0).reshape(2, 3), "y": np.zeros(0, "i4")}, {"z": [1, {"w": None}]})
    return [folder / "a.safetensors"]


# --------------------------------------------------------------------------------------------------------------------- runs


TRAINABLES = (
    "value iteration", "modified policy iteration", "partial policy iteration", "policy iteration", "anderson acceleration",
    "automatic choice", "backward induction", "Q-learning", "Q-learning along episodes", "DROP", "DROP-V", "DR-NVI",
    "zero-sum Shapley iteration", "frontier", "trial of a sweep", "gauss-seidel",
)  # fmt: skip
OF_TORCH = (
    "RFQI", "VPO on a bandit, offline", "VPO on a bandit, online", "VPO on a bandit, bounded", "LESS kernels, two layers",
    "one-layer masked image model", "MATTE on sentences", "concepts, search for covers", "concepts, mixtures of patches",
    "torch optimiser loop", "denoiser", "DPnP",
)  # fmt: skip


def number_of(name):
    return f"{(*TRAINABLES, *OF_TORCH).index(name):02d}"


def factory(name):
    """Return what makes a trainable afresh."""
    if name == "denoiser":
        from tests.extras.denoiser.test_training import tiny

        return tiny
    if name == "DPnP":
        from tests.extras.dpnp.test_sampler import LINEAR, prior_in_plane, sampler

        return lambda: sampler(prior_in_plane, LINEAR, (2,), 4, k=6)
    from tests.test_trainables import TRAINABLES as FACTORIES

    return FACTORIES[name]


def runs(names):
    def make(folder):
        made = []
        for name in names:
            run = RunDirectory(folder / number_of(name))
            run.start({"a": 1}, seed=0, command="robust-rl x")
            Trainer(run, max_steps=4, checkpoint_every=2).fit(fresh(factory(name)))
            for events in run.path.glob("events.out*"):
                events.unlink()
            made.append(run.path)
        return made

    return make


def walks(folder):
    """A run that is quickly made: listings know no algorithm."""
    from tests.training.toys import RandomWalk

    run = RunDirectory(folder / "walk")
    run.start({"a": 1}, seed=0, command="robust-rl x")
    Trainer(run, max_steps=4, checkpoint_every=2, loggers=[JSONLLogger(run)]).fit(RandomWalk())
    return [run.path]


def fresh(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


@functools.cache
def _known(name):
    """A trainable that is made once and loaded into again and again: making it takes far longer than reading."""
    return fresh(factory(name))


def resume(path):
    """Go on with a run as a command would, for no step more."""
    name = (*TRAINABLES, *OF_TORCH)[int(path.name)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Trainer(path, max_steps=0, loggers=[]).fit(_known(name))


def look(path):
    """Read a run as listings and reports do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        RunDirectory.list(path.parent)
        run = RunDirectory(path)
        refusals = []
        for ask in (run.read, run.metrics, run.latest_checkpoint, lambda: latest_checkpoint(path / "checkpoints")):
            try:
                ask()
            except RobustRLError as refusal:
                refusals.append(refusal)
        run.truncate_metrics(2)
        if refusals:
            raise refusals[0]


def evaluated(folder):
    """The run of ``solve``, with the tables of ``evaluate``."""
    from robust_rl.evaluation import evaluate_shifts

    agent = rr.RobustVI("FrozenLake-v1", BALL, discount=0.9)
    agent.learn(run=folder / "run")
    found = evaluate_shifts({"robust": agent}, "FrozenLake-v1", [("action_noise", [0.0, 0.1])])
    (folder / "run/result/evaluation.json").write_text(json.dumps({name: table.to_dict() for name, table in found.items()}))
    for events in (folder / "run").glob("events.out*"):
        events.unlink()
    return [folder / "run"]


def evaluate(path):
    from robust_rl.cli import evaluate as command
    from robust_rl.cli import options

    keep = options.illustrated, options.print_json
    options.illustrated = lambda *arguments: [str(table) for table in arguments[-1].values()]
    options.print_json = lambda *_: None
    try:
        command.evaluate(path, ["action_noise=0.1"], json=True)
    finally:
        options.illustrated, options.print_json = keep


# ----------------------------------------------------------------------------------------------------------- preferences


def preferences(folder):
    rng = random.Random(0)
    rows = [{"prompt": f"say {i}", "chosen": "x" * rng.randint(1, 5), "rejected": "y"} for i in range(6)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    talk = [
        {
            "chosen": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}],
        }
    ]
    (folder / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in talk * 3))
    made = [folder / "pairs.jsonl", folder / "talk.jsonl"]
    if have("pyarrow"):
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "pairs.parquet")
        made.append(folder / "pairs.parquet")
    return made


def read_preferences(path):
    from robust_rl.alignment import data, jsonl

    rows = lambda: data.check_rows(path, data.rows(path), data.PAIR)  # noqa: E731
    read_one(rows, *[lambda: jsonl.read_lines(path)] * (path.suffix == ".jsonl"))


def lexicon(folder):
    (folder / "words.txt").write_text("good\t1.9\t0.9\nbad\t-2.5\n\nfine\t0.8\n")
    return [folder / "words.txt"]


def read_lexicon(path):
    from robust_rl.alignment.judges import Lexicon

    Lexicon.read(path)("a", "good bad")


# --------------------------------------------------------------------------------------------------------------------- cases


def cases():
    """Return every case by its name, without its files."""
    text, archive, tensors = (mutate_text,), (mutate_npz,), (mutate_safetensors,)
    run = (mutate_json, mutate_jsonl, mutate_safetensors)
    found = [
        Case("tables: csv, parquet", tables, formats.read_model, text),
        Case("Storm's drn", explicit(".drn"), formats.read_model, text),
        Case("PRISM's tra", explicit(".tra"), formats.read_model, text),
        Case("models: npz, folder", models, lambda path: TabularMDP.load(path), (mutate_npz, mutate_npy, mutate_json)),
        Case("games: npz", games, MarkovGame.load, archive),
        Case("data sets: npz", logged, datasets.read, archive),
        Case("features: npy", plain_arrays, read_features, (mutate_npy,)),
        Case("calibration logs: npz", visits, calibrate, archive),
        Case("arrays: safetensors", arrays, load_arrays, tensors),
        Case("policies", agents, read_policy, tensors),
        Case("network policies", networks, read_network, tensors),
        Case("runs: listings", walks, look, run),
        Case("runs: checkpoints", runs(TRAINABLES), resume, run),
        Case("runs: evaluations", evaluated, evaluate, run),
        Case("lexicons", lexicon, read_lexicon, text),
        Case("preferences: jsonl, parquet", preferences, read_preferences, (mutate_jsonl,)),
    ]
    if have("minari", "h5py"):
        found.append(Case("data sets: Minari", episodes, read_episodes, (mutate_json, mutate_ends)))
    if have("torch", "transformers"):
        from tests.fuzz_cases_torch import cases_of_torch

        found += cases_of_torch()
    return {case.name: case for case in found}
