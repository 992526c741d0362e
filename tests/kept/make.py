"""Files of every format that the library writes, small, with what they must be read as.

``python -m tests.kept.make v2`` writes a new folder when a format's version rises; folders that exist are never changed.
"""

import json
import sys
from pathlib import Path

import numpy as np

import robust_rl as rr
from robust_rl import datasets, features
from robust_rl.models import MarkovGame
from robust_rl.training import RunDirectory, Trainer, load_arrays, save_arrays
from tests.games import random_game
from tests.training.toys import RandomWalk
from tests.worlds import random_model

HERE = Path(__file__).parent
BALL = rr.TotalVariation(0.1, support="free")


def model(path):
    found = rr.TabularMDP.load(path)
    return rr.solve(found, BALL, discount=0.9, tol=1e-10).value.tolist()


def game(path):
    return rr.DRNVI(MarkovGame.load(path), BALL, equilibrium="cce").learn().solution.value[:, 0].tolist()


def logs(path):
    found = datasets.read(path)
    return [len(found), float(found.rewards.sum()), np.asarray(found.observations).ravel()[:5].tolist()]


def policy(path):
    from robust_rl import alignment

    name = path.name.partition("-")[0]
    agent = getattr(alignment if name == "VPOBandit" else rr, name).load(path)
    if name == "VPOBandit":
        return agent.policy.ravel().tolist()
    if name == "DRNVI":
        return agent.solution.value[:, 0].tolist()
    return [np.asarray(agent.predict(state)[0]).tolist() for state in range(4)]


def network(path):
    from robust_rl.rllib import NetworkPolicy

    found = NetworkPolicy.load(path)
    return np.asarray(found.predict(np.linspace(-1, 1, 6, dtype="f4").reshape(2, 3), deterministic=True)[0]).tolist()


def arrays(path):
    found, metadata = load_arrays(path)
    return [{name: array.tolist() for name, array in found.items()}, metadata]


def kernels(path):
    import torch

    from robust_rl.extras.less import LessKernels

    found = LessKernels.load(path)
    keys = torch.linspace(-1, 1, 8).expand(1, 2, 3, 8)
    return [found.layers, found.rank, found.of(0).psi(keys).sum().item()]


def run(path):
    """Go on from the checkpoint to the end, in a copy: an old run resumes under a new version."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        copied = RunDirectory(shutil.copytree(path, Path(folder) / "run"))
        summary = RunDirectory.list(folder)[0]
        walk = Trainer(copied, max_steps=6, loggers=[]).fit(RandomWalk())
        before = [copied.read()["configuration"], summary.command, summary.step]
        return [*before, walk.count, walk.position.tolist(), [line["step"] for line in copied.metrics()]]


READERS = {"model": model, "game": game, "logs": logs, "policy": policy, "network": network, "arrays": arrays, "kernels": kernels}
READERS |= {"run": run}


def write(folder):
    """Write one file, or folder, a format, under ``folder/reader/name``."""
    for name in READERS:
        (folder / name).mkdir(parents=True)
    random_model(0).save(folder / "model/dense.npz")
    random_model(1, sparse=True).save(folder / "model/sparse.npz")
    random_model(1, sparse=True).save(folder / "model/mapped.model")
    random_game(0, 2, staged=False).replace(horizon=3).save(folder / "game/general_sum.npz")
    data = datasets.collect("FrozenLake-v1", None, 20, horizon=5)
    data.save(folder / "logs/lake.npz")
    save_arrays(folder / "arrays/a.safetensors", {"x": np.arange(6.0).reshape(2, 3), "none": np.zeros(0, "i4")}, {"z": [1, None]})
    policies(folder / "policy", data)
    from tests.rllib.test_network_policy import POLICIES

    POLICIES["gaussian"].save(folder / "network/gaussian")
    from robust_rl.extras.less.kernels import Geometry, LessKernels

    LessKernels(Geometry(2, 4, 2, 8), rank=2, hidden=4).save(folder / "kernels/two_layers.safetensors")
    started = RunDirectory(folder / "run/walk")
    started.start({"size": 3}, seed=0, command="robust-rl walk")
    Trainer(started, max_steps=4, checkpoint_every=2).fit(RandomWalk())
    record = started.read() | {"argv": ["robust-rl"], "git": None, "hardware": None}  # nothing of the machine is kept
    (started.path / "run.json").write_text(json.dumps(record, indent=2) + "\n")
    for leftover in (*started.path.glob("events.out*"), started.path / ".lock"):
        leftover.unlink(missing_ok=True)


def policies(folder, data):
    from robust_rl.alignment import VPOBandit
    from robust_rl.envs import PreferenceBandit

    lake = ("FrozenLake-v1", BALL)
    rr.RobustVI(*lake, discount=0.9).learn().save(folder / "RobustVI-discounted")
    rr.RobustVI(*lake, horizon=4).learn().save(folder / "RobustVI-horizon")
    rr.RobustQLearning("FrozenLake-v1", rr.Contamination(0.1, support="free"), discount=0.9, seed=0).learn(200).save(
        folder / "RobustQLearning-lake"
    )
    rr.DROP(data, BALL, features=features.OneHot(16, 4), horizon=5, penalty=0.1).learn().save(folder / "DROP-lake")
    rr.DRNVI(random_game(0, 2, staged=False).replace(horizon=3), BALL, equilibrium="ce").learn().save(folder / "DRNVI-random")
    VPOBandit(PreferenceBandit(arms=4, seed=0), mode="offline", alpha=1.0).learn(3).save(folder / "VPOBandit-offline")
    small = {"hidden": (4,), "iterations": 1, "updates": 1, "dual_updates": 1, "batch_size": 8}
    rr.RFQI(data, BALL, v_min=0.0, **small).learn().save(folder / "RFQI-lake")


def answers(folder):
    found = {}
    for name, reader in READERS.items():
        for path in sorted((folder / name).iterdir()):
            found[f"{name}/{path.name}"] = reader(path)
    return found


if __name__ == "__main__":
    target = HERE / sys.argv[1]
    write(target)
    (target / "answers.json").write_text(json.dumps(answers(target), indent=1) + "\n")
