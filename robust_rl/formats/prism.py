"""PRISM's explicit model files: Markov decision processes and chains, with plain or interval probabilities.

========  ===========================================================================================
file      lines after the first, which holds the sizes; ``#`` begins a comment
========  ===========================================================================================
.tra      ``state choice next probability [action]``, or with ``[lower,upper]``; chains without choice
.lab      first ``0="init" 1="goal" ...``, then ``state: label label ...``
.srew     ``state reward``
.trew     ``state choice next reward``; chains without choice
========  ===========================================================================================

The formats are those of the appendix "Explicit Model Files" of PRISM's manual.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robust_rl._numba import njit
from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.formats import scan
from robust_rl.formats.export import entries_of, label_masks, write_lines
from robust_rl.formats.interval_model import Columns, IntervalModel, build
from robust_rl.models import TabularMDP
from robust_rl.uncertainty import Interval

VALUE = 0
LABEL = re.compile(r'(\d{1,9})="([^"]+)"')
LABELLED = re.compile(r"(\d{1,18}):((?:\s+\d{1,9})+)")
_HASH = 35
MISTAKES = (
    "",
    "malformed line; expected whole numbers of states and choices",
    "malformed number; expected a number, or an interval [lower,upper] in the file of transitions",
    "there is more on the line than it should hold",
)


class _Records(NamedTuple):
    """Lines of a file: the header's sizes, (N, k) indices, values, and of each line what follows, as an index into words."""

    sizes: tuple[int, ...]
    indices: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    intervals: bool
    word: NDArray[np.int32]
    words: tuple[str, ...]
    line: NDArray[np.int64]


def read_prism(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    state_rewards: str | Path | None = None,
    transition_rewards: str | Path | None = None,
    reach: str | None = None,
) -> IntervalModel:
    """Read a Markov decision process or chain from PRISM's explicit files, with interval or plain probabilities.

    Parameters
    ----------
    path
        The file of transitions, ``.tra``.
    labels, state_rewards, transition_rewards
        The files beside it. Default: those of the same name that end in ``.lab``, ``.srew`` and ``.trew``, if they exist.
        A reward is that of the state plus that of the transition.
    reach
        Take, instead of rewards, the probability of reaching states with this label: :meth:`IntervalModel.reaching`.

    Returns
    -------
    IntervalModel
        Actions are the file's choices. Rewards are r(s,a) if no choice has two different ones, else r(s,a,s').

    Raises
    ------
    FileFormatError
        If a file is malformed; the message names the line.
    InvalidArgumentError
        If there is no such label.
    """
    path = Path(path)
    records = _read_records(path, None, intervals=True, named=True)
    states = records.sizes[0]
    chain = records.indices.shape[1] == 2
    state, target = records.indices[:, 0], records.indices[:, -1]
    action = np.zeros_like(state) if chain else records.indices[:, 1]
    _check_range(records, path, (states, states) if chain else (states, records.sizes[1], states))
    if not len(state):
        raise FileFormatError(f"{path} holds no transition")
    _, first, choice = np.unique(state * (action.max() + 1) + action, return_index=True, return_inverse=True)
    if not chain and len(first) != records.sizes[1]:
        raise FileFormatError(f"{path} holds {len(first)} choices where its header says {records.sizes[1]}; is it cut short?")
    lab, srew, trew = (
        given if given is not None else beside
        for given, beside in zip((labels, state_rewards, transition_rewards), _files(path)[1:], strict=True)
    )
    of_choice, of_entry = _transition_rewards(trew, records, choice, first)
    columns = Columns(
        path=path, num_states=states, state=state[first], action=action[first], name=records.word[first],
        line=records.line[first], names=records.words, choice=choice, target=target.astype(np.int32), lower=records.lower,
        upper=records.upper, intervals=records.intervals, state_reward=_state_rewards(srew, states), choice_reward=of_choice,
        entry_reward=of_entry, labels={} if lab is None else _read_labels(Path(lab), states),
    )  # fmt: skip
    result = build(columns)
    return result if reach is None else result.reaching(reach)


def write_prism(
    model: TabularMDP, path: str | Path, uncertainty: Interval | None = None, *, labels: Mapping[str, ArrayLike] | None = None
) -> Path:
    """Write a model, and its intervals, as PRISM's explicit files; :func:`read_prism` gives the same model back.

    Parameters
    ----------
    model
        Terminal states become states that lead to themselves and earn nothing.
    path
        The file of transitions, ``.tra``; labels and rewards go beside it, in ``.lab`` and ``.trew``. An older ``.srew`` of that
        name is removed, as it would be read with them.
    uncertainty
        Intervals to write in place of the probabilities.
    labels
        Name to a boolean mask (S,) or state indices. ``init`` marks where the model starts and is added.

    Raises
    ------
    InvalidArgumentError
        If a state's available actions aren't its first ones (PRISM numbers choices without gaps), the start isn't uniform over
        some states, or a label can't be written.
    """
    path = Path(path)
    if path.suffix != ".tra":
        raise InvalidArgumentError(f"{path} should end in .tra; labels and rewards are written beside it")
    if (model.action_mask[:, 1:] & ~model.action_mask[:, :-1])[~model.terminal].any():
        raise InvalidArgumentError("PRISM numbers a state's choices without gaps; put available actions first, or write DRN")
    masks, entries = label_masks(model, labels), entries_of(model, uncertainty)
    ends = np.flatnonzero(model.terminal).tolist()
    sizes = f"{model.num_states} {int(model.active_rows.sum()) + len(ends)}"
    places = zip(*(part.tolist() for part in (*np.divmod(entries.row, model.num_actions), entries.target)))
    where = [f"{s} {a} {t}" for s, a, t in places]
    bounds = zip(where, entries.lower.tolist(), entries.upper.tolist())
    if uncertainty is None:
        transitions = [f"{place} {p!r}\n" for place, p, _ in bounds] + [f"{s} 0 {s} 1\n" for s in ends]
    else:
        transitions = [f"{place} [{low!r},{high!r}]\n" for place, low, high in bounds] + [f"{s} 0 {s} [1,1]\n" for s in ends]
    paid = np.flatnonzero(entries.reward).tolist()
    _, labelled, old, rewards = _paths(path)
    write_lines(labelled, _label_lines(masks))
    write_lines(rewards, [f"{sizes} {len(paid)}\n", *(f"{where[i]} {float(entries.reward[i])!r}\n" for i in paid)])
    write_lines(path, [f"{sizes} {len(transitions)}\n", *transitions])
    old.unlink(missing_ok=True)
    return path


def _paths(path: Path) -> tuple[Path, Path, Path, Path]:
    return path, path.with_suffix(".lab"), path.with_suffix(".srew"), path.with_suffix(".trew")


def _files(path: Path) -> list[Path | None]:
    return [file if file.is_file() else None for file in _paths(path)]


@njit
def _scan(text, width, allow_interval, named, records, out, kinds):  # type: ignore[no-untyped-def]
    """Scan whole lines; return numbers of records, bytes copied, numbers, and mistake and line, if there is one.

    records (., width + 4): indices, whether it's an interval, begin and end of what follows, line.
    """
    count, n, k, line = 0, 0, 0, -1
    begin = 0
    while begin < len(text):
        line += 1
        end = scan.line_end(text, begin)
        i = scan.skip_blanks(text, begin, end)
        begin = end + 1
        if i == end or text[i] == _HASH:
            continue
        for column in range(width):
            records[count, column], i = scan.read_index(text, i, end)
            after = scan.skip_blanks(text, i, end)
            if records[count, column] < 0 or after in (i, end):
                return count, n, k, 1, line
            i = after
        if allow_interval:
            i, n, k, interval = scan.copy_interval(text, i, end, out, n, kinds, k, VALUE)
        else:
            i, n, k = scan.copy_number(text, i, end, out, n, kinds, k, VALUE)
            interval = False
        if i == -1:
            return count, n, k, 2, line
        after = scan.skip_blanks(text, i, end)
        if after < end and (after == i or not named):
            return count, n, k, 3, line
        records[count, width], records[count, width + 1], records[count, width + 2] = interval, after, end
        records[count, width + 3] = line
        count += 1
    return count, n, k, 0, line


def _read_records(path: Path, width: int | None, *, intervals: bool = False, named: bool = False) -> _Records:
    """Read a file of records of ``width`` indices; None takes that from the header."""
    words: dict[bytes, int] = {}
    parts: list[list[NDArray]] = []
    with scan.open_text(path) as file:
        sizes, lines = _read_sizes(path, file, (2,) if width == 1 else (2, 3))
        width = width or len(sizes)
        for text in scan.chunks(file):
            count = int(np.count_nonzero(text == 10)) + 1
            records = np.empty((count, width + 4), dtype=np.int64)
            out, kinds = np.empty(2 * len(text) + 2, dtype=np.uint8), np.empty(len(text) // 2 + 2, dtype=np.uint8)
            found, n, k, mistake, line = _scan(text, width, intervals, named, records, out, kinds)
            if mistake:
                scan.fail(path, lines + line + 1, f"{MISTAKES[mistake]}: {scan.line_at(text, line)}")
            values, value_kinds = scan.numbers(out[:n], kinds[:k])
            records, content = records[:found], text.tobytes()
            lower = values[value_kinds == VALUE]
            upper = lower.copy()
            upper[records[:, width] == 1] = values[value_kinds == VALUE + 1]
            spans = records[:, width + 1 : width + 3].tolist()
            codes = [words.setdefault(content[begin:end].strip(), len(words)) for begin, end in spans]
            parts.append(
                [records[:, :width].copy(), lower, upper, np.array([records[:, width].any()]), np.array(codes, dtype=np.int32)]
            )
            parts[-1].append(records[:, width + 3] + lines + 1)
            lines += count - 1
    if not parts:
        parts.append([np.empty((0, width), np.int64), *(np.empty(0, kind) for kind in (float, float, bool, np.int32, np.int64))])
    indices, lower, upper, interval, word, line_of = map(np.concatenate, zip(*parts))
    if len(indices) != sizes[-1]:
        raise FileFormatError(f"{path} holds {len(indices)} lines where its header says {sizes[-1]}; is it cut short?")
    decoded = tuple(text.decode("utf-8", errors="replace") for text in words)
    return _Records(sizes, indices, lower, upper, bool(interval.any()), word, decoded, line_of)


def _read_sizes(path: Path, file: IO[bytes], counts: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Return the numbers of the header and how many lines were read."""
    for number, line in enumerate(iter(lambda: file.readline(1 << 16), b""), start=1):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        if len(words) not in counts or not all(re.fullmatch(rb"\d{1,18}", word) for word in words):
            shown = line[:60].decode(errors="replace").strip()
            scan.fail(path, number, f"the header is {shown!r}; expected {' or '.join(map(str, counts))} whole numbers, the sizes")
        sizes = tuple(map(int, words))
        # states without a line are allowed, but don't allocate for a header that is made up
        if not 0 < sizes[0] <= min(scan.LARGEST_INDEX, 1000 + os.path.getsize(path)):
            scan.fail(path, number, f"the header says {sizes[0]} states, which isn't the number of states in this file")
        return sizes, number
    raise FileFormatError(f"{path} is empty; its first line should hold the model's sizes")


def _check_range(records: _Records, path: Path, limits: tuple[int, ...]) -> None:
    bad = np.argwhere(records.indices >= np.array(limits))
    if bad.size:
        i, column = bad[0]
        scan.fail(
            path,
            int(records.line[i]),
            f"{records.indices[i, column]} is out of range; the header allows 0 to {limits[column] - 1}",
        )


def _state_rewards(path: str | Path | None, states: int) -> NDArray[np.float64]:
    rewards = np.zeros(states)
    if path is not None:
        records = _read_records(Path(path), 1)
        _check_range(records, Path(path), (states,))
        rewards[records.indices[:, 0]] = records.lower
    return rewards


def _transition_rewards(
    path: str | Path | None, records: _Records, choice: NDArray[np.int64], first: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return rewards of choices (C,), or of the transitions (N,) where those of a choice differ."""
    if path is None:
        return np.zeros(len(first)), None
    path = Path(path)
    given = _read_records(path, None)
    if given.indices.shape[1] != records.indices.shape[1]:
        raise FileFormatError(f"{path} has {given.indices.shape[1]} indices a line, its transitions {records.indices.shape[1]}")
    limits = tuple((records.indices.max(axis=0) + 1).tolist())
    _check_range(given, path, limits)
    keys, wanted = (np.ravel_multi_index(tuple(part.T), limits) for part in (records.indices, given.indices))
    order = np.argsort(keys, kind="stable")
    place = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
    absent = np.flatnonzero(keys[place] != wanted)
    if absent.size:
        scan.fail(path, int(given.line[absent[0]]), "a reward for a transition that the model doesn't have")
    rewards = np.zeros(len(keys))
    rewards[place] = given.lower
    of_choice = rewards[first]
    return (of_choice, None) if (rewards == of_choice[choice]).all() else (np.zeros(len(first)), rewards)


def _read_labels(path: Path, states: int) -> dict[str, NDArray[np.bool_]]:
    names: dict[int, str] | None = None
    masks: dict[str, NDArray[np.bool_]] = {}
    with scan.open_text(path) as file:
        for number, line in enumerate(file, start=1):
            text = line.decode("utf-8", errors="replace").strip()
            if not text or text.startswith("#"):
                continue
            if names is None:
                if LABEL.sub("", text).strip():
                    scan.fail(path, number, f'{text[:60]!r} should list the labels, as in 0="init" 1="goal"')
                names = {int(match[1]): match[2] for match in LABEL.finditer(text)}
                masks = {name: np.zeros(states, dtype=bool) for name in names.values()}
                continue
            match = LABELLED.fullmatch(text)
            if match is None or int(match[1]) >= states or not set(map(int, match[2].split())) <= set(names):
                scan.fail(path, number, f"{text[:60]!r} should be a state, a colon and labels, by their numbers")
            for label in match[2].split():
                masks[names[int(label)]][int(match[1])] = True
    return masks


def _label_lines(masks: Mapping[str, NDArray[np.bool_]]) -> Iterator[str]:
    yield " ".join(f'{i}="{name}"' for i, name in enumerate(masks)) + "\n"
    table = np.stack(list(masks.values()), axis=1)
    for state in np.flatnonzero(table.any(axis=1)).tolist():
        yield f"{state}: {' '.join(map(str, np.flatnonzero(table[state])))}\n"
