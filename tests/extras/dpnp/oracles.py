"""Exact laws on grids, dense linear algebra, and a sampler to compare with. numpy alone, and nothing of the library's."""

import numpy as np


class Line:
    """Densities on the real line: a mixture prior, a log-likelihood, and what follows from them, by sums over a fine grid."""

    def __init__(self, weights, means, deviations, log_likelihood, reach=6.0, points=4801):
        self.x = np.linspace(-reach, reach, points)
        self.step = self.x[1] - self.x[0]
        each = [w * normal(self.x, m, s) for w, m, s in zip(weights, means, deviations)]
        self.prior = self.density(sum(each))
        self.likelihood = np.exp(log_likelihood(self.x))
        self.posterior = self.density(self.prior * self.likelihood)

    def density(self, values):
        return values / (values.sum() * self.step)

    def smoothed(self, eta):
        """pi_eta: prior times the likelihood convolved with N(0, eta^2)."""
        kernel = normal(self.x, 0.0, eta) * self.step
        return self.density(self.prior * np.convolve(self.likelihood, kernel, mode="same"))

    def near(self, z, eta):
        """What DDS draws from: prior times exp(-(x - z)^2 / (2 eta^2))."""
        return self.density(self.prior * normal(self.x, z, eta))

    def draw(self, density, count, seed):
        cells = np.random.default_rng(seed).choice(len(self.x), size=count, p=density * self.step)
        return self.x[cells] + self.step * (np.random.default_rng(seed + 1).random(count) - 0.5)

    def quantiles(self, density, levels):
        return np.interp(levels, np.cumsum(density) * self.step - density * self.step / 2, self.x)

    def distance(self, samples, density, bins=60):
        """Total variation over bins, between samples and a density."""
        edges = np.linspace(self.x[0], self.x[-1], bins * 2 + 1)
        mass = np.diff(np.interp(edges, self.x, np.cumsum(density) * self.step))
        found = np.histogram(samples, edges)[0] / len(samples)
        return 0.5 * np.abs(found - mass).sum()

    def floor(self, density, count, seeds=range(5)):
        """What exact samples of that number score, on average."""
        return np.mean([self.distance(self.draw(density, count, 100 + seed), density) for seed in seeds])


class Plane:
    """The same in the plane, for isotropic mixtures."""

    def __init__(self, weights, means, deviations, log_likelihood, reach=3.5, points=281):
        self.axis = np.linspace(-reach, reach, points)
        self.points = np.stack(np.meshgrid(self.axis, self.axis, indexing="ij"), -1)
        each = [w * normal2(self.points, np.asarray(m), s) for w, m, s in zip(weights, means, deviations)]
        self.prior = sum(each)
        self.posterior = self.density(self.prior * np.exp(log_likelihood(self.points)))
        self.edges = np.linspace(-reach, reach, 36)

    def density(self, values):
        return values / values.sum()

    def masses(self, density):
        """Mass of each bin, by spreading each grid point's mass over its bin."""
        i = np.clip(np.digitize(self.axis, self.edges) - 1, 0, len(self.edges) - 2)
        sums = np.zeros((len(self.edges) - 1,) * 2)
        np.add.at(sums, (i[:, None], i[None, :]), density)
        return sums

    def distance(self, samples, density):
        found = np.histogram2d(*np.asarray(samples).T, bins=[self.edges] * 2)[0] / len(samples)
        return 0.5 * np.abs(found - self.masses(density)).sum() + 0.5 * (1 - found.sum())

    def draw(self, density, count, seed):
        rng = np.random.default_rng(seed)
        cells = rng.choice(density.size, size=count, p=density.ravel())
        step = self.axis[1] - self.axis[0]
        return self.points.reshape(-1, 2)[cells] + step * (rng.random((count, 2)) - 0.5)

    def floor(self, density, count, seeds=range(5)):
        return np.mean([self.distance(self.draw(density, count, 100 + seed), density) for seed in seeds])


def normal(x, mean, deviation):
    return np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))


def normal2(x, mean, deviation):
    return np.exp(-0.5 * ((x - mean) ** 2).sum(-1) / deviation**2) / (2 * np.pi * deviation**2)


def matrix(operator, shape):
    """The dense matrix of a linear map between tensors, column by column; ``operator`` takes and gives numpy arrays."""
    size = int(np.prod(shape))
    return np.stack([operator(column.reshape(1, *shape)).ravel() for column in np.eye(size)], axis=1)


def dps(weights, means, variances, y, sigma, *, weight, published, count, seed, steps=200):
    """Diffusion posterior sampling of x on the line from y = |x| + noise, with the mixture's exact denoiser.

    published: a step of ``weight / |residual|`` down the squared residual; otherwise ``weight`` times the gradient of the
    log-likelihood at the denoised point.
    """
    rng = np.random.default_rng(seed)
    weights, means, variances = map(np.asarray, (weights, means, variances))
    betas = np.linspace(1e-4, 0.02, 1000)
    ab = np.cumprod(1 - betas)[np.linspace(0, 999, steps).round().astype(int)]
    before = np.concatenate([[1.0], ab[:-1]])

    def denoised(x, a):
        v = a * variances + 1 - a
        away = np.sqrt(a) * means - x[:, None]
        logs = np.log(weights) - 0.5 * away**2 / v - 0.5 * np.log(v)
        share = np.exp(logs - logs.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        return (x + (1 - a) * (share * away / v).sum(1)) / np.sqrt(a)

    x = rng.standard_normal(count)
    for a, b in zip(ab[::-1], before[::-1]):
        x0, small = denoised(x, a), 1e-4
        slope = (denoised(x + small, a) - denoised(x - small, a)) / (2 * small)
        residual = y - np.abs(x0)
        alpha = a / b
        mean = (np.sqrt(alpha) * (1 - b) * x + np.sqrt(b) * (1 - alpha) * x0) / (1 - a)
        x_new = mean + np.sqrt((1 - b) / (1 - a) * (1 - alpha)) * rng.standard_normal(count) * (b < 1)
        pull = residual * np.sign(x0) * slope  # half the negative gradient of the squared residual
        if published:
            x = x_new + weight * 2 * pull / np.maximum(np.abs(residual), 1e-9)
        else:
            x = x_new + weight * (1 - alpha) / np.sqrt(alpha) * pull / sigma**2
    return x
