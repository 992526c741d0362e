"""Hostile command lines: mutations of valid ones, run in this process up to the moment when the work would begin."""

import io
import os
import random
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np

import robust_rl as rr
from robust_rl.training import RunDirectory, Trainer
from tests.fuzz_cases import have
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
    ["matte"], ["mim", "--help"], ["concepts"],
]  # fmt: skip
LANGUAGE = ["--model", "lm", "--text", "corpus.txt"]
TRAINING = ["--dataset_name", "pairs.jsonl", "--output_dir", "out", "--bf16", "false", "--use_cpu"]
WITH_TORCH = [
    ["vpo-bandit", "--mode", "online", "--alpha", "3", "--beta", "0.1", "--arms", "4", "--contexts", "2", "--rounds", "5",
     "--calibration", "chosen", "--optimiser", "bounded", "--schedule", "sqrt", "--repeats", "2"],
    ["diffusion-train", "digits", "--steps", "3", "--batch-size", "4", "--every", "2", "--device", "cpu"],
    ["dpnp", "--model", "unet", "--operator", "inpainting", "--image", "pictures/a.png", "--noise", "0.1", "--samples", "2",
     "--dds", "ddim", "--iterations", "3", "--eta-max", "0.3", "--eta-min", "0.05", "--dds-steps", "3", "--fit"],
    ["dpnp", "--model", "unet", "--operator", "phase-retrieval", "--image", "pictures/b.jpg", "--preset", "paper-code",
     "--eta-max", "0.3",
     "--pcs-steps", "2", "--dds", "ddpm", "--device", "cpu"],
    ["griffin", "--model", "lm", "--prompt", "@corpus.txt", "--keep", "0.5", "--select", "topk", "--tokens", "2",
     "--rounds", "1"],
    ["less", "fit", *LANGUAGE, "--policy", "h2o", "--budget", "8", "--length", "16", "--layers", "0,1", "--rank", "2",
     "--hidden", "4", "--epochs", "1", "--learning-rate", "0.01", "--sequences", "3", "--layers-at-once", "2"],
    ["less", "evaluate", *LANGUAGE, "--kernels", "kernels.safetensors", "--policy", "tova", "--budget", "0.5", "--length", "16",
     "--prompt", "3", "--sequences", "1"],
    ["mim", "simulate", "--gap", "negative", "--objective", "contrastive", "--patches", "9", "--clusters", "2", "--layout",
     "scattered", "--keys", "visible", "--steps", "2", "--learning-rate", "1", "--seed", "1"],
    ["mim", "diversity", "--model", "vit", "--images", "pictures", "--measure", "cos", "--measure", "rank", "--limit", "1",
     "--batch-size", "2"],
    ["matte", "train", "table.csv", "--config", "few.json", "--steps", "2", "--examples", "3", "--seed", "2", "--json"],
    ["matte", "transfer", "matte.safetensors", "--domain", "restaurant", "--text", "the pasta was bland", "--to", "positive",
     "--to-domain", "hotel", "--direction", "replace", "--strength", "0.5", "--beams", "2"],
    ["matte", "transfer", "matte.safetensors", "--domain", "restaurant", "--file", "corpus.txt", "--to", "positive", "--json"],
    ["matte", "evaluate", "matte.safetensors", "table.csv", "--limit", "2", "--direction", "prototype"],
    ["concepts", "discover", "data.csv", "--n-states", "2", "--max-cover", "2", "--alpha", "0.01", "--no-refine", "--bootstraps",
     "1", "--out", "graph.json"],
    ["concepts", "simulate", "--graph", "G4", "--n", "50", "--n-states", "2,3", "--strength", "0.6", "--out", "drawn.csv"],
    ["concepts", "simulate", "--graph", "truth.json", "--n", "50", "--out", "drawn.csv", "--json"],
    ["rllib", "train", "CartPole-v1", "--algo", "dqn", "--set", "tv", "--radius", "0.1", "--support", "free", "--steps", "10",
     "--shift", "length=0.25,0.5", "--episodes", "2", "--value-floor", "0", "--discount", "0.9", "--workers", "0"],
    ["vpo", "--model_name_or_path", "lm", *TRAINING, "--vpo_alpha", "0.1", "--beta", "0.1", "--vpo_mode", "offline",
     "--max_steps", "1", "--use_accelerate", "false", "--learning_rate", "1e-3", "--calibration", "chosen"],
    ["vpo", "--config", "vpo.yaml", "--num_processes", "2", "--vpo_alpha", "0.2"],
    ["vpo-online", "--model_name_or_path", "lm", *TRAINING, "--judge", "lexicon", "--rounds", "2", "--use_peft"],
    ["vpo-online", "--config", "vpo.yaml", "--judge", "lexicon:words.txt", "--judge_rule", "argmax"],
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


FLAGS = sorted({word for line in LINES + WITH_TORCH for word in line if word.startswith("--")} - {"--install-completion"})


class Accepted(BaseException):
    """The line was taken; the work would begin here."""


def mutate(rng, line):
    line = list(line)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        i, kind = rng.randrange(len(line)), rng.randrange(12)
        numbers = [j for j, word in enumerate(line) if word.replace(".", "").isdigit()]
        if kind > 8 and numbers:  # as a rule refused late, if at all
            line[rng.choice(numbers)] = rng.choice(("0", "1", "2", "3", "0.5", "0.999", "1e-3", "-1", "10", "7.0", "1e9"))
        elif kind <= 3 or kind > 8:
            line[i] = rng.choice(WORDS)
        elif kind == 4:
            del line[i]
        elif kind == 5:
            line.insert(i, rng.choice(WORDS))
        elif kind == 6:
            line.insert(i, rng.choice(FLAGS))
        elif kind == 7:
            line[i] = scramble(rng, line[i])
        else:
            line += rng.choice(LINES + WITH_TORCH)[1:][:2]
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


def make_models(place):
    """Make what the lines of the other papers name."""
    from transformers import AutoConfig

    from robust_rl.extras.less import LessKernels
    from tests import fuzz_cases, fuzz_cases_torch

    Path("words.txt").write_text("good\t1.9\nbad\t-2.5\n")
    fuzz_cases.preferences(place)
    with ExitStack() as stack:
        aside = Path(stack.enter_context(TemporaryDirectory()))
        for make in ("language_models", "pipelines", "vision_models", "pictures", "restyling_models", "matte_settings",
                     "sentences", "observations", "hierarchies"):  # fmt: skip
            (aside / make).mkdir()
            getattr(fuzz_cases_torch, make)(aside / make)
        for there, here in (
            ("language_models/lm", "lm"), ("pipelines/model", "unet"), ("vision_models/vit", "vit"), ("pictures", "pictures"),
            ("restyling_models/matte.safetensors", "matte.safetensors"),
            ("matte_settings/few.json", "few.json"), ("sentences/table.csv", "table.csv"), ("observations/data.csv", "data.csv"),
            ("hierarchies/whole.json", "truth.json"),
        ):  # fmt: skip
            shutil.move(aside / there, here)
    LessKernels.from_config(AutoConfig.from_pretrained("lm"), rank=2, hidden=4).save("kernels.safetensors")
    Path("vpo.yaml").write_text(
        "model_name_or_path: lm\ndataset_name: pairs.jsonl\noutput_dir: out\nbf16: false\nuse_cpu: true\nbeta: 0.2\n"
    )


def prepare(place, papers=True):
    """Return a function that runs the line of a number, and keeps what it leaves inside ``place``.

    ``papers`` adds the commands of the other papers, which load torch and take several times as long.
    """
    from robust_rl.cli.main import main

    papers = papers and have("torch", "trl", "diffusers", "zuko", "sklearn", "ray")
    lines = LINES + 2 * WITH_TORCH if papers else LINES  # of either kind about as many
    original = place.with_name(f"{place.name}-original")
    if not (original / "whole").exists():
        shutil.rmtree(original, ignore_errors=True)
        original.mkdir(parents=True)
        make_files(original)
        if papers:
            make_models(original)
        (original / "whole").touch()
    shutil.rmtree(place, ignore_errors=True)  # a line may have written over a file that others read
    shutil.copytree(original, place)
    os.chdir(place)
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

    def patches():
        found = [
            mock.patch.object(RunDirectory, "start", begin),
            mock.patch.object(RunDirectory, "create", create),
            mock.patch.object(Trainer, "fit", accept),
            mock.patch("robust_rl.speed.backup_ratios", accept),
            mock.patch("robust_rl.cli.evaluate.evaluate_shifts", accept),
            mock.patch.dict(os.environ),
        ]
        if papers:
            names = ("vpo.launch", "vpo.make_trainer", "vpo_online.train")
            found += [mock.patch(f"robust_rl.alignment.{name}", accept) for name in names]
        return found

    for line in lines:  # what is mutated must be taken as it stands, and import what it needs before memory is limited
        escape, refused = run(main, line, patches())
        assert not escape, (line, escape)
        assert not refused or len(line) < 3, line
    return lambda number: (" ".join(line_of(number, lines)), *run(main, line_of(number, lines), patches()))


def line_of(number, lines=LINES + 2 * WITH_TORCH):
    """Return the line of a number."""
    rng = random.Random(f"{'command' if len(lines) > len(LINES) else 'planning'}|{number}")
    return mutate(rng, rng.choice(lines))


def run(main, line, patches):
    """Return what escaped from a command line, or None, and whether it was refused."""
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
