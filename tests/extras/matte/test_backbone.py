"""Encoder-decoders of transformers as a backbone: tiny ones, made here and read from a folder as any other would be."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("zuko")
pytest.importorskip("transformers")

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.matte import MatteConfig, TextMatte, synthetic_sentences
from robust_rl.extras.matte.influence import jacobian_columns
from robust_rl.extras.matte.vocabulary import words

CONFIG = MatteConfig(c_dim=3, s_dim=2, domain_dim=3, flow_hidden=8, batch_size=8, steps=3, learning_rate=1e-2)
DATA = synthetic_sentences(60, seed=0)


def save(folder, kind):
    known = ["<pad>", "</s>", "<unk>", "<s>", *sorted({word for text in DATA.texts for word in words(text)})]
    plain = Tokenizer(WordLevel({word: i for i, word in enumerate(known)}, unk_token="<unk>"))
    plain.pre_tokenizer = Whitespace()
    plain.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="<pad>", eos_token="</s>", unk_token="<unk>").save_pretrained(
        folder
    )
    marks = {"vocab_size": len(known), "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3, "decoder_start_token_id": 0}
    torch.manual_seed(0)
    if kind == "t5":
        T5ForConditionalGeneration(T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, **marks)).save_pretrained(
            folder
        )
    else:
        sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
        feed = {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "forced_eos_token_id": None}
        BartForConditionalGeneration(BartConfig(d_model=16, **sizes, **feed, **marks)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_a_backbone_trains_writes_and_is_saved(kind, tmp_path):
    folder = save(tmp_path / kind, kind)
    model = TextMatte(CONFIG, backbone=folder)
    model.fit(DATA.labelled(3), max_steps=0)
    before = {name: parameter.detach().clone() for name, parameter in model.network.named_parameters()}
    model.fit(DATA.labelled(3))
    still = [name for name, parameter in model.network.named_parameters() if torch.equal(parameter, before[name])]
    assert [name for name in still if "relative_attention_bias" not in name and "embed_positions" not in name] == []
    ask = (["the pasta with the sauce was bland"], "restaurant")
    found = model.counterfactual(*ask, to="positive", beams=2)
    assert set(words(found[0].text)) <= {word for text in DATA.texts for word in words(text)}
    model.save(tmp_path / "model.safetensors")
    assert TextMatte.load(tmp_path / "model.safetensors").counterfactual(*ask, to="positive", beams=2) == found


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_its_likelihood_and_jacobian_are_right(kind, tmp_path):
    """The likelihood against the model's own forward pass with the prefix for the encoder's states."""
    model = TextMatte(CONFIG, backbone=save(tmp_path / kind, kind)).fit(DATA, max_steps=0)
    network, data = model.network.double(), model._ids(DATA.texts[:4])
    z = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    decoder, inputs = network.decoder, network.decoder.inputs(data, None)
    prefix = decoder.prefix(z).unflatten(1, (4, -1))
    logits = decoder.model(encoder_outputs=(prefix,), decoder_input_ids=(inputs - 1).clamp(min=0)).logits
    expected = -logits.log_softmax(2).gather(2, (data - 1).clamp(min=0)[:, :, None])[:, :, 0] * (data != 0)
    found = decoder.negative_log_likelihood(decoder.hidden(z, inputs), data)
    torch.testing.assert_close(found, expected.sum(1), rtol=1e-6, atol=1e-6)
    exact = jacobian_columns(lambda code: decoder.hidden(code, inputs), z)
    backward = torch.autograd.functional.jacobian(lambda code: decoder.hidden(code, inputs), z).flatten(1, 2)
    expected = torch.stack([backward[row, :, row] for row in range(4)]).permute(2, 0, 1)
    torch.testing.assert_close(exact, expected, rtol=1e-4, atol=1e-5)  # T5 normalises in float32
    assert exact.abs().max() > 1e-3


def test_a_missing_backbone_is_said(tmp_path):
    with pytest.raises(InvalidArgumentError, match="as an encoder-decoder"):
        TextMatte(CONFIG, backbone=tmp_path / "nowhere").fit(DATA)
