import math
import shlex
import sys

import numpy as np
import pytest

from robust_rl.alignment.judges import Lexicon, RewardJudge, RewardModel, judge_by_name
from robust_rl.errors import FileFormatError, InvalidArgumentError, JudgeError


def test_sampled_labels_have_the_chances_of_bradley_and_terry():
    """6000 labels against sigmoid(r1 - r2), within four standard errors."""
    judge, rng = RewardJudge(lambda prompt, response: float(response)), np.random.default_rng(0)
    for first, second in (("0.5", "0"), ("-2", "0"), ("1", "1")):
        share = np.mean([judge("", first, second, rng) for _ in range(6000)])
        chance = 1 / (1 + math.exp(float(second) - float(first)))
        assert abs(share - chance) < 4 * math.sqrt(chance * (1 - chance) / 6000)


def test_the_larger_reward_wins_and_a_coin_decides_between_equals():
    judge, rng = RewardJudge(lambda prompt, response: len(response), rule="argmax"), np.random.default_rng(0)
    assert all(judge("", "long", "no", rng) and not judge("", "no", "long", rng) for _ in range(20))
    assert 0.4 < np.mean([judge("", "aa", "bb", rng) for _ in range(1000)]) < 0.6


def test_rewards_are_asked_once_for_each_response():
    asked = []
    judge = RewardJudge(lambda prompt, response: asked.append(response) or 0.0)
    for _ in range(3):
        judge("p", "a", "b", np.random.default_rng(0))
    assert asked == ["a", "b"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much", None])
def test_what_is_no_reward_is_an_error_that_names_the_response(value):
    with pytest.raises(JudgeError, match="the judge"):
        RewardJudge(lambda prompt, response: value)("p", "response", "b", np.random.default_rng(0))


def test_a_judge_that_raises_is_named_with_its_error():
    with pytest.raises(JudgeError, match="ZeroDivisionError"):
        RewardJudge(lambda prompt, response: 1 / 0)("p", "a", "b", np.random.default_rng(0))


def test_lexicon_is_vaders_formula(tmp_path):
    (tmp_path / "words.txt").write_text("Good\t1.9\t0.9\t[1, 2]\nbad\t-2.5\n\n")
    reward = Lexicon.read(tmp_path / "words.txt", scale=2.0)
    assert reward("bad", "A good, GOOD day") == pytest.approx(2 * 3.8 / math.sqrt(3.8**2 + 15))
    assert reward("", "neither") == 0
    (tmp_path / "words.txt").write_text("good\t1.9\nbad -2.5\n")
    with pytest.raises(FileFormatError, match="line 2"):
        Lexicon.read(tmp_path / "words.txt")
    with pytest.raises(FileFormatError, match="cannot read"):
        Lexicon.read(tmp_path / "missing.txt")


def test_reward_model_is_the_models_logit(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tests.alignment import tiny

    config = transformers.LlamaConfig(
        vocab_size=259,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
        pad_token_id=258,
    )
    torch.manual_seed(0)
    model = transformers.LlamaForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    judge = judge_by_name(f"model:{tmp_path}", rule="argmax")
    ids = torch.tensor([tokenizer("say hello")["input_ids"]])
    with torch.no_grad():
        expected = model(ids).logits[0, 0].item()
    assert judge.reward("say ", "hello") == pytest.approx(expected, abs=1e-6)
    wide = transformers.LlamaForSequenceClassification(transformers.LlamaConfig.from_dict(config.to_dict() | {"num_labels": 3}))
    with pytest.raises(InvalidArgumentError, match="3 outputs"):
        RewardModel(wide, tokenizer)


def test_judges_by_name(tmp_path):
    (tmp_path / "words.txt").write_text("good\t1.9\n")
    assert judge_by_name(f"lexicon:{tmp_path / 'words.txt'}").reward("", "good") > 0
    assert judge_by_name("lexicon").reward("", "awful") < 0
    assert judge_by_name("operator:countOf", rule="argmax").rule == "argmax"
    for name, message in (
        ("operator:nothing", "nothing"),
        ("no.such.module:f", "No module"),
        ("x", "none of"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            judge_by_name(name)
    with pytest.raises(InvalidArgumentError, match="rule is"):
        judge_by_name("lexicon", rule="smaller")


def command(code):
    return f"command:{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


def test_a_program_judges():
    counts = "import json, sys; asked = json.load(sys.stdin); print(len(asked['response']) - len(asked['prompt']))"
    judge = judge_by_name(command(counts), rule="argmax")
    assert judge("p", "longer", "no", np.random.default_rng(0))
    assert judge.reward("ab", "é") == -1
    with pytest.raises(JudgeError, match="exited with 3: no idea"):
        judge_by_name(command("import sys; print('no idea', file=sys.stderr); sys.exit(3)"))("p", "a", "b", None)
    with pytest.raises(JudgeError, match="could not convert"):
        judge_by_name(command("print('good')"))("p", "a", "b", None)
    with pytest.raises(JudgeError, match="FileNotFoundError"):
        judge_by_name("command:no-such-program")("p", "a", "b", None)
    for wrong in ("command: ", "command:'"):
        with pytest.raises(InvalidArgumentError, match="command"):
            judge_by_name(wrong)
