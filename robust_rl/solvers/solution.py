"""What a solver returns: plain arrays, with the bounds that prove them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from robust_rl.errors import FileFormatError
from robust_rl.models.model_file import points_inside
from robust_rl.solvers.certificate import Certificate
from robust_rl.uncertainty import Nominal, RectangularSet, from_description

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """An optimal robust policy and its proof.

    ================  ================================================================================================
    value             (S,), or (H, S) for horizon H: middle of the certificate
    policy            (S,) or (H, S) actions, greedy at the last iterate: its robust value is at least ``certificate.lower``;
                      of a set that randomises, such as SRectangular, probabilities (S, A) or (H, S, A), to be drawn from;
                      where actions tie within the certificate, ``action_values`` may rank another first
    action_values     (S, A) or (H, S, A) robust Q of every action, -inf where unavailable
    kernel            worst-case kernel, CSR (S*A, S) by row s*A + a; for horizon H a list of H of them
    rewards           r(s, a, s') of the moves in ``kernel``, in the same layout; or r(s, a) if the model has those
    certificate       proved bounds on the optimal robust value
    uncertainty       the set, or None for the nominal problem
    discount, horizon exactly one is given
    method            the algorithm that was used, and why if it was chosen automatically
    history           named arrays with one entry a step: "gap", "lower", "upper" (these two weighted by the start
                      distribution), "backups" (rows backed up so far)
    ================  ================================================================================================
    """

    value: Array
    policy: NDArray[Any]
    action_values: Array
    kernel: Any
    rewards: Any
    certificate: Certificate
    uncertainty: RectangularSet | None
    discount: float | None
    horizon: int | None
    method: str
    history: dict[str, Array] = field(default_factory=dict)

    @property
    def optimal_actions(self) -> NDArray[np.bool_]:
        """(S, A) or (H, S, A): actions that the certificate can't tell from the best, or that rounding alone sets apart."""
        best = self.action_values.max(axis=-1, keepdims=True)
        slack = 2 * self.certificate.gap + 1e-10 * abs(self.value).max(initial=0.0)
        return np.asarray(self.action_values >= best - slack)

    @property
    def randomised(self) -> bool:
        """Whether the policy is probabilities, from which each action is drawn."""
        return self.policy.ndim > self.value.ndim

    def at_first_stage(self) -> Solution:
        """Return the solution as seen at stage 0: itself, if stationary."""
        if self.horizon is None:
            return self
        bounds = Certificate(self.certificate.lower[0], self.certificate.upper[0])
        return replace(
            self, value=self.value[0], policy=self.policy[0], action_values=self.action_values[0], kernel=self.kernel[0],
            rewards=self.rewards[0], certificate=bounds,
        )  # fmt: skip

    def to_arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return named arrays and JSON metadata that hold everything."""
        arrays: dict[str, Any] = {
            "value": self.value, "policy": self.policy, "action_values": self.action_values,
            "certificate.lower": self.certificate.lower, "certificate.upper": self.certificate.upper,
        }  # fmt: skip
        for name in ("kernel", "rewards"):
            for h, matrix in enumerate(_as_list(getattr(self, name))):
                arrays |= pack_csr(f"{name}.{h}", matrix) if sparse.issparse(matrix) else {f"{name}.{h}": matrix}
        arrays |= {f"history.{name}": values for name, values in self.history.items()}
        uncertainty = Nominal() if self.uncertainty is None else self.uncertainty
        plain = pack_arguments(uncertainty.describe(), arrays)
        metadata = {
            "set": uncertainty.name, "set_arguments": plain,
            "discount": self.discount, "horizon": self.horizon, "method": self.method,
        }  # fmt: skip
        return arrays, metadata

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any], metadata: dict[str, Any]) -> Solution:
        """Inverse of :meth:`to_arrays`. Raises FileFormatError where something is missing."""
        try:
            horizon, states = metadata["horizon"], arrays["value"].shape[-1]
            stages = range(1 if horizon is None else horizon)
            matrices = {name: [_matrix(arrays, f"{name}.{h}", states) for h in stages] for name in ("kernel", "rewards")}
            return cls(
                value=arrays["value"],
                policy=arrays["policy"],
                action_values=arrays["action_values"],
                kernel=matrices["kernel"][0] if horizon is None else matrices["kernel"],
                rewards=matrices["rewards"][0] if horizon is None else matrices["rewards"],
                certificate=Certificate(arrays["certificate.lower"], arrays["certificate.upper"]),
                uncertainty=from_description(metadata["set"], unpack_arguments(metadata["set_arguments"], arrays)),
                discount=metadata["discount"],
                horizon=horizon,
                method=metadata["method"],
                history={name[8:]: values for name, values in arrays.items() if name.startswith("history.")},
            )
        except KeyError as error:
            raise FileFormatError(f"the file holds no solution: {error} is missing") from None


def pack_csr(name: str, matrix: sparse.csr_array) -> dict[str, Array]:
    """Return the three arrays of a CSR matrix under dotted names."""
    return {f"{name}.{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def unpack_csr(arrays: dict[str, Any], name: str, columns: int) -> sparse.csr_array:
    """Inverse of :func:`pack_csr`. Raises FileFormatError where they point outside: compiled code would follow."""
    data, indices, indptr = (arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
    if not points_inside(data, indices, indptr, columns):
        raise FileFormatError(f"the file is corrupt: {name} is no CSR matrix")
    return sparse.csr_array((data, indices, indptr), shape=(len(indptr) - 1, columns))


def _matrix(arrays: dict[str, Any], name: str, columns: int) -> Any:
    return arrays[name] if name in arrays else unpack_csr(arrays, name, columns)


def pack_arguments(arguments: dict[str, Any], arrays: dict[str, Any], prefix: str = "set") -> dict[str, Any]:
    """Split a set's arguments into JSON values, returned, and arrays, added to ``arrays`` as ``set.<name>``.

    An argument that is itself a set is packed likewise, under ``set.<name>.<its argument>``.
    """
    return {name: _pack(value, arrays, f"{prefix}.{name}") for name, value in arguments.items()}


def unpack_arguments(plain: dict[str, Any], arrays: dict[str, Any], prefix: str = "set") -> dict[str, Any]:
    """Inverse of :func:`pack_arguments`."""
    return {name: _unpack(value, arrays, f"{prefix}.{name}") for name, value in plain.items()}


def _pack(value: Any, arrays: dict[str, Any], name: str) -> Any:
    if isinstance(value, RectangularSet):
        return {"set": value.name, "arguments": pack_arguments(value.describe(), arrays, name)}
    if sparse.issparse(value):
        arrays |= pack_csr(name, value)
        return {"csr": value.shape[1]}
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {"array": True}
    return value


def _unpack(value: Any, arrays: dict[str, Any], name: str) -> Any:
    if not isinstance(value, dict):
        return value
    if "set" in value:
        return from_description(value["set"], unpack_arguments(value["arguments"], arrays, name))
    return unpack_csr(arrays, name, value["csr"]) if "csr" in value else arrays[name]


def _as_list(matrix: Any) -> list[Any]:
    return matrix if isinstance(matrix, list) else [matrix]
