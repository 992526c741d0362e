"""Lets torchvision be imported beside a CPU build of torch that its operators were not built for.

There is no CPU build of torchvision on PyPI, and the CUDA one's library doesn't load without CUDA: `import torchvision`,
and with it diffusers, deepinv and transformers, ends in "operator torchvision::nms does not exist". For tests it is enough
that the two operators exist. On the path of every Python that a test starts (see tests/conftest.py); loads nothing by itself.
"""

import importlib.machinery
import sys
from pathlib import Path

OPERATORS = ("nms", "qnms")


class _Finder:
    """Defines what is missing just before torchvision is imported."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(cls)
            _define_missing()


def _define_missing():
    spec = importlib.machinery.PathFinder.find_spec("torchvision")
    if spec is None or importlib.machinery.PathFinder.find_spec("torch") is None:
        return
    import torch

    try:
        torch.ops.load_library(str(Path(spec.origin).with_name("_C.so")))
    except OSError:
        _Finder.library = torch.library.Library("torchvision", "DEF")  # an operator lives as long as its library
        for name in OPERATORS:
            _Finder.library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


if "torchvision" not in sys.modules and _Finder not in sys.meta_path:
    sys.meta_path.insert(0, _Finder)
