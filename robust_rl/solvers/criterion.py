"""What is optimised, checked in one place: a discount or a horizon, of one model under one set."""

from __future__ import annotations

import hashlib
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy import sparse

from robust_rl.errors import InvalidArgumentError
from robust_rl.models import TabularMDP
from robust_rl.uncertainty import Nominal, RectangularSet


def check_criterion(discount: object, horizon: object) -> tuple[float | None, int | None]:
    """Return discount and horizon, exactly one of them given and in range.

    Raises
    ------
    InvalidArgumentError
        If both or none is given, the discount is outside [0, 1], or the horizon isn't a positive integer.
    """
    if (discount is None) == (horizon is None):
        raise InvalidArgumentError(f"give exactly one of discount and horizon; got discount={discount}, horizon={horizon}")
    if horizon is not None:
        if not isinstance(horizon, Integral) or horizon < 1:
            raise InvalidArgumentError(f"horizon is {horizon!r}; it must be a positive integer")
        return None, int(horizon)
    if not isinstance(discount, Real) or not 0 <= float(discount) <= 1:
        raise InvalidArgumentError(f"discount is {discount!r}; it must be a number in [0, 1]")
    return float(discount), None


def check_model(model: object) -> TabularMDP:
    """Return the model, or raise InvalidArgumentError saying how to get one."""
    if not isinstance(model, TabularMDP):
        raise InvalidArgumentError(
            f"model is {model!r}, not a TabularMDP; robust_rl.envs.tabular(...) makes one of an environment"
        )
    return model


def describe_problem(model: TabularMDP, uncertainty: RectangularSet | None) -> dict[str, Any]:
    """Return what a checkpoint notes of its problem, so that it isn't continued on another."""
    chosen = Nominal() if uncertainty is None else uncertainty
    return {
        "uncertainty": repr(chosen),
        "states": model.num_states,
        "actions": model.num_actions,
        "model": digest([model.csr(), model.rewards, model.start, model.terminal, model.action_mask]),
        "uncertainty's arrays": digest(set_arguments(chosen)),
    }


def set_arguments(uncertainty: RectangularSet) -> list[Any]:
    """A set's arguments, and those of the sets in it."""
    parts = [set_arguments(x) if isinstance(x, RectangularSet) else [x] for x in uncertainty.describe().values()]
    return [part for some in parts for part in some]


def digest(values: list[Any]) -> str:
    """SHA-256 over arrays, CSR matrices and plain values, bit by bit."""
    total = hashlib.sha256()
    for value in values:
        for part in (value.data, value.indices, value.indptr) if sparse.issparse(value) else (value,):
            array = np.asarray(part)
            if array.dtype.kind == "i":
                array = array.astype(np.int64)  # the indices of equal matrices may be 32 or 64 bits wide
            total.update(f"{array.dtype.kind}{array.shape}".encode())
            total.update(array.tobytes())
    return total.hexdigest()
