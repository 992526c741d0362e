"""Decoding on a prompt's neurons, on tiny models of every architecture, against blocks computed by hand."""

import pytest

pytest.importorskip("transformers")

import torch
import transformers as tf

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.griffin import griffin
from robust_rl.extras.griffin.blocks import find_blocks
from robust_rl.extras.llm_evaluation import continuation_logits
from tests.extras.griffin import oracle
from tests.extras.tiny_llm import FAMILIES, make, tokens

PLAIN = [family for family in FAMILIES if family != "llama-bias"]


def generated(model, ids, steps=6, **options):
    options = {"do_sample": False, "pad_token_id": 0} | options
    return model.generate(ids, max_new_tokens=steps, output_logits=True, return_dict_in_generate=True, **options)


def assert_same(one, other):
    """``generate`` hands out float64 logits rounded to float32."""
    torch.testing.assert_close(one.float(), other.float(), rtol=2e-7, atol=1e-9)


def by_layer(g):
    return [kept.tolist() for kept in g.indices.values()]


@pytest.mark.parametrize("family", FAMILIES)
def test_keeping_all_neurons_changes_no_bit(family):
    model, ids = make(family, torch.float32), tokens(3, 7)
    full = generated(model, ids)
    with griffin(model, keep=1.0) as g:
        same = generated(model, ids)
    assert all(map(torch.equal, full.logits, same.logits))
    everything = torch.arange(48)
    assert all(torch.equal(kept, everything) for kept in g.indices.values())
    blocks = find_blocks(model)
    for block in blocks:  # nor does gathering them
        block.reduce(everything)
        assert block.is_reduced
    assert all(map(torch.equal, full.logits, generated(model, ids).logits))
    for block in blocks:
        block.restore()


@pytest.mark.parametrize("family", PLAIN)
@pytest.mark.parametrize(("length", "keep", "k"), [(9, 0.5, 24), (1, 0.3, 14), (5, 0.0, 0)])
def test_steps_equal_a_model_with_the_other_neurons_masked(family, length, keep, k):
    model, prompt, tail = make(family), tokens(length), tokens(5, seed=1)
    reference = oracle.Oracle(family, make(family))
    expected = [oracle.kept(z, k) for z in reference.activations(prompt[None])]
    full = continuation_logits(model, prompt, tail)
    with griffin(model, keep) as g:
        logits = continuation_logits(model, prompt, tail)
        assert by_layer(g) == expected
    torch.testing.assert_close(logits, reference.decode(prompt, tail, expected), rtol=0, atol=1e-11)
    assert torch.equal(logits[0], full[0]), "the prompt goes through the full model"
    assert not torch.allclose(logits[1:], full[1:], atol=1e-3)


def test_a_gated_block_with_biases_keeps_those_of_its_neurons():
    model, ids = make("llama-bias"), tokens(1, 6)
    with griffin(model, 0.5) as g:
        generated(model, ids, 3)
        mlp = model.model.layers[0].mlp
        kept = g.indices["model.layers.0.mlp"]
        assert mlp.gate_proj.bias.shape == mlp.up_proj.bias.shape == (24,)
        assert mlp.down_proj.bias.shape == (32,)
        found = mlp.up_proj.bias.clone()
    assert torch.equal(found, model.model.layers[0].mlp.up_proj.bias[kept])


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "falcon"])
def test_a_batch_shares_the_sum_of_its_statistics_and_padding_counts_nowhere(family):
    model, reference = make(family), oracle.Oracle(family, make(family))
    ids = tokens(3, 10)
    mask = torch.ones_like(ids)
    mask[0, :4] = mask[2, :7] = 0
    ids[mask == 0] = 0
    expected = [oracle.kept(z, 24, mask.numpy()) for z in reference.activations(ids, mask)]
    with griffin(model, 0.5) as g:
        batch = generated(model, ids, attention_mask=mask)
        assert by_layer(g) == expected
        order = torch.tensor([2, 0, 1])
        turned = generated(model, ids[order], attention_mask=mask[order])
        assert by_layer(g) == expected
    for logits, other in zip(batch.logits, turned.logits, strict=True):
        assert_same(logits[order], other)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_a_padded_row_is_the_row_alone(family):
    model, row = make(family), tokens(1, 6)
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), row], dim=1)
    with griffin(model, 0.5) as g:
        alone, kept = generated(model, row), by_layer(g)
        beside = generated(model, padded, attention_mask=(padded != 0).long())
        assert by_layer(g) == kept
    for one, other in zip(alone.logits, beside.logits, strict=True):
        assert_same(one, other)


def test_permuted_neurons_give_permuted_sets():
    model, turned, ids = make("llama"), make("llama"), tokens(1, 8)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(5))
    for layer in turned.model.layers:
        layer.mlp.gate_proj.weight.data = layer.mlp.gate_proj.weight[order].clone()
        layer.mlp.up_proj.weight.data = layer.mlp.up_proj.weight[order].clone()
        layer.mlp.down_proj.weight.data = layer.mlp.down_proj.weight[:, order].clone()
    with griffin(model, 0.4) as g, griffin(turned, 0.4) as h:
        generated(model, ids)
        generated(turned, ids)
    assert [set(kept) for kept in by_layer(g)] == [{int(order[i]) for i in kept} for kept in by_layer(h)]


@pytest.mark.parametrize("chunk", [2, 3])
def test_a_prompt_read_in_pieces_is_one_prompt(chunk):
    model, ids = make("mistral"), tokens(1, 9 if chunk == 3 else 8)
    with griffin(model, 0.5) as g:
        whole, kept = generated(model, ids), by_layer(g)
        pieces = generated(model, ids, prefill_chunk_size=chunk)
        assert by_layer(g) == kept
    for one, other in zip(whole.logits, pieces.logits, strict=True):
        assert_same(one, other)


def test_the_next_turn_of_a_talk_chooses_by_its_own_tokens():
    model, reference = make("llama"), oracle.Oracle("llama", make("llama"))
    with griffin(model, 0.5) as g, torch.no_grad():
        first = generated(model, tokens(1, 6))
        before = by_layer(g)
        turn = torch.cat([first.sequences, tokens(1, 4, seed=3)], dim=1)
        held = first.past_key_values.get_seq_length()
        cache = tf.DynamicCache()
        for ours, theirs in zip(first.past_key_values.layers, range(2), strict=True):
            cache.update(ours.keys.clone(), ours.values.clone(), theirs)
        logits = generated(model, turn, past_key_values=first.past_key_values).logits[0]
        after = by_layer(g)
    output = reference.run(turn[:, held:], cache)
    assert after == [oracle.kept(z.numpy(), 24) for z in reference.z]
    assert after != before
    assert_same(logits[0], output.logits[0, -1])


def test_known_continuations_may_come_many_tokens_at_once():
    model, prompt, tail = make("gemma"), tokens(7), tokens(9, seed=2)
    with griffin(model, 0.5, several="step"):
        one, all_at_once = (continuation_logits(model, prompt, tail, chunk=chunk) for chunk in (1, None))
    with griffin(model, 0.5):
        default = continuation_logits(model, prompt, tail)
        read = continuation_logits(model, prompt, tail, chunk=None)
    torch.testing.assert_close(one, all_at_once, rtol=0, atol=1e-11)
    assert torch.equal(one, default)
    torch.testing.assert_close(read, continuation_logits(model, prompt, tail), rtol=0, atol=1e-11)


def test_assisted_decoding_and_beams():
    model, ids = make("llama"), tokens(1, 6)
    with griffin(model, 0.5) as g:
        generated(model, ids, num_beams=1)
        kept = by_layer(g)
        beams = generated(model, ids, num_beams=3)
        assert by_layer(g) == kept
        assert beams.sequences.shape == (1, 12)
    with griffin(model, 0.5, several="step") as g:
        out = model.generate(ids, max_new_tokens=8, do_sample=False, prompt_lookup_num_tokens=3)
    assert out.shape == (1, 14)
    assert [len(kept) for kept in g.indices.values()] == [24, 24]


def test_each_layer_may_keep_its_own_part():
    model = make("phi3")
    with griffin(model, [0.25, 0.7]) as g:
        generated(model, tokens(1, 4), 3)
        assert [tuple(layer.mlp.gate_up_proj.weight.shape) for layer in model.model.layers] == [(24, 32), (66, 32)]
    assert [len(kept) for kept in g.indices.values()] == [12, 33]


def test_another_prompt_s_neurons_can_be_used():
    model, reference = make("llama"), oracle.Oracle("llama", make("llama"))
    prompt, other, tail = tokens(8), tokens(8, seed=9), tokens(4, seed=1)
    with griffin(model, 0.5) as g:
        continuation_logits(model, other, tail)
    with griffin(model, select=g.indices) as h:
        logits = continuation_logits(model, prompt, tail)
    assert by_layer(h) == by_layer(g) == [oracle.kept(z, 24) for z in reference.activations(other[None])]
    torch.testing.assert_close(logits, reference.decode(prompt, tail, by_layer(g)), rtol=0, atol=1e-11)


def test_a_cache_from_outside_brings_no_prompt_but_fixed_neurons_need_none():
    model, prompt, tail = make("llama"), tokens(8), tokens(4, seed=1)
    with griffin(model, 0.5) as g:
        logits = continuation_logits(model, prompt, tail)
    with torch.no_grad():
        cache = model(prompt[None]).past_key_values
        with griffin(model, 0.5), pytest.raises(InvalidArgumentError, match="saw no prompt, and the cache holds 8 tokens"):
            model(tail[None, :1], past_key_values=cache)
        with griffin(model, select=g.indices, several="step"):
            found = model(tail[None, :-1], past_key_values=cache).logits[0]
    torch.testing.assert_close(found, logits[1:], rtol=0, atol=1e-11)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_inside_leaves_the_model_as_it_was(family):
    model = make(family)
    before = {name: (id(p), p.clone()) for name, p in model.named_parameters()}
    widths = [getattr(module, "nf", None) for module in model.modules()]

    def fail():
        with griffin(model, 0.5):
            generated(model, tokens(2, 5), 3)
            assert any(p.shape != before[name][1].shape for name, p in model.named_parameters())
            raise RuntimeError("by design")

    with pytest.raises(RuntimeError, match="by design"):
        fail()
    after = dict(model.named_parameters())
    assert before.keys() == after.keys()
    assert all(id(after[name]) == place and torch.equal(after[name], value) for name, (place, value) in before.items())
    assert widths == [getattr(module, "nf", None) for module in model.modules()]
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    with griffin(model, 0.5):
        pass  # and free for the next


def test_a_prompt_that_fails_midway_is_forgotten():
    model, ids = make("llama"), tokens(1, 6)
    with griffin(model, 0.5) as g:
        generated(model, ids)
        kept = by_layer(g)
        layer = model.model.layers[1]
        handle = layer.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generated(model, tokens(1, 9, seed=4))
        handle.remove()
        generated(model, ids)
        assert by_layer(g) == kept


def test_inference_mode_and_offloading_change_nothing():
    model, ids = make("qwen2"), tokens(1, 6)
    with griffin(model, 0.5):
        usual = generated(model, ids)
    with griffin(model, 0.5, offload=True), torch.inference_mode():
        other = generated(model, ids)
        generated(model, ids)
    assert all(map(torch.equal, usual.logits, other.logits))
    model.model.layers[0].mlp.down_proj.weight.data.add_(1.0)  # can still be written to


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_offloading_holds_less_on_the_device():
    from robust_rl.extras.llm_evaluation import held_bytes

    model, ids = make("llama").cuda(), tokens(1, 6).cuda()
    whole = held_bytes(model, device="cuda:0")
    with griffin(model, 0.5, offload=True):
        generated(model, ids)
        assert held_bytes(model, device="cuda:0") == whole - 2 * 3 * 24 * 32 * 8
    assert held_bytes(model, device="cuda:0") == whole


def test_half_precision_and_all_zero_activations():
    model = make("opt", torch.bfloat16)
    for layer in model.model.decoder.layers:
        layer.fc1.bias.data.fill_(-1e4)  # a ReLU that never fires
    with griffin(model, 0.5) as g:
        out = generated(model, tokens(1, 5))
    assert all(logits.isfinite().all() for logits in out.logits)
    assert [len(kept) for kept in g.indices.values()] == [24, 24]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_cache": False}, "use_cache=False"),
        ({"cache_implementation": "static"}, "StaticCache is for compiled"),
    ],
)
def test_calls_that_tell_no_prompt_from_a_step_are_refused(options, message):
    model = make("llama")
    with griffin(model, 0.5), pytest.raises(InvalidArgumentError, match=message):
        generated(model, tokens(1, 4), **options)


def test_a_mask_that_does_not_tell_the_padding_is_refused():
    model = make("llama")
    with griffin(model, 0.5), pytest.raises(InvalidArgumentError, match=r"one of \(batch, tokens\)"):
        model(tokens(1, 4), attention_mask=torch.zeros(1, 1, 4, 4))
