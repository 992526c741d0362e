"""The whole loop against exact posteriors of mixtures; the floor is what exact samples of the same number score."""

import numpy as np
import pytest
import torch

from robust_rl.errors import InvalidArgumentError
from robust_rl.extras.dpnp import DPnP, GaussianMixture, GaussianPCS, Inpainting, flip_sign, geometric_schedule
from robust_rl.extras.dpnp.settings import choose, posterior_sampler
from tests.extras.dpnp.oracles import dps
from tests.extras.dpnp.problems import (
    LEVELS,
    M1,
    NOISE1,
    NOISE2,
    ROW,
    S1,
    W1,
    Y1,
    Y2,
    Amplitude,
    Matrix,
    generator,
    line,
    plane,
    prior_in_plane,
    prior_on_line,
    run,
)
from tests.training.contract import check_trainable

D = torch.float64
LINEAR = (torch.tensor([[Y2]], dtype=D), Matrix([ROW], NOISE2))
PHASE = (torch.tensor([[Y1]], dtype=D), Amplitude(NOISE1))


def sampler(prior, problem, shape, chains, seed=0, **options):
    return posterior_sampler(
        prior.predictor(LEVELS), *problem, shape=shape, num_samples=chains, generator=generator(seed), **options
    )


@pytest.mark.parametrize(
    "options", [{"pcs": "exact"}, {"pcs": "mala", "pcs_steps": 10}, {"pcs": "exact", "dds": "ddpm"}], ids=str
)
def test_linear_posterior_within_four_hundredths_of_the_floor(options):
    floor = plane.floor(plane.posterior, 4000)
    found = [
        plane.distance(
            run(sampler(prior_in_plane, LINEAR, (2,), 4000, seed, eta_max=1.0, eta_min=0.1, k=20, **options)), plane.posterior
        )
        for seed in (0, 1)
    ]
    assert np.mean(found) < floor + 0.04
    assert plane.distance(plane.draw(plane.density(plane.prior), 4000, 0), plane.posterior) > 0.3, "the prior would fail"


def test_a_fixed_eta_gives_its_own_law_and_not_the_posterior():
    model, eta = prior_on_line.predictor(LEVELS), 0.5
    snapped = float(model.levels[model.nearest(eta)])
    options = {"eta_max": eta, "eta_min": eta, "k": 25, "pcs_steps": 12, "moves": (flip_sign,)}
    x = np.concatenate([run(sampler(prior_on_line, PHASE, (1,), 3000, seed, **options))[:, 0] for seed in (0, 1)])
    law = line.smoothed(snapped)
    assert line.distance(x, law) < line.floor(law, len(x)) + 0.025
    assert line.distance(x, line.posterior) > 0.25


def test_phase_retrieval_on_the_line_where_every_dps_setting_fails():
    options = {"eta_max": 1.5, "eta_min": 0.05, "k": 30, "pcs_steps": 12, "dds_steps": 16}
    for moves in ((), (flip_sign,)):
        found = [
            line.distance(run(sampler(prior_on_line, PHASE, (1,), 2000, s, moves=moves, **options))[:, 0], line.posterior)
            for s in (0, 1)
        ]
        assert max(found) < 0.11
    variances = [s**2 for s in S1]
    for published, weights in ((False, (0.25, 0.5, 1.0, 2.0)), (True, (0.01, 0.03, 0.1))):
        for weight in weights:
            x = dps(W1, M1, variances, Y1, NOISE1, weight=weight, published=published, count=1000, seed=0, steps=1000)
            assert line.distance(x, line.posterior) > 0.4, (published, weight)


def test_gaussian_posterior_in_closed_form():
    """Prior N(0, v I), linear Gaussian measurement: the law at eta is the posterior with noise sigma^2 I + eta^2 A A^T."""
    M, v, sigma, y = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 1.0]]), 0.25, 0.2, np.array([0.4, -0.3])
    prior = GaussianMixture([1.0], [[0.0] * 3], [v])
    chains = sampler(prior, (torch.tensor(y)[None], Matrix(M, sigma)), (3,), 6000, eta_max=0.5, eta_min=0.1, k=15, dds_steps=40)
    x, eta = run(chains), chains.etas[-1]
    noise = sigma**2 * np.eye(2) + eta**2 * M @ M.T
    C = np.linalg.inv(M.T @ np.linalg.inv(noise) @ M + np.eye(3) / v)
    m = C @ M.T @ np.linalg.inv(noise) @ y
    assert np.all(np.abs(x.mean(0) - m) < 4 * np.sqrt(np.diag(C) / 6000) + 0.01)
    assert np.abs(np.cov(x.T) - C).max() < 0.08 * np.abs(C).max()
    assert chains.history[-1]["network_calls"] == chains.calls == chains.model.calls <= 15 * 40


@pytest.mark.parametrize(("temperature", "pcs"), [(1.0, "exact"), (4.0, "exact"), (4.0, "mala")])
def test_annealed_gaussian_chains_follow_their_recursion(temperature, pcs):
    """Prior N(0, 1), y = x + noise: mean and variance of the chains are known after every step, lag of the annealing included."""
    y, noise = 1.0, 0.09 * temperature
    prior = GaussianMixture([1.0], [[0.0]], [1.0])
    problem = (torch.tensor([[y]], dtype=D), Matrix([[1.0]], 0.3))
    chains = sampler(prior, problem, (1,), 4000, temperature=temperature, pcs=pcs, k=12, dds_steps=40)
    x, mean, variance = run(chains), 0.0, chains.etas[0] ** 2 / 4
    for eta in chains.etas:
        C = 1 / (1 / eta**2 + 1 / noise)
        mean, variance = C * (mean / eta**2 + y / noise), C + (C / eta**2) ** 2 * variance  # PCS
        share = 1 / (1 + eta**2)
        mean, variance = share * mean, share * eta**2 + share**2 * variance  # DDS
    assert x.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 4000) + 0.005)
    assert x.var() == pytest.approx(variance, rel=0.12)


def test_paper_code_is_what_the_released_program_does():
    chains = sampler(prior_in_plane, LINEAR, (2,), 2, preset="paper-code", pcs_steps=3)
    assert len(chains.etas) == 16
    assert chains.etas[:5] == [chains.etas[0]] * 5
    assert chains.etas[0] == pytest.approx(0.4, rel=0.01)
    assert chains.etas[-1] == pytest.approx(0.16, rel=0.01)
    assert choose("paper-code", gaussian=True).temperature == pytest.approx((0.15 / 0.2) ** 2)
    assert 1 / choose("paper-code", gaussian=False).temperature == pytest.approx(3.858, abs=1e-3)
    chains.step()
    assert chains.history[0]["acceptance"] == 1


def test_a_chain_with_its_own_generator_does_not_know_its_neighbours():
    alone = sampler(prior_on_line, PHASE, (1,), 1, k=4)
    alone.chance = [generator(7)]
    alone.x = torch.full((1, 1), 0.5, dtype=D)
    together = sampler(prior_on_line, PHASE, (1,), 3, k=4)
    together.chance = [generator(5), generator(7), generator(9)]
    together.x = torch.full((3, 1), 0.5, dtype=D)
    np.testing.assert_allclose(run(alone)[0], run(together)[1], rtol=1e-12)


@pytest.mark.parametrize("problem", [LINEAR, (torch.tensor([[Y2]], dtype=D), Matrix([ROW], NOISE2))], ids=["exact", "langevin"])
@pytest.mark.parametrize("each", [False, True], ids=["one generator", "one each"])
def test_resumes_to_the_same_bits(problem, each, tmp_path, request):
    options = {"pcs": "mala", "pcs_steps": 6} if "langevin" in request.node.callspec.id else {"dds": "ddpm"}

    def build():
        chance = [generator(seed) for seed in range(4)] if each else generator()
        return posterior_sampler(
            prior_in_plane.predictor(LEVELS), *problem, shape=(2,), num_samples=4, generator=chance, k=6, dds_steps=4, **options
        )

    check_trainable(build, tmp_path)


def test_a_checkpoint_of_another_problem_is_refused(tmp_path):
    sampler(prior_in_plane, LINEAR, (2,), 4, k=3).save_checkpoint(tmp_path)
    other = sampler(prior_in_plane, (LINEAR[0] + 1, LINEAR[1]), (2,), 4, k=3)
    with pytest.raises(InvalidArgumentError, match="another problem"):
        other.load_checkpoint(tmp_path)


def test_bad_arguments_are_named():
    model = prior_in_plane.predictor(LEVELS)
    with pytest.raises(InvalidArgumentError, match="beyond the smallest noise level"):
        sampler(prior_in_plane, LINEAR, (2,), 2, eta_min=0.001)
    with pytest.raises(InvalidArgumentError, match="did you mean eta_max"):
        sampler(prior_in_plane, LINEAR, (2,), 2, eta_maxi=1.0)
    with pytest.raises(InvalidArgumentError, match="exact, paper-code"):
        sampler(prior_in_plane, LINEAR, (2,), 2, preset="paper")
    with pytest.raises(InvalidArgumentError, match="linear operator"):
        sampler(prior_on_line, PHASE, (1,), 2, pcs="exact")
    with pytest.raises(InvalidArgumentError, match="y has shape"):
        sampler(prior_in_plane, (torch.zeros(1, 3, dtype=D), LINEAR[1]), (2,), 2)
    with pytest.raises(InvalidArgumentError, match="cannot measure pictures"):
        sampler(prior_in_plane, LINEAR, (5,), 2)
    with pytest.raises(InvalidArgumentError, match="no gradient"):
        sampler(prior_in_plane, LINEAR, (2,), 2, log_likelihood=lambda x, y: x.detach().sum(1))
    with pytest.raises(InvalidArgumentError, match="must be \\(2,\\)"):
        sampler(prior_in_plane, LINEAR, (2,), 2, log_likelihood=lambda x, y: x.sum())
    with pytest.raises(InvalidArgumentError, match="names no Gaussian noise"):
        sampler(prior_in_plane, (LINEAR[0], Matrix([ROW], None)), (2,), 2)
    with pytest.raises(InvalidArgumentError, match="without noise"):
        sampler(prior_in_plane, (LINEAR[0], Matrix([ROW], 0.0)), (2,), 2)
    with pytest.raises(InvalidArgumentError, match="none above"):
        DPnP(model, GaussianPCS(LINEAR[0], LINEAR[1], 0.3), [0.1, 0.2], (2, 2), generator=generator())
    with pytest.raises(InvalidArgumentError, match="3 generators for 2"):
        DPnP(model, GaussianPCS(LINEAR[0], LINEAR[1], 0.3), [0.1], (2, 2), generator=[generator()] * 3)
    with pytest.raises(InvalidArgumentError, match="eta_min <= eta_max"):
        geometric_schedule(0.1, 0.2, 3)
    with pytest.raises(InvalidArgumentError, match="at least 0"):
        Inpainting(torch.ones(1), sigma=-1.0)
