"""What is struck: every command that works longer than a second, at a size of a few seconds."""

from dataclasses import dataclass

SEEDS = {"kill": 6, "term": 4, "full": 4, "read-only": 1, "truncated": 3, "flipped": 3, "two": 2}
SAVING = tuple(SEEDS)
ONE_GO = ("kill", "term", "full", "read-only", "two")
"""Faults that can strike commands without checkpoints."""

CONCEPTS = ("sklearn.decomposition", "networkx", "robust_rl.extras.concepts", "robust_rl.extras.concepts.page")
DIFFUSION = ("diffusers", "sklearn.datasets", "robust_rl.extras.denoiser.run", "robust_rl.extras.dpnp.restoration")
LESS = ("robust_rl.extras.less.report", "robust_rl.extras.llm_loading")
VPO = ("torch", "trl", "peft", "robust_rl.alignment.trainer", "robust_rl.alignment.vpo_report")
MIM = ("robust_rl.extras.mim", "robust_rl.extras.mim.page", "robust_rl.extras.mim.folders")
MATTE = ("robust_rl.extras.matte.study", "zuko", "sacrebleu")


@dataclass(frozen=True)
class Job:
    """A command, started in a folder of its own beside which its inputs lie, and its run in ``run``.

    Attributes
    ----------
    arguments
        Of the command, less what says where the run is.
    modules
        Imported before the command is forked, so that faults strike work and not imports.
    out
        What says where the run is; None where an argument does.
    resume
        Arguments that are added once there is a checkpoint.
    faults
        Those that can strike it.
    checkpoints
        Whose they are: ``"ours"``, or the files that make one whole, below the run.
    exact
        Whether resumed is promised to equal uninterrupted.
    given
        Folder of the inputs that is copied to ``run`` first.
    uncompared
        Names of files that differ between two runs of different hash seeds, or hold how the run was started.
    """

    arguments: list[str]
    modules: tuple[str, ...] = ()
    out: str | None = "--out"
    resume: tuple[str, ...] = ()
    faults: tuple[str, ...] = SAVING
    checkpoints: str = "ours"
    exact: bool = True
    given: str | None = None
    uncompared: tuple[str, ...] = ()


TV = ["--set", "tv", "--radius", "0.1"]
TRL = [
    "--model_name_or_path", "../lm", "--per_device_train_batch_size", "4", "--bf16", "false", "--use_cpu", "--logging_steps", "1",
    "--disable_tqdm", "true", "--learning_rate", "1e-3",
]  # fmt: skip
TRL_FILES = ("README.md", "adapter_config.json", "training_args.bin")
JOBS = {
    "solve": Job(
        ["solve", "FrozenLake-v1", "--set", "tv", "--radius", "0.02", "--support", "nominal", "--discount", "0.9999",
         "--method", "value_iteration", "--tol", "1e-3", "--checkpoint-every", "40"],
    ),
    "evaluate": Job(
        ["evaluate", "run", "--shift", "action_noise=0,0.1,0.2", "--shift", "observation_noise=0.1", "--episodes", "200"],
        out=None, faults=ONE_GO, given="solved",
    ),
    "frontier": Job(
        ["frontier", "Taxi-v3", "--set", "tv", "--radius", "0.01,0.05,0.1,0.2,0.3", "--support", "reachable",
         "--discount", "0.99"],
    ),
    "game": Job(
        ["game", "soccer", *TV, "--support", "free", "--equilibrium", "ce", "--horizon", "8", "--checkpoint-every", "2"],
    ),
    "offline": Job(
        ["offline", "../data.npz", *TV, "--support", "free", "--features", "onehot:16:4", "--horizon", "20",
         "--variance-weighted", "--penalty", "0.3", "--checkpoint-every", "2"],
    ),
    "sweep": Job(
        ["sweep", "FrozenLake-v1", "--set", "tv", "--radius", "0.01,0.1", "--support", "reachable", "--discount", "0.99",
         "--samples", "10,30", "--repeats", "2"],
    ),
    "vpo-bandit": Job(
        ["vpo-bandit", "--mode", "online", "--rounds", "60", "--repeats", "5", "--checkpoint-every", "10"], modules=("torch",),
    ),
    "vpo": Job(
        ["vpo", *TRL, "--dataset_name", "../pairs.jsonl", "--max_steps", "12", "--save_strategy", "steps", "--save_steps", "3",
         "--use_accelerate", "false"],
        modules=VPO, out="--output_dir", resume=("--resume_from_checkpoint", "true"), faults=ONE_GO,
        checkpoints="checkpoint-*/trainer_state.json", uncompared=TRL_FILES,
    ),
    "vpo-online": Job(
        ["vpo-online", *TRL, "--dataset_name", "../prompts.jsonl", "--judge", "lexicon", "--use_peft", "--rounds", "3",
         "--prompts_per_round", "6", "--steps_per_round", "2", "--response_max_new_tokens", "5", "--generation_batch_size", "4",
         "--calibration", "chosen", "--keep_ties", "true"],
        modules=(*VPO, "robust_rl.alignment.online"), out="--output_dir", faults=ONE_GO, checkpoints="rounds/*/round.json",
        uncompared=TRL_FILES,
    ),
    "rllib train": Job(
        ["rllib", "train", "FrozenLake-v1", "--algo", "dqn", *TV, "--support", "free", "--discount", "0.95", "--steps", "2000",
         "--checkpoint-every", "1"],
        modules=("torch", "ray.rllib.algorithms.dqn", "robust_rl.rllib", "robust_rl.rllib.report"), exact=False,
    ),
    "diffusion-train": Job(
        ["diffusion-train", "digits", "--steps", "12", "--batch-size", "2", "--every", "3"], modules=DIFFUSION,
    ),
    "dpnp": Job(
        ["dpnp", "--model", "../digits", "--operator", "inpainting", "--image", "../digit.png", "--samples", "2",
         "--iterations", "8", "--dds-steps", "6"],
        modules=DIFFUSION,
    ),
    "griffin": Job(
        ["griffin", "--model", "../lm", "--prompt", "good bad fine poor", "--tokens", "40", "--rounds", "4"],
        modules=("robust_rl.extras.griffin", "robust_rl.extras.llm_loading"), faults=ONE_GO,
    ),
    "less fit": Job(
        ["less", "fit", "--model", "../lm", "--text", "../corpus.txt", "--length", "48", "--sequences", "16", "--budget", "8",
         "--epochs", "24", "--hidden", "16", "--checkpoint-every", "20"],
        modules=LESS,
    ),
    "less evaluate": Job(
        ["less", "evaluate", "--model", "../lm", "--kernels", "../kernels", "--text", "../corpus.txt", "--length", "48",
         "--sequences", "4", "--budget", "8"],
        modules=LESS, faults=ONE_GO,
    ),
    "concepts discover": Job(
        ["concepts", "discover", "../concepts.csv", "--n-states", "2", "--bootstraps", "1"],
        modules=CONCEPTS, faults=ONE_GO,
    ),
    "matte train": Job(
        ["matte", "train", "../sentences.csv", "--config", "../matte.json", "--checkpoint-every", "3"], modules=MATTE,
    ),
    "matte evaluate": Job(
        ["matte", "evaluate", "../matte", "../sentences.csv", "--limit", "10"], modules=MATTE, faults=ONE_GO,
    ),
    "mim simulate": Job(
        ["mim", "simulate", "--patches", "16", "--steps", "60", "--checkpoint-every", "10"], modules=MIM,
    ),
    "mim diversity": Job(
        ["mim", "diversity", "--model", "../vit", "--images", "../pictures"], modules=MIM, faults=ONE_GO,
    ),
}  # fmt: skip

LEFT_OUT = {
    "bench, runs, envs, sets, matte transfer": "print, and write no file",
    "calibrate, concepts simulate": "done within a second: one file, or one after the other, each written whole or not at all",
    "vpo under `accelerate launch`": "the same work as here, in processes that accelerate starts; here `--use_accelerate false`",
    "vpo: damaged checkpoints": "they are transformers' own, without checksums",
}
