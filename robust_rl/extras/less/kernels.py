"""The learned part of LESS: two small networks per head that stand in for exp(q k / sqrt D) once a key is gone.

    phi(q) = | gelu( gelu(q A_1) A_2 ) |
    g(k)   = |c_1| * gelu( gelu(k B_1) B_2 )
    psi(k) = | g(k) + (g(k) B_3) * c_2 |

======  ====================  ==================================
symbol  here                  meaning, shape
======  ====================  ==================================
D       ``head_size``         size of a head
R       ``rank``              size of the kernels
R'      ``hidden``            width of their hidden layers
A_1     ``A1``                (H, D, R'), one a query head
A_2     ``A2``                (H, R', R)
B_1..3  ``B1, B2, B3``        (K, D, R'), (K, R', R), (K, R, R), one a key-value head
c_1,2   ``c1, c2``            (K, 1, R); 1e-4 at first, so that a fit begins at the policy alone
======  ====================  ==================================

q and k are what enters attention, after the rotation by position. No biases; both kernels are non-negative.

Source: Dong et al., "Get More with LESS", arXiv:2402.09398, in the form of the authors' code (the paper's third matrix is
diag|c_1| (I + B_3 diag c_2)).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from robust_rl.errors import FileFormatError, InvalidArgumentError
from robust_rl.training import load_arrays, save_arrays

FORMAT = "robust-rl LESS kernels"
VERSION = 1


@dataclass(frozen=True)
class Geometry:
    """What kernels and a model must agree on: ``layers`` of ``heads`` query and ``kv_heads`` key-value heads of ``head_size``."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int

    @classmethod
    def of(cls, config: Any) -> Geometry:
        """Read a transformers configuration."""
        config = config.get_text_config()
        heads = config.num_attention_heads
        return cls(
            config.num_hidden_layers,
            heads,
            getattr(config, "num_key_value_heads", None) or heads,
            getattr(config, "head_dim", None) or config.hidden_size // heads,
        )


class LayerKernels(nn.Module):
    """phi and psi of one layer's heads."""

    def __init__(self, geometry: Geometry, rank: int, hidden: int) -> None:
        super().__init__()
        H, K, D = geometry.heads, geometry.kv_heads, geometry.head_size
        self.A1, self.A2 = _matrices(H, D, hidden), _matrices(H, hidden, rank)
        self.B1, self.B2, self.B3 = _matrices(K, D, hidden), _matrices(K, hidden, rank), _matrices(K, rank, rank)
        self.c1, self.c2 = (nn.Parameter(torch.empty(K, 1, rank)) for _ in range(2))

    def start(self, generator: torch.Generator) -> None:
        """Draw Xavier-uniform matrices, and make psi nearly zero."""
        with torch.no_grad():
            for matrices in (self.A1, self.A2, self.B1, self.B2, self.B3):
                bound = (6 / sum(matrices.shape[1:])) ** 0.5
                matrices.copy_((2 * torch.rand(matrices.shape, generator=generator) - 1) * bound)
            self.c1.fill_(1e-4)
            self.c2.fill_(1e-4)

    def phi(self, query: Tensor, drop: Callable[[Tensor], Tensor] = lambda hidden: hidden) -> Tensor:
        """Return the kernel of queries (B, H, q, D): (B, H, q, R). ``drop`` acts on the first layer before its GELU."""
        hidden = gelu(drop(query.to(self.A1.dtype) @ self.A1))
        return gelu(hidden @ self.A2).abs()

    def psi(self, key: Tensor, drop: Callable[[Tensor], Tensor] = lambda hidden: hidden) -> Tensor:
        """Return the kernel of keys (B, K, n, D): (B, K, n, R)."""
        hidden = gelu(drop(key.to(self.B1.dtype) @ self.B1))
        g = self.c1.abs() * gelu(hidden @ self.B2)
        return (g + (g @ self.B3) * self.c2).abs()


class LessKernels(nn.Module):
    """The kernels of a model's layers.

    Parameters
    ----------
    geometry
        Of the model.
    rank
        R. The state of a head is worth R/2 tokens (and R numbers).
    hidden
        R'.
    layers
        Layers that have kernels; the others run the policy alone. Default: all of them.
    seed
        Of the matrices.

    Raises
    ------
    InvalidArgumentError
        A size is not positive, or there is no such layer.

    Examples
    --------
    >>> kernels = LessKernels(Geometry(layers=2, heads=4, kv_heads=2, head_size=8), rank=8, hidden=16)
    >>> print(sum(p.numel() for p in kernels.parameters()))
    3392
    """

    def __init__(
        self, geometry: Geometry, *, rank: int = 8, hidden: int = 512, layers: Iterable[int] | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        if rank < 1 or hidden < 1:
            raise InvalidArgumentError(f"rank is {rank} and hidden {hidden}; both must be at least 1")
        chosen = sorted(set(range(geometry.layers) if layers is None else layers))
        if not chosen or chosen[0] < 0 or chosen[-1] >= geometry.layers:
            raise InvalidArgumentError(f"layers are {chosen}; the model has layers 0 to {geometry.layers - 1}")
        self.geometry, self.rank, self.hidden = geometry, rank, hidden
        self._layers = nn.ModuleDict({str(i): LayerKernels(geometry, rank, hidden) for i in chosen})
        generator = torch.Generator().manual_seed(seed)
        for i in chosen:
            self.of(i).start(generator)

    @classmethod
    def from_config(
        cls, config: Any, rank: int = 8, hidden: int = 512, layers: Iterable[int] | None = None, seed: int = 0
    ) -> LessKernels:
        """Return fresh kernels for models of a transformers configuration: by default in all layers with full attention."""
        full = [i for i, kind in enumerate(layer_kinds(config)) if kind == "full_attention"]
        return cls(Geometry.of(config), rank=rank, hidden=hidden, layers=full if layers is None else layers, seed=seed)

    @property
    def layers(self) -> list[int]:
        """Layers that have kernels."""
        return [int(name) for name in self._layers]

    def of(self, layer: int) -> Any:
        """Return the :class:`LayerKernels` of a layer, or None."""
        return dict(self._layers.items()).get(str(layer))

    def check_fits(self, config: Any) -> None:
        """Raise unless a model of this configuration has the heads that these kernels are for.

        Raises
        ------
        InvalidArgumentError
            It has others; the message says which.
        """
        found = asdict(Geometry.of(config))
        wrong = [f"{name} {size}, not {found[name]}" for name, size in asdict(self.geometry).items() if size != found[name]]
        if wrong:
            raise InvalidArgumentError(
                f"these kernels are for a model with {'; '.join(wrong)}; fit kernels to this model with fit_less"
            )
        kinds = layer_kinds(config)
        sliding = [i for i in self.layers if kinds[i] != "full_attention"]
        if sliding:
            raise InvalidArgumentError(
                f"layers {sliding} have a sliding window, which drops tokens itself; leave out their kernels"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file."""
        metadata = {**asdict(self.geometry), "rank": self.rank, "hidden": self.hidden, "with_kernels": self.layers}
        tensors = {name: tensor.cpu() for name, tensor in self.state_dict().items()}
        save_arrays(path, tensors, metadata, format=FORMAT, version=VERSION)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LessKernels:
        """Read what :meth:`save` wrote.

        Raises
        ------
        FileFormatError
            The file is missing, broken, or of another kind.
        """
        arrays, metadata = load_arrays(path, format=FORMAT, version=VERSION)
        try:
            geometry = Geometry(*(int(metadata[name]) for name in ("layers", "heads", "kv_heads", "head_size")))
            kernels = cls(geometry, rank=metadata["rank"], hidden=metadata["hidden"], layers=metadata["with_kernels"])
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            kernels.to(next(iter(tensors.values())).dtype).load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, StopIteration, OverflowError) as error:
            raise FileFormatError(f"{path} does not hold whole LESS kernels: {error}") from error
        return kernels


def layer_kinds(config: Any) -> list[str]:
    """Return ``full_attention`` or ``sliding_attention`` for each layer.

    Raises
    ------
    InvalidArgumentError
        A layer is of another kind, or none has full attention.
    """
    config = config.get_text_config()
    sliding = "full_attention" if getattr(config, "sliding_window", None) is None else "sliding_attention"
    kinds = list(getattr(config, "layer_types", None) or [sliding] * config.num_hidden_layers)
    other = set(kinds) - {"full_attention", "sliding_attention"}
    if other:
        raise InvalidArgumentError(f"the model has layers of {', '.join(sorted(other))}; LESS serves full and sliding attention")
    if "full_attention" not in kinds:
        raise InvalidArgumentError(
            f"every layer of the model has a sliding window ({config.sliding_window} tokens): its cache is bounded already"
        )
    return kinds


def _matrices(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(*shape))
