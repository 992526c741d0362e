"""What may be set in MATTE, for sentences and for vectors alike."""

from __future__ import annotations

from dataclasses import dataclass, fields

from robust_rl.errors import InvalidArgumentError

PRIORS = ("domain", "shared", "standard")
INFLUENCES = ("jacobian", "swap")
JACOBIANS = ("forward", "differences")
COURSES = ("rise", "constant")
KL_COURSES = ("linear", "geometric")
_POSITIVE = (
    *("c_dim", "s_dim", "domain_dim", "bins", "bound", "flow_hidden", "enc_hidden", "dec_hidden", "embedding"),
    *("steps", "batch_size", "learning_rate", "max_tokens", "jacobian_every"),
)
_NOT_NEGATIVE = ("beta_c", "beta_s", "w_sparse", "w_partial", "w_mask", "free_bits", "free_influence", "seed")
_SHARES = ("word_dropout", "warm_up", "partial_share", "jacobian_fraction", "kl_start", "style_from")


@dataclass(frozen=True)
class MatteConfig:
    """Sizes, weights and the course of the optimisation.

    The betas and weights are those of the authors' program; its sizes for reviews are ``enc_hidden=dec_hidden=1024``.

    Parameters
    ----------
    c_dim, s_dim
        Dimensions of content c and of style s. They must be given: nothing in the data says them.
    prior
        ``"domain"``: p(c, s | u) of the paper. ``"shared"``: the same flows, told nothing of the domain. ``"standard"``: N(0, I),
        which makes the model a VAE with a divided code.
    domain_dim
        Size of the embedding U(u) of a domain.
    bins, bound
        Of the rational-quadratic splines, which act on [-bound, bound] and are the identity beyond.
    flow_hidden, enc_hidden, dec_hidden
        Hidden units of the flows, the encoder and the decoder.
    embedding
        Size of a word's embedding, encoder and decoder each.
    beta_c, beta_s
        Weights of the two KL terms.
    w_sparse, w_partial, w_mask
        Weights of the penalties on style's influence, on the overlap of influences, on the number of content dimensions.
    partial_share
        Share of the hidden units that count as most influenced by style, and as least by content, in the overlap of Jacobians.
    influence
        ``"jacobian"``: of each latent dimension on each hidden unit, as the paper has it. ``"swap"``: by how much the words, or
        values, change when a row gets the style, or the content, of another of its domain, all dimensions at once; for discrete
        data, where a derivative does not count them. See :mod:`robust_rl.extras.matte.influence`.
    free_influence
        Influence of style that costs nothing; 0 in the paper. Of a dimension's Jacobian in L1 norm over the outputs, or, for
        ``"swap"``, of a row's words that change.
    scale_free
        Measure influence by standard deviation of a latent dimension rather than by unit: without it, the flows let the penalties
        shrink by stretching s.
    jacobian
        ``"forward"``: exact, forward mode. ``"differences"``: finite differences, as the authors' program has them.
    jacobian_fraction
        Share of a batch on which the Jacobian is taken.
    jacobian_every
        Steps between two Jacobians, whose terms then weigh so much more; the loss is the same on average.
    free_bits
        Nats of each KL term that cost nothing.
    word_dropout
        Share of the decoder's input words that are hidden in training.
    max_tokens
        Longer sentences are cut.
    vocabulary
        Number of most frequent words that are kept; None keeps all.
    min_count
        Words seen less often become ``<unk>``.
    steps, batch_size, learning_rate
        Of Adam, whose rate falls to zero along a cosine.
    warm_up
        Share of the steps over which the KL terms rise to their full weight.
    kl_start, kl_course
        Share of that weight that they rise from, and how: ``"linear"``, or ``"geometric"``, by a constant factor a step, which
        keeps them small for longer.
    style_from
        Share of the steps before which the decoder sees no style (zeros), so that content is learned first and style has what is
        left; 0 in the paper.
    penalty_course
        How the weights of ``sparse`` and ``partial`` go: ``"rise"`` with the KL terms, or ``"constant"``.
    seed
        Of the first weights and of everything drawn.

    Raises
    ------
    InvalidArgumentError
        A value is out of range.
    """

    c_dim: int = 64
    s_dim: int = 16
    prior: str = "domain"
    domain_dim: int = 20
    bins: int = 8
    bound: float = 5.0
    flow_hidden: int = 64
    enc_hidden: int = 256
    dec_hidden: int = 256
    embedding: int = 128
    beta_c: float = 0.35
    beta_s: float = 0.2
    w_sparse: float = 1e-4
    w_partial: float = 1e-4
    w_mask: float = 1e-4
    partial_share: float = 0.5
    influence: str = "jacobian"
    free_influence: float = 0.0
    scale_free: bool = True
    jacobian: str = "forward"
    jacobian_fraction: float = 1.0
    jacobian_every: int = 1
    free_bits: float = 0.0
    word_dropout: float = 0.0
    max_tokens: int = 20
    vocabulary: int | None = 10_000
    min_count: int = 1
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 1e-3
    warm_up: float = 0.3
    kl_start: float = 0.1
    kl_course: str = "linear"
    style_from: float = 0.0
    penalty_course: str = "rise"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            _require(name, getattr(self, name), getattr(self, name) > 0, "must be above 0")
        for name in _NOT_NEGATIVE:
            _require(name, getattr(self, name), getattr(self, name) >= 0, "must be at least 0")
        for name in _SHARES:
            _require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "must be in [0, 1]")
        _require("prior", self.prior, self.prior in PRIORS, f"must be one of {', '.join(PRIORS)}")
        _require("kl_course", self.kl_course, self.kl_course in KL_COURSES, f"must be one of {', '.join(KL_COURSES)}")
        _require("kl_start", self.kl_start, self.kl_start > 0, "must be above 0")
        _require("influence", self.influence, self.influence in INFLUENCES, f"must be one of {', '.join(INFLUENCES)}")
        _require("penalty_course", self.penalty_course, self.penalty_course in COURSES, f"must be one of {', '.join(COURSES)}")
        _require("jacobian", self.jacobian, self.jacobian in JACOBIANS, f"must be one of {', '.join(JACOBIANS)}")

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all settings."""
        return [field.name for field in fields(cls)]


def _require(name: str, value: object, right: bool, rule: str) -> None:
    if not right:
        raise InvalidArgumentError(f"{name} is {value!r}; it {rule}")
