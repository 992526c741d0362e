import pytest

pytest.importorskip("torch")

from robust_rl.errors import InvalidArgumentError, UnknownNameError
from robust_rl.extras.less import H2O, TOVA, StreamingLLM, Window, parse_policy


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        (H2O(102, 102), H2O(104, 104)),
        (StreamingLLM(4, 200), StreamingLLM(4, 204)),
        (TOVA(204), TOVA(208)),
        (Window(204), Window(208)),
    ],
)
def test_baseline_plus_is_four_tokens_more_where_the_papers_scripts_put_them(policy, more):
    assert policy.plus(4) == more
    assert policy.plus(4).budget == policy.budget + 4


@pytest.mark.parametrize("make", [lambda: H2O(0, 0), lambda: Window(-1), lambda: TOVA(2.5), lambda: StreamingLLM(True, 3)])
def test_a_policy_that_keeps_nothing_or_half_a_token_is_refused(make):
    with pytest.raises(InvalidArgumentError, match="must be"):
        make()


def test_budgets_are_those_of_the_paper():
    assert parse_policy("h2o", 0.05, 4096) == H2O(102, 102)
    assert parse_policy("h2o", 27, 512) == H2O(13, 14)
    assert parse_policy("streaming", 0.05, 4096) == StreamingLLM(4, 200)
    assert parse_policy("tova", 0.1, 512) == TOVA(51)
    assert parse_policy("window", 1, 512) == Window(1)


@pytest.mark.parametrize(
    ("budget", "name"), [(0.0, "h2o"), (2.5, "h2o"), (float("nan"), "tova"), (4, "streaming"), (1e-5, "window")]
)
def test_budgets_without_sense_are_refused(budget, name):
    with pytest.raises(InvalidArgumentError, match="budget"):
        parse_policy(name, budget, 512)


def test_a_misspelt_policy_is_met_with_the_right_name():
    with pytest.raises(UnknownNameError, match="did you mean streaming"):
        parse_policy("steaming", 0.1, 512)
