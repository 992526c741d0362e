import pytest

from robust_rl.errors import InvalidArgumentError
from robust_rl.training import check_same_problem, load_torch_arrays, torch_arrays


def test_the_first_difference_is_named():
    check_same_problem({"states": 3, "more": 1}, {"states": 3})
    with pytest.raises(InvalidArgumentError, match="another problem: its radius is None, not 0.1"):
        check_same_problem({"states": 3}, {"states": 3, "radius": 0.1})


def test_modules_and_optimisers_come_back_and_go_on_alike():
    torch = pytest.importorskip("torch")

    def made():
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 2)
        return net, torch.optim.AdamW(net.parameters(), lr=0.1)

    def step(net, adam):
        adam.zero_grad()
        net(torch.ones(4, 3)).square().sum().backward()
        adam.step()

    (one, adam), (two, fresh) = made(), made()
    step(one, adam)
    arrays = {name: tensor.clone().numpy() for name, tensor in torch_arrays(net=one, adam=adam).items()}
    assert {"net.weight", "net.bias", "adam.0.exp_avg", "adam.1.step"} <= arrays.keys()
    load_torch_arrays(arrays, net=two, adam=fresh)
    for _ in range(3):
        step(one, adam), step(two, fresh)
    assert torch.equal(one.weight, two.weight)
    assert not torch.equal(one.weight, made()[0].weight)
