"""That pictures show what they claim, as far as numbers can tell; their looks are for eyes."""

import numpy as np
import pytest

import robust_rl as rr
from robust_rl.pictures.moves import mass_moved
from robust_rl.table import Estimate, Table
from tests.worlds import TAXI, random_model

pytest.importorskip("matplotlib")
from robust_rl import pictures


def solved(env_id, **kwargs):
    env = rr.envs.make(env_id, **kwargs)
    agent = rr.RobustVI(env_id, rr.TotalVariation(0.1, support="reachable"), discount=0.99, env_kwargs=kwargs).learn()
    return env, agent


def test_grids_are_read_from_the_environments():
    env, agent = solved("CliffWalking-v1")
    grid = pictures.grid_of(env, agent.model)
    assert grid.shape == (4, 12)
    assert grid.directions == ((-1, 0), (0, 1), (1, 0), (0, -1)), "up, right, down, left"
    assert grid.letters[3].tolist() == ["S", *["C"] * 10, "G"]
    for slippery in (True, False):
        env, agent = solved("FrozenLake-v1", is_slippery=slippery)
        grid = pictures.grid_of(env, agent.model)
        assert grid.directions == ((0, -1), (1, 0), (0, 1), (-1, 0)), "left, down, right, up"
        assert grid.letters[0, 0] == "S"
    taxi = rr.envs.make(TAXI)
    assert pictures.grid_of(taxi, rr.envs.tabular(taxi)) is None


def test_visits_and_flows_add_up():
    """Visits of a discounted process sum to 1/(1 - gamma); what is received is what the kernels differ by."""
    model = random_model(0, terminal=False)
    solution = rr.solve(model, rr.TotalVariation(0.2, support="free"), discount=0.9)
    moves = mass_moved(solution, model)
    assert moves.occupancy.sum() == pytest.approx(10.0, abs=1e-9)
    rows = np.arange(5) * 3 + solution.policy
    difference = np.maximum((solution.kernel - model.csr()).toarray()[rows], 0) * moves.occupancy[:, None]
    assert sum(flow for *_, flow in moves.flows) == pytest.approx(difference.sum(), abs=1e-9)
    finite = rr.solve(model, rr.TotalVariation(0.2, support="free"), horizon=6)
    assert mass_moved(finite, model).occupancy.sum() == pytest.approx(6.0, abs=1e-9)


def test_every_picture_draws(tmp_path):
    env, agent = solved("FrozenLake-v1")
    nominal = rr.solve(agent.model, None, discount=0.99)
    grid = pictures.grid_of(env, agent.model)
    ranged = Table(
        "return", ("nominal", "robust"), ("0", "0.1"), ((Estimate(0, 1, kind="ties"),) * 2, (Estimate(0.5, 0.5, 0.5),) * 2)
    )
    named = Table("return", ("robust",), ("still", "windy"), ((Estimate(0.5, 0.5, 0.5),) * 2,))
    figures = [
        pictures.policy_map({"nominal": nominal, "robust": agent.solution}, grid, agent.model),
        pictures.adversary_map(agent.solution, grid, agent.model),
        pictures.adversary_map(nominal, grid, agent.model),
        pictures.adversary_matrix(agent.solution, agent.model),
        pictures.convergence(agent.solution),
        pictures.return_under_shift(ranged, "wind"),
        pictures.return_under_shift(named, "world"),
        pictures.price_of_robustness(rr.frontier(agent.model, agent.uncertainty, [0, 0.1], discount=0.99)),
        pictures.value_over_radius(rr.critical_radii(agent.model, agent.uncertainty, discount=0.99), 0.1, -2.0, "radius"),
        pictures.heaviest_rows(rr.radius_sensitivity(agent.model, agent.solution), "radius"),
    ]
    for i, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{i}.png")
        assert (tmp_path / f"{i}.png").stat().st_size > 3000


def test_estimates_print_their_kind():
    assert str(Estimate(1, 1, 1)) == "1.00"
    assert str(Estimate(-3.5, 2, kind="ties")) == "-3.50 to 2.00"
    assert str(Estimate(9.5, 10.5, 10, kind="interval")) == "10.00 ± 0.500"


@pytest.mark.parametrize("repeats", [2, 5, 40])
def test_bands_are_students_intervals(repeats):
    from scipy import stats

    values = np.random.default_rng(repeats).normal(size=(3, repeats))
    middle, half = pictures.mean_interval(values)
    for row, m, h in zip(values, middle, half, strict=True):
        assert (m - h, m + h) == pytest.approx(stats.t.interval(0.95, repeats - 1, row.mean(), stats.sem(row)))
    figure = pictures.mean_bands({"one": {"a": values}, "two": {"a": values, "b": values + 1}}, "round")
    assert [len(axes.lines) for axes in figure.axes] == [1, 2]
    np.testing.assert_array_equal(figure.axes[1].lines[1].get_ydata(), (values + 1).mean(axis=1))
    assert pictures.mean_interval(values[:, :1])[1].tolist() == [0, 0, 0]
