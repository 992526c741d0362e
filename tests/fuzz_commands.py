"""Hostile command lines: mutations of valid ones, run in this process up to the moment when the work would begin."""

import io
import os
import random
import shutil
import sys
from pathlib import Path
from unittest import mock

import numpy as np

import robust_rl as rr
from robust_rl.training import RunDirectory, Trainer
from tests.fuzzing import describe
from tests.worlds import random_model

TV = ["--set", "tv", "--radius", "0.1", "--support", "free"]
LINES = [
    ["solve", "CliffWalking-v1", *TV, "--discount", "0.99", "--tol", "1e-3", "--method", "value_iteration", "--out", "run"],
    ["solve", "FrozenLake-v1", "--env-arg", "map_name=4x4", "--set", "kl", "--radius", "0.1", "--horizon", "5", "--json"],
    ["solve", "model.npz", "--set", "none", "--discount", "0.9", "--max-steps", "3", "--checkpoint-every", "2"],
    ["solve", "model.drn", "--set", "interval", "--discount", "0.9", "--env-arg", "reach=end"],
    ["solve", "model.npz", *TV, "--s-rectangular", "--reward-radius", "0.1", "--discount", "0.9"],
    ["evaluate", "solved", "--shift", "action_noise=0,0.05", "--shift", "observation_noise=0.1", "--episodes", "3",
    "--seed", "1"],
    ["game", "fishery", "--equilibrium", "ce", "--set", "chi2", "--radius", "0.01", "--selection", "any", "--seed", "3"],
    ["game", "soccer", "--horizon", "3", "--set", "tv", "--support", "free", "--radius", "player_0=0.1,player_1=0.05"],
    ["offline", "data.npz", *TV, "--features", "onehot:16:4", "--horizon", "4", "--v-min", "observed", "--penalty", "theory"],
    ["offline", "data.npz", *TV, "--features", "aggregation:groups.npy", "--horizon", "4", "--reward-bounds", "0,1",
    "--trim", "1"],
    ["calibrate", "--simulator", "FrozenLake-v1", "--log", "log.npz", "--confidence", "0.9", "--support", "free",
    "--visited-only"],
    ["bench", "FrozenLake-v1", "--rounds", "1", "--env-arg", "is_slippery=false", "--json"],
    ["frontier", "FrozenLake-v1", "--set", "tv", "--support", "reachable", "--discount", "0.9", "--radius", "0,0.1",
    "--tol", "1"],
    ["sweep", "FrozenLake-v1", "--set", "tv", "--support", "free", "--discount", "0.9", "--radius", "0.1,0.2", "--samples", "3,5",
     "--repeats", "2", "--workers", "1", "--backend", "process"],
    ["runs", "."], ["runs", "--json"], ["envs"], ["sets", "--json"], ["--help"], ["solve", "--help"], ["rllib"], ["less"],
]  # fmt: skip
WITH_TORCH = [
    ["vpo-bandit", "--mode", "online", "--alpha", "3", "--beta", "0.1", "--arms", "4", "--contexts", "2", "--rounds", "5",
     "--calibration", "chosen", "--optimiser", "bounded", "--schedule", "sqrt", "--repeats", "2"],
    ["diffusion-train", "digits", "--steps", "3", "--batch-size", "4", "--every", "2", "--device", "cpu"],
    ["dpnp", "--model", "nothing", "--operator", "blur", "--image", "photo.png", "--noise", "0.1", "--samples", "2",
    "--dds", "ddim"],
    ["griffin", "--model", "nothing", "--prompt", "@corpus.txt", "--keep", "0.5", "--select", "topk", "--tokens",
    "4", "--rounds", "1"],
    ["less", "fit", "--model", "nothing", "--text", "corpus.txt", "--policy", "h2o", "--budget", "8", "--length",
    "16", "--layers", "0,1"],
    ["less", "evaluate", "--model", "nothing", "--kernels", "nothing", "--text", "corpus.txt", "--budget", "0.5",
    "--prompt", "3"],
]  # fmt: skip
WORDS = ["nan", "-nan", "inf", "-inf", "-1", "0", "1", "2", "1e309", "1e-320", "99999999999999999999", "2147483648",
         "-0.0", "", " ",
         "é", "\udcff", "x", "none", "true", "=", "a=b", "a=", "=b", "a=1,,2", ",", "0,0", "1,0", "..", "/",
         "/etc/passwd", ".", "~",
         "-", "--", "-x", "--x", "@", "@.", "@/etc/passwd", ":", "onehot:", "onehot:-1", "tiles:0", "tiles:99999999",
         "table:log.npz",
         "radial:3:nan", "hat:1e3", "a" * 300, "[bold]x[/bold]", "{}", "%s", "\n", "model.npz", "model.tra",
         "log.npz", "data.npz",
         "corpus.txt", "nothing.csv", "x.parquet", "Taxi-v3", "CartPole-v1", "Blackjack-v1", "module.that.is.not",
         "os", "json.tool",
         "action_noise=2", "action_noise=nan", "is_slippery=9", "desc=S", "map_name=9x9", "success_rate=5", "0x10",
         "1_000", "١"]  # fmt: skip


class Accepted(BaseException):
    """The line was taken; the work would begin here."""


def mutate(rng, line):
    line = list(line)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        i, kind = rng.randrange(len(line)), rng.randrange(9)
        if kind <= 3:
            line[i] = rng.choice(WORDS)
        elif kind == 4:
            del line[i]
        elif kind == 5:
            line.insert(i, rng.choice(WORDS))
        elif kind == 6:
            line.insert(i, rng.choice([word for other in LINES for word in other if word.startswith("--")]))
        elif kind == 7:
            line[i] = scramble(rng, line[i])
        else:
            line += rng.choice(LINES)[1:][:2]
        if not line:
            break
    return line


def scramble(rng, word):
    if not word:
        return "x"
    i = rng.randrange(len(word))
    return rng.choice(
        (word[:i] + word[i + 1 :], word[:i] + rng.choice("-=,.:0123é x\udcff") + word[i:], word.upper(), word * 2, word[::-1])
    )


def make_files(place):
    """Make the files that the lines name."""
    from robust_rl import datasets, formats

    os.chdir(place)
    random_model(0, transition_rewards=False).save("model.npz")
    model = rr.TabularMDP([[[0.5, 0.5], [0.9, 0.1]], [[0, 1], [0, 1]]], [[1.0, 0.9], [0, 0]], terminal=[1])
    bounds = rr.Interval(np.clip(model.transitions - 0.1, 0, 1), np.clip(model.transitions + 0.1, 0, 1))
    formats.write_drn(model, "model.drn", bounds, labels={"end": [1]})
    formats.write_prism(model, "model.tra", bounds, labels={"end": [1]})
    data = datasets.collect("FrozenLake-v1", None, 200, horizon=8)
    data.save("data.npz")
    np.savez("log.npz", states=data.observations, actions=data.actions, next_states=data.next_observations)
    np.save("groups.npy", np.arange(16) % 5)
    Path("corpus.txt").write_text("a b c " * 50)
    rr.RobustVI("FrozenLake-v1", rr.TotalVariation(0.1, support="free"), discount=0.9).learn(run="solved")


def prepare(place):
    """Return a function that runs the line of a number, and keeps what it leaves inside ``place``."""
    from robust_rl.cli.main import main

    if not (place / "solved/result").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        make_files(place)
    os.chdir(place)
    lines = LINES
    try:
        import torch  # noqa: F401

        lines = LINES + WITH_TORCH
    except ImportError:
        pass
    start = RunDirectory.start

    def begin(self, *arguments, **keywords):
        inside = place.resolve() in (self.path.resolve(), *self.path.resolve().parents) and self.path.resolve() != place.resolve()
        if inside:
            start(self, *arguments, **keywords)
            self.finish()
            if "solved" not in self.path.parts:
                shutil.rmtree(self.path, ignore_errors=True)
        raise Accepted

    def accept(*_, **__):
        raise Accepted

    def create(*_, **__):
        return RunDirectory(place / "made")

    def one(number):
        rng = random.Random(f"command|{number}")
        line = mutate(rng, rng.choice(lines))
        patches = [
            mock.patch.object(RunDirectory, "start", begin),
            mock.patch.object(RunDirectory, "create", create),
            mock.patch.object(Trainer, "fit", accept),
            mock.patch("robust_rl.speed.backup_ratios", accept),
            mock.patch("robust_rl.cli.evaluate.evaluate_shifts", accept),
        ]
        return (" ".join(line), *run(main, line, patches))

    return one


def run(main, line, patches):
    """Return what escaped from a command line, or None, and whether it was refused."""
    from contextlib import ExitStack

    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    code = None
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(mock.patch.object(sys, "argv", ["robust-rl", *line]))
        stack.enter_context(mock.patch.object(sys, "stdout", out))
        stack.enter_context(mock.patch.object(sys, "stderr", errors))
        try:
            main()
            code = 0
        except Accepted:
            code = 0
        except SystemExit as leaving:
            code = leaving.code
        except Exception as error:
            if "--debug" not in line:
                return describe(error), False
            code = 1
    errors.flush()
    said = errors.buffer.getvalue().decode()
    if code not in (0, 1, 2, None):
        return f"exit code {code} [{line[0]}", False
    if code and "--debug" not in line and ("Traceback" in said or said.count("error: ") > 1):
        return f"said {said[-200:]!r} [{line[0]}", False
    return None, bool(code)
