import gc
from importlib.util import find_spec

import pytest


@pytest.fixture(autouse=True, scope="package")
def quick():
    """Tiny models gain nothing from threads, and the Trainer's garbage collection nothing from the modules loaded so far."""
    if find_spec("torch") is None:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)
