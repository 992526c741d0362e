"""Both directions of the flows, their determinants against autograd, and what they can fit."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("zuko")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_rl.extras.matte import MatteConfig
from robust_rl.extras.matte.flows import LatentFlow
from robust_rl.extras.matte.prior import DomainPrior, standard_normal_log_density


def bent(module, seed=0, scale=0.3):
    """Give every parameter a random value: slopes from 1/20 to 20, so that rounding stays below 1e-9."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return module.double()


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_a_flow_inverts_both_ways(dim, context, seed):
    flow = bent(LatentFlow(dim, context, hidden=8), seed)
    generator = torch.Generator().manual_seed(seed)
    z, told = (3 * torch.randn(6, size, generator=generator, dtype=torch.float64) for size in (dim, context))
    noise, _ = flow(z, told)
    torch.testing.assert_close(flow.inverse(noise, told), z, rtol=0, atol=1e-9)
    torch.testing.assert_close(flow(flow.inverse(z, told), told)[0], z, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dim", [1, 4])
def test_log_determinants_are_those_of_autograd(dim):
    flow = bent(LatentFlow(dim, 2, hidden=8), seed=1)
    z, told = torch.randn(5, dim, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    _, log_det = flow(z, told)
    for row in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda one, row=row: flow(one[None], told[row : row + 1])[0][0], z[row])
        torch.testing.assert_close(jacobian.slogdet()[1], log_det[row], rtol=0, atol=1e-9)


def test_a_flow_starts_as_the_identity():
    z, told = torch.randn(50, 3), torch.randn(50, 2)
    noise, log_det = LatentFlow(3, 2)(z, told)
    torch.testing.assert_close(noise, z, rtol=0, atol=1e-5)
    torch.testing.assert_close(log_det, torch.zeros(50), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["domain", "shared", "standard"])
def test_the_prior_inverts_and_integrates_to_one(kind):
    prior = bent(DomainPrior(MatteConfig(c_dim=1, s_dim=1, prior=kind, domain_dim=2, flow_hidden=8), 3), seed=3, scale=0.3)
    u, (c, s) = torch.randint(3, (40,)), torch.randn(2, 40, 1, dtype=torch.float64)
    c_noise, _ = prior.content_noise(c, u)
    s_noise, _ = prior.style_noise(s, c, u)
    torch.testing.assert_close(prior.content(c_noise, u), c, rtol=0, atol=1e-9)
    torch.testing.assert_close(prior.style(s_noise, c, u), s, rtol=0, atol=1e-9)
    line = torch.linspace(-30, 30, 20001, dtype=torch.float64)[:, None]
    told = torch.ones(len(line), dtype=torch.long)
    noise, log_det = prior.style_noise(line, torch.full_like(line, 0.7), told)
    density = (standard_normal_log_density(noise) + log_det).exp()
    assert torch.trapezoid(density, line[:, 0]).item() == pytest.approx(1, abs=1e-3)


def test_only_the_domain_prior_sees_the_domain():
    c, u = torch.randn(4, 2), torch.tensor([0, 1, 2, 3])
    noise = {}
    for kind in ("domain", "shared"):
        prior = bent(DomainPrior(MatteConfig(c_dim=2, s_dim=1, prior=kind), 4))
        noise[kind] = prior.content_noise(c[:1].repeat(4, 1).double(), u)[0]
    assert noise["shared"].std(0).max() < 1e-12
    assert noise["domain"].std(0).min() > 1e-3


def test_maximum_likelihood_fits_a_mixture():
    """KL of the fitted density from a mixture of two normals, by quadrature: below 0.02 nats."""
    torch.manual_seed(0)
    flow = LatentFlow(1, 1, hidden=8)
    z = torch.cat([torch.randn(2000, 1) * 0.5 - 1.5, torch.randn(2000, 1) * 0.8 + 1.5])
    told = torch.zeros(len(z), 1)
    optimiser = torch.optim.Adam(flow.parameters(), lr=0.02)
    for _ in range(250):
        noise, log_det = flow(z, told)
        loss = -(standard_normal_log_density(noise) + log_det).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    line = torch.linspace(-6, 7, 4001)[:, None]
    parts = [torch.distributions.Normal(-1.5, 0.5), torch.distributions.Normal(1.5, 0.8)]
    true = torch.stack([part.log_prob(line[:, 0]) for part in parts]).logsumexp(0) - torch.tensor(2.0).log()
    with torch.no_grad():
        noise, log_det = flow(line, torch.zeros(len(line), 1))
    fitted = standard_normal_log_density(noise) + log_det
    assert torch.trapezoid(true.exp() * (true - fitted), line[:, 0]).item() < 0.02
