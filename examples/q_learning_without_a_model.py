"""A robust policy from draws alone: robust Q-learning never sees a transition probability.

Three sources of draws, from the most helpful to the least: simulators of two known environments, a queue written as one function
that samples, and an environment that can only be played. Each time the learned robust value is set beside the exact one, which
planning computes from the true probabilities.

    python examples/q_learning_without_a_model.py [run directory]
"""

import itertools
import sys
import time

import numpy as np
from scipy.stats import binom, poisson

import robust_rl as rr
from robust_rl.training import RunDirectory, Section, Table

STEPS = 12  # of 1,000 updates of every state and action, or of 10,000 moves
COLUMNS = ("draws from", "uncertainty", "discount", "exact value", "learned value", "error / span", "draws", "seconds")


class Queue:
    """Jobs arrive and are served; the fast server costs more. All that a learner gets is ``sample``."""

    num_states, num_actions = 11, 2
    rewards = -np.arange(11.0)[:, None] - np.array([0.0, 1.5])
    start = np.eye(11)[0]

    def sample(self, state: int, action: int, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return n lengths of the queue after one step."""
        return np.clip(state + rng.poisson(0.7, n) - rng.binomial(1 + action, 0.6, n), 0, 10)


def main(directory: str) -> None:
    """Learn from each source, print the comparison, and leave it as a report."""
    run = RunDirectory(directory)
    run.start({"steps": STEPS}, command="q_learning_without_a_model")
    contamination, ball = (kind(0.1, support="free") for kind in (rr.Contamination, rr.TotalVariation))
    rows = [
        compare(env, rr.RobustQLearning(env, uncertainty, discount=0.99), rr.envs.tabular(env))
        for env in ("robust_rl/RiverSwim-v0", "FrozenLake-v1")
        for uncertainty in (contamination, ball)
    ]
    queue = Queue()
    rows.append(compare("a queue", rr.RobustQLearning(queue, rr.KL(0.05), discount=0.9), table_of(queue)))
    # along episodes the adversary moves the next state but not the reward
    played = rr.RobustQLearning("FrozenLake-v1", contamination, discount=0.95, epsilon=0.3)
    rows.append(compare("FrozenLake-v1, played", played, rr.envs.tabular("FrozenLake-v1", rewards="expected")))
    show(rows)
    caption = "values from the start; the error is the largest over all states, relative to the span of the exact value"
    run.report("Robust Q-learning without a model", [Section("Learned and exact", items=[Table(COLUMNS, rows, caption)])])
    run.finish()
    print(f"report: {run.result / 'report.html'}")


def compare(name: str, agent: rr.RobustQLearning, model: rr.TabularMDP) -> tuple[str, ...]:
    """Return a row of the table: let the agent learn, and solve the model for the truth."""
    begin = time.perf_counter()
    learned = agent.learn(STEPS).solution
    seconds = time.perf_counter() - begin
    exact = rr.solve(model, agent.uncertainty, discount=agent.discount).value
    error = abs(learned.value - exact).max() / np.ptp(exact)
    values = (f"{model.start @ exact:.4g}", f"{model.start @ learned.value:.4g}")
    return name, repr(agent.uncertainty), f"{agent.discount:g}", *values, f"{error:.1%}", f"{learned.draws:,}", f"{seconds:.1f}"


def table_of(queue: Queue) -> rr.TabularMDP:
    """Return the queue's probabilities, which the referee needs and the learner doesn't."""
    kernel = np.zeros((queue.num_states, queue.num_actions, queue.num_states))
    for state, action, arrived, served in itertools.product(range(11), range(2), range(30), range(3)):
        likely = poisson.pmf(arrived, 0.7) * binom.pmf(served, 1 + action, 0.6)
        kernel[state, action, np.clip(state + arrived - served, 0, 10)] += likely
    return rr.TabularMDP(kernel, queue.rewards, start=queue.start)


def show(rows: list[tuple[str, ...]]) -> None:
    """Print the table."""
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in (COLUMNS, *rows):
        print("  ".join(cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/q-learning-without-a-model")
