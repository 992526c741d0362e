import pickle

import pytest

from robust_rl.training import Trainable
from tests.training.contract import check_trainable
from tests.training.toys import RandomWalk, Script


def test_any_object_with_the_methods_is_a_trainable():
    assert isinstance(RandomWalk(), Trainable)
    assert not isinstance(object(), Trainable)


def test_contract_holds_for_a_random_walk(tmp_path):
    walk = check_trainable(RandomWalk, tmp_path, max_steps=9, kills=range(1, 10))
    assert walk.count == 9


def test_contract_holds_for_one_that_ends_by_itself(tmp_path):
    assert check_trainable(lambda: Script([3.0, 2.0, float("inf")]), tmp_path).done


def test_contract_catches_state_that_is_not_saved(tmp_path):
    class Forgetful(RandomWalk):
        def load_checkpoint(self, directory):
            generator = self.generator
            super().load_checkpoint(directory)
            self.generator = generator

    with pytest.raises(AssertionError, match="differs"):
        check_trainable(Forgetful, tmp_path)


def test_contract_catches_metrics_without_a_group(tmp_path):
    with pytest.raises(AssertionError, match="'loss' has no group"):
        check_trainable(lambda: Script([1.0, 2.0], name="loss"), tmp_path)


def test_contract_catches_a_pickle(tmp_path):
    class Pickled(RandomWalk):
        def save_checkpoint(self, directory):
            super().save_checkpoint(directory)
            (directory / "state.bin").write_bytes(pickle.dumps(self.count))

    with pytest.raises(AssertionError, match="state.bin holds a pickle"):
        check_trainable(Pickled, tmp_path)
