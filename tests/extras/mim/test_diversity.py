"""Measures against their definitions in double loops, unit facts, and streams in bounded memory."""

import math
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.errors import InvalidArgumentError, UnknownNameError
from robust_rl.extras.mim import attention_diversity
from robust_rl.extras.mim.measures import MEASURES


def rows(n, seed, heads=2, batch=2):
    """Attention of all degrees of sharpness, zeros among it."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(batch, heads, n, n)) * rng.choice([0.1, 1.0, 8.0], size=(batch, heads, 1, 1))
    weights = np.exp(scores) * (rng.random((batch, heads, n, n)) > 0.2)
    weights += 1e-3 * np.eye(n)
    return weights / weights.sum(-1, keepdims=True)


def h(p):
    return -sum(float(x) * math.log(float(x)) for x in p if x > 0)


def reference(a, measure):
    """A measure of one map (N, N), from its definition, in loops over pairs of rows."""
    n = len(a)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    if measure == "cos":
        norm = [math.sqrt(sum(float(x) ** 2 for x in row)) for row in a]
        return sum(sum(float(a[i][t] * a[j][t]) for t in range(n)) / norm[i] / norm[j] for i, j in pairs) / len(pairs)
    if measure == "jsd":
        total = 0.0
        for i, j in pairs:
            middle = (a[i] + a[j]) / 2
            for row in (a[i], a[j]):
                total += sum(0.5 * float(x) * math.log(float(x) / float(m)) for x, m in zip(row, middle) if x > 0)
        return total / len(pairs)
    if measure == "nmi":
        key = [sum(float(a[i][t]) for i in range(n)) / n for t in range(n)]
        joint = [(float(a[i][t]) / n, key[t]) for i in range(n) for t in range(n)]
        return sum(p * math.log(p / (q / n)) for p, q in joint if p > 0) / math.log(n)
    if measure == "entropy":
        return sum(h(row) for row in a) / n
    if measure == "distance":
        side = math.isqrt(n)
        place = [(t // side * 3.0, t % side * 3.0) for t in range(n)]
        return sum(float(a[i][j]) * math.dist(place[i], place[j]) for i in range(n) for j in range(n)) / n
    squares = np.linalg.eigvalsh(a.T @ a).clip(0)
    values = np.sqrt(squares)
    return math.exp(h(values / values.sum()))


@pytest.mark.parametrize("measure", MEASURES)
@given(n=st.sampled_from([4, 9]), seed=st.integers(0, 2**32 - 1), prefix=st.integers(0, 2), renormalize=st.booleans())
@settings(max_examples=12, deadline=None)
def test_measures_are_their_definitions(measure, n, seed, prefix, renormalize):
    attention = rows(n + prefix, seed)
    found = attention_diversity(
        torch.from_numpy(attention), measure, prefix_tokens=prefix, renormalize=renormalize, patch_size=3.0
    )
    kept = attention[..., prefix:, prefix:]
    kept = kept / kept.sum(-1, keepdims=True) if renormalize else kept
    if measure in ("jsd", "nmi", "entropy") and not renormalize and prefix:
        return  # entropies of what doesn't sum to 1 have no agreed meaning
    for b in range(2):
        for head in range(2):
            expected = reference(kept[b, head], measure)
            tolerance = 1e-6 if measure == "rank" else 1e-12  # the reference's squared singular values lose half of the digits
            assert found.per_image[b, 0, head] == pytest.approx(expected, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(
    ("measure", "alike", "identity"),
    [("cos", 1, 0), ("jsd", 0, math.log(2)), ("nmi", 0, 1), ("entropy", None, 0), ("distance", None, 0), ("rank", 1, 9)],
)
def test_unit_facts(measure, alike, identity):
    row = torch.from_numpy(rows(9, 3)[0, 0, 0]).expand(1, 1, 9, 9)
    if alike is not None:
        assert attention_diversity(row, measure, prefix_tokens=0).mean.item() == pytest.approx(alike, abs=1e-6)
    eye = torch.eye(9)[None, None]
    assert attention_diversity(eye, measure, prefix_tokens=0).mean.item() == pytest.approx(identity, abs=1e-12)


@pytest.mark.parametrize("measure", [name for name in MEASURES if name != "distance"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_the_order_of_patches_does_not_matter(measure, seed):
    attention = torch.from_numpy(rows(9, seed))
    order = torch.from_numpy(np.random.default_rng(seed).permutation(9))
    found = [
        attention_diversity(maps, measure, prefix_tokens=0).per_image
        for maps in (attention, attention[..., order, :][..., order])
    ]
    assert np.allclose(*found, rtol=0, atol=1e-9)


def test_means_and_errors_over_images_and_layers():
    maps = {"first": torch.from_numpy(rows(9, 1, batch=5)), "second": torch.from_numpy(rows(9, 2, heads=3, batch=5))}
    found = attention_diversity(maps, prefix_tokens=0)
    assert found.layers == ("first", "second")
    assert found.per_image.shape == (5, 2, 3)
    assert np.isnan(found.per_image[:, 0, 2]).all(), "the first layer has two heads"
    assert np.isfinite(found.per_image[:, 1]).all()
    values = found.per_image[:, 1, 2]
    assert found.mean[1, 2] == pytest.approx(values.mean())
    assert found.standard_error[1, 2] == pytest.approx(values.std(ddof=1) / math.sqrt(5))
    mean, error = found.by_layer()
    heads = found.per_image[:, 0, :2].mean(1)
    assert mean[0] == pytest.approx(heads.mean())
    assert error[0] == pytest.approx(heads.std(ddof=1) / math.sqrt(5))
    alone = attention_diversity(maps["first"][:1], prefix_tokens=0)
    assert np.isnan(alone.standard_error).all()


def test_a_stream_is_the_whole():
    maps = torch.from_numpy(rows(9, 1, batch=7))
    whole = attention_diversity([maps, maps], "jsd")
    parts = attention_diversity(iter([[part, part] for part in maps.split(3)]), "jsd")
    assert whole.layers == parts.layers == ("0", "1")
    assert np.array_equal(whole.per_image, parts.per_image)
    assert np.array_equal(attention_diversity(maps[:, 0], "jsd").per_image[:, 0, 0], whole.per_image[:, 0, 0])


def test_half_precision_is_measured_in_double():
    maps = torch.from_numpy(rows(9, 1))
    for kind, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 0.02)):
        found = attention_diversity(maps.to(kind), "nmi", prefix_tokens=0).mean
        assert found == pytest.approx(attention_diversity(maps, "nmi", prefix_tokens=0).mean, abs=tolerance)


def test_memory_does_not_grow_with_the_number_of_images():
    """NumPy's side; that of torch is measured in benchmarks/mim.md."""

    def peak(images):
        stream = (torch.full((1, 2, 17, 17), 1 / 17) for _ in range(images))
        tracemalloc.start()
        attention_diversity(stream)
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory

    peak(2)
    assert peak(400) - peak(40) < 360 * 1000


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((torch.zeros(1, 1, 4, 5),), {}, "not square"),
        ((torch.zeros(1, 1, 3, 3),), {"prefix_tokens": 2}, "no two patches"),
        ((torch.zeros(4, 4),), {}, "must be"),
        (((),), {}, 'attn_implementation="eager"'),
        ((iter([]),), {}, "no batch"),
        (({"a": torch.zeros(1, 1, 4, 4), "b": torch.zeros(2, 1, 4, 4)},), {}, "different numbers of images"),
        ((iter([{"a": torch.zeros(1, 1, 4, 4)}, {"b": torch.zeros(1, 1, 4, 4)}]),), {}, "has layers b"),
        ((torch.zeros(1, 1, 6, 6), "distance"), {"prefix_tokens": 0}, "no grid of 2 x 2"),
    ],
)
def test_what_cannot_be_measured_is_told(arguments, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        attention_diversity(*arguments, **options)
    with pytest.raises(UnknownNameError, match="nmi"):
        attention_diversity(torch.eye(4)[None, None], "mni")


def test_a_grid_that_is_no_square():
    eye = torch.zeros(1, 1, 6, 6)
    eye[..., 0] = 1  # all look at the first patch of 2 x 3
    found = attention_diversity(eye, "distance", prefix_tokens=0, grid=(2, 3), patch_size=2.0)
    assert found.mean.item() == pytest.approx(2 * (0 + 1 + 2 + 1 + math.sqrt(2) + math.sqrt(5)) / 6)
