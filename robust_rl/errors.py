"""Every exception that robust-rl raises on purpose.

All derive from :class:`RobustRLError`, so one ``except`` catches them. The command line prints such an error in one
line; anything else is a bug and shows its traceback. Those that stand for a wrong argument are also ``ValueError``,
and the one for a missing package is also ``ImportError``, so that callers who know neither library catch them too.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class RobustRLError(Exception):
    """Base of all errors of the library. The message names the offender and the remedy."""


class InvalidModelError(RobustRLError, ValueError):
    """A model's arrays are inconsistent: rows that don't sum to 1, wrong shapes, entries that aren't finite."""


class InvalidUncertaintyError(RobustRLError, ValueError):
    """An uncertainty set is malformed or doesn't fit the model: radius out of range, empty support, l > u."""


class InvalidArgumentError(RobustRLError, ValueError):
    """An argument is out of range or contradicts another."""


class InsufficientStatesError(InvalidArgumentError):
    """Observed variables have too few states to show how many their hidden causes have."""


class UnknownNameError(RobustRLError, ValueError):
    """No environment, set, shift or run of that name; the message suggests the nearest."""


class NoTableError(RobustRLError, ValueError):
    """An environment has no transition table, so exact planning can't be done on it."""


class ConvergenceError(RobustRLError):
    """A solver stopped before its tolerance was met."""


class ConvergenceWarning(UserWarning):
    """A solver stopped before its tolerance was met; its bounds hold all the same."""


class CollapseWarning(UserWarning):
    """A latent variable carries nothing of the data after training; the message says which, and what to change."""


class FileFormatError(RobustRLError, ValueError):
    """A file is corrupt, foreign, or of a newer format than this version reads."""


class CheckpointError(RobustRLError, OSError):
    """A checkpoint could not be written; earlier ones are untouched."""


class JudgeError(RobustRLError):
    """A judge of responses failed, or answered with something that is no reward; pairs that it had judged are kept."""


class RunInUseError(RobustRLError):
    """Another process holds the run directory."""


class MissingDependencyError(RobustRLError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


@contextmanager
def sound(path: object, what: str) -> Iterator[None]:
    """Inside the block a file's content is taken apart: whatever goes wrong there is the file's fault.

    A file from a stranger may hold anything anywhere: a text for a number, an array of another shape, JSON a thousand lists deep.
    Naming every exception of every parser would leave some out.

    Raises
    ------
    FileFormatError
        In place of any exception but those of the library; the message has ``path`` and says that it is no sound ``what``.

    Examples
    --------
    >>> with sound("policy.json", "policy"):
    ...     {"horizon": 3}["discount"]
    Traceback (most recent call last):
    robust_rl.errors.FileFormatError: policy.json is no sound policy: 'discount' is missing
    """
    try:
        yield
    except RobustRLError:
        raise
    except BaseException as error:
        raise FileFormatError(f"{path} is no sound {what}: {_fault(error)}") from error


@contextmanager
def loadable(name: object, what: str) -> Iterator[None]:
    """Inside the block a model is loaded by name: whatever another library raises there means that the name is of none.

    Raises
    ------
    InvalidArgumentError
        In place of any exception but those of the library; the message has ``name``, ``what`` it should be, and the reason.

    Examples
    --------
    >>> with loadable("no/such/folder", "a language model"):
    ...     raise OSError("there is no config.json")
    Traceback (most recent call last):
    robust_rl.errors.InvalidArgumentError: cannot load no/such/folder as a language model: there is no config.json
    """
    try:
        yield
    except RobustRLError:
        raise
    except BaseException as error:
        raise InvalidArgumentError(f"cannot load {name} as {what}: {_fault(error)}") from error


def _fault(error: BaseException) -> str:
    """Return in one line what is wrong with a file; raise again what is nobody's fault, such as Ctrl-C."""
    # what a parser written in Rust panics with derives from BaseException alone
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
    said = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:500]
    return said or type(error).__name__


def nearest(name: str, known: "list[str] | tuple[str, ...]") -> str:
    """Return ``'; did you mean ...?'`` for the closest known names, or an empty string.

    >>> nearest("CliffWalkin-v1", ["CliffWalking-v1", "Taxi-v3"])
    '; did you mean CliffWalking-v1?'
    """
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""
