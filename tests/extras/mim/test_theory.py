"""The one-layer model: what it computes, by loops; that its two forms are one; and predictions A1 to A7 of the theory."""

import itertools
import math

import pytest

pytest.importorskip("torch")

import torch

from robust_rl.errors import InvalidArgumentError, UnknownNameError
from robust_rl.extras.mim import (
    ContrastiveObjective,
    CorrelationMIM,
    MIMObjective,
    MIMTraining,
    OneLayerMIM,
    SpatialPatchData,
    attention_report,
    gap_sizes,
    random_masks,
    train,
)
from robust_rl.extras.mim.objectives import batch_floor
from robust_rl.extras.mim.roles import Roles

SIZES = {"positive": (24, 2), "negative": (7, 4)}


def small(**options):
    return SpatialPatchData(9, 2, 4, 2, **({"dtype": torch.float64} | options))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def history(training):
    lines = []
    while not training.done:
        lines.append(training.step())
    return lines


# data


@pytest.mark.parametrize("layout", ["scattered", "connected"])
@pytest.mark.parametrize(("size", "sizes"), [((36, 3, 24, 2), [24] + [2] * 6), ((36, 2, 7, 4), [7, 5] + [4] * 6)])
def test_areas_partition_the_patches(size, sizes, layout):
    data = SpatialPatchData(*size, layout=layout)
    assert data.areas.shape == (size[1], 36)
    for cut in data.areas:
        assert cut.bincount().tolist() == sizes


def test_connected_areas_are_connected():
    for cut in SpatialPatchData(64, 5, 30, 4, layout="connected").areas:
        grid = cut.reshape(8, 8)
        for j in range(int(cut.max()) + 1):
            left = {tuple(place) for place in (grid == j).nonzero().tolist()}
            todo = [left.pop()]
            while todo:
                a, b = todo.pop()
                near = {(a + 1, b), (a - 1, b), (a, b + 1), (a, b - 1)} & left
                left -= near
                todo += near
            assert not left


def test_patches_of_an_area_show_its_feature():
    data = small(dim=20, z_range=(0.5, 2.0))
    assert torch.allclose(data.features @ data.features.T, torch.eye(data.n_areas * 2, dtype=torch.float64), atol=1e-12)
    batch = data.sample(50, generator())
    for b, p in itertools.product(range(50), range(9)):
        j = int(data.areas[batch["cluster"][b], p])
        assert batch["area"][b, p] == j
        expected = batch["z"][b, j] * data.features[int(batch["cluster"][b]) * data.n_areas + j]
        assert torch.equal(batch["x"][b, p], expected)
    assert batch["z"].min() >= 0.5
    assert 1.9 < batch["z"].max() <= 2.0
    noisy = small(noise=0.1).sample(2000, generator())["x"] - small().sample(2000, generator())["x"]
    assert noisy.std().item() == pytest.approx(0.1, rel=0.02)


def test_information_gap():
    for gap, value in (("positive", 0.58), ("negative", -0.30)):
        assert SpatialPatchData(36, 3, *SIZES[gap]).information_gap == pytest.approx(value, abs=0.005)
    # 81 patches, 27 = 81^(3/4) global, 3 = 81^(1/4) local
    assert SpatialPatchData(81, 1, 27, 3).information_gap == pytest.approx(0.75 - 2 * 0.25)


def test_masks_hide_a_uniform_subset():
    masks = random_masks(20_000, 9, 1 / 3, generator())
    assert (masks.sum(1) == 3).all()
    pairs = (masks[:, 0] & masks[:, 8]).double().mean().item()
    assert pairs == pytest.approx(3 * 2 / (9 * 8), abs=4 * math.sqrt(1 / 12 / 20_000))
    with pytest.raises(InvalidArgumentError, match="hides 9 of 9"):
        random_masks(2, 9, 0.99, generator())


@pytest.mark.parametrize("gap", SIZES)
def test_floor_in_closed_form_is_the_mean_of_batch_floors(gap):
    data = SpatialPatchData(36, 3, *SIZES[gap])
    chance = generator()
    floors = torch.tensor([batch_floor(data.sample(500, chance), random_masks(500, 36, 0.5, chance)) for _ in range(40)])
    assert data.floor() == pytest.approx(floors.mean().item(), abs=4 * floors.std().item() / math.sqrt(40))


def test_batch_floor_by_hand():
    data = small()
    batch, mask = data.sample(30, generator()), random_masks(30, 9, 0.5, generator(1))
    total = 0.0
    for b in range(30):
        for p in range(9):
            mates = [q for q in range(9) if batch["area"][b, q] == batch["area"][b, p]]
            if all(mask[b, q] for q in mates):
                total += 0.5 * batch["z"][b, batch["area"][b, p]].item() ** 2
    assert batch_floor(batch, mask) == pytest.approx(total / 30, rel=1e-12)
    assert total > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_patches": 35}, "square number"),
        ({"n_clusters": 0}, "at least 1"),
        ({"global_size": 35}, "don't fit 36 patches"),
        ({"local_size": 30}, "don't fit 36 patches"),
        ({"z_range": (0, 1)}, "0 < low <= high"),
        ({"noise": -1}, "at least 0"),
        ({"dim": 5}, "21 features"),
        ({"layout": "round"}, "scattered"),
    ],
)
def test_data_are_checked_at_the_door(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        SpatialPatchData(**arguments)


# model


@pytest.mark.parametrize("keys", ["all", "visible"])
def test_forward_by_loops(keys):
    """Equations 1 and 2 as they stand, with e_p of any orientation, and no line shared with the model."""
    data = small(dim=11)
    model = OneLayerMIM(data, keys=keys)
    with torch.no_grad():
        model.Q.normal_(generator=generator(3))
    batch, mask = data.sample(4, generator()), random_masks(4, 9, 0.5, generator(1))
    recon, attn = model(batch["x"], mask)
    for b, p in itertools.product(range(4), range(9)):
        scores = []
        for q in range(9):
            token = torch.zeros(20, dtype=torch.float64)
            token[11 + q] = 1
            if not mask[b, q]:
                token[:11] = batch["x"][b, q]
            scores.append(sum(model.Q[11 + p, i] * token[i] for i in range(20)).exp().item())
            if keys == "visible" and mask[b, q]:
                scores[-1] = 0.0
        weights = [score / sum(scores) for score in scores]
        assert attn[b, p].tolist() == pytest.approx(weights, abs=1e-12)
        filled = sum(weights[q] * batch["x"][b, q] for q in range(9) if not mask[b, q])
        assert recon[b, p].tolist() == pytest.approx(filled.tolist(), abs=1e-12)


@pytest.mark.parametrize("keys", ["all", "visible"])
@pytest.mark.parametrize(
    "objective", [MIMObjective(0.4), ContrastiveObjective(), ContrastiveObjective(views="independent", detach=False)]
)
def test_descent_on_q_is_descent_on_the_correlations(objective, keys):
    """In any orientation of the features; noise would have parts that no feature sees."""
    data = small(dim=12)
    forms = [OneLayerMIM(data, keys=keys), CorrelationMIM(data, keys=keys)]
    logs = [history(MIMTraining(form, data, objective, learning_rate=10.0, steps=25, batch_size=8)) for form in forms]
    assert torch.allclose(forms[0].phi(), forms[1].phi(), atol=1e-11)
    assert torch.allclose(forms[0].upsilon(), forms[1].upsilon(), atol=1e-11)
    assert forms[1].phi().abs().max() > 0.1
    for one, other in zip(*logs, strict=True):
        assert one == pytest.approx(other, abs=1e-10)


def test_a_step_descends_by_the_gradient_of_eq_4():
    """The gradient by finite differences of a loss in loops."""
    data = small()
    model = CorrelationMIM(data)
    with torch.no_grad():
        model.Phi.normal_(generator=generator(1))
        model.Upsilon.normal_(generator=generator(2))

    def loss(phi, upsilon):
        chance = generator(5)
        batch = data.sample(3, chance)
        mask = random_masks(3, 9, 0.5, chance)
        total = 0.0
        for b, p in itertools.product(range(3), range(9)):
            if not mask[b, p]:
                continue
            k, area, z = int(batch["cluster"][b]), batch["area"][b], batch["z"][b]
            scores = torch.stack(
                [upsilon[p, q] + (0 if mask[b, q] else z[area[q]] * phi[p, k * data.n_areas + int(area[q])]) for q in range(9)]
            )
            filled = sum(a * batch["x"][b, q] for q, a in enumerate(scores.softmax(0)) if not mask[b, q])
            total += 0.5 * (filled - batch["x"][b, p]).square().sum()
        return total / 3

    phi, upsilon = model.Phi.detach().clone(), model.Upsilon.detach().clone()
    training = MIMTraining(model, data, MIMObjective(), learning_rate=0.1, steps=1, batch_size=3, seed=5)
    assert training.step()["train/loss"] == pytest.approx(loss(phi, upsilon).item(), rel=1e-12)
    for i, j in ((0, 0), (3, 4), (8, 5)):
        nudge = torch.zeros_like(phi)
        nudge[i, j] = 1e-6
        slope = (loss(phi + nudge, upsilon) - loss(phi - nudge, upsilon)).item() / 2e-6
        assert (phi[i, j] - model.Phi[i, j]).item() == pytest.approx(0.1 * slope, abs=1e-9)
    nudge = torch.zeros_like(upsilon)
    nudge[2, 7] = 1e-6
    slope = (loss(phi, upsilon + nudge) - loss(phi, upsilon - nudge)).item() / 2e-6
    assert (upsilon[2, 7] - model.Upsilon[2, 7]).item() == pytest.approx(0.1 * slope, abs=1e-9)


def test_contrastive_loss_by_loops():
    data = small()
    model = OneLayerMIM(data)
    with torch.no_grad():
        model.Q.normal_(generator=generator(3))
    batch = data.sample(5, generator())
    loss, _ = ContrastiveObjective(temperature=0.7)(model, batch, generator(4))
    mask = random_masks(5, 9, 0.5, generator(4))
    a, b = (model(batch["x"], m)[0].mean(1) for m in (mask, ~mask))
    total = 0.0
    for i in range(5):
        similar = [math.exp((a[i] @ b[j]).item() / 0.7) for j in range(5)]
        total -= math.log(similar[i] / sum(similar)) / 5
    assert loss.item() == pytest.approx(total, rel=1e-12)


def test_roles_by_loops():
    data = small()
    model = CorrelationMIM(data)
    with torch.no_grad():
        model.Phi.normal_(generator=generator(1))
        model.Upsilon.normal_(generator=generator(2))
    found = {name: [] for name in Roles(data).means(model)}
    for k, p in itertools.product(range(2), range(9)):
        own = int(data.areas[k, p])
        kind = "global" if own == 0 else "local"
        for j in range(data.n_areas):
            other = "own" if j == own else "global" if j == 0 else "local" if kind == "global" else "other"
            found[f"phi/{kind}_to_{other}"].append(model.Phi[p, k * data.n_areas + j].item())
        for q in set(range(9)) - {p}:
            j = int(data.areas[k, q])
            other = "own" if j == own else "global" if j == 0 else "local" if kind == "global" else "other"
            found[f"upsilon/{kind}_to_{other}"].append(model.Upsilon[p, q].item())
    found["upsilon/self"] = model.Upsilon.diagonal().tolist()
    for name, value in Roles(data).means(model).items():
        assert value == pytest.approx(sum(found[name]) / len(found[name]), abs=1e-12), name


def test_report_of_an_untrained_model_is_chance():
    data = SpatialPatchData(36, 3, 7, 4)
    for queries in ("masked", "all"):
        report = attention_report(OneLayerMIM(data), data, queries=queries)
        assert report.own_area == pytest.approx(report.chance_own_area, rel=1e-5)
        assert report.to_global == pytest.approx(report.chance_to_global, rel=1e-5)
        assert report.global_own_area == pytest.approx(report.chance_global_own_area, rel=1e-5)
        assert report.cosine == pytest.approx(1.0)
    with pytest.raises(InvalidArgumentError, match="queries"):
        attention_report(OneLayerMIM(data), data, queries="some")


def test_training_is_checked_at_the_door():
    data = small()
    for options, message in (
        ({"learning_rate": 0}, "above 0"),
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            MIMTraining(OneLayerMIM(data), data, MIMObjective(), **options)
    with pytest.raises(UnknownNameError, match="known are mae, contrastive"):
        train(data, "masked")
    with pytest.raises(InvalidArgumentError, match="complementary"):
        ContrastiveObjective(views="both")
    with pytest.raises(InvalidArgumentError, match="temperature"):
        ContrastiveObjective(temperature=0)
    with pytest.raises(InvalidArgumentError, match="visible"):
        OneLayerMIM(data, keys="none")


# predictions


def masked_autoencoding(gap, seed, n_patches=36, keys="all", layout="scattered"):
    data = SpatialPatchData(n_patches, 3, *gap_sizes(gap, n_patches), layout=layout, seed=seed)
    training = MIMTraining(OneLayerMIM(data, keys=keys), data, MIMObjective(), seed=seed)
    return history(training), attention_report(training.model, data, seed=100 + seed)


def check_masked_autoencoding(gap, lines, report):
    assert report.loss < report.floor + 0.05 * report.zero_loss, "A1"
    assert report.own_area > 0.9, "A2"
    assert report.global_own_area > 0.9, "A3"
    assert report.cosine < 0.6, "A7"
    own, to_global = ([line[f"phi/local_to_{name}"] for line in lines] for name in ("own", "global"))
    if gap == "positive":
        first = next(i for i, value in enumerate(own) if value >= 0.25)
        assert -to_global[first] > own[first], "A4: the global correlation goes down before the target's grows"
    else:
        first = next(i for i, value in enumerate(own) if value >= 1.0)
        assert abs(to_global[first]) < 0.5 * own[first], "A5: the target's grows from the start, the global one moves little"
        assert abs(to_global[19]) < own[19], "A5, at step 20"


def check_contrastive(report):
    assert report.to_global > 1.5 * report.chance_to_global, "A6: above chance"
    assert report.to_global > 3 * report.own_area, "A6: above the own area"
    assert report.own_area < report.chance_own_area, "A6: the own area falls below chance"
    assert report.cosine > 0.9, "A7"


def contrastive(gap, seed, steps=None):
    data = SpatialPatchData(36, 3, *SIZES[gap], seed=seed)
    return attention_report(train(data, "contrastive", steps=steps, seed=seed).model, data, queries="all", seed=100 + seed)


@pytest.mark.parametrize("gap", SIZES)
def test_predictions(gap):
    check_masked_autoencoding(gap, *masked_autoencoding(gap, 0))
    check_contrastive(contrastive(gap, 0, steps=200))  # a third of the usual: enough for the order


def test_contrastive_rows_are_the_same_by_symmetry():
    """With the mean over patches as representation no row differs from another, if none did at first; whatever the data."""
    data = small()
    model = train(data, ContrastiveObjective(detach=False), steps=20).model
    assert torch.allclose(model.Q[data.dim :], model.Q[data.dim :][:1].expand(9, -1), atol=1e-10)
    assert model.phi().abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("gap", SIZES)
def test_predictions_over_seeds(gap, seed):
    check_masked_autoencoding(gap, *masked_autoencoding(gap, seed))
    check_masked_autoencoding(gap, *masked_autoencoding(gap, seed, layout="connected"))
    check_contrastive(contrastive(gap, seed))


@pytest.mark.slow
@pytest.mark.parametrize("gap", SIZES)
def test_predictions_with_64_patches(gap):
    check_masked_autoencoding(gap, *masked_autoencoding(gap, 0, n_patches=64))


@pytest.mark.slow
@pytest.mark.parametrize("gap", SIZES)
def test_area_wide_attention_with_visible_keys_alone(gap):
    _, report = masked_autoencoding(gap, 0, keys="visible")
    assert report.own_area > 0.9
    assert report.global_own_area > 0.9
