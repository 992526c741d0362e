"""Several starts: the lowest objective is kept, and a killed search goes on."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("zuko")

import torch

from robust_rl.extras.matte import MatteConfig, TextMatte, synthetic_sentences
from robust_rl.extras.matte.study import APART, best_of, train_text
from robust_rl.training import RunDirectory

CONFIG = MatteConfig(
    c_dim=3, s_dim=2, enc_hidden=8, dec_hidden=8, embedding=4, flow_hidden=8, steps=6, batch_size=8, warm_up=0.0, seed=3
)


@pytest.fixture(scope="module")
def data():
    return synthetic_sentences(120, seed=0).labelled(5)


def weights(model):
    return torch.cat([tensor.detach().ravel() for tensor in model.network.state_dict().values()])


def test_the_lowest_objective_is_kept(data):
    each = [TextMatte(replace(CONFIG, seed=3 + APART * i)).fit(data) for i in range(3)]
    assert len({model.objective for model in each}) == 3
    best = min(each, key=lambda model: model.objective)
    chosen = best_of(CONFIG, data, 3)
    assert chosen.objective == best.objective
    assert torch.equal(weights(chosen), weights(best))
    assert torch.equal(weights(best_of(CONFIG, data)), weights(each[0])), "one start is the configuration's own"


def test_a_search_that_was_cut_off_goes_on_to_the_same_model(data, tmp_path):
    whole, finished = train_text(CONFIG, data, 5, RunDirectory(tmp_path / "whole"), starts=3, checkpoint_every=2)
    assert finished
    TextMatte(CONFIG).fit(data, run=tmp_path / "cut" / "starts" / "0", checkpoint_every=2)
    second = replace(CONFIG, seed=3 + APART)
    TextMatte(second).fit(data, run=tmp_path / "cut" / "starts" / "1", checkpoint_every=2, max_steps=3)
    resumed, _ = train_text(CONFIG, data, 5, RunDirectory(tmp_path / "cut"), starts=3, checkpoint_every=2)
    assert resumed.objective == whole.objective
    assert torch.equal(weights(resumed), weights(whole))
    for run in (RunDirectory(tmp_path / name) for name in ("whole", "cut")):
        assert [line["step"] for line in run.metrics()] == [1, 2, 3]
        assert min(line["start/objective"] for line in run.metrics()) == whole.objective
        assert (run.path / "result" / "model.safetensors").exists()
