"""Logged data: episodes of transitions with the stage at which each was made.

=====================  ===================  =============================================================================
symbol                 here                 meaning, shape
=====================  ===================  =============================================================================
s_h, a_h               observations,        (n, ...) and (n,) or (n, ...): one row a transition, episode after episode
                       actions
r_h                    rewards              (n,)
s_{h+1}                next_observations    (n, ...)
                       terminations         (n,) whether the episode ended in s_{h+1}, whose value is then 0
h                      stage                (n,) 0, 1, 2, ... within each episode, so that 0 begins a new one
H                      horizon              length of the longest episode
K                      num_episodes         number of episodes
=====================  ===================  =============================================================================

An episode that is cut off (truncated) just has no further rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl.errors import FileFormatError, InvalidArgumentError, MissingDependencyError, sound
from robust_rl.models.memory import require_memory
from robust_rl.models.npz import read_arrays

FORMAT, VERSION = "robust-rl offline dataset", 1


@dataclass(frozen=True, eq=False)
class OfflineDataset:
    """Transitions of episodes, checked; see the table at the top of this module.

    Raises
    ------
    InvalidArgumentError
        If there is no transition, lengths differ, a number is NaN or infinite, or stages don't count up from 0 in each episode;
        the message names the row.

    Examples
    --------
    >>> data = from_arrays([[0, 1], [0, 2]], [[1, 0], [0, 0]], [[0.0, 1.0], [0.0, 0.5]], [[1, 2], [2, 2]])
    >>> data
    OfflineDataset(episodes=2, transitions=4, horizon=2)
    >>> data.stage
    array([0, 1, 0, 1])
    """

    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    next_observations: NDArray[Any]
    terminations: NDArray[np.bool_]
    stage: NDArray[np.intp]

    def __post_init__(self) -> None:
        rows = len(self.rewards)
        if not rows:
            raise InvalidArgumentError("the data set is empty; it needs at least one transition")
        for field in fields(self):
            _check_column(field.name, getattr(self, field.name), rows)
        if self.observations.shape != self.next_observations.shape:
            raise InvalidArgumentError(
                f"observations have shape {self.observations.shape} and next_observations {self.next_observations.shape}; "
                "they must be alike"
            )
        _check_stages(self.stage, self.terminations)

    @property
    def horizon(self) -> int:
        """Number of transitions of the longest episode."""
        return int(self.stage.max()) + 1

    @property
    def episode(self) -> NDArray[np.intp]:
        """(n,) number of the episode that a row belongs to, from 0."""
        return np.asarray(np.cumsum(self.stage == 0) - 1, dtype=np.intp)

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return int((self.stage == 0).sum())

    def __len__(self) -> int:
        return len(self.rewards)

    def __repr__(self) -> str:
        return f"OfflineDataset(episodes={self.num_episodes}, transitions={len(self)}, horizon={self.horizon})"

    def select(self, episodes: ArrayLike) -> OfflineDataset:
        """Return the data of some episodes only, in the order in which they lie here."""
        kept = np.isin(self.episode, np.asarray(episodes))
        return OfflineDataset(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})

    def split(self, parts: int, rng: np.random.Generator) -> list[OfflineDataset]:
        """Return so many data sets of whole episodes, equally many but for the remainder, drawn without replacement.

        Raises
        ------
        InvalidArgumentError
            If there are fewer episodes than parts.
        """
        if self.num_episodes < parts:
            raise InvalidArgumentError(f"{self!r} can't be split into {parts} parts; collect more episodes")
        return [self.select(part) for part in np.array_split(rng.permutation(self.num_episodes), parts)]

    def at_stage(self, stage: int) -> NDArray[np.intp]:
        """Return the rows made at a stage, (m,)."""
        return np.flatnonzero(self.stage == stage)

    def check_horizon(self, horizon: int) -> None:
        """Raise InvalidArgumentError if no episode has so many transitions: nothing would be known of the last stages."""
        if horizon > self.horizon:
            raise InvalidArgumentError(
                f"horizon {horizon} is longer than the data, whose longest episode has {self.horizon} transitions; "
                "shorten the horizon or log longer episodes"
            )

    def statistics(self) -> Statistics:
        """Return what the data cover; look at it before solving."""
        lengths = np.bincount(self.episode)
        returns = np.bincount(self.episode, weights=self.rewards).astype(np.float64)
        visits = _visits(self) if _is_index(self.observations) and _is_index(self.actions) else None
        return Statistics(lengths, returns, np.bincount(self.stage), visits, float(self.terminations.sum() / self.num_episodes))

    def save(self, path: str | Path) -> Path:
        """Write one compressed ``.npz`` file of plain arrays, and return its path."""
        path = Path(path)
        target = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
        target.parent.mkdir(parents=True, exist_ok=True)
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(target, format=np.array(FORMAT), version=np.array(VERSION), **columns)
        return target


def load(path: str | Path) -> OfflineDataset:
    """Read a data set written by :meth:`OfflineDataset.save`, or plain arrays named as the arguments of :func:`from_arrays`.

    The file can't execute code.

    Raises
    ------
    FileFormatError
        If the file is missing, corrupt, foreign, or of a newer format version.
    InvalidArgumentError
        See :class:`OfflineDataset`.
    """
    arrays = read_arrays(path, "data set")
    with sound(path, "data set"):
        return _of_own_arrays(path, arrays) if "format" in arrays else _of_plain_arrays(path, arrays)


def _of_own_arrays(path: str | Path, arrays: dict[str, NDArray[Any]]) -> OfflineDataset:
    if str(arrays["format"]) != FORMAT:
        raise FileFormatError(f"{path} is not a {FORMAT}; OfflineDataset.save writes one, from_arrays takes plain arrays")
    version = int(arrays.get("version", 0))
    if version > VERSION:
        raise FileFormatError(f"{path} has format version {version}, newer than {VERSION}; upgrade robust-rl")
    names = [field.name for field in fields(OfflineDataset)]
    missing = sorted(set(names) - arrays.keys())
    if missing:
        raise FileFormatError(f"{path} lacks {', '.join(missing)}")
    return OfflineDataset(**{name: arrays[name] for name in names})


def _of_plain_arrays(path: str | Path, arrays: dict[str, NDArray[Any]]) -> OfflineDataset:
    needed, optional = ("observations", "actions", "rewards", "next_observations"), ("terminations", "truncations")
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise FileFormatError(
            f"{path} is not a {FORMAT} and lacks {', '.join(missing)}; OfflineDataset.save writes one, "
            f"or give plain arrays {', '.join(needed)} and, if episodes end, {' or '.join(optional)}"
        )
    return from_arrays(**{name: arrays[name] for name in (*needed, *optional) if name in arrays})


def read(source: str | Path) -> OfflineDataset:
    """Read the ``.npz`` file of that path, see :func:`load`, or else the local Minari data set of that id.

    Raises
    ------
    FileFormatError, InvalidArgumentError, MissingDependencyError
        See :func:`load` and :func:`from_minari`.
    """
    return load(source) if Path(source).suffix == ".npz" else from_minari(str(source))


def from_arrays(
    observations: ArrayLike,
    actions: ArrayLike,
    rewards: ArrayLike,
    next_observations: ArrayLike,
    terminations: ArrayLike | None = None,
    truncations: ArrayLike | None = None,
) -> OfflineDataset:
    """Make a data set of arrays, in one of two layouts.

    Parameters
    ----------
    observations, actions, rewards, next_observations
        Either (K, H, ...): K episodes of H stages, of which rows after a termination or truncation are padding and dropped. Or
        (n, ...): one row a transition, episode after episode.
    terminations, truncations : (K, H) or (n,) booleans, optional
        Where an episode ended, or was cut off; the row after it begins the next. Default: nowhere, so that flat rows are one
        episode.

    Raises
    ------
    InvalidArgumentError
        See :class:`OfflineDataset`.
    """
    reward = np.asarray(rewards, dtype=np.float64)
    ended = np.zeros(reward.shape, dtype=bool) if terminations is None else np.asarray(terminations, dtype=bool)
    cut = np.zeros(reward.shape, dtype=bool) if truncations is None else np.asarray(truncations, dtype=bool)
    if reward.ndim not in (1, 2) or ended.shape != reward.shape or cut.shape != reward.shape:
        raise InvalidArgumentError(
            f"rewards have shape {reward.shape}, terminations {ended.shape}, truncations {cut.shape}; "
            "expected (n,) or (episodes, stages) for all"
        )
    columns = [np.asarray(column) for column in (observations, actions, reward, next_observations, ended)]
    if reward.ndim == 1:
        return OfflineDataset(*[*columns, _stages(ended | cut)])
    last = ended | cut
    kept = np.cumsum(last, axis=1) - last == 0  # no end before this row
    stage = np.broadcast_to(np.arange(reward.shape[1]), reward.shape)
    for name, column in zip(("observations", "actions", "rewards", "next_observations"), columns, strict=False):
        if column.shape[:2] != reward.shape:
            raise InvalidArgumentError(f"{name} have shape {column.shape}; expected {reward.shape} first, as rewards have")
    return OfflineDataset(*[column[kept] for column in [*columns, stage]])


def from_episodes(episodes: Iterable[Any]) -> OfflineDataset:
    """Make a data set of episodes as Minari and most loggers keep them.

    Parameters
    ----------
    episodes
        Each a mapping, or an object with attributes: ``observations`` (T + 1, ...), ``actions`` (T, ...), ``rewards`` (T,), and
        optionally ``terminations`` (T,).

    Raises
    ------
    InvalidArgumentError
        If an episode doesn't have one observation more than rewards; also see :class:`OfflineDataset`.
    """
    parts = [_columns(number, episode) for number, episode in enumerate(episodes)]
    if not parts:
        raise InvalidArgumentError("the data set is empty; it needs at least one episode")
    return OfflineDataset(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def from_minari(dataset_id: str) -> OfflineDataset:
    """Read a Minari data set that is on this machine. Nothing is ever downloaded.

    Raises
    ------
    MissingDependencyError
        If Minari isn't installed: ``pip install "robust-rl[offline]"``.
    InvalidArgumentError
        If there is no local data set of that id; the message lists those there are.
    """
    try:
        import minari
    except ImportError as error:
        raise MissingDependencyError('Minari data sets need minari; install it with: pip install "robust-rl[offline]"') from error
    with sound("Minari's folder of data sets", "one"):
        local = sorted(minari.list_local_datasets())
    if dataset_id not in local:
        known = ", ".join(local) or "none"
        raise InvalidArgumentError(
            f"no Minari data set {dataset_id!r} on this machine (local ones: {known}); "
            f"fetch it yourself first: minari download {dataset_id}"
        )
    with sound(dataset_id, "Minari data set"):
        return from_episodes(minari.load_dataset(dataset_id, download=False).iterate_episodes())


def collect(env: str | gymnasium.Env, policy: Any, episodes: int, seed: int = 0, *, horizon: int | None = None) -> OfflineDataset:
    """Play episodes and log them.

    Parameters
    ----------
    env : str or gymnasium.Env
        With array observations.
    policy : None, agent, or callable
        None draws actions uniformly; an agent is asked by ``predict(observation, state, deterministic=False)``; a callable by
        ``policy(observation, rng)``.
    episodes : int
    seed : int
        Same seed, same data: it seeds the environment, its action space, and the generator handed to a callable.
    horizon : int, optional
        Cut episodes off after so many transitions.

    Raises
    ------
    InvalidArgumentError
        If ``episodes`` or ``horizon`` is below 1.
    """
    if episodes < 1 or (horizon is not None and horizon < 1):
        raise InvalidArgumentError(f"episodes={episodes}, horizon={horizon}; both must be at least 1")
    made = gymnasium.make(env) if isinstance(env, str) else env
    rng = np.random.default_rng(seed)
    made.action_space.seed(seed)
    return from_episodes([_play(made, policy, rng, seed if number == 0 else None, horizon) for number in range(episodes)])


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a data set covers.

    ============  =================================================================================================
    lengths       (K,) transitions of each episode
    returns       (K,) sum of rewards of each episode
    per_stage     (H,) transitions made at each stage
    visits        (H, S, A) how often each action was taken in each state, if both are indices, else None; S and A are
                  one more than the largest seen
    terminated    share of the episodes that ended rather than were cut off
    ============  =================================================================================================
    """

    lengths: NDArray[np.intp]
    returns: NDArray[np.float64]
    per_stage: NDArray[np.intp]
    visits: NDArray[np.intp] | None
    terminated: float

    @property
    def coverage(self) -> NDArray[np.float64] | None:
        """(H,) share of the actions tried at least once, over the states seen at that stage; None without visit counts."""
        if self.visits is None:
            return None
        seen = self.visits.any(axis=2)
        return np.asarray((self.visits > 0).sum(axis=(1, 2)) / (seen.sum(axis=1) * self.visits.shape[2]))

    @property
    def effective_pairs(self) -> NDArray[np.float64] | None:
        """(H,) (sum n)^2 / sum n^2 over pairs (s, a): how many pairs, visited equally often, would be spread as widely."""
        if self.visits is None:
            return None
        counts = self.visits.reshape(len(self.visits), -1).astype(np.float64)
        return np.asarray(counts.sum(axis=1) ** 2 / (counts**2).sum(axis=1))

    def __str__(self) -> str:
        lines = [
            f"{len(self.lengths)} episodes, {int(self.lengths.sum())} transitions, "
            f"lengths {self.lengths.min()} to {self.lengths.max()}, {self.terminated:.0%} terminated",
            f"returns: mean {self.returns.mean():.4g}, from {self.returns.min():.4g} to {self.returns.max():.4g}",
            f"transitions a stage: {self.per_stage.min()} to {self.per_stage.max()}",
        ]
        if self.coverage is not None and self.effective_pairs is not None:
            lines.append(f"actions tried in the states seen: {self.coverage.min():.0%} at the stage covered worst")
            lines.append(f"effective state-action pairs a stage: at least {self.effective_pairs.min():.1f}")
        return "\n".join(lines)


def _check_column(name: str, column: NDArray[Any], rows: int) -> None:
    if not isinstance(column, np.ndarray) or column.dtype == object:
        raise InvalidArgumentError(f"{name} must be an array of numbers, got {type(column).__name__}; flatten composite spaces")
    if column.ndim == 0 or len(column) != rows:
        raise InvalidArgumentError(f"{name} have shape {column.shape}; expected {rows} rows, as rewards have")
    if name in ("rewards", "terminations", "stage") and column.ndim != 1:
        raise InvalidArgumentError(f"{name} have shape {column.shape}; expected ({rows},)")
    if column.dtype.kind not in "biuf":
        raise InvalidArgumentError(f"{name} are of type {column.dtype}; expected numbers")
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        row = int(np.argwhere(~np.isfinite(column))[0, 0])
        raise InvalidArgumentError(f"{name}[{row}] is {column[row]}; drop the row's episode or repair it")


def _check_stages(stage: NDArray[np.intp], terminations: NDArray[np.bool_]) -> None:
    starts = stage == 0
    follows = np.concatenate([[False], stage[1:] == stage[:-1] + 1])
    wrong = np.flatnonzero(~(starts | follows))
    if wrong.size:
        raise InvalidArgumentError(
            f"stage[{wrong[0]}] is {stage[wrong[0]]}; stages count 0, 1, 2, ... within each episode, one row a transition"
        )
    beyond = np.flatnonzero(terminations[:-1].astype(bool) & ~starts[1:])
    if beyond.size:
        raise InvalidArgumentError(f"row {beyond[0]} terminates its episode, but row {beyond[0] + 1} goes on with it")


def _stages(last: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the stage of each row, where ``last`` marks the last row of each episode."""
    rows = np.arange(len(last))
    begins = np.concatenate([[True], last[:-1]])
    return np.asarray(rows - np.maximum.accumulate(np.where(begins, rows, 0)), dtype=np.intp)


def _columns(number: int, episode: Any) -> tuple[NDArray[Any], ...]:
    def part(name: str, default: Any = None) -> Any:
        found = episode.get(name, default) if isinstance(episode, dict) else getattr(episode, name, default)
        if found is None:
            raise InvalidArgumentError(f"episode {number} has no {name}")
        return found

    observations, rewards = np.asarray(part("observations")), np.asarray(part("rewards"), dtype=np.float64)
    if rewards.ndim != 1 or observations.ndim == 0 or len(observations) != len(rewards) + 1:
        raise InvalidArgumentError(
            f"episode {number} has observations of shape {observations.shape} and rewards of shape {rewards.shape}; "
            "expected (T + 1, ...) and (T,): the last observation is where the last action led"
        )
    ended = np.asarray(part("terminations", np.zeros(len(rewards), dtype=bool)), dtype=bool)
    stage = np.arange(len(rewards), dtype=np.intp)
    return observations[:-1], np.asarray(part("actions")), rewards, observations[1:], ended, stage


def _play(env: gymnasium.Env, policy: Any, rng: np.random.Generator, seed: int | None, horizon: int | None) -> dict[str, Any]:
    observation, _ = env.reset(seed=seed)
    memory = None  # what an agent's predict hands back, the stage for instance
    observations, actions, rewards, terminations = [observation], [], [], []
    over = False
    while not over:
        if policy is None:
            action = env.action_space.sample()
        elif hasattr(policy, "predict"):
            action, memory = policy.predict(observation, memory, deterministic=False)
        else:
            action = policy(observation, rng)
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(reward)
        terminations.append(terminated)
        over = terminated or truncated or len(rewards) == horizon
    return {"observations": observations, "actions": actions, "rewards": rewards, "terminations": terminations}


def _is_index(column: NDArray[Any]) -> bool:
    return column.ndim == 1 and column.dtype.kind in "iu" and bool(column.min() >= 0)


def _visits(data: OfflineDataset) -> NDArray[np.intp]:
    shape = (data.horizon, int(data.observations.max()) + 1, int(data.actions.max()) + 1)
    require_memory(8.0 * np.prod(shape, dtype=np.float64), f"visit counts of shape {shape}", "aggregate states first")
    flat = np.ravel_multi_index((data.stage, data.observations.astype(np.intp), data.actions.astype(np.intp)), shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
