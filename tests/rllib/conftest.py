import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/rllib/" in item.path.as_posix():
            item.add_marker(pytest.mark.rllib)


@pytest.fixture(scope="session")
def ray_session():
    """One Ray for all tests that run something on it, in one thread a process."""
    import ray
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if not ray.is_initialized():
        ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
    torch.set_num_threads(threads)
