"""Models and arguments that can't be served, and what is said about them."""

import pytest

pytest.importorskip("transformers")

import torch
import transformers as tf

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.griffin import griffin
from tests.extras.tiny_llm import GLU, make, tokens


class OptimizedModule(torch.nn.Module):
    """What torch.compile returns, without the five seconds that it takes."""

    def __init__(self, model):
        super().__init__()
        self._orig_mod = model


def changed(change, family="llama"):
    model = make(family)
    change(model)
    return model


def shared_weights(model):
    first, second = model.model.layers
    second.mlp.down_proj.weight = first.mlp.down_proj.weight


def packed(model):
    model.model.layers[1].mlp.down_proj.weight = torch.nn.Parameter(torch.zeros(32, 48, dtype=torch.int8), requires_grad=False)


def adapter(model):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["down_proj"])).eval()


def odd_width(model):
    model.model.layers[0].mlp.up_proj = torch.nn.Linear(32, 40)


def wide_norm(model):
    model.model.layers[0].mlp.norm = torch.nn.LayerNorm(48)


MODELS = {
    "training mode; call model.eval": lambda: make("llama").train(),
    "mixture of experts": lambda: tf.MixtralForCausalLM(tf.MixtralConfig(**GLU, num_local_experts=2)).eval(),
    "Qwen2MoeForCausalLM is a mixture of experts": lambda: tf.Qwen2MoeForCausalLM(
        tf.Qwen2MoeConfig(**GLU, num_experts=2, moe_intermediate_size=8, shared_expert_intermediate_size=8)
    ).eval(),
    "quantised": lambda: changed(lambda model: setattr(model, "is_quantized", True)),
    "int8": lambda: changed(packed),
    "several devices": lambda: changed(lambda model: model.model.layers[1].to("meta")),
    "OptimizedModule is compiled": lambda: OptimizedModule(make("llama")),
    "LlamaForCausalLM is compiled": lambda: changed(lambda model: model.compile()),
    "peft.*merge adapters first": lambda: adapter(make("llama")),
    "layers share": lambda: changed(shared_weights),
    "norm.weight acts on the neurons": lambda: changed(wide_norm),
    "projections of 40 and 48 neurons": lambda: changed(odd_width),
    "encoder-decoder": lambda: tf.T5ForConditionalGeneration(
        tf.T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=1, vocab_size=9)
    ),
    "2 layers, and 0 feed-forward blocks": lambda: tf.MptForCausalLM(
        tf.MptConfig(d_model=32, n_heads=4, n_layers=2, vocab_size=61)
    ),
    "causal language model of transformers, not Linear": lambda: torch.nn.Linear(2, 2),
    "not str": lambda: "meta-llama/Llama-2-7b",
}


@pytest.mark.parametrize("message", MODELS)
def test_models_are_refused_with_a_reason(message):
    model = MODELS[message]()
    if message.startswith(("encoder", "2 layers")):
        model.eval()
    with pytest.raises(InvalidArgumentError, match=message):
        griffin(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 1.1}, r"keep=1.1 must lie in \[0, 1\]"),
        ({"keep": float("nan")}, "keep=nan"),
        ({"keep": [0.5]}, "keep has 1 numbers for 2 layers"),
        ({"mode": "regression"}, "mode='regression'"),
        ({"several": "both"}, "several='both'"),
        ({"select": {"model.layers.0.mlp": torch.arange(3)}}, "give them for"),
        ({"select": {f"model.layers.{i}.mlp": torch.tensor([1, 1]) for i in range(2)}}, "1 distinct"),
        ({"select": {f"model.layers.{i}.mlp": torch.tensor([48]) for i in range(2)}}, r"indices in \[0, 48\)"),
    ],
)
def test_arguments_are_refused_before_anything_is_done(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        griffin(make("llama"), **options)


def test_one_block_at_a_time_for_a_model():
    model = make("llama")
    with griffin(model, 0.5) as g:
        model.generate(tokens(1, 3), max_new_tokens=3)
        for mode in ("generation", "classification"):
            with pytest.raises(InvalidArgumentError, match="inside another griffin block"):
                griffin(model, mode=mode)
        with pytest.raises(InvalidArgumentError, match="inside another"):
            g.__enter__()
    assert model.model.layers[0].mlp.down_proj.weight.shape == (32, 48)


def test_training_within_the_block_is_refused():
    model = make("llama")
    with griffin(model, 0.5), pytest.raises(InvalidArgumentError, match="training mode"):
        model.train()(tokens(1, 3))


def test_adapters_elsewhere_are_welcome():
    peft = pytest.importorskip("peft")
    model = make("llama")
    plain = model.generate(tokens(1, 4), max_new_tokens=4, do_sample=False)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"])).eval()
    with griffin(adapted, 0.5) as g:
        adapted.generate(input_ids=tokens(1, 4), max_new_tokens=4, do_sample=False)
        assert adapted.base_model.model.model.layers[0].mlp.down_proj.weight.shape == (32, 24)
    assert [len(kept) for kept in g.indices.values()] == [24, 24]
    assert torch.equal(adapted.generate(input_ids=tokens(1, 4), max_new_tokens=4, do_sample=False), plain)
