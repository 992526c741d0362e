"""A round of online learning: two responses a prompt, a judge, and what of the rounds so far is trained on.

A round is played on :class:`robust_rl.envs.games.duel_v0.text_env`: two responders see a prompt, and the judge pays the
better response. Both responders are the current policy. What is played is written down pair by pair, so that a judge that
fails, or a kill, costs no judgement that was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robust_rl.alignment.jsonl import append_line, read_lines
from robust_rl.alignment.judges import Judge
from robust_rl.alignment.sampling import Prompt
from robust_rl.envs.games import duel_v0
from robust_rl.errors import InvalidArgumentError

Responder = Callable[[Sequence[Prompt], int], Sequence[str]]
"""(prompts, seed) -> one response a prompt."""

BUFFERS = ("accumulate", "window", "newest")
_SEEDS = 1_000_003  # keeps apart the seeds of rounds and of what is drawn within one


def play_round(
    path: Path,
    prompts: Sequence[Prompt],
    responders: tuple[Responder, Responder],
    judge: Judge,
    *,
    seed: int,
    batch_size: int,
    more: Callable[[Sequence[Prompt], int], dict[str, Sequence[Any]]] | None = None,
) -> list[dict[str, Any]]:
    """Return the round's pairs, playing those that ``path`` does not hold yet.

    Parameters
    ----------
    path
        A JSONL file, a line a prompt: ``prompt``, ``chosen``, ``rejected``, ``tie``, and what ``more`` adds.
    prompts
        One for each duel: texts or messages.
    responders
        Of player_0 and player_1.
    judge
        ``judge(prompt, first, second, rng) -> bool``; of messages it sees the contents, a line each.
    seed
        Of the round. Each batch of responses and each judgement has its own, so a resumed round equals an uninterrupted one.
    batch_size
        Prompts that the responders get at a time.
    more
        ``more(prompts, seed)``: further columns, such as a response of the reference.

    Returns
    -------
    list of dict
        The lines. ``tie`` is true where both responses are the same text, and the label means nothing.

    Raises
    ------
    JudgeError
        The judge failed; what was judged before is in ``path``.
    """
    done = read_lines(path)
    duel = duel_v0.text_env([prompt_text(prompts[0])], judge)
    for start in range(len(done) // batch_size * batch_size, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        drawing = seed * _SEEDS + 3 * start
        first, second = (responder(batch, drawing + player) for player, responder in enumerate(responders))
        columns = more(batch, drawing + 2) if more is not None else {}
        for i in range(len(done) - start, len(batch)):  # a batch that was cut short is drawn again, and judged from there on
            won = _won(duel, batch[i], first[i], second[i], seed * _SEEDS + start + i)
            line = {
                "prompt": batch[i],
                "chosen": first[i] if won else second[i],
                "rejected": second[i] if won else first[i],
                "tie": first[i] == second[i],
                **{name: values[i] for name, values in columns.items()},
            }
            append_line(path, line)
            done.append(line)
    return done


def buffered(rounds: Sequence[Sequence[dict[str, Any]]], rule: str, window: int, keep_ties: bool) -> list[dict[str, Any]]:
    """Return what is trained on after the last of ``rounds``.

    Parameters
    ----------
    rounds
        Each round's lines, oldest first.
    rule
        ``"accumulate"`` all, as the theory has it; the ``"window"`` of the last rounds; the ``"newest"`` alone.
    window
        How many rounds a window is.
    keep_ties
        Whether pairs of equal texts stay: they have no gradient in the pair loss, but calibrate.

    Raises
    ------
    InvalidArgumentError
        The rule is unknown.

    Examples
    --------
    >>> rounds = [[{"chosen": str(t), "tie": False}] for t in range(4)]
    >>> [row["chosen"] for row in buffered(rounds, "window", 2, keep_ties=False)]
    ['2', '3']
    """
    if rule not in BUFFERS:
        raise InvalidArgumentError(f"buffer is {rule!r}; it must be one of {', '.join(BUFFERS)}")
    kept = {"accumulate": len(rounds), "window": window, "newest": 1}[rule]
    return [row for lines in rounds[-kept:] for row in lines if keep_ties or not row["tie"]]


def preference_rows(lines: Sequence[dict[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return lines as rows of TRL's preference format: responses to messages are messages."""
    rows = []
    for line in lines:
        talk = not isinstance(line["prompt"], str)
        responses = {name: line[name] for name in ("chosen", "rejected", *columns)}
        rows.append({"prompt": line["prompt"]} | {name: _message(text) if talk else text for name, text in responses.items()})
    return rows


def prompt_text(prompt: Prompt) -> str:
    """Return what a judge sees of a prompt."""
    return prompt if isinstance(prompt, str) else "\n".join(str(message["content"]) for message in prompt)


def _won(duel: Any, prompt: Prompt, first: str, second: str, seed: int) -> bool:
    duel.reset(seed=seed % 2**63, options={"prompt": prompt_text(prompt)})
    rewards = duel.step({"player_0": first, "player_1": second})[1]
    return bool(rewards["player_0"] > rewards["player_1"])


def _message(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]
