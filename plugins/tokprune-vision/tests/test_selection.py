"""The selector `visionzip`: dominant tokens, and contextual ones from all over the rest."""

from itertools import chain

import pytest
import torch
from by_hand import Devices, made, mask_of, select_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

import tokprune
from tokprune.keep import keep_count
from tokprune.testing import check_selector, keeps
from tokprune.testing import scores as some_scores

SHARES = st.sampled_from([0.15625, 0.000001, 0.25, 0.5]) | st.integers(1, 999).map(lambda share: share / 1000)


def test_it_is_installed_under_its_name():
    assert tokprune.list_selectors("visionzip") == ["visionzip"]


@pytest.mark.parametrize("spec", ["visionzip:contextual=0.5", "visionzip:spacing=step"])
def test_the_laws_of_selectors_hold(spec):
    check_selector(made("selector", spec))


@pytest.mark.parametrize(("kept", "contextual"), [(64, 10), (128, 20), (192, 30)])
def test_the_default_is_the_papers_settings(kept, contextual):
    """LLaVA's 576 image tokens: 54 + 10, 108 + 20 and 162 + 30 of them."""
    scores = torch.arange(576.0)[None]
    chosen = made("selector", "visionzip")(scores, kept)[0]
    dominant = kept - contextual
    assert chosen[576 - dominant :].all()
    assert not chosen[575 - dominant]  # the next best is not among the contextual ones, which stop a step earlier
    assert chosen[: 576 - dominant].sum() == contextual


def test_seven_tokens_by_hand():
    """Of 4 kept ones 2 are dominant, tokens 5 and 2; of the others 0, 1, 3, 4, 6 the first and the third are taken."""
    scores = torch.tensor([[1.0, 4.0, 8.0, 2.0, 5.0, 9.0, 3.0]])
    chosen = made("selector", "visionzip:contextual=0.5")(scores, 4)
    assert chosen.nonzero()[:, 1].tolist() == [0, 2, 3, 5]


@settings(deadline=None)
@given(
    scores=some_scores(tokens=st.integers(1, 40)),
    data=st.data(),
    share=SHARES,
    spacing=st.sampled_from(["even", "step"]),
)
def test_it_chooses_what_a_loop_chooses(scores, data, share, spacing):
    keep = data.draw(keeps(scores.shape[1]))
    found = made("selector", f"visionzip:contextual={share},spacing={spacing}")(scores, keep)
    count = keep_count(keep, scores.shape[1])
    expected = [[*chain(*select_by_hand(row, count, share, spacing))] for row in scores.tolist()]
    assert torch.equal(found, mask_of(expected, scores.shape[1]))


@pytest.mark.parametrize("keep", [2, 3, 5])
@pytest.mark.parametrize(("share", "contextual"), [(0.000001, 1), (0.999999, -1)])
def test_there_is_at_least_one_of_either_kind(keep, share, contextual):
    scores = torch.arange(20.0, 0, -1)[None]  # so dominant tokens are the first, and contextual ones begin behind them
    chosen = made("selector", f"visionzip:contextual={share}")(scores, keep)[0]
    dominant = keep - contextual if contextual > 0 else 1
    assert chosen.sum() == keep
    assert chosen[: dominant + 1].all()
    assert (keep == dominant + 1) or not chosen[dominant + 1]


def test_among_equals_the_first_are_dominant():
    chosen = made("selector", "visionzip:contextual=0.5")(torch.ones(1, 8), 4)
    assert chosen.nonzero()[:, 1].tolist() == [0, 1, 2, 5]  # 0 and 1; of 2 .. 7 the first and the fourth


def test_contextual_tokens_are_spread_over_the_whole_rest():
    scores = torch.arange(100.0, 0, -1)[None]  # the first are dominant
    chosen = made("selector", "visionzip")(scores, 64)[0, 54:].nonzero()[:, 0]
    assert chosen.tolist() == [0, 4, 9, 13, 18, 23, 27, 32, 36, 41]  # floor(4.6 i) of 46
    chosen = made("selector", "visionzip:spacing=step")(scores, 64)[0, 54:].nonzero()[:, 0]
    assert chosen.tolist() == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36]  # the end is left out


def test_the_share_changes_the_choice():
    scores = torch.arange(32.0)[None]
    few, many = (made("selector", f"visionzip:contextual={share}")(scores, 8) for share in (0.15625, 0.5))
    assert not torch.equal(few, many)
    assert not torch.equal(few, tokprune.functional.top_k(scores, 8))


def test_a_single_kept_token_is_the_best():
    chosen = made("selector", "visionzip")(torch.tensor([[1.0, 3.0, 2.0], [5.0, 3.0, 2.0]]), 1)
    assert chosen.tolist() == [[False, True, False], [True, False, False]]


def test_nothing_waits_for_the_device():
    """Tensors without values: whoever reads one fails, and nothing is made elsewhere and copied."""
    with Devices() as devices:
        chosen = made("selector", "visionzip")(torch.empty(2, 64, device="meta"), 0.25)
    assert devices.seen == {"meta"}
    assert chosen.shape == (2, 64)


@pytest.mark.parametrize("share", ["0", "0.0", "1.0", "1", "-0.5", "10", "nan", "True", "1e-9", "half"])
@pytest.mark.parametrize("kind", ["selector", "reduction"])
def test_a_share_that_is_none_is_refused(kind, share):
    with pytest.raises(tokprune.InvalidValueError, match=rf"{kind} 'visionzip': contextual is the share .* got .*Give"):
        made(kind, f"visionzip:contextual={share}")


def test_unknown_spacing_is_refused():
    with pytest.raises(tokprune.InvalidValueError, match="spacing must be 'even' or 'step', got 'odd'"):
        made("selector", "visionzip:spacing=odd")
