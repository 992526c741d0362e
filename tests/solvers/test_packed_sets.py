"""Sets as a policy file holds them: arguments, arrays, and sets within sets."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

import robust_rl as rr
from robust_rl.errors import FileFormatError
from robust_rl.solvers.criterion import describe_problem
from robust_rl.solvers.solution import pack_arguments, unpack_arguments
from robust_rl.uncertainty import from_description
from tests.worlds import random_model

numbers = st.floats(0.01, 1.0)
supports = st.sampled_from(["free", "nominal", "reachable"]) | arrays(np.bool_, (3, 2, 3))


def radii(*shape):
    return numbers | arrays(np.float64, shape, elements=numbers)


def balls(*shape):
    size = radii(*shape)
    supported = st.sampled_from([rr.TotalVariation, rr.L1, rr.L2, rr.LInfinity, rr.ReverseKL, rr.Contamination])
    return st.builds(lambda kind, r, s: kind(r, support=s), supported, size, supports) | st.builds(
        lambda kind, r: kind(r), st.sampled_from([rr.KL, rr.ChiSquare]), size
    )


@st.composite
def intervals(draw):
    lower = draw(arrays(np.float64, (6, 3), elements=st.floats(0, 0.3)))
    return rr.Interval(*(sparse.csr_array(x) if draw(st.booleans()) else x for x in (lower, np.full((6, 3), 0.9))))


plain = balls(3, 2) | intervals() | st.builds(rr.CVaR, radii(3, 2)) | st.builds(rr.SRectangular, balls(3))
sets = st.recursive(plain, lambda inner: st.builds(rr.UncertainRewards, radii(3, 2), st.none() | inner), max_leaves=3)


@settings(max_examples=200, deadline=None)
@given(uncertainty=sets)
def test_every_set_comes_back_from_json_and_arrays(uncertainty):
    packed = {}
    text = json.dumps(pack_arguments(uncertainty.describe(), packed))
    assert all(isinstance(x, np.ndarray) for x in packed.values())
    assert all(name.startswith("set.") for name in packed)
    packed = {name: x.astype(np.uint8) if x.dtype == bool else x for name, x in packed.items()}  # as files have it
    restored = from_description(uncertainty.name, unpack_arguments(json.loads(text), packed))
    assert restored == uncertainty
    assert repr(restored) == repr(uncertainty)


@settings(max_examples=50, deadline=None)
@given(uncertainty=balls(3), change=st.sampled_from([1e-12, 0.3]))
def test_a_checkpoint_sees_into_sets_within_sets(uncertainty, change):
    """Its record of the problem differs where an array deep inside does, even in a digit that repr doesn't show."""
    model = random_model(0, states=3, actions=2)
    arguments = uncertainty.describe()
    radius = np.broadcast_to(arguments["radius"], 3) * np.array([1.0, 1.0, 1 - change])
    one, same, other = (
        rr.UncertainRewards(0.1, rr.SRectangular(type(uncertainty)(**arguments | {"radius": r})))
        for r in (np.broadcast_to(arguments["radius"], 3), np.broadcast_to(arguments["radius"], 3), radius)
    )
    assert describe_problem(model, one) == describe_problem(model, same)
    assert describe_problem(model, one) != describe_problem(model, other)
    assert one == same
    assert one != other


def test_an_unknown_set_inside_another_is_named():
    with pytest.raises(FileFormatError, match="uncertainty set 'tvv' that this version doesn't know"):
        unpack_arguments({"uncertainty": {"set": "tvv", "arguments": {}}}, {})
