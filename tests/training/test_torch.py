"""A torch loop as a Trainable: model, Adam's moments and the generator in one safetensors file."""

import pytest

from robust_rl.training import load_arrays, save_arrays
from tests.training.contract import check_trainable

torch = pytest.importorskip("torch")


class LinearRegression:
    def __init__(self, steps=12, seed=0):
        self.steps, self.count = steps, 0
        self.generator = torch.Generator().manual_seed(seed)
        self.model = torch.nn.Linear(4, 1)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=self.generator))
        self.truth = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)

    @property
    def done(self):
        return self.count >= self.steps

    def step(self):
        inputs = torch.randn(32, 4, generator=self.generator)
        loss = torch.nn.functional.mse_loss(self.model(inputs), inputs @ self.truth.T)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.count += 1
        return {"train/loss": loss.item(), "train/bias": self.model.bias.detach()}

    def save_checkpoint(self, directory):
        arrays = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            arrays |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
        arrays["generator"] = self.generator.get_state()
        save_arrays(directory / "state.safetensors", arrays, {"count": self.count})

    def load_checkpoint(self, directory):
        arrays, metadata = load_arrays(directory / "state.safetensors")
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.count = metadata["count"]
        self.generator.set_state(tensors.pop("generator"))
        self.model.load_state_dict({name: tensors[f"model.{name}"] for name in self.model.state_dict()})
        state = self.optimizer.state_dict()
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, moment = name.split(".")
                state["state"].setdefault(int(index), {})[moment] = tensor
        self.optimizer.load_state_dict(state)


def test_linear_regression_resumes_bit_identically(tmp_path):
    model = check_trainable(LinearRegression, tmp_path, max_steps=12, checkpoint_every=5)
    assert model.done
