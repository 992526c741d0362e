"""The comparison with the full model, and the command that makes it."""

import json
import math

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.griffin import compare, griffin
from robust_rl.extras.griffin.comparison import bandwidth_bound
from robust_rl.extras.llm_evaluation import continuation_logits
from tests.extras.tiny_llm import make, tokens


def test_the_figures_are_those_of_the_two_models():
    model, prompt = make("llama"), tokens(6)
    found = compare(model, prompt, keep=0.3, tokens=9, rounds=2, steps=2)
    full = model.generate(prompt[None], max_new_tokens=9, do_sample=False, pad_token_id=0)[0, 6:]
    assert found.full_tokens == full.tolist()
    p = continuation_logits(model, prompt, full).softmax(-1)
    with griffin(model, 0.3):
        q = continuation_logits(model, prompt, full).softmax(-1)
        assert found.tokens == model.generate(prompt[None], max_new_tokens=9, do_sample=False, pad_token_id=0)[0, 6:].tolist()
    np.testing.assert_allclose(found.fidelity.kl, (p * (p / q).log()).sum(-1), atol=1e-12)
    figures = found.summary()
    assert figures["tokens"] == 9
    assert figures["agreement"] == (p.argmax(-1) == q.argmax(-1)).double().mean()
    assert figures["perplexity"] == pytest.approx(math.exp(-q[range(9), full].log().mean()))
    assert found.first_difference == next(i for i in range(9) if found.full_tokens[i] != found.tokens[i])
    assert found.speed_up.shape == (2,)
    neuron = 2 * 3 * 32 * 8  # in two layers, three matrices, float64
    full = figures["bytes"]["full"]
    assert figures["bytes"] == {"full": full, "pruned": full + 14 * neuron, "offloaded": full - 34 * neuron}
    json.dumps(figures)


def test_all_neurons_agree_everywhere():
    found = compare(make("gpt2"), tokens(6), keep=1.0, tokens=5, rounds=1, steps=1)
    assert found.summary()["agreement"] == 1
    assert found.summary()["kl"] == 0
    assert found.bound == 1
    assert found.first_difference is None


def test_bound_counts_the_weights_that_a_step_reads():
    model = make("llama", torch.float32)
    weights = sum(p.numel() for p in model.parameters())
    embedding, ff = 61 * 32, 2 * 3 * 32 * 48
    assert bandwidth_bound(model, 0.5) == pytest.approx((weights - embedding) / (weights - embedding - ff / 2))
    assert bandwidth_bound(model, [1.0, 0.0]) == pytest.approx((weights - embedding) / (weights - embedding - ff / 2))
    model.lm_head.weight = model.model.embed_tokens.weight
    assert bandwidth_bound(model, 0.5) == pytest.approx((weights - embedding) / (weights - embedding - ff / 2))


def test_numbers_out_of_range_are_refused():
    with pytest.raises(InvalidArgumentError, match="rounds=0"):
        compare(make("llama"), tokens(3), rounds=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("tokenizers")
    pytest.importorskip("datasets")
    from tests.alignment import tiny

    folder = tmp_path_factory.mktemp("griffin")
    tiny.model().save_pretrained(folder / "model")
    tiny.tokenizer().save_pretrained(folder / "model")
    (folder / "prompt.txt").write_text("good bad fine")
    return folder


def invoke(folder, *arguments):
    """Run the command in this process: a new one takes seconds to load torch."""
    from typer.testing import CliRunner

    from robust_rl.cli.main import app

    return CliRunner().invoke(app, ["griffin", "--model", str(folder / "model"), *arguments])


def test_command(folder):
    pytest.importorskip("matplotlib")
    given = ["--prompt", f"@{folder / 'prompt.txt'}", "--keep", "0.25", "--tokens", "8", "--rounds", "2", "--out"]
    run = folder / "run"
    for _ in range(2):  # the second takes the first one's place
        done = invoke(folder, *given, str(run), "--json")
        assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert {"perplexity", "kl", "agreement", "speed_up", "bound", "bytes"} <= result.keys()
    assert result["keep"] == 0.25
    assert json.loads((run / "run.json").read_text())["command"] == "robust-rl griffin"
    assert [line["step"] for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())] == [1, 2]
    assert json.loads((run / "result" / "griffin.json").read_text())["kl"] == result["kl"]
    assert "data:image/svg+xml" in (run / "result" / "report.html").read_text()
    shown = invoke(folder, *given, str(folder / "other")).stdout
    assert "same most likely token" in shown
    assert "report.html" in shown


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--keep", "1.5"], "keep=1.5 must lie in [0, 1]"),
        (["--select", "topc"], "did you mean topk"),
        (["--prompt", "@none.txt"], "cannot read --prompt @none.txt"),
        (["--prompt", " "], "--prompt is empty"),
        (["--model", "no/such/folder"], "cannot load no/such/folder"),
        (["--tokens", "0"], "tokens=0"),
    ],
)
def test_bad_input_is_refused_before_any_work(folder, change, message):
    from robust_rl.cli.main import USAGE_ERRORS

    failed = invoke(folder, "--prompt", "good", "--out", str(folder / "bad"), *change)
    assert isinstance(failed.exception, USAGE_ERRORS)
    assert message in str(failed.exception)
    assert not (folder / "bad").exists()
