"""A diffusion model from a folder on this machine, as ``save_pretrained`` of diffusers writes it. Nothing in it is executed."""

from __future__ import annotations

from pathlib import Path

from robust_rl.errors import InvalidArgumentError, sound
from robust_rl.extras.dpnp.pipeline import DPnPPipeline
from robust_rl.training.optional import require

WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def load_pipeline(folder: Path) -> DPnPPipeline:
    """Return the network in ``unet/`` and the scheduler in ``scheduler/`` as a pipeline.

    Raises
    ------
    InvalidArgumentError
        A folder or the weights are missing, or the weights are pickled.
    FileFormatError
        A file can't be read as what its name says.
    """
    diffusers = require("diffusers", "robust-rl[diffusion]")
    if not folder.is_dir():
        raise InvalidArgumentError(
            f"there is no folder {folder}; train a model with: robust-rl diffusion-train digits --out {folder}"
        )
    for part, file in (("unet", "config.json"), ("scheduler", "scheduler_config.json")):
        if not (folder / part / file).is_file():
            raise InvalidArgumentError(f"{folder} has no {part}/{file}; it must be a pipeline that save_pretrained wrote")
    if not (folder / "unet" / WEIGHTS).is_file():
        pickled = sorted(path.name for pattern in PICKLES for path in (folder / "unet").glob(pattern))
        found = f"only pickled weights ({', '.join(pickled)}), which can run code when read" if pickled else "no weights"
        raise InvalidArgumentError(
            f"{folder / 'unet'} holds {found}; it must hold {WEIGHTS}, which save_pretrained(..., safe_serialization=True) writes"
        )
    with sound(folder, "diffusion model"):
        unet = diffusers.UNet2DModel.from_pretrained(folder / "unet", use_safetensors=True, local_files_only=True)
        scheduler = diffusers.DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    return DPnPPipeline(unet.eval(), scheduler)
