import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robust_rl.envs import state_count, state_index, state_observation
from robust_rl.errors import InvalidArgumentError

SPACES = [
    spaces.Discrete(7),
    spaces.Discrete(5, start=-2),
    spaces.MultiDiscrete([3, 4, 2]),
    spaces.MultiDiscrete([3, 2], start=[1, -1]),
    spaces.MultiDiscrete(np.array([[2, 3], [4, 2]])),
    spaces.Tuple((spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 2]), spaces.Tuple((spaces.Discrete(2),)))),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_every_index_is_one_observation_of_the_space_and_back(space):
    observations = [state_observation(space, index) for index in range(state_count(space))]
    assert all(observation in space for observation in observations)
    assert [state_index(space, observation) for observation in observations] == list(range(state_count(space)))


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine drawing three integers can take a second
@given(st.integers(0, 31), st.integers(0, 10), st.integers(0, 1))
def test_tuple_index_is_numpys_ravelled_index(total, dealer, ace):
    space = spaces.Tuple((spaces.Discrete(32), spaces.Discrete(11), spaces.Discrete(2)))
    assert state_index(space, (total, dealer, ace)) == np.ravel_multi_index((total, dealer, ace), (32, 11, 2))


def test_numpy_integers_are_observations_too():
    assert state_index(spaces.Discrete(5), np.int64(3)) == 3
    assert state_index(spaces.Discrete(5), np.array(3)) == 3


@pytest.mark.parametrize(
    ("space", "observation"), [(SPACES[0], 7), (SPACES[0], -1), (SPACES[1], 3), (SPACES[0], 1.5), (SPACES[2], 3)]
)
def test_an_observation_outside_the_space_is_refused_by_name(space, observation):
    with pytest.raises(InvalidArgumentError, match="is not in"):
        state_index(space, observation)


def test_index_outside_the_space_and_infinite_spaces_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"index 7 does not exist; .* 0\.\.6"):
        state_observation(spaces.Discrete(7), 7)
    with pytest.raises(InvalidArgumentError, match="no finite list of states"):
        state_count(spaces.Box(0, 1))
