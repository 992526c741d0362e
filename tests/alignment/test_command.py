import json
import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("trl")

from robust_rl.alignment import VPOTrainer, launch, vpo
from robust_rl.errors import InvalidArgumentError
from tests.alignment import tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, pairs and a configuration."""
    folder = tmp_path_factory.mktemp("command")
    tiny.model().save_pretrained(folder / "model")
    tiny.tokenizer().save_pretrained(folder / "model")
    tiny.pairs().to_json(folder / "pairs.jsonl")
    (folder / "vpo.yaml").write_text("beta: 0.3\nvpo_alpha: 0.7\nmax_steps: 3\nenv:\n  SOME_VARIABLE: x\n")
    return folder


def flags(place, out, *more):
    return [
        "--model_name_or_path", str(place / "model"), "--dataset_name", str(place / "pairs.jsonl"), "--output_dir", str(out),
        "--max_steps", "4", "--per_device_train_batch_size", "4", "--bf16", "false", "--use_cpu", "--logging_steps", "1",
        "--use_accelerate", "false", "--disable_tqdm", "true", "--learning_rate", "1e-3", *more,
    ]  # fmt: skip


def trained(place, out, *more):
    vpo.main(flags(place, out, *more))
    return [json.loads(line) for line in (out / "metrics.jsonl").open()]


def test_one_command_leaves_model_card_metrics_and_report(place, tmp_path):
    out = tmp_path / "out"
    metrics = trained(place, out, "--use_peft", "--vpo_alpha", "0.5", "--learning_rate", "1e-2", "--save_strategy", "no")
    record = json.loads((out / "run.json").read_text())
    assert (record["status"], record["command"], record["seed"]) == ("finished", "robust-rl vpo", 42)
    assert record["configuration"]["training"]["vpo_alpha"] == 0.5
    assert record["configuration"]["model"]["use_peft"] is True
    assert [line["step"] for line in metrics if "train/loss" in line] == [1, 2, 3, 4]
    assert {"vpo/value", "vpo/calibration_logps", "vpo/calibration_term", "vpo/shift", "logps/chosen"} <= set(metrics[0])
    assert list(out.glob("events.out.tfevents*"))
    card = (out / "README.md").read_text()
    assert "2405.19320" in card
    assert "VPO's options: vpo_alpha 0.5, vpo_mode offline, calibration chosen" in card
    assert "None" not in card
    assert "robust-rl" in card
    if (out / "result" / "report.html").exists():  # matplotlib is optional
        page = (out / "result" / "report.html").read_text()
        assert page.count("<img") == 1
        assert "vpo/value" in page
    loaded_back_in_plain_transformers_and_peft(place, out)


def loaded_back_in_plain_transformers_and_peft(place, out):
    code = (
        "import sys, torch; from peft import PeftModel; from transformers import AutoModelForCausalLM as M;"
        f"b = M.from_pretrained({str(place / 'model')!r}); x = torch.arange(9)[None];"
        f"before = b(x).logits; after = PeftModel.from_pretrained(b, {str(out)!r})(x).logits;"
        "assert not any(n.startswith(('trl', 'robust_rl')) for n in sys.modules);"
        "print(float((before - after).abs().max()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(shown.stdout) > 1e-3


def test_a_command_that_stopped_resumes_to_the_same_metrics(place, tmp_path):
    more = ("--save_strategy", "steps", "--save_steps", "2", "--lr_scheduler_type", "constant")
    whole = trained(place, tmp_path / "whole", *more)
    trained(place, tmp_path / "halves", *more, "--max_steps", "3")  # killed while it saves the third step
    (tmp_path / "halves" / "checkpoint-3" / "trainer_state.json").unlink()
    metrics = trained(place, tmp_path / "halves", *more, "--resume_from_checkpoint", "true")
    for name in ("train/loss", "vpo/value", "train/num_tokens"):
        assert [line[name] for line in metrics if name in line] == [line[name] for line in whole if name in line]
    again = trained(place, tmp_path / "whole", *more, "--resume_from_checkpoint", "true")  # killed after its last step
    assert [(line["step"], *line) for line in again] == [(line["step"], *line) for line in whole]
    with pytest.raises(InvalidArgumentError, match=r"no checkpoint-\* to resume from"):
        trained(place, tmp_path / "new", "--resume_from_checkpoint", "true")


def test_what_a_step_logged_is_on_disk_before_its_checkpoint(place, tmp_path, monkeypatch):
    """A killed process writes nothing more; what its buffer held would be missing after the checkpoint it goes on from."""
    seen = []
    save = VPOTrainer._save_checkpoint

    def looked_at(self, *arguments):
        seen.append([line["step"] for line in map(json.loads, (tmp_path / "out" / "metrics.jsonl").open())])
        return save(self, *arguments)

    monkeypatch.setattr(VPOTrainer, "_save_checkpoint", looked_at)
    trained(place, tmp_path / "out", "--save_strategy", "steps", "--save_steps", "2")
    assert seen == [[1, 2], [1, 2, 3, 4]]


def test_yaml_gives_defaults_and_flags_win(place, monkeypatch):
    monkeypatch.setenv("SOME_VARIABLE", "before")
    seen = []
    monkeypatch.setattr(vpo, "train", lambda *parsed: seen.append(parsed))
    cpu = ["--bf16", "false", "--use_cpu", "--use_accelerate", "false"]
    vpo.main(["--config", str(place / "vpo.yaml"), "--beta", "0.2", "--output_dir", "o", *cpu])
    _, config, _, _ = seen[0]
    assert (config.beta, config.vpo_alpha, config.max_steps) == (0.2, 0.7, 3)
    assert os.environ["SOME_VARIABLE"] == "x"


def test_accelerate_gets_its_arguments_and_the_training_its_own(place, monkeypatch, tmp_path):
    from accelerate.commands import launch as accelerate

    seen = []
    monkeypatch.setattr(accelerate, "launch_command", seen.append)
    arguments = [*flags(place, tmp_path), "--num_processes", "2", "--cpu", "--use_accelerate", "true"]
    vpo.main(arguments)
    (given,) = seen
    assert (given.num_processes, given.use_cpu if hasattr(given, "use_cpu") else given.cpu) == (2, True)
    assert (given.module, given.training_script) == (True, "robust_rl.alignment.vpo")
    assert given.training_script_args == [*flags(place, tmp_path), "--use_accelerate", "true", "--use_accelerate", "false"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--vpo_alfa", "0.1"], "no option --vpo_alfa; did you mean"),
        (["stray"], "'stray' belongs to no option"),
        (["--vpo_alpha", "-1"], "vpo_alpha is -1.0"),
        (["--calibration", "dataset"], "row 1 has no 'calibration'"),
        (["--dataset_train_split", "trian"], "no split 'trian'; splits are train"),
        (["--eval_strategy", "steps"], "no split 'test'"),
        (["--config", "missing.yaml"], "cannot load missing.yaml as a YAML file"),
        (["--bf16", "true", "--use_cpu", "false"], "on a CPU give --bf16 false"),
        (["--loss_type", "sigmoid", "sft", "--loss_weights", "1"], "1 weights for 2 loss types"),
    ],
)
def test_wrong_usage_is_found_before_a_model_is_loaded(more, message, place, tmp_path):
    if "true" in more and torch.cuda.is_available():
        pytest.skip("bf16 is fine here")
    arguments = flags(place, tmp_path / "out", *more)
    arguments[arguments.index("--model_name_or_path") + 1] = "/no/such/model"
    with pytest.raises(InvalidArgumentError, match=message):
        vpo.main(arguments)
    assert not (tmp_path / "out").exists()


def test_figures_on_the_data(place, tmp_path):
    """Rows cut, rows alike after cutting, rows without room, and a prompt whose last byte merges with what follows."""
    from robust_rl.alignment import VPOConfig, VPOTrainer, data

    rows = [
        {"prompt": "p: ", "chosen": "short", "rejected": "brief"},
        {"prompt": "p: ", "chosen": "the same long beginning, one end", "rejected": "the same long beginning, another"},
        {"prompt": "p: ", "chosen": "yes", "rejected": "yes"},
        {"prompt": "a prompt that fills all of it: ", "chosen": "yes", "rejected": "no"},
    ]
    from datasets import Dataset

    trainer = VPOTrainer(
        model=str(place / "model"),
        args=VPOConfig(**tiny.settings(tmp_path, max_length=20)),
        train_dataset=Dataset.from_list(rows),
    )
    counts = data.figures(trainer, len(rows))
    assert counts == {"rows": 3, "dropped": 1, "truncated": 1, "identical": 2, "prompt_changed": 0}
    assert [line[:6] for line in data.explain(counts)] == ["1 of 3", "1 of 3", "2 of 3"]


def test_telemetry_is_off_unless_the_user_turns_it_on():
    """Asked of the Hub's client itself, after the command has set things up."""
    code = (
        "from robust_rl.alignment.launch import no_telemetry; no_telemetry();"
        "from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    )
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("HF_HUB", "DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI"))}
    for more, expected in (({}, "True"), ({launch.TELEMETRY: "0"}, "False")):
        shown = subprocess.run([sys.executable, "-c", code], env=bare | more, capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == expected


def test_without_the_extra_the_command_says_how_to_install_it():
    code = "import sys; sys.modules['trl'] = None; sys.argv = ['robust-rl', '{}', '-h']; from robust_rl.cli import main; main()"
    for command in ("vpo", "vpo-online"):
        shown = subprocess.run([sys.executable, "-c", code.format(command)], capture_output=True, text=True)
        assert shown.returncode == 2
        assert 'pip install "robust-rl[alignment]"' in shown.stderr
        assert "Traceback" not in shown.stderr


def test_the_command_line_loads_no_torch_for_its_own_help():
    code = "import sys; from robust_rl.cli.main import app; print(sys.modules.keys() & {'torch', 'trl', 'transformers'})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_help_is_trls_with_ours(capsys):
    with pytest.raises(SystemExit) as ended:
        vpo.main(["-h"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for text in ("--vpo_alpha", "--lora_r", "HF_HUB_DISABLE_TELEMETRY", "--use_accelerate", ".parquet"):
        assert text in shown


@pytest.mark.slow
def test_two_processes_under_ddp_agree_with_one(place, tmp_path):
    """gloo on two CPU processes with half of the 16 pairs each, against one with all: the sums differ in order only."""
    drawn = ("--calibration", "reference", "--calibration_max_new_tokens", "4", "--per_device_train_batch_size")
    one = trained(place, tmp_path / "one", *drawn, "16")
    run = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "robust_rl.alignment.vpo",
    ]
    arguments = flags(place, tmp_path / "two", *drawn, "8", "--ddp_find_unused_parameters", "false")
    shown = subprocess.run([*run, *arguments], capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0, shown.stderr[-3000:]
    two = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").open()]
    for name in ("train/loss", "vpo/value", "vpo/calibration_logps"):
        found = [[line[name] for line in run if name in line] for run in (one, two)]
        assert len(found[1]) == 4
        assert torch.allclose(*map(torch.tensor, found), atol=2e-3), (name, found)
