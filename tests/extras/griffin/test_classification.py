"""The last token through the others' neurons, against blocks computed by hand."""

import pytest

pytest.importorskip("transformers")

import torch

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.griffin import griffin
from tests.extras.griffin import oracle
from tests.extras.tiny_llm import FAMILIES, make, tokens


def expected(reference, row):
    """Return the logits and sets of one input: layer by layer, for a layer's Z depends on those before it being masked."""
    sets = []
    reference.masks = [None] * 2
    for layer in range(2):
        reference.run(row[None])
        z = reference.z[layer].reshape(1, len(row), -1)
        sets.append(oracle.kept(z[:, :-1].numpy(), 24))
        mask = torch.ones(1, len(row), z.shape[-1], dtype=torch.float64)
        mask[0, -1] = 0.0
        mask[0, -1, sets[-1]] = 1.0
        reference.masks[layer] = mask
    return reference.run(row[None]).logits[0], sets


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "llama-bias"])
def test_only_the_last_token_loses_neurons(family):
    model, row = make(family), tokens(7)
    full = model(row[None]).logits[0]
    with griffin(model, 0.5, mode="classification") as g:
        logits = model(row[None]).logits[0]
    reference, sets = expected(oracle.Oracle(family, make(family)), row)
    torch.testing.assert_close(logits, reference, rtol=0, atol=1e-11)
    assert [kept[0].tolist() for kept in g.indices.values()] == sets
    torch.testing.assert_close(logits[:-1], full[:-1], rtol=0, atol=1e-12)
    assert not torch.allclose(logits[-1], full[-1], atol=1e-3)
    assert torch.equal(model(row[None]).logits[0], full), "and none after the block"


@pytest.mark.parametrize("side", ["left", "right"])
def test_inputs_of_a_batch_are_those_alone(side):
    model, rows = make("llama"), [tokens(7), tokens(4, seed=1), tokens(2, seed=2)]
    ids, mask = torch.zeros(3, 7, dtype=torch.long), torch.zeros(3, 7, dtype=torch.long)
    places = [slice(7 - len(row), 7) if side == "left" else slice(len(row)) for row in rows]
    for i, (row, place) in enumerate(zip(rows, places, strict=True)):
        ids[i, place], mask[i, place] = row, 1
    with griffin(model, 0.5, mode="classification") as g:
        # rotary angles are float32: the same places, or the last digits differ
        positions = (mask.cumsum(1) - 1).clamp_min(0)
        batch = model(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        together = {name: kept.tolist() for name, kept in g.indices.items()}
        for i, (row, place) in enumerate(zip(rows, places, strict=True)):
            alone = model(row[None]).logits[0]
            torch.testing.assert_close(batch[i, place], alone, rtol=0, atol=1e-11)
            assert all(kept[0].tolist() == together[name][i] for name, kept in g.indices.items())


def test_keeping_all_changes_no_bit_and_fixed_sets_are_taken():
    model, ids = make("mistral"), tokens(2, 6)
    full = model(ids).logits
    with griffin(model, 1.0, mode="classification"):
        assert torch.equal(model(ids).logits, full)
    with griffin(model, 0.5, "magnitude", mode="classification") as g:
        model(ids)
    assert all(torch.equal(*kept) for kept in g.indices.values())


def test_what_has_no_prompt_is_refused():
    model = make("llama")
    with griffin(model, 0.5, mode="classification"):
        with pytest.raises(InvalidArgumentError, match="at least two tokens"):
            model(tokens(1, 1))
        with pytest.raises(InvalidArgumentError, match="holds 3 tokens already"):
            model.generate(tokens(1, 3), max_new_tokens=3)
