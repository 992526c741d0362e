"""The small models on digits train, and can be compared; what they learn is in benchmarks/mim.md."""

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("sklearn")

import torch

from robust_rl.extras.mim import compare
from robust_rl.extras.mim.digits import (
    digit_images,
    patch_mean,
    sine_positions,
    train_contrastive,
    train_mae,
    untrained_vit,
    view,
)


@pytest.fixture(scope="module")
def images():
    return digit_images()[0][:96]


def test_views_are_the_image_moved(images):
    torch.manual_seed(0)
    seen = view(images)
    assert seen.shape == images.shape
    assert not torch.equal(seen, view(images))
    moved = [torch.roll(images, (y, x), (2, 3))[:, :, 1:-1, 1:-1] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    ink = [(shift + 1).flatten(1) for shift in moved]
    likeness = torch.stack([torch.cosine_similarity((seen + 1)[:, :, 1:-1, 1:-1].flatten(1), one) for one in ink])
    assert likeness.max(0).values.min() > 0.97


def test_a_new_vit_mae_knows_where_patches_are(images):
    """transformers 5.23 alone leaves all positions at zero, so that a hidden patch is filled in with the mean of all places."""
    model, _ = train_mae(images, 0)
    for table in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        assert torch.equal(table[0, 1:], sine_positions(4, 32))
    assert model.vit.embeddings.cls_token.std() > 0.1
    apart = torch.cdist(sine_positions(4, 32), sine_positions(4, 32)).numpy()
    assert (apart + 9 * np.eye(16)).min() > 0.5
    assert apart[0, 1] == pytest.approx(apart[5, 6], abs=1e-5)
    assert apart[0, 4] == pytest.approx(apart[0, 1], abs=1e-5), "rows and columns alike"
    assert apart[0, 15] > apart[0, 5] > apart[0, 1]


def test_both_train_and_are_compared(images):
    state = torch.get_rng_state()
    mae, losses = train_mae(images, 2)
    other, contrastive_losses = train_contrastive(images, 4)
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers are left alone"
    assert len(losses) == 2
    assert np.isfinite(losses + contrastive_losses).all()
    assert contrastive_losses[-1] < contrastive_losses[0]
    assert patch_mean(other(images)).shape == (96, 32)
    found = compare({"mae": mae, "contrastive": other, "untrained": untrained_vit()}, images[:4], patch_size=2.0, batch_size=2)
    assert len(found.rows()) == 3 * 4 * 2
    for measures in found.found.values():
        for diversity in measures.values():
            assert diversity.per_image.shape == (4, 2, 4)
            assert np.isfinite(diversity.per_image).all()
    again, _ = train_mae(images, 2)
    assert all(torch.equal(a, b) for a, b in zip(mae.parameters(), again.parameters(), strict=True))
