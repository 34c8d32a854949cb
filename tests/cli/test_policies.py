import json

import pytest

from tokprune import Policy
from tokprune.cli.policies import parse_policies
from tokprune.errors import InvalidValueError, UnknownNameError

IMAGE = {"scorer": "received-attention", "target": "image"}
PARTS = {"scorer": "first", "aggregator": "mean", "selector": "top-p", "reduction": "merge", "positions": "preserve"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("none", []),
        ("l2-norm", [{"scorer": "l2-norm"}]),
        ("l2-norm keep=1/4", [{"scorer": "l2-norm", "keep": 0.25}]),
        ("keep=8 scorer=focus:layers=[0,2]", [{"scorer": "focus:layers=[0,2]", "keep": 8}]),
        ("catp-vote:layers=last,order=sum-then-rank", [{"scorer": "catp-vote:layers=last,order=sum-then-rank"}]),
        ("first aggregator=mean selector=top-p reduction=merge positions=preserve", [PARTS]),
        ("received-attention target=image after=1/3", [{**IMAGE, "after": 1 / 3}]),
        ("received-attention target=image after=13", [{**IMAGE, "after": 13}]),
        ("received-attention target=image after=[6,13]", [{**IMAGE, "after": (6, 13)}]),
        ("received-attention target=image after=every", [{**IMAGE, "after": "every"}]),
        ("received-attention target=image + catp-vote keep=8", [IMAGE, {"scorer": "catp-vote", "keep": 8}]),
    ],
)
def test_a_policy_as_it_is_typed(text, parts):
    assert parse_policies(text) == (text, tuple(Policy(**each) for each in parts))


def test_spaces_do_not_matter_to_the_label():
    assert parse_policies("  l2-norm   keep=8  +  first ")[0] == "l2-norm keep=8 + first"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", InvalidValueError, "a policy has no words"),
        ("l2-norm +", InvalidValueError, "a policy has no words"),
        ("+ l2-norm", InvalidValueError, "a policy has no words"),
        ("l2-norm keeps=8", InvalidValueError, "a policy has no 'keeps'; it has scorer, keep"),
        ("l2-norm first", InvalidValueError, "scorer is given twice, 'l2-norm' and 'first'"),
        ("l2-norm keep=8 keep=4", InvalidValueError, "keep is given twice"),
        ("scorer=l2-norm,keep=8", InvalidValueError, "write spaces between words, not commas"),
        ("scorer=l2-norm, keep=8", InvalidValueError, "write spaces between words, not commas"),
        ("l2-norm keep=half", InvalidValueError, "expected a ratio"),
        ("l2-norm keep=2.5", InvalidValueError, "keep"),
        ("l2-norm target=image after=late", InvalidValueError, "after='late'"),
        ("l2-norm target=image after=1/0", InvalidValueError, "after='1/0'"),
        ("l2-nrm", UnknownNameError, "did you mean 'l2-norm'"),
        ("missing.json", InvalidValueError, "cannot read missing.json"),
    ],
)
def test_a_mistake_is_named(text, error, message):
    with pytest.raises(error) as caught:
        parse_policies(text)
    assert message in str(caught.value)


def test_a_policy_from_a_file(tmp_path):
    several = [Policy("received-attention", target="image", after=(6, 13)), Policy("catp-vote", keep=8)]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([policy.to_dict() for policy in several]))
    assert parse_policies(str(path)) == ("mine", tuple(several))
    path.write_text(json.dumps(several[1].to_dict()))
    assert parse_policies(str(path)) == ("mine", (several[1],))
    for wrong in ("[]", "[1]", "3", "{"):
        path.write_text(wrong)
        with pytest.raises(InvalidValueError, match=r"mine\.json"):
            parse_policies(str(path))
