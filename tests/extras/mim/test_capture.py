"""Captured maps are the softmax that a model computes, by hand; and a model is left as it was."""

import functools
import math
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.mim import (
    CorrelationMIM,
    OneLayerMIM,
    SpatialPatchData,
    attention_diversity,
    attention_maps,
    capture_attention,
    compare,
    random_masks,
)
from tests.extras import vision

IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
SIZES = {
    "image_size": 8, "patch_size": 2, "num_channels": 1, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 16,
}  # fmt: skip


def of_transformers(kind, **options):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind.removesuffix('ForPreTraining').removesuffix('Model')}Config")
    return getattr(transformers, kind)._from_config(config(**SIZES | options), attn_implementation="eager").eval()


def vit():
    return of_transformers("ViTModel")


def vit_mae():
    decoder = {"decoder_hidden_size": 8, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    return of_transformers("ViTMAEForPreTraining", decoder_intermediate_size=16, mask_ratio=0.5, **decoder)


def of_timm():
    timm = vision.timm()
    torch.manual_seed(0)
    return timm.models.VisionTransformer(
        img_size=8, patch_size=2, in_chans=1, embed_dim=8, depth=2, num_heads=2, num_classes=3, reg_tokens=1
    ).eval()


class Plain(nn.Module):
    """Two encoder layers of torch's own, of which evaluation mode would fuse each into one call."""

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        layer = functools.partial(nn.TransformerEncoderLayer, 8, 2, 16, batch_first=True, **options)
        self.embed, self.blocks = nn.Conv2d(1, 8, 2, 2), nn.ModuleList([layer(), layer()])
        self.eval()

    def forward(self, images):
        x = self.embed(images).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return x


def split_heads(x):
    return x.unflatten(-1, (2, 4)).transpose(1, 2)


def softmax_by_hand(q, k):
    """Softmax of scaled products, in float64 and without torch's softmax, from (B, T, 8) each."""
    q, k = (np.asarray(split_heads(x.detach()).double()) for x in (q, k))
    weights = np.exp(q @ k.swapaxes(-1, -2) / math.sqrt(4))
    return torch.from_numpy(weights / weights.sum(-1, keepdims=True))


def inputs_of(model, names, images):
    """Return what enters the named modules in a forward pass."""
    seen = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _m, args, kwargs, _out, name=name: seen.update({name: args[0] if args else next(iter(kwargs.values()))}),
            with_kwargs=True,
        )
        for name in names
    ]
    torch.manual_seed(5)
    model(images)
    for handle in handles:
        handle.remove()
    return seen


def by_hand_transformers(module, x):
    return softmax_by_hand(module.q_proj(x), module.k_proj(x))


def by_hand_timm(module, x):
    q, k, _ = module.qkv(x).chunk(3, -1)
    return softmax_by_hand(q, k)


def by_hand_torch(module, x):
    q, k, _ = (x @ module.in_proj_weight.T + module.in_proj_bias).chunk(3, -1)
    return softmax_by_hand(q, k)


MODELS = {
    "ViT": (vit, by_hand_transformers, ["layers.0.attention", "layers.1.attention"]),
    "ViTMAE": (
        vit_mae,
        by_hand_transformers,
        ["vit.layers.0.attention", "vit.layers.1.attention", "decoder.decoder_layers.0.attention"],
    ),
    "timm": (of_timm, by_hand_timm, ["blocks.0.attn", "blocks.1.attn"]),
    "torch": (Plain, by_hand_torch, ["blocks.0.self_attn", "blocks.1.self_attn"]),
    "torch, norm first": (functools.partial(Plain, norm_first=True), by_hand_torch, ["blocks.0.self_attn", "blocks.1.self_attn"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_maps_are_the_softmax_by_hand(name):
    make, by_hand, layers = MODELS[name]
    model = make()
    inputs = inputs_of(model, layers, IMAGES)
    torch.manual_seed(5)
    with capture_attention(model) as maps:
        model(IMAGES)
    assert list(maps) == layers
    for layer in layers:
        assert not maps[layer].requires_grad
        expected = by_hand(model.get_submodule(layer), inputs[layer])
        assert torch.allclose(maps[layer].double(), expected, atol=1e-6), layer
        assert maps[layer].std() > 0


@pytest.mark.parametrize("name", MODELS)
def test_capture_changes_no_output(name):
    model = MODELS[name][0]()

    def output():
        torch.manual_seed(5)
        with torch.no_grad():
            result = model(IMAGES)
        return next(iter(result.values())) if hasattr(result, "values") and not isinstance(result, torch.Tensor) else result

    before = output()
    with capture_attention(model):
        within = output()
    assert torch.allclose(before, within, atol=1e-6)
    assert torch.equal(before, output())


def state(model):
    """Hooks and flags of all modules."""
    return [
        (
            name,
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            getattr(module, "fused_attn", None),
            module.training,
            vars(module).get("forward"),
        )
        for name, module in model.named_modules()
    ]


class Stop(Exception):
    pass


def stop_after(model):
    model(IMAGES)
    raise Stop


@pytest.mark.parametrize("name", MODELS)
def test_hooks_and_flags_are_restored_whatever_happens(name):
    model = MODELS[name][0]()
    before = state(model)
    with capture_attention(model):
        assert state(model) != before
    assert state(model) == before
    with pytest.raises(Stop), capture_attention(model):
        stop_after(model)
    assert state(model) == before
    with pytest.raises((RuntimeError, ValueError, IndexError)), capture_attention(model):
        model(IMAGES[:, :, :, 0])  # fails within the model
    assert state(model) == before
    with pytest.raises(InvalidArgumentError, match="no attention module"), capture_attention(model, modules=["nowhere"]):
        pass
    assert state(model) == before


def test_an_error_while_hooks_are_set_leaves_none_behind():
    """The first of two transformers models is eager, the second is not."""
    transformers = pytest.importorskip("transformers")
    first, second = vit(), transformers.ViTModel._from_config(transformers.ViTConfig(**SIZES), attn_implementation="sdpa")
    both = nn.ModuleList([first, second])
    before = state(both)
    with pytest.raises(InvalidArgumentError, match='attn_implementation="eager"'), capture_attention(both):
        pass
    assert state(both) == before
    with capture_attention(first) as maps:
        first(IMAGES)
    assert len(maps) == 2


def test_timm_flags_that_were_off_stay_off():
    model = of_timm()
    model.blocks[0].attn.fused_attn = False
    with capture_attention(model):
        pass
    assert [block.attn.fused_attn for block in model.blocks] == [False, True]


def test_chosen_modules_alone():
    model = vit_mae()
    with capture_attention(model, modules=["vit.layers.1.attention"]) as maps:
        model(IMAGES)
    assert list(maps) == ["vit.layers.1.attention"]
    assert maps["vit.layers.1.attention"].shape == (3, 2, 9, 9), "a class token and the visible half of 16 patches"


@pytest.mark.parametrize("options", [{}, {"need_weights": False}, {"average_attn_weights": False}])
@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention_gives_its_caller_what_was_asked_for(options, batch_first):
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=batch_first)
    x = torch.randn(3, 5, 8)
    expected, weights = module(x, x, x, **options)
    with capture_attention(module) as maps:
        mixed, found = module(x, x, x, **options)
    assert torch.allclose(mixed, expected, atol=1e-6)
    assert (found is None) == (weights is None)
    assert found is None or torch.allclose(found, weights, atol=1e-6)
    (attn,) = maps.values()
    assert attn.shape == ((3, 2, 5, 5) if batch_first else (5, 2, 3, 3))
    with capture_attention(module) as maps:
        module(x[0], x[0], x[0], None, False)  # a sequence alone, and arguments by position
    assert next(iter(maps.values())).shape == (1, 2, 5, 5)


@pytest.mark.parametrize("form", [OneLayerMIM, CorrelationMIM])
def test_one_layer_models_are_captured(form):
    data = SpatialPatchData(9, 2, 4, 2)
    model = form(data)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    x = data.sample(4, torch.Generator().manual_seed(0))["x"]
    mask = random_masks(4, 9, 0.5, torch.Generator().manual_seed(0))
    with capture_attention(model) as maps:
        _, attn = model(x, mask)
    assert torch.equal(maps["attention"][:, 0], attn)
    (whole,) = attention_maps(model, x, batch_size=4)
    for i, one in enumerate(attention_maps(model, x)):
        assert torch.allclose(one["attention"][0], whole["attention"][i], atol=1e-6), "images don't see each other"
    with torch.no_grad():
        hidden = random_masks(1, 9, 0.5, torch.Generator().manual_seed(0)).expand(4, -1)
        assert torch.equal(whole["attention"][:, 0], model(x, hidden)[1])


def test_dropout_is_told():
    model = of_transformers("ViTModel", attention_probs_dropout_prob=0.5).train()
    with pytest.raises(InvalidArgumentError, match=r"model\.eval\(\)"), capture_attention(model):
        model(IMAGES)
    with pytest.raises(InvalidArgumentError, match="no attention module"), capture_attention(nn.Linear(2, 2)):
        pass


def test_a_vit_mae_is_seen_whole_and_in_order():
    """As by hand: nothing masked, patches in their order, the encoder alone, and the ratio back afterwards."""
    model = vit_mae().train()
    model.decoder.eval()
    before = state(model)
    stream = list(attention_maps(model, IMAGES, batch_size=2))
    assert [next(iter(maps.values())).shape for maps in stream] == [(2, 2, 17, 17), (1, 2, 17, 17)]
    assert list(stream[0]) == ["layers.0.attention", "layers.1.attention"]
    assert model.config.mask_ratio == 0.5
    assert state(model) == before
    embeddings = model.vit.embeddings
    patches = embeddings.patch_embeddings(IMAGES) + embeddings.position_embeddings[:, 1:]
    first = (embeddings.cls_token + embeddings.position_embeddings[:, :1]).expand(3, -1, -1)
    layer = model.vit.layers[0]
    x = layer.layernorm_before(torch.cat((first, patches), 1))
    expected = by_hand_transformers(layer.attention, x)
    assert torch.allclose(stream[0]["layers.0.attention"].double(), expected[:2], atol=1e-6)


def test_masked_maps_go_back_to_the_numbers_of_patches():
    """What the documentation says of ids_restore: row i of a masked map is that of patch argsort(ids_restore)[i]."""
    model = vit_mae()
    with capture_attention(model, modules=["vit.layers.0.attention"]) as maps, torch.no_grad():
        output = model(IMAGES)
    kept = output.ids_restore.argsort(1)[:, :8]
    assert (output.mask.gather(1, kept) == 0).all()
    embeddings, layer = model.vit.embeddings, model.vit.layers[0]
    patches = (embeddings.patch_embeddings(IMAGES) + embeddings.position_embeddings[:, 1:]).gather(
        1, kept[..., None].expand(-1, -1, 8)
    )
    x = layer.layernorm_before(patches)
    found = maps["vit.layers.0.attention"][:, :, 1:, 1:]
    expected = by_hand_transformers(layer.attention, x)
    assert torch.allclose((found / found.sum(-1, keepdim=True)).double(), expected, atol=1e-6)


@pytest.mark.parametrize(("kind", "prefix"), [("Dinov2Model", 1), ("DeiTModel", 2), ("IJepaModel", 0)])
def test_other_vision_transformers_of_transformers(kind, prefix):
    model = of_transformers(kind)
    with torch.no_grad(), capture_attention(model) as maps:
        model(IMAGES)
    with torch.no_grad():
        expected = model(IMAGES, output_attentions=True).attentions
    assert len(maps) == 2
    for found, attention in zip(maps.values(), expected, strict=True):
        assert torch.equal(found, attention)
    alone = attention_diversity(expected, prefix_tokens=prefix)
    assert np.allclose(compare({kind: model}, IMAGES).found[kind]["cos"].per_image, alone.per_image, atol=1e-6)


def test_compare_models_of_different_libraries():
    models = {"ViT": vit(), "ViTMAE": vit_mae(), "timm": of_timm()}
    found = compare(models, IMAGES, measures=("cos", "distance"), patch_size=2.0)
    assert {(row["model"], row["measure"], row["layer"]) for row in found.rows()} >= {("timm", "cos", "blocks.0.attn")}
    assert len(found.rows()) == 3 * 2 * 2
    with capture_attention(models["timm"]) as maps:
        models["timm"](IMAGES)
    alone = attention_diversity(maps, prefix_tokens=2)  # a class token and a register
    assert np.allclose(found.found["timm"]["cos"].per_image, alone.per_image, atol=1e-6)
    with pytest.raises(InvalidArgumentError, match="give prefix_tokens"):
        compare({"plain": Plain()}, IMAGES)
    assert compare({"plain": Plain()}, IMAGES, prefix_tokens=0).table().columns[0] == "model"
    with pytest.raises(InvalidArgumentError, match="0 models"):
        compare({}, IMAGES)
    batches = compare({"ViT": models["ViT"]}, [IMAGES[:2], IMAGES[2:]], measures=("cos",)).found["ViT"]["cos"]
    assert np.allclose(batches.per_image, found.found["ViT"]["cos"].per_image, atol=1e-6)
    with pytest.raises(InvalidArgumentError, match="no images for ViTMAE"):
        compare(models, iter([IMAGES]), measures=("cos",))  # which the first model used up


def test_a_comparison_is_drawn_and_framed():
    pytest.importorskip("matplotlib")
    data = SpatialPatchData(9, 2, 4, 2)
    x = data.sample(4, torch.Generator().manual_seed(0))["x"]
    found = compare({"one": OneLayerMIM(data), "other": CorrelationMIM(data)}, x)
    assert len(found.plot().axes) == 4
    assert found.found["one"]["cos"].mean.item() == pytest.approx(1.0), "nothing is learned yet"
    if find_spec("pandas") is not None:
        assert list(found.frame()) == ["model", "measure", "layer", "mean", "standard_error"]
