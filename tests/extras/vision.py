"""torchvision beside the CPU build of torch, for tests against deepinv and timm.

There is no CPU build of torchvision: on import it describes operators that only its compiled part defines. They are declared
here, without code, and nothing in these tests calls them. ``make test`` puts torchvision and deepinv into ``.venv/vision``, off
the path, because transformers imports torchvision wherever it finds it.
"""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(sys.prefix) / "vision"
OPERATORS = (
    "nms", "qnms", "roi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward", "ps_roi_align", "_ps_roi_align_backward",
    "ps_roi_pool", "_ps_roi_pool_backward", "deform_conv2d", "_deform_conv2d_backward",
)  # fmt: skip
_library = torch.library.Library("torchvision", "FRAGMENT")


def deepinv():
    """Import and return deepinv, or skip the test."""
    _torchvision()
    return pytest.importorskip("deepinv")


def timm():
    """Import and return timm, or skip the test."""
    _torchvision()
    return pytest.importorskip("timm")


def _torchvision() -> None:
    if importlib.util.find_spec("torchvision") is None and FOLDER.is_dir():
        sys.path.append(str(FOLDER))
    for name in OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            _library.define(f"{name}(Tensor x) -> Tensor")
