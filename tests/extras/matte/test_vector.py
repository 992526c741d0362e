"""Identification on vectors whose content is known, refusals, and resuming."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("zuko")

import torch
from scipy.stats import t

from robust_rl.errors import InvalidArgumentError, UnknownNameError
from robust_rl.extras.matte import MatteConfig, VectorMatte, block_r2, intervene, leakage, mcc, synthetic_vectors

SETTINGS = {
    "c_dim": 3, "s_dim": 2, "enc_hidden": 64, "dec_hidden": 64, "flow_hidden": 32, "beta_c": 1.0, "beta_s": 1.0, "w_sparse": 0.5,
    "w_partial": 0.1, "w_mask": 0.0, "free_influence": 2.0, "steps": 1000, "batch_size": 128, "learning_rate": 3e-3,
}  # fmt: skip


def fitted(seed, **options):
    data = synthetic_vectors(12_400, seed=seed)
    model = VectorMatte(MatteConfig(**SETTINGS | {"seed": seed} | options))
    return model.fit(data.x[:10_000], data.domain[:10_000]), data


def of_content(seed, **options):
    model, data = fitted(seed, **options)
    return block_r2(data.c[10_000:], model.encode(data.x[10_000:], data.domain[10_000:]).c)


@pytest.mark.slow
def test_content_is_identified_on_mechanisms_not_tuned_on():
    """The bound was set on seeds 0 and 1 (0.996 both), with no other; benchmarks/matte.md has five more."""
    found = np.array([of_content(seed) for seed in range(20, 25)])
    assert found.mean() - t.ppf(0.975, 4) * found.std(ddof=1) / np.sqrt(5) > 0.85


@pytest.mark.slow
@pytest.mark.parametrize(
    "without", [{"w_sparse": 0.0, "w_partial": 0.0}, {"prior": "standard"}], ids=["sparsity", "domain prior"]
)
def test_nothing_is_gained_by_leaving_out_a_part(without):
    gain = np.array([of_content(seed, **without) - of_content(seed) for seed in range(20, 25)])
    assert gain.mean() - t.ppf(0.95, 4) * gain.std(ddof=1) / np.sqrt(5) <= 0.02


@pytest.mark.slow
def test_content_stays_when_the_noise_of_style_is_changed():
    model, data = fitted(20)
    x, u, c = data.x[10_000:], data.domain[10_000:], data.c[10_000:]
    bright = model.encode(x[:200] + 0, u[:200])
    changed = model.counterfactual(x, u, to=bright, direction="replace")
    assert block_r2(c, model.encode(changed, u).c) > 0.85
    assert np.abs(changed - x).mean() > 0.05, "something must have changed"


def test_no_intervention_reconstructs_and_a_move_there_and_back_returns():
    data = synthetic_vectors(300, seed=0)
    options = {"steps": 30, "batch_size": 64, "enc_hidden": 16, "dec_hidden": 16, "flow_hidden": 8}
    model = VectorMatte(MatteConfig(**SETTINGS | options)).fit(data.x, data.domain)
    x, u = data.x[:20], data.domain[:20]
    code = model.encode(x, u)
    plain = model.decode(torch.cat([code.c, code.s], dim=1))
    np.testing.assert_allclose(model.counterfactual(x, u, to=code, strength=0.0), plain, atol=1e-4)
    same = np.flatnonzero(u == u[0])
    np.testing.assert_allclose(model.counterfactual(x[same], u[same], to_domain=u[0]), plain[same], atol=1e-4)
    other = int((u[0] + 1) % 8)
    assert np.abs(model.counterfactual(x[same], u[same], to_domain=other) - plain[same]).max() > 1e-4


def test_bad_data_is_refused_with_the_offender():
    data = synthetic_vectors(40, seed=0)
    model = VectorMatte(MatteConfig(c_dim=2, s_dim=1, enc_hidden=4, dec_hidden=4, steps=1))
    with pytest.raises(InvalidArgumentError, match="not fitted"):
        _ = model.network
    with pytest.raises(InvalidArgumentError, match="one domain; MATTE needs at least two"):
        model.fit(data.x, np.zeros(40))
    with pytest.raises(InvalidArgumentError, match="39 domains"):
        model.fit(data.x, data.domain[1:])
    broken = data.x.copy()
    broken[7, 3] = np.nan
    with pytest.raises(InvalidArgumentError, match=r"x\[7\] is not finite"):
        model.fit(broken, data.domain)
    model.fit(data.x, data.domain)
    with pytest.raises(UnknownNameError, match="unknown domain '9'"):
        model.encode(data.x[:1], [9])


def test_the_vectors_meet_the_assumption_of_relative_sparsity():
    data = synthetic_vectors(4000, seed=3, noise=0.0)
    assert block_r2(data.x[:, :14], data.c) > 0.98, "the first outputs are content's alone"
    assert block_r2(data.x[:, 16:], data.s) > 0.98, "the last are style's alone"
    both = block_r2(data.x[:, 14:16], np.c_[data.c, data.s])
    assert both > 0.95 > block_r2(data.x[:, 14:16], data.c)


def test_identification_is_measured_as_it_is():
    rng = np.random.default_rng(0)
    true, other = rng.normal(size=(1500, 2)), rng.normal(size=(1500, 2))
    bent = np.c_[np.sinh(true @ rng.normal(size=(2, 2)))]
    assert block_r2(true, bent) > 0.95
    assert abs(block_r2(true, other)) < 0.08
    assert mcc(true, true[:, ::-1] * [-2, 3]) == pytest.approx(1)
    assert mcc(true, other) < 0.1
    assert leakage(true, np.c_[other], other) == pytest.approx(0, abs=0.05)
    assert leakage(true, true, other) > 0.9
    with pytest.raises(InvalidArgumentError, match="at least as many"):
        mcc(true, true[:, :1])


def test_kernel_ridge_is_that_of_scikit_learn():
    ridge = pytest.importorskip("sklearn.kernel_ridge")
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 2))
    y = np.sin(2 * x[:, :1]) + 0.1 * rng.normal(size=(400, 1))
    order = np.random.default_rng(0).permutation(400)
    fit, choose, score = np.split(order, [200, 300])
    z = (x - x[fit].mean(0)) / x[fit].std(0)
    squares = np.square(z[fit][:, None] - z[fit]).sum(2)
    tried = []
    for width in (0.1, 0.3, 1.0, 3.0):
        for alpha in (1e-3, 1e-2, 1e-1, 1.0):
            model = ridge.KernelRidge(alpha=alpha, kernel="rbf", gamma=1 / (2 * width * np.median(squares)))
            model.fit(z[fit], y[fit] - y[fit].mean(0))
            r2 = [1 - np.mean((y[s] - y[fit].mean(0) - model.predict(z[s])) ** 2) / y[s].var() for s in (choose, score)]
            tried.append(tuple(r2))
    assert block_r2(y, x) == pytest.approx(max(tried)[1], abs=1e-6)


def test_interventions_do_what_their_formulas_say():
    generator = torch.Generator().manual_seed(0)
    noise, source = torch.randn(6, 3, generator=generator), torch.randn(9, 3, generator=generator)
    target = torch.randn(8, 3, generator=generator) + torch.tensor([3.0, 0.0, 0.0])
    shift = target.mean(0) - source.mean(0)
    torch.testing.assert_close(intervene(noise, target, source, strength=2.0), noise + 2 * shift)
    torch.testing.assert_close(intervene(noise, target, source, direction="replace"), target.mean(0).expand(6, 3))
    moved = intervene(noise, target, source, direction="classifier")
    change = moved - noise
    w = change[0] / change[0].norm()
    assert (change - (change @ w)[:, None] * w).abs().max() < 1e-5, "all along one direction"
    torch.testing.assert_close(moved @ w, (target.mean(0) @ w).expand(6), rtol=1e-4, atol=1e-4)
    for direction in ("prototype", "replace", "classifier"):
        torch.testing.assert_close(intervene(noise, target, source, direction=direction, strength=0.0), noise)
    with pytest.raises(InvalidArgumentError, match="did you mean prototype"):
        intervene(noise, target, source, direction="prototyp")
    with pytest.raises(InvalidArgumentError, match="0 target"):
        intervene(noise, target[:0], source)
