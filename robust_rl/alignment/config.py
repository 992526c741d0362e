"""Options of VPO, beside those of TRL's DPO.

======  ===========  ==================================================================
symbol  here         meaning
======  ===========  ==================================================================
alpha   vpo_alpha    weight of the *batch-mean* calibration term; the paper's alpha,
                     which stands beside a sum over N pairs, is ``N * vpo_alpha``
beta    beta         KL weight, of DPO
sign    vpo_mode     "offline" -1: log pi of calibration samples is raised (caution);
                     "online" +1: it is lowered (exploration)
pi_cal  calibration  whose responses calibrate the reward
======  ===========  ==================================================================

Source: Cen et al., Value-Incentivized Preference Optimization, arXiv:2405.19320.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import DPOConfig

from robust_rl.errors import InvalidArgumentError, nearest

MODES = ("offline", "online")
CALIBRATIONS = ("chosen", "rejected", "reference", "dataset")
PAIR_LOSSES = ("sigmoid", "ipo", "hinge")


@dataclass
class VPOConfig(DPOConfig):
    """Options of :class:`~robust_rl.alignment.VPOTrainer`: all of ``trl.DPOConfig``, and these.

    Parameters
    ----------
    vpo_alpha
        Weight of the batch-mean calibration term, >= 0; 0 is DPO, bit for bit. The default is ours: the value that
        the paper used for language models is not known to us. It does not depend on the number N of pairs; the alpha
        of the paper's sum form is ``N * vpo_alpha``.
    vpo_mode
        ``"offline"`` raises log pi of calibration samples, ``"online"`` lowers it. The online loss has no lower
        bound: keep ``vpo_alpha`` small and set ``calibration_floor``.
    calibration
        Whose responses: ``"chosen"`` or ``"rejected"`` of the pairs (no further forward pass), ``"reference"`` sampled
        from the reference model before training, or ``"dataset"``, a column of the data.
    calibration_column
        Name of that column. With ``"reference"`` it is used if it is there, in place of sampling.
    calibration_max_new_tokens, calibration_batch_size
        For sampling from the reference: the longest response, and prompts at a time.
    calibration_directory
        Where sampled responses are kept, to be found again by a run with the same prompts, reference and settings.
        Default: ``<output_dir>/calibration``.
    calibration_floor
        Stop training when log pi of the calibration samples has fallen below that of the reference by more than so
        many nats a token, on average over the logged steps. Default: no floor.

    Raises
    ------
    InvalidArgumentError
        An option is out of range, or one of DPO's changes what the calibration term would mean.
    """

    vpo_alpha: float = field(
        default=0.1, metadata={"help": "Weight of the batch-mean calibration term; 0 is DPO. The paper's alpha is N times this."}
    )
    vpo_mode: str = field(
        default="offline",
        metadata={"help": "offline: raise log pi of calibration samples; online: lower it.", "choices": list(MODES)},
    )
    calibration: str = field(
        default="chosen",
        metadata={"help": "Whose responses calibrate: chosen, rejected, reference (sampled first), dataset (a column)."},
    )
    calibration_column: str = field(default="calibration", metadata={"help": "The column for --calibration dataset."})
    calibration_max_new_tokens: int = field(
        default=256, metadata={"help": "Longest response sampled for --calibration reference, in tokens."}
    )
    calibration_batch_size: int = field(default=8, metadata={"help": "Prompts sampled at a time for --calibration reference."})
    calibration_directory: str | None = field(
        default=None, metadata={"help": "Where sampled calibration responses are kept. Default: <output_dir>/calibration."}
    )
    calibration_floor: float | None = field(
        default=None,
        metadata={"help": "Stop when log pi of calibration samples fell by more than so many nats a token below the reference."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("vpo_mode", self.vpo_mode, MODES)
        _check_choice("calibration", self.calibration, CALIBRATIONS)
        if not 0 <= self.vpo_alpha < float("inf"):
            raise InvalidArgumentError(f"vpo_alpha is {self.vpo_alpha}; it must be a finite number >= 0 (0 is DPO)")
        for name in ("calibration_max_new_tokens", "calibration_batch_size"):
            if getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.calibration_floor is not None and not self.calibration_floor > 0:
            raise InvalidArgumentError(f"calibration_floor is {self.calibration_floor}; it must be a positive number of nats")
        if self.vpo_alpha > 0:
            self._check_objective()
        if self.calibrates_on_more_rows:
            self.remove_unused_columns = False  # or the Trainer would drop the calibration rows before collating

    @property
    def calibrates_on_more_rows(self) -> bool:
        """Whether calibration samples are neither the chosen nor the rejected responses."""
        return self.calibration in ("reference", "dataset")

    def _check_objective(self) -> None:
        """Refuse what would make the calibration term mean something else than the value of a reward."""
        if self.f_divergence_type != "reverse_kl":
            raise InvalidArgumentError(
                f"f_divergence_type is {self.f_divergence_type!r}; VPO's value term stands on log Z of the reverse KL: "
                "use reverse_kl, or vpo_alpha 0"
            )
        if self.ld_alpha is not None:
            raise InvalidArgumentError(
                f"ld_alpha is {self.ld_alpha}; it changes the sequence log-probability that VPO calibrates: leave it out, "
                "or set vpo_alpha 0"
            )
        if self.sync_ref_model:
            raise InvalidArgumentError("sync_ref_model moves the reference; VPO's stays fixed: leave it out, or set vpo_alpha 0")
        if len(self.loss_type) != 1 or self.loss_type[0] not in PAIR_LOSSES:
            raise InvalidArgumentError(
                f"loss_type is {self.loss_type}; VPO takes one of {', '.join(PAIR_LOSSES)} (and only sigmoid is the paper's)"
            )


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidArgumentError(f"{name} is {value!r}; it must be one of {', '.join(known)}{nearest(str(value), known)}")
