"""Storm's explicit format DRN: Markov decision processes with plain or interval probabilities.

After a header, a file lists its states in order, each with its choices, and under each choice its successors::

    @type: MDP
    @parameters

    @reward_models
    cost
    @nr_states
    2
    @nr_choices
    2
    @model
    state 0 [0.5] init
        action left [1]
            0 : [0.2, 0.5]
            1 : [0.4, 0.9]
    state 1 [0] "the end"
        action stay [0]
            1 : [1, 1]

Numbers in brackets behind a state and a choice are rewards, one for each reward model; words behind a state are labels. The
grammar is that of Storm's parser and of its exporter (``DirectEncodingParser.cpp``, ``DirectEncodingExporter.cpp``).
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

TYPES = ("mdp", "dtmc")
VALUE_TYPES = ("double", "double-interval", "rational", "rational-interval")
LOWER, UPPER = 0, 1
STATE_REWARD, CHOICE_REWARD = 2, 4  # and 3, 5: Storm writes a reward x of an interval model as [x, x]
_STATE, _ACTION, _COMMENT = scan.word("state "), scan.word("action "), scan.word("//")
_COLON = 58
MISTAKES = (
    "",
    "a state's number is missing or isn't the next one; states are listed in order, without gaps",
    "malformed rewards; expected numbers in brackets, separated by commas",
    "an action before the first state",
    "a transition before the first action of its state",
    "the successor isn't a state of this file",
    "malformed transition; expected `state : probability` or `state : [lower, upper]`, with closed intervals of numbers",
    "more states than the header says",
)
LABEL = re.compile(r'"([^"]+)"|([^\s"]+)')


class _Header(NamedTuple):
    rewards: tuple[str, ...]
    num_states: int
    num_choices: int
    lines: int


def read_drn(path: str | Path, *, reward: str | None = None, reach: str | None = None) -> IntervalModel:
    """Read a Markov decision process or chain in Storm's explicit format, with interval or plain probabilities.

    Parameters
    ----------
    path
        The file.
    reward
        Which of the file's reward models to take; needed if it has several. Rewards are r(s,a), of the state and the choice.
    reach
        Take, instead of rewards, the probability of reaching states with this label: :meth:`IntervalModel.reaching`.

    Returns
    -------
    IntervalModel
        Actions are numbered as a state's choices are listed; or, if all of the file's actions are named by ascending numbers, by
        these, as :func:`write_drn` writes them.

    Raises
    ------
    FileFormatError
        If the file is malformed, parametric or of another type of model; the message names the line.
    InvalidArgumentError
        If the reward model or label doesn't exist, or isn't chosen among several.
    """
    path = Path(path)
    with scan.open_text(path) as file:
        header = _read_header(path, file)
        chosen = _choose(path, header.rewards, reward, reach)
        columns = _read_states(path, file, header, chosen)
    result = build(columns)
    return result if reach is None else result.reaching(reach)


def write_drn(
    model: TabularMDP, path: str | Path, uncertainty: Interval | None = None, *, labels: Mapping[str, ArrayLike] | None = None
) -> Path:
    """Write a model, and its intervals, in Storm's explicit format; :func:`read_drn` gives the same model back.

    Parameters
    ----------
    model
        With r(s,a). Terminal states become states that lead to themselves and earn nothing.
    path
        The file.
    uncertainty
        Intervals to write in place of the probabilities.
    labels
        Name to a boolean mask (S,) or state indices. ``init`` marks where the model starts and is added.

    Raises
    ------
    InvalidArgumentError
        If rewards are r(s,a,s'), the start isn't uniform over some states, or a label can't be written.
    """
    if model.has_transition_rewards:
        raise InvalidArgumentError(
            "DRN files hold r(s,a) only; write PRISM's files, or model.with_expected_rewards(), whose rewards no adversary moves"
        )
    words = [""] * model.num_states
    for name, mask in label_masks(model, labels).items():
        for state in np.flatnonzero(mask):
            words[state] += f' "{name}"' if re.search(r"\s", name) else f" {name}"
    write_lines(Path(path), _lines(model, uncertainty, words))
    return Path(path)


def _read_header(path: Path, file: IO[bytes]) -> _Header:
    """Read up to and including ``@model``."""
    found: dict[str, str] = {}
    number = 0

    def line() -> str | None:
        nonlocal number
        number += 1
        text = file.readline(1 << 20)
        return text.decode("utf-8", errors="replace").strip() if text else None

    while (text := line()) != "@model":
        if text is None:
            raise FileFormatError(f"{path} is no DRN file: it has no line '@model'")
        key, colon, value = text.partition(":")
        if not text or text.startswith("//"):
            continue
        if key in ("@type", "@value_type") and colon:
            found[key] = value.strip().lower()
        elif key in ("@parameters", "@reward_models", "@nr_states", "@nr_choices"):
            found[key] = line() or ""
        elif key == "@placeholders":
            scan.fail(path, number, "placeholders aren't read; export the model without them")
        else:
            scan.fail(path, number, f"{text[:60]!r} is no part of a DRN header")
    if found.get("@type") not in TYPES:
        raise FileFormatError(f"{path} holds a model of type {found.get('@type', '(none)')!r}; only MDP and DTMC are read")
    if found.get("@parameters") or found.get("@value_type", "double") not in VALUE_TYPES:
        raise FileFormatError(f"{path} is parametric; instantiate its parameters first")
    try:
        states, choices = int(found["@nr_states"]), int(found.get("@nr_choices", 0))
    except (KeyError, ValueError):
        raise FileFormatError(f"{path}: @nr_states or @nr_choices isn't followed by a number") from None
    if not 0 < states <= scan.LARGEST_INDEX or states > 1 + os.path.getsize(
        path
    ):  # a state takes a line: don't allocate for more
        raise FileFormatError(f"{path}: @nr_states is {states}, which isn't the number of states in this file")
    return _Header(tuple(found.get("@reward_models", "").split()), states, choices, number)


def _choose(path: Path, rewards: tuple[str, ...], reward: str | None, reach: str | None) -> int:
    """Return the position of the chosen reward model."""
    if reward is not None and reach is not None:
        raise InvalidArgumentError("give reward= or reach=, not both")
    if reward is None:
        if len(rewards) > 1 and reach is None:
            raise InvalidArgumentError(f"{path} has the reward models {', '.join(rewards)}; choose one: reward={rewards[0]!r}")
        return 0
    if reward not in rewards:
        raise InvalidArgumentError(f"{path} has no reward model {reward!r}; it has {', '.join(rewards) or 'none'}")
    return rewards.index(reward)


@njit
def _rewards(text, i, end, out, n, kinds, k, kind):  # type: ignore[no-untyped-def]
    """Copy ``[x, y, ...]`` if there is one at i, and count its rewards; place -1 if it's malformed."""
    count = 0
    if i >= end or text[i] != scan.OPEN:
        return i, n, k, count
    while True:
        i, n, k, _ = scan.copy_interval(text, scan.skip_blanks(text, i + 1, end), end, out, n, kinds, k, kind)
        if i == -1:
            return -1, n, k, count
        count += 1
        i = scan.skip_blanks(text, i, end)
        if i >= end or (text[i] != scan.COMMA and text[i] != scan.CLOSE):
            return -1, n, k, count
        if text[i] == scan.CLOSE:
            return i + 1, n, k, count


@njit
def _scan(text, state, num_states, states, choices, entries, out, kinds, seen):  # type: ignore[no-untyped-def]
    """Scan whole lines; return numbers of states, choices, entries, bytes copied, numbers, and mistake and line, if there is one.

    states (., 3): rewards, begin and end of the labels; choices (., 5): state, rewards, begin and end of the name, line;
    entries (., 3): choice, target, whether it's an interval. ``seen`` is the number of choices in earlier pieces, and whether the
    state has one yet.
    """
    num_s, num_c, num_e, n, k, line = 0, 0, 0, 0, 0, -1
    open_choice = seen[1]
    begin = 0
    while begin < len(text):
        line += 1
        end = scan.line_end(text, begin)
        i = scan.skip_blanks(text, begin, end)
        begin = end + 1
        if i == end or scan.starts_with(text, i, end, _COMMENT):
            continue
        if scan.starts_with(text, i, end, _STATE):
            number, i = scan.read_index(text, scan.skip_blanks(text, i + 6, end), end)
            if number != state + 1:
                return num_s, num_c, num_e, n, k, 1, line, open_choice
            if number >= num_states:
                return num_s, num_c, num_e, n, k, 7, line, open_choice
            state, open_choice = number, 0
            i, n, k, rewards = _rewards(text, scan.skip_blanks(text, i, end), end, out, n, kinds, k, STATE_REWARD)
            if i == -1:
                return num_s, num_c, num_e, n, k, 2, line, open_choice
            states[num_s, 0], states[num_s, 1], states[num_s, 2] = rewards, scan.skip_blanks(text, i, end), end
            num_s += 1
        elif scan.starts_with(text, i, end, _ACTION):
            if state < 0:
                return num_s, num_c, num_e, n, k, 3, line, open_choice
            i = scan.skip_blanks(text, i + 7, end)
            name_end = scan.word_end(text, i, end)
            choices[num_c, 2], choices[num_c, 3] = i, name_end
            i, n, k, rewards = _rewards(text, scan.skip_blanks(text, name_end, end), end, out, n, kinds, k, CHOICE_REWARD)
            if i == -1:
                return num_s, num_c, num_e, n, k, 2, line, open_choice
            choices[num_c, 0], choices[num_c, 1], choices[num_c, 4] = state, rewards, line
            num_c += 1
            open_choice = 1
        else:
            target, i = scan.read_index(text, i, end)
            i = scan.skip_blanks(text, i, end)
            if target < 0 or i >= end or text[i] != _COLON:
                return num_s, num_c, num_e, n, k, 6, line, open_choice
            if open_choice == 0:
                return num_s, num_c, num_e, n, k, 4, line, open_choice
            if target >= num_states:
                return num_s, num_c, num_e, n, k, 5, line, open_choice
            i, n, k, interval = scan.copy_interval(text, scan.skip_blanks(text, i + 1, end), end, out, n, kinds, k, LOWER)
            if i == -1 or scan.skip_blanks(text, i, end) < end:
                return num_s, num_c, num_e, n, k, 6, line, open_choice
            entries[num_e, 0], entries[num_e, 1], entries[num_e, 2] = seen[0] + num_c - 1, target, interval
            num_e += 1
    return num_s, num_c, num_e, n, k, 0, line, open_choice


def _read_states(path: Path, file: IO[bytes], header: _Header, chosen: int) -> Columns:
    """Read everything behind the header."""
    state, seen, lines = -1, np.zeros(2, dtype=np.int64), header.lines
    names: dict[bytes, int] = {}
    label_sets: dict[bytes, list[int]] = {}
    parts: list[list[NDArray]] = []
    for text in scan.chunks(file):
        count = int(np.count_nonzero(text == 10)) + 1
        states, choices, entries = (np.empty((count, width), dtype=np.int64) for width in (3, 5, 3))
        out, kinds = np.empty(2 * len(text) + 2, dtype=np.uint8), np.empty(len(text) // 2 + 2, dtype=np.uint8)
        num_s, num_c, num_e, n, k, mistake, line, seen[1] = _scan(
            text, state, header.num_states, states, choices, entries, out, kinds, seen
        )
        if mistake:
            scan.fail(path, lines + line + 1, f"{MISTAKES[mistake]}: {scan.line_at(text, line)}")
        values, value_kinds = scan.numbers(out[:n], kinds[:k])
        content = text.tobytes()
        for s in np.flatnonzero(states[:num_s, 1] < states[:num_s, 2]):
            label_sets.setdefault(content[states[s, 1] : states[s, 2]].strip(), []).append(state + 1 + int(s))
        choices, entries = choices[:num_c], entries[:num_e]
        name = [names.setdefault(content[b:e], len(names)) for b, e in choices[:, 2:4].tolist()]
        lower = values[value_kinds == LOWER]
        upper = lower.copy()
        upper[entries[:, 2] == 1] = values[value_kinds == UPPER]
        parts.append(
            [
                choices[:, 0].copy(), np.array(name, dtype=np.int32), lines + 1 + choices[:, 4],
                entries[:, 0].copy(), entries[:, 1].astype(np.int32), lower, upper, np.array([entries[:, 2].any()]),
                _picked(path, values, value_kinds, STATE_REWARD, states[:num_s, 0], chosen),
                _picked(path, values, value_kinds, CHOICE_REWARD, choices[:, 1], chosen),
            ]
        )  # fmt: skip
        state, seen[0], lines = state + num_s, seen[0] + num_c, lines + count - 1
    if state + 1 != header.num_states:
        raise FileFormatError(f"{path} lists {state + 1} states where its header says {header.num_states}; is it cut short?")
    if header.num_choices not in (0, int(seen[0])):
        raise FileFormatError(f"{path} lists {seen[0]} actions where its header says {header.num_choices}; is it cut short?")
    if not seen[0]:
        raise FileFormatError(f"{path} has no action in any state")
    source, code, line_of, choice, target, lower, upper, intervals, of_state, of_choice = map(np.concatenate, zip(*parts))
    decoded = tuple(word.decode("utf-8", errors="replace") for word in names)
    return Columns(
        path=path, num_states=header.num_states, state=source, action=_numbered(source, code, decoded), name=code, line=line_of,
        names=decoded, choice=choice, target=target, lower=lower, upper=upper, intervals=bool(intervals.any()),
        state_reward=of_state, choice_reward=of_choice, entry_reward=None, labels=_labels(path, label_sets, header.num_states),
    )  # fmt: skip


def _picked(
    path: Path, values: NDArray[np.float64], kinds: NDArray[np.uint8], kind: int, counts: NDArray[np.int64], chosen: int
) -> NDArray[np.float64]:
    """Return the chosen one of each line's rewards, 0 where it has none."""
    upper = np.flatnonzero(kinds == kind + 1)
    if (values[upper] != values[upper - 1]).any():
        raise FileFormatError(f"{path} has intervals of rewards; only transitions may have them")
    present = counts > chosen
    picked = np.zeros(len(counts))
    picked[present] = values[kinds == kind][(np.cumsum(counts) - counts)[present] + chosen]
    return picked


def _numbered(state: NDArray[np.int64], name: NDArray[np.int32], names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the action of each choice: the number that names it if all are so named, in ascending order, else its place."""
    first = np.searchsorted(state, state)
    place = np.arange(len(state)) - first
    if all(re.fullmatch(r"0|[1-9]\d{0,8}", word) for word in names):
        number = np.array([int(word) for word in names])[name]
        ascending = ((number[1:] > number[:-1]) | (place[1:] == 0)).all()
        if ascending and number.max() < 4 * (place.max() + 1):  # names that count on over all states would make a huge table
            return number
    return place


def _labels(path: Path, sets: Mapping[bytes, list[int]], num_states: int) -> dict[str, NDArray[np.bool_]]:
    masks: dict[str, NDArray[np.bool_]] = {}
    for words, states in sets.items():
        text = words.decode("utf-8", errors="replace")
        if LABEL.sub("", text).strip():
            raise FileFormatError(
                f"{path}: the labels {text!r} of state {states[0]} are malformed; expected words or quoted words"
            )
        for match in LABEL.finditer(text):
            masks.setdefault(match[1] or match[2], np.zeros(num_states, dtype=bool))[states] = True
    return masks


def _lines(model: TabularMDP, uncertainty: Interval | None, words: list[str]) -> Iterator[str]:
    entries = entries_of(model, uncertainty)
    pointers = np.searchsorted(entries.row, np.arange(model.num_states * model.num_actions + 1))
    choices = int(model.active_rows.sum() + model.terminal.sum())
    kind, one = ("double", "1") if uncertainty is None else ("double-interval", "[1, 1]")
    yield f"// Exported by robust-rl\n@type: MDP\n@value_type: {kind}\n@parameters\n\n@reward_models\nreward\n"
    yield f"@nr_states\n{model.num_states}\n@nr_choices\n{choices}\n@model\n"
    for s in range(model.num_states):
        yield f"state {s} [0]{words[s]}\n"
        if model.terminal[s]:
            yield f"\taction 0 [0]\n\t\t{s} : {one}\n"
            continue
        for a in np.flatnonzero(model.action_mask[s]).tolist():
            yield f"\taction {a} [{float(model.rewards[s, a])!r}]\n"
            row = slice(*pointers[s * model.num_actions + a : s * model.num_actions + a + 2])
            bounds = zip(entries.target[row].tolist(), entries.lower[row].tolist(), entries.upper[row].tolist())
            if uncertainty is None:
                yield "".join(f"\t\t{t} : {p!r}\n" for t, p, _ in bounds)
            else:
                yield "".join(f"\t\t{t} : [{low!r}, {high!r}]\n" for t, low, high in bounds)
