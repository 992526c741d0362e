import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

pytest.importorskip("trl")

from peft import LoraConfig

from robust_rl.alignment import OnlineVPO, OnlineVPOConfig, vpo_online
from robust_rl.alignment.generators import VLLMGenerator
from robust_rl.alignment.judges import RewardJudge
from robust_rl.alignment.rounds import buffered, play_round
from robust_rl.errors import InvalidArgumentError, JudgeError, RobustRLError
from tests.alignment import tiny
from tests.alignment.test_hook import LORA
from tests.test_packaging import ROOT

PROMPTS = [f"say {word}: " for word in tiny.WORDS]


def vowels(prompt, response):
    return float(sum(letter in "aeiou" for letter in response))


def online(directory, way="lora", judge=None, generator=None, prompts=PROMPTS, **options):
    """Three rounds of 6 duels and 2 steps, on a learning rate at which the policy moves."""
    settings = {
        "rounds": 3, "prompts_per_round": 6, "steps_per_round": 2, "response_max_new_tokens": 5, "generation_batch_size": 4,
        "learning_rate": 2e-2 if way == "lora" else 2e-3, "vpo_alpha": 0.1,
    }  # fmt: skip
    options = tiny.settings(directory) | settings | options
    del options["max_steps"]
    return OnlineVPO(
        tiny.model(), OnlineVPOConfig(**options), prompts=prompts, judge=judge or RewardJudge(vowels),
        processing_class=tiny.tokenizer(), peft_config=LoraConfig(**LORA) if way == "lora" else None, generator=generator,
    )  # fmt: skip


def log_probability(model):
    ids = torch.tensor([[72, 101, 108, 108, 111, 9, 9]])
    with torch.no_grad():
        return torch.log_softmax(model(input_ids=ids).logits.double(), -1)[0, :-1].gather(1, ids[0, 1:, None]).sum().item()


def logps(loop, adapter):
    with loop.model_for(adapter) as model:
        return log_probability(model)


@pytest.mark.parametrize("way", ["lora", "full"])
def test_the_reference_never_moves_and_the_policy_does(way, tmp_path):
    """log pi of a fixed text, against that of the untouched model: a reference reloaded from the policy would move."""
    loop = online(tmp_path, way)
    with torch.no_grad():
        ids = torch.tensor([[72, 101, 108, 108, 111, 9, 9]])
        fixed = (
            torch.log_softmax(tiny.model()(input_ids=ids).logits.double(), -1)[0, :-1].gather(1, ids[0, 1:, None]).sum().item()
        )
    policy = []
    while not loop.done:
        loop.step()
        assert logps(loop, None) == pytest.approx(fixed, abs=1e-4)
        policy.append(logps(loop, tmp_path))
    assert abs(policy[0] - fixed) > 1e-3
    assert len(set(policy)) == 3
    first_steps = [line for line in loop.run_directory.metrics() if "vpo/value" in line][::2]
    assert first_steps[0]["vpo/value"] == pytest.approx(0, abs=1e-4)  # round 0 starts at the reference, round 1 does not
    assert abs(first_steps[1]["vpo/value"]) > 1e-4


def plain(prompt, response):
    """Half of a random model's bytes are ASCII."""
    return float(sum(letter.isascii() for letter in response))


def test_rounds_reach_what_the_judge_likes(tmp_path):
    """Mean reward of 64 responses from 2 seeds: each ends above its start by more than four standard errors."""
    for seed in range(2):
        options = {"rounds": 6, "prompts_per_round": 32, "generation_batch_size": 32, "steps_per_round": 12, "seed": seed}
        options |= {"vpo_alpha": 0.01, "calibration_floor": None, "per_device_train_batch_size": 16, "learning_rate": 1e-2}
        loop = online(tmp_path / str(seed), "full", RewardJudge(plain, "argmax"), prompts=PROMPTS[:1], **options).run()
        rewards = [line["round/reward"] for line in loop.run_directory.metrics() if "round/reward" in line]
        spread = np.std([plain("", line[which]) for line in loop.lines()[0] for which in ("chosen", "rejected")])
        assert rewards[-1] > rewards[0] + 4 * spread / 8, rewards


def content(directory):
    files = sorted(directory.glob("rounds/*/pairs.jsonl"))
    return [file.read_text() for file in files]


def metrics(loop):
    keep = ("train/loss", "vpo/value", "round/reward", "round/ties")
    return [{name: line[name] for name in ("step", *keep) if name in line} for line in loop.run_directory.metrics()]


KILLED = """
import os, signal, sys
from tests.alignment.test_online import online, vowels, RewardJudge
judged = []
def reward(prompt, response):
    judged.append(response)
    if len(judged) > 20:  # in the middle of the second round
        os.kill(os.getpid(), signal.SIGKILL)
    return vowels(prompt, response)
online(sys.argv[1], judge=RewardJudge(reward)).run()
"""


def test_a_run_killed_in_a_round_ends_as_one_that_was_not(tmp_path):
    whole = online(tmp_path / "whole").run()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed")], env=environment, capture_output=True, cwd=ROOT
    )
    assert child.returncode == -signal.SIGKILL, child.stderr[-2000:]
    partial = content(tmp_path / "killed")
    assert len(partial) == 2
    assert 1 <= partial[1].count("\n") < 6
    loop = online(tmp_path / "killed")
    assert loop.completed == 1
    loop.run()
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert content(tmp_path / "killed")[1].startswith(partial[1])
    assert metrics(loop) == metrics(whole)
    assert logps(loop, tmp_path) == logps(whole, tmp_path)
    assert online(tmp_path / "killed").done  # a third start has nothing to do


def test_kept_moments_change_the_second_round_and_survive_a_restart(tmp_path):
    fresh, kept = online(tmp_path / "fresh", rounds=2).run(), online(tmp_path / "kept", rounds=2, keep_optimizer=True).run()
    assert metrics(kept)[:3] == metrics(fresh)[:3]
    assert metrics(kept) != metrics(fresh)
    online(tmp_path / "halves", rounds=1, keep_optimizer=True).run()
    with pytest.warns(UserWarning, match="resumed with another training"):
        halves = online(tmp_path / "halves", rounds=2, keep_optimizer=True).run()
    assert metrics(halves) == metrics(kept)
    assert logps(halves, tmp_path) == logps(kept, tmp_path)


def test_a_failing_judge_leaves_the_pairs_so_far(tmp_path):
    asked = []

    def reward(prompt, response):
        asked.append(response)
        return float("nan") if len(asked) > 5 else 0.0

    with pytest.raises(JudgeError, match="gave nan"):
        online(tmp_path, judge=RewardJudge(reward)).run()
    assert content(tmp_path)[0].count("\n") == 2
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
    mended = online(tmp_path, rounds=1).run()
    assert mended.completed == 1
    assert content(tmp_path)[0].count("\n") == 6


def test_the_floor_ends_a_run_that_slides_off(tmp_path):
    loop = online(tmp_path, vpo_alpha=50.0, calibration_floor=0.3, learning_rate=5e-2, rounds=6).run()
    assert loop.completed < 6
    assert "more than the floor of 0.3" in loop.stopped
    assert online(tmp_path, rounds=6).stopped == loop.stopped


def test_each_prompt_has_its_turn_before_any_has_a_second(tmp_path):
    loop = online(tmp_path, prompts_per_round=4)
    drawn = [prompt for t in range(5) for prompt in loop._prompts_of(t)]
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == sorted(PROMPTS)
    assert drawn[:10] != drawn[10:]


@pytest.mark.parametrize(("rule", "kept"), [("accumulate", [0, 1, 2, 3]), ("window", [2, 3]), ("newest", [3])])
def test_buffers(rule, kept):
    rounds = [[{"t": t, "tie": False}, {"t": t, "tie": True}] for t in range(4)]
    assert [row["t"] for row in buffered(rounds, rule, 2, keep_ties=False)] == kept
    assert len(buffered(rounds, rule, 2, keep_ties=True)) == 2 * len(kept)


def test_a_round_is_a_duel_whose_seats_do_not_matter(tmp_path):
    """Two fixed responders: the one the judge prefers is chosen from either seat; equal texts are ties."""
    seats = [(["good"] * 3, ["bad"] * 3), (["bad"] * 3, ["good"] * 3), (["same"] * 3, ["same"] * 3)]
    for number, (first, second) in enumerate(seats):
        lines = play_round(
            tmp_path / f"{number}.jsonl", ["p1", [{"role": "user", "content": "p2"}], "p3"],
            (lambda prompts, seed, texts=first: texts[: len(prompts)], lambda prompts, seed, texts=second: texts[: len(prompts)]),
            RewardJudge(lambda prompt, response: {"good": 1.0}.get(response, 0.0), "argmax"), seed=0, batch_size=2,
        )  # fmt: skip
        assert all(line["tie"] == (number == 2) for line in lines)
        assert number == 2 or all((line["chosen"], line["rejected"]) == ("good", "bad") for line in lines)


class Server(http.server.BaseHTTPRequestHandler):
    """What vLLM's OpenAI-compatible server says to the requests that are made of it."""

    log: list = []
    adapters: set = set()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.log.append((self.path, body))
        answer = {}
        if self.path == "/v1/load_lora_adapter":
            self.adapters.add(body["lora_name"])
        elif self.path == "/v1/unload_lora_adapter":
            self.adapters.discard(body["lora_name"])
        elif body["model"] not in {"tiny", *self.adapters}:
            return self.answer(404, {"error": f"no model {body['model']}"})
        else:
            rng = np.random.default_rng(body["seed"])
            texts = ["".join(rng.choice(list("aeiouxyz"), 4)) for _ in body["prompt"]]
            answer = {"choices": [{"index": i, "text": text} for i, text in reversed(list(enumerate(texts)))]}
        return self.answer(200, answer)

    def answer(self, status, content):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Server.log, Server.adapters = [], set()
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()


def test_a_server_draws_for_the_reference_and_for_each_rounds_policy(server, tmp_path):
    generator = VLLMGenerator(server, "tiny", tiny.tokenizer(), max_new_tokens=4)
    online(tmp_path, generator=generator, rounds=2).run()
    names = [body["model"] for path, body in Server.log if path == "/v1/completions"]
    assert set(names[:6]) == {"tiny"}  # round 0: two batches of two responses and the reference's
    assert names[6:] == ["round_000-policy", "round_000-policy", "tiny"] * 2
    ((_, loaded),) = [entry for entry in Server.log if entry[0] == "/v1/load_lora_adapter"]
    assert os.path.exists(os.path.join(loaded["lora_path"], "adapter_model.safetensors"))
    _, body = next(entry for entry in Server.log if entry[0] == "/v1/completions")
    assert body["prompt"][0] == tiny.tokenizer()(online(tmp_path / "o")._prompts_of(0)[0])["input_ids"]
    assert (body["temperature"], body["top_p"], body["top_k"], body["max_tokens"]) == (1.0, 1.0, -1, 4)
    assert len({body["seed"] for path, body in Server.log if path == "/v1/completions"}) == len(names)


def test_servers_that_fail_are_named(server):
    with pytest.raises(RobustRLError, match="refused \\(404\\).*no model other"):
        VLLMGenerator(server, "other", tiny.tokenizer()).generate(["p"], seed=0, adapter=None)
    with pytest.raises(RobustRLError, match="no answer from the vLLM server"):
        VLLMGenerator("http://127.0.0.1:9", "tiny", tiny.tokenizer()).generate(["p"], seed=0, adapter=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds is 0"),
        ({"buffer": "oldest"}, "buffer is 'oldest'"),
        ({"vpo_alpha_decay": 0.0}, "vpo_alpha_decay is 0.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"calibration": "dataset"}, "has no column online"),
        ({"prompts": []}, "no list of prompts"),
        ({"prompts": ["a", " "]}, r"prompts\[1\] is empty"),
        ({"way": "full", "generator": object()}, "handed adapters"),
    ],
)
def test_unusable_options_are_refused(options, message, tmp_path):
    with pytest.raises(InvalidArgumentError, match=message):
        online(tmp_path, **options)


def test_one_command_plays_the_rounds(tmp_path, capsys):
    tiny.model().save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    talk = [{"prompt": [{"role": "user", "content": prompt}]} for prompt in PROMPTS]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in talk))
    arguments = [
        "--model_name_or_path", str(tmp_path / "model"), "--dataset_name", str(tmp_path / "prompts.jsonl"), "--use_peft",
        "--judge", "tests.alignment.test_online:vowels", "--rounds", "2", "--prompts_per_round", "4", "--steps_per_round", "2",
        "--response_max_new_tokens", "4", "--bf16", "false", "--use_cpu", "--disable_tqdm", "true",
        "--output_dir", str(tmp_path / "out"),
    ]  # fmt: skip
    vpo_online.main(arguments)
    out = tmp_path / "out"
    assert (out / "adapter_model.safetensors").exists()
    assert "2405.19320" in (out / "README.md").read_text()
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    if (out / "result" / "report.html").exists():
        assert "distinct_words" in (out / "result" / "report.html").read_text()
    started = time.monotonic()
    vpo_online.main(arguments)  # nothing is left to do
    assert time.monotonic() - started < 5
    with pytest.raises(InvalidArgumentError, match="--judge is missing"):
        vpo_online.main([*arguments[:4], "--bf16", "false"])
    with pytest.raises(InvalidArgumentError, match="runs in one process"):
        vpo_online.main([*arguments, "--use_accelerate", "true"])


def test_a_folder_without_a_model_is_one_line(tmp_path):
    config = OnlineVPOConfig(**{name: value for name, value in tiny.settings(tmp_path).items() if name != "max_steps"})
    (tmp_path / "empty").mkdir()
    for tokenizer in (None, tiny.tokenizer()):
        with pytest.raises(InvalidArgumentError, match="empty as a language model"):
            OnlineVPO(str(tmp_path / "empty"), config, prompts=["a"], judge=None, processing_class=tokenizer)
