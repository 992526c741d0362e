"""The objective against closed forms, the penalties against loops, and that training moves every parameter."""

import math
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("zuko")

import torch

from robust_rl.errors import CollapseWarning, InvalidArgumentError
from robust_rl.extras.matte import MatteConfig, TextMatte, VectorMatte, synthetic_sentences, synthetic_vectors
from robust_rl.extras.matte.influence import deviation, jacobian_columns, penalties
from robust_rl.extras.matte.training import MatteTraining

SMALL = {"c_dim": 3, "s_dim": 2, "enc_hidden": 8, "dec_hidden": 8, "embedding": 4, "domain_dim": 3, "flow_hidden": 8}


def vectors(**options):
    """An unfitted network on vectors, its data and its domains."""
    data = synthetic_vectors(64, seed=0)
    model = VectorMatte(MatteConfig(**SMALL | {"steps": 4, "batch_size": 32} | options))
    model.fit(data.x, data.domain, max_steps=0)
    return model.network, model._standardised(data.x), model._numbers([str(u) for u in data.domain])


def sentences(**options):
    data = synthetic_sentences(64, seed=0)
    model = TextMatte(MatteConfig(**SMALL | {"steps": 4, "batch_size": 32} | options))
    model.fit(data, max_steps=0)
    return model.network, model._ids(data.texts), model._numbers(data.domains)


@pytest.mark.parametrize("prior", ["standard", "domain"])
def test_with_identity_flows_the_kl_is_that_of_a_gaussian_vae(prior):
    network, _, _ = vectors(prior=prior)  # untrained flows are the identity
    mean, log_var = torch.tensor([[0.5, -1.0, 0.2, 0.9, -0.3]]), torch.tensor([[-1.0, 0.5, 0.0, -2.0, 0.3]])
    closed = 0.5 * (mean.square() + log_var.exp() - 1 - log_var)
    draws, generator = 100_000, torch.Generator().manual_seed(0)
    z = mean + (log_var / 2).exp() * torch.randn(draws, 5, generator=generator)
    c, s = network.split(z)
    rows = (tensor.expand(draws, -1) for tensor in (mean, log_var))
    with torch.no_grad():
        found = network.kl(c, s, c, torch.zeros(draws, dtype=torch.long), *rows)
    for kl, expected in zip(found, (closed[:, :3].sum(), closed[:, 3:].sum()), strict=True):
        error = kl.std() / math.sqrt(draws)
        assert abs(kl.mean() - expected) < 3 * error


def test_the_loss_is_the_weighted_sum_of_what_is_logged():
    options = {
        "penalty_course": "constant",
        "beta_c": 0.3,
        "beta_s": 0.7,
        "w_sparse": 0.11,
        "w_partial": 0.13,
        "w_mask": 0.17,
        "warm_up": 0.5,
        "steps": 8,
    }
    network, data, domain = vectors(**options)
    training = MatteTraining(network, data, domain)
    for _ in range(3):
        found = {name.removeprefix("train/"): value for name, value in training.step().items()}
    penalty = 0.11 * found["sparse"] + 0.13 * found["partial"]
    expected = found["reconstruction"] + 0.17 * found["mask"]
    expected += found["anneal"] * (0.3 * found["kl_c"] + 0.7 * found["kl_s"]) + found["penalty"] * penalty
    assert found["anneal"] == pytest.approx(0.1 + 0.9 * 2 / 4)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


def test_rare_jacobians_weigh_as_much_on_average():
    network, data, domain = vectors(jacobian_every=3, w_sparse=0.5, w_partial=0.0, warm_up=0.0)
    training = MatteTraining(network, data, domain)
    found = [training.step() for _ in range(4)]
    assert ["train/sparse" in numbers for numbers in found] == [True, False, False, True]
    penalty = {name: torch.tensor(1.0) for name in ("reconstruction", "kl_c", "kl_s", "mask", "sparse", "partial")}
    without = {name: value for name, value in penalty.items() if name not in ("sparse", "partial")}
    assert network.loss(penalty, 1.0, 1.0) - network.loss(without, 1.0, 1.0) == pytest.approx(3 * 0.5)


@pytest.mark.parametrize("make", [vectors, sentences])
def test_every_parameter_is_updated(make):
    """The authors' program steps no parameter of its flows."""
    network, data, domain = make(w_sparse=0.1, w_partial=0.1, w_mask=0.1)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    training = MatteTraining(network, data, domain)
    for _ in range(3):
        training.step()
    still = [name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])]
    assert still == []
    assert {name.split(".")[0] for name in before} == {"encoder", "decoder", "prior", "importance"}


@pytest.mark.parametrize("make", [vectors, sentences])
def test_forward_mode_differences_and_autograd_agree(make):
    network, data, _ = make()
    network.double()
    inputs = network.decoder.inputs(data[:4], None)
    z = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs = inputs.double() if inputs.is_floating_point() else inputs

    def decode(code):
        return network.decoder.hidden(code, inputs)

    exact = jacobian_columns(decode, z)
    torch.testing.assert_close(jacobian_columns(decode, z, "differences"), exact, rtol=1e-3, atol=1e-3)
    whole = torch.autograd.functional.jacobian(decode, z)
    whole = whole.flatten(1, -3)
    expected = torch.stack([whole[row, :, row] for row in range(4)])  # (B, T n, d)
    torch.testing.assert_close(exact, expected.permute(2, 0, 1), rtol=0, atol=1e-12)


def test_penalties_are_what_the_definition_says():
    columns, c_dim, k = torch.randn(5, 7, 6, generator=torch.Generator().manual_seed(1)), 3, 2
    sparse = sum(columns[j, b, i].abs() for j in range(3, 5) for b in range(7) for i in range(6)) / 7
    style, content = (part.abs().sum(0).numpy() for part in (columns[3:], columns[:3]))
    both = [set(np.argsort(style[b])[-k:]) & set(np.argsort(content[b])[:k]) for b in range(7)]
    partial = sum(content[b, i] for b in range(7) for i in both[b]) / 7
    found = penalties(columns, c_dim, k / 6)
    assert found[0].item() == pytest.approx(float(sparse), rel=1e-5)
    assert found[1].item() == pytest.approx(float(partial), rel=1e-5)
    column = [np.mean([columns[j, b].abs().sum() for b in range(7)]) for j in (3, 4)]
    free = penalties(columns, c_dim, k / 6, float(np.mean(column)))[0].item()
    assert free == pytest.approx(max(column) - np.mean(column), rel=1e-4)
    assert any(both), "the case must not be empty"


def test_stretching_the_code_does_not_change_its_influence():
    z = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))

    def influence(stretch):
        columns = jacobian_columns(lambda code: torch.tanh(code / stretch @ weights), z * stretch)
        return columns * deviation(z * stretch)[:, None, None]

    torch.testing.assert_close(influence(1.0), influence(7.0), rtol=1e-4, atol=1e-6)
    assert deviation(torch.ones(5, 2, requires_grad=True)).grad_fn is not None


def test_a_constant_column_has_a_finite_gradient():
    z = torch.zeros(5, 2, requires_grad=True)
    deviation(z).sum().backward()
    assert torch.isfinite(z.grad).all()


def test_a_closed_content_dimension_neither_reaches_the_decoder_nor_counts():
    network, data, _ = vectors()
    with torch.no_grad():
        network.importance[1] = 0.05
    assert network.mask().tolist() == [1.0, 0.0, 1.0]
    c = torch.randn(4, 3)
    code = torch.cat([network.mask() * c, torch.randn(4, 2)], dim=1)
    assert network.influence(code, network.decoder.inputs(data[:4], None))[1].max() < 1e-3


def test_a_collapsed_style_is_said():
    weights = {"beta_c": 10.0, "beta_s": 1000.0, "w_sparse": 0, "w_partial": 0}
    network, data, domain = vectors(**weights, steps=150, batch_size=32, warm_up=0.0, learning_rate=0.01)
    training = MatteTraining(network, data, domain)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        while not training.done:
            training.step()
    said = [str(warning.message) for warning in caught if warning.category is CollapseWarning]
    assert any("posterior of style has collapsed" in message and "beta_s" in message for message in said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"c_dim": 0}, "c_dim is 0"),
        ({"beta_s": -1}, "beta_s is -1"),
        ({"word_dropout": 1.5}, "word_dropout is 1.5"),
        ({"prior": "flat"}, "prior is 'flat'; it must be one of domain, shared, standard"),
        ({"jacobian": "backward"}, "jacobian is 'backward'"),
    ],
)
def test_a_configuration_out_of_range_names_the_setting(options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        MatteConfig(**options)
