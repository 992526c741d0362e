"""LESS inside transformers: every family that it can reach, generate, padding, beams, memory, and what is refused."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.extras.less import H2O, TOVA, LessKernels, StreamingLLM, Window, less
from robust_rl.extras.less.cache import LessLayer
from tests.extras.tiny_llm import FAMILIES, GLU, make, tokens

REACHED = ["llama", "qwen2", "qwen3", "mistral-full", "gemma", "gemma3-mixed", "phi", "phi3", "opt", "gpt-neox", "gpt2"]
POLICIES = [H2O(3, 2), StreamingLLM(2, 4), TOVA(5), Window(5)]
MORE = {
    "mistral-full": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(**GLU, sliding_window=None)),
    "gemma3-mixed": lambda: transformers.Gemma3ForCausalLM(
        transformers.Gemma3TextConfig(**GLU, head_dim=8, sliding_window=6, layer_types=["sliding_attention", "full_attention"])
    ),
}


@pytest.fixture(autouse=True)
def more_families(monkeypatch):
    for name, factory in MORE.items():
        monkeypatch.setitem(FAMILIES, name, factory)


def kernels_of(model, rank=4, strength=0.3):
    kernels = LessKernels.from_config(model.config, rank=rank, hidden=8).to(model.dtype)
    with torch.no_grad():
        for i in kernels.layers:
            kernels.of(i).c1.fill_(strength)
    return kernels


def generate(model, ids, new=12, **options):
    out = model.generate(
        ids, max_new_tokens=new, do_sample=False, output_logits=True, return_dict_in_generate=True,
        **{"attention_mask": torch.ones_like(ids)} | options,
    )  # fmt: skip
    return out.sequences, torch.stack(out.logits, 1)


@pytest.mark.parametrize("family", REACHED)
def test_no_eviction_is_sdpa_bit_for_bit_at_every_step(family):
    model, ids = make(family), tokens(2, 9)
    sequences, logits = generate(model, ids)
    with less(model, kernels_of(model), H2O(20, 20)) as make_cache:
        cache = make_cache()
        ours, our_logits = generate(model, ids, past_key_values=cache)
    assert torch.equal(ours, sequences)
    assert torch.equal(our_logits, logits)
    assert all(layer.H is None for layer in cache.layers if isinstance(layer, LessLayer))
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("family", [name for name in REACHED if name != "gemma3-mixed"])
def test_decoding_with_a_window_is_the_stock_model_under_that_mask(family):
    """First tokens and window don't depend on content, so that the whole sequence can go through once, under a 4-D mask."""
    model, ids, prompt, policy = make(family), tokens(2, 21), 9, StreamingLLM(2, 4)
    i, j = torch.arange(21)[:, None], torch.arange(21)
    sees = (j <= i) & ((i < prompt) | (j < policy.first) | (j >= i - policy.recent))
    with torch.no_grad():
        stock = model(ids, attention_mask=sees.expand(2, 1, 21, 21), position_ids=j.expand(2, 21), use_cache=False).logits
        with less(model, None, policy) as make_cache:
            cache = make_cache()
            parts = [model(ids[:, :prompt], past_key_values=cache).logits]
            parts += [model(ids[:, t : t + 1], past_key_values=cache).logits for t in range(prompt, 21)]
    torch.testing.assert_close(torch.cat(parts, 1), stock, rtol=0, atol=1e-10)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_a_padded_batch_is_its_rows_alone(policy, family):
    model, short, long = make(family), tokens(1, 6, seed=1), tokens(1, 10, seed=2)
    batch = torch.cat([torch.cat([torch.zeros(1, 4, dtype=torch.long), short], 1), long])
    mask = (torch.arange(10) >= torch.tensor([[4], [0]])).long()
    with less(model, kernels_of(model), policy) as make_cache:
        _, together = generate(model, batch, attention_mask=mask, past_key_values=make_cache())
        for row, ids in enumerate((short, long)):
            _, alone = generate(model, ids, past_key_values=make_cache())
            torch.testing.assert_close(together[row], alone[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_reordered_selected_and_repeated_sequences_go_on_as_they_would_have(policy):
    model, ids, after = make("llama"), tokens(3, 9), tokens(3, 4, seed=7)
    moves = {
        "reorder_cache": (torch.tensor([2, 0, 2]),) * 2,
        "batch_select_indices": (torch.tensor([1]),) * 2,
        "batch_repeat_interleave": (2, torch.tensor([0, 0, 1, 1, 2, 2])),
    }
    with torch.no_grad(), less(model, kernels_of(model), policy) as make_cache:

        def started():
            cache = make_cache()
            for part in (ids, after[:, :2]):
                model(part, past_key_values=cache)
            return cache

        expected = model(after[:, 2:], past_key_values=started()).logits
        for move, (argument, rows) in moves.items():
            cache = started()
            getattr(cache, move)(argument)
            found = model(after[rows, 2:], past_key_values=cache).logits
            torch.testing.assert_close(found, expected[rows], rtol=0, atol=1e-12)


def test_beam_search_without_evictions_finds_the_stock_beams():
    model, ids = make("llama"), tokens(2, 7)
    options = {"max_new_tokens": 8, "num_beams": 3, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    stock = model.generate(ids, **options)
    with less(model, kernels_of(model), H2O(10, 10)) as make_cache:
        assert torch.equal(model.generate(ids, past_key_values=make_cache(), **options), stock)
    with less(model, kernels_of(model), H2O(2, 3)) as make_cache:
        cache = make_cache()
        model.generate(ids, past_key_values=cache, **options)
        assert cache.layers[0].keys.shape[2] == 5


def test_memory_does_not_grow_with_length_and_four_tokens_pay_for_the_state():
    model = make("llama")
    with torch.no_grad(), less(model, kernels_of(model, rank=8), H2O(3, 3)) as make_cache:
        sizes = []
        for length in (20, 40, 80):
            cache = make_cache()
            model(tokens(1, length), past_key_values=cache)
            model(tokens(1, 1), past_key_values=cache)
            sizes.append(cache.nbytes())
            assert cache.get_seq_length() == length + 1
    assert len(set(sizes)) == 1
    token = 2 * 2 * 2 * 8 * 8  # keys and values of 2 layers, 2 heads of 8 numbers of 8 bytes
    assert sizes[0] == (6 + 4) * token + 2 * 2 * 8 * 8  # z: 8 numbers a head


def test_a_cache_may_be_reset_and_used_again():
    model, ids = make("llama"), tokens(1, 12)
    with torch.no_grad(), less(model, kernels_of(model), TOVA(4)) as make_cache:
        cache = make_cache()
        _, first = generate(model, ids, past_key_values=cache)
        cache.reset()
        assert cache.nbytes() == cache.get_seq_length() == 0
        _, second = generate(model, ids, past_key_values=cache)
    assert torch.equal(first, second)


def test_the_model_is_itself_again_after_an_error():
    model, ids = make("llama"), tokens(1, 5)
    before = model(ids).logits
    with pytest.raises(ZeroDivisionError), less(model, None, Window(3)):
        raise ZeroDivisionError
    assert torch.equal(model(ids).logits, before)


def test_kernels_come_back_from_their_file(tmp_path):
    model = make("llama")
    kernels = kernels_of(model)
    kernels.save(tmp_path / "kernels.safetensors")
    loaded = LessKernels.load(tmp_path / "kernels.safetensors")
    assert loaded.geometry == kernels.geometry
    assert loaded.layers == [0, 1]
    for name, tensor in kernels.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "kernels.safetensors").read_bytes()[:-9])
    with pytest.raises(FileFormatError, match=r"broken\.safetensors"):
        LessKernels.load(tmp_path / "broken.safetensors")


def test_kernels_of_some_layers_leave_the_others_to_the_policy():
    model = make("llama")
    kernels = LessKernels.from_config(model.config, hidden=8, layers=[1]).double()
    with torch.no_grad(), less(model, kernels, Window(4)) as make_cache:
        cache = make_cache()
        model(tokens(1, 9), past_key_values=cache)
    assert cache.layers[0].H is None
    assert cache.layers[1].H is not None


def compiled():
    model = make("llama")
    return torch.compile(model)


def training():
    return make("llama").train()


def flex():
    model = make("llama")
    model.set_attn_implementation("flex_attention")
    return model


REFUSED = {
    "Falcon": (lambda: make("falcon"), "attention of its own"),
    "softcapping": (lambda: make("gemma2"), "caps its attention logits"),
    "all layers slide": (lambda: make("mistral"), "bounded already"),
    "compiled": (compiled, "compiled"),
    "training": (training, r"call model\.eval"),
    "another attention": (flex, "flex_attention"),
    "no model": (lambda: torch.nn.Linear(2, 2), "Linear has attention of its own"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_less_cannot_serve_is_refused_at_the_door(case):
    factory, message = REFUSED[case]
    with pytest.raises(InvalidArgumentError, match=message), less(factory(), None, Window(3)):
        raise AssertionError


def test_kernels_of_another_model_are_refused():
    kernels = LessKernels.from_config(make("llama").config, hidden=8)
    with pytest.raises(InvalidArgumentError, match="kv_heads 2, not 4"), less(make("gpt2"), kernels, Window(3)):
        raise AssertionError
    with pytest.raises(InvalidArgumentError, match=r"kernels\.to"), less(make("llama"), kernels.to("meta"), Window(3)):
        raise AssertionError
    with pytest.raises(InvalidArgumentError, match=r"layers \[0\] have a sliding window"):
        LessKernels.from_config(make("gemma3-mixed").config, layers=[0]).check_fits(make("gemma3-mixed").config)
    with pytest.raises(InvalidArgumentError, match="layers 0 to 1"):
        LessKernels.from_config(make("llama").config, layers=[0, 2])


@pytest.mark.parametrize("options", [{}, {"use_cache": False}, {"cache_implementation": "static"}], ids=str)
def test_a_pass_with_another_cache_is_refused(options):
    model = make("llama")
    with less(model, None, Window(3)), pytest.raises(InvalidArgumentError, match="past_key_values=make_cache"):
        model.generate(tokens(1, 5), max_new_tokens=3, **options)


def test_decoding_that_takes_tokens_back_is_refused():
    model, ids = make("llama"), tokens(1, 3).repeat(1, 3)
    with less(model, None, Window(3)) as make_cache:
        for options in ({"assistant_model": make("llama", seed=1)}, {"prompt_lookup_num_tokens": 3}):
            with pytest.raises(InvalidArgumentError, match="take tokens back"):
                model.generate(ids, max_new_tokens=6, past_key_values=make_cache(), **options)


def test_right_padding_is_refused():
    model = make("llama")
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    with less(model, None, Window(3)) as make_cache, pytest.raises(InvalidArgumentError, match="padding_side"):
        model(tokens(2, 5), attention_mask=mask, past_key_values=make_cache())
