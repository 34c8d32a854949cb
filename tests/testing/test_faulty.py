"""The kit catches what it should: every faulty component, by the law it breaks, in words."""

import pytest

from tokprune.testing import aggregators, check_component, components, reductions, scorers, selectors
from tokprune.testing.laws import Law

from . import faulty

FAULTS = [
    ("scorer", faulty.BatchWide, "do not depend on the other images"),
    ("scorer", faulty.Counting, "keeps no state"),
    ("scorer", faulty.Smoothed, "keeps no state"),
    ("scorer", faulty.HalfSum, "never NaN or infinite"),
    ("scorer", faulty.RoundedHalf, "scored like its float32 copy"),
    ("scorer", faulty.TiesByPlace, "equal tokens score the same"),
    ("scorer", faulty.NotANumber, "never NaN or infinite"),
    ("scorer", faulty.Undeclared, "reads only signals in its `needs`"),
    ("scorer", faulty.WrongLayers, "only layers in its `layers_read`"),
    ("scorer", faulty.ReadsTooManyLayers, "also where others were captured"),
    ("scorer", faulty.Greedy, "reads every signal in its `needs`"),
    ("scorer", faulty.AtHome, "on the device that the signal is on"),
    ("scorer", faulty.MixesDevices, "on the device that the signal is on"),
    ("scorer", faulty.NeedsClsToBe, "equal tokens score the same"),
    ("scorer", faulty.VotersFirst, "a vote for every target token"),
    ("scorer", faulty.RawTensor, "gives `Votes`"),
    ("scorer", faulty.ScoresVotersFirst, "or their scores"),
    ("scorer", faulty.SaysScores, "or their scores"),
    ("scorer", faulty.Silent, "gives `Votes`, at least one"),
    ("scorer", faulty.Overwriting, "does not write into"),
    ("scorer", faulty.GlobalChance, "global random numbers"),
    ("scorer", faulty.NoNeeds, "declares the signals that it reads"),
    ("scorer", faulty.Thawed, "frozen dataclass"),
    ("scorer", faulty.Unhashable, "can be hashed"),
    ("scorer", faulty.Unprintable, "prints as it is built"),
    ("aggregator", faulty.WrongAxis, "likes best scores above one that every voter likes least"),
    ("aggregator", faulty.PlacesDecide, "equal votes give equal scores"),
    ("aggregator", faulty.HalfPoints, "finite float32 or float64 number"),
    ("aggregator", faulty.HalfVotes, "nothing is added up in half precision"),
    ("aggregator", faulty.HalfScores, "finite float32 or float64 number"),
    ("aggregator", faulty.BatchNormalised, "do not depend on the other images"),
    ("aggregator", faulty.FirstVoter, "when voters change places, nothing changes"),
    ("aggregator", faulty.Upside, "likes best scores above one that every voter likes least"),
    ("aggregator", faulty.ReadsTwice, "one finite float32 or float64 number per token"),
    ("aggregator", faulty.WeightsNormalised, "Voters who all weigh 1"),
    ("aggregator", faulty.EmptyIsZero, "gets no votes at all raises a ValueError"),
    ("scorer", faulty.StaysHere, "can be pickled"),
    ("scorer", faulty.OptionWithoutText, "can be written as text"),
    ("aggregator", faulty.OverwritesVotes, "does not write into the votes"),
    ("aggregator", faulty.Momentum, "keeps no state"),
    ("selector", faulty.NeverAll, "keep=1.0 keeps every token"),
    ("selector", faulty.Alternating, "keeps no state"),
    ("reduction", faulty.RoundsAlways, "come back bit for bit"),
    ("reduction", faulty.FoldsLast, "does not write into what it is given"),
    ("aggregator", faulty.CountsAtHome, "on the device that the votes are on"),
    ("selector", faulty.MaskAtHome, "on the device that the scores are on"),
    ("selector", faulty.OneTooMany, "exactly as many tokens of every image as `keep` says"),
    ("selector", faulty.UnsaidGroups, "have one kept token each"),
    ("selector", faulty.GroupsByPlace, "have one kept token each"),
    ("selector", faulty.Indices, "returns a bool mask"),
    ("selector", faulty.Numbers, "returns a bool mask"),
    ("selector", faulty.Threshold, "keeps at least one of every image"),
    ("selector", faulty.BatchThreshold, "does not depend on the other images"),
    ("selector", faulty.Clamped, "above the number of tokens raises a ValueError"),
    ("selector", faulty.FirstHalf, "the choice goes with them"),
    ("selector", faulty.InPlace, "does not write into the scores"),
    ("reduction", faulty.LosesMass, "the sum of the tokens weighted by them"),
    ("reduction", faulty.IgnoresGroups, "gives each kept token the size of its group"),
    ("reduction", faulty.ForgetsSizes, "at least the size it had"),
    ("reduction", faulty.SecretlyScales, "returns the kept tokens bit for bit"),
    ("reduction", faulty.ShortensItself, "in the shape and type they came in"),
    ("reduction", faulty.HalfMean, "reduced like their float32 copies"),
    ("reduction", faulty.FoldsAtHome, "on the device that the tokens are on"),
    ("reduction", faulty.WantsTokens, "names the signals it `wants`"),
    ("reduction", faulty.FoldsBatchWide, "do not depend on the other images"),
]


@pytest.mark.parametrize(("kind", "component", "law"), FAULTS, ids=[c.__name__ for _, c, _ in FAULTS])
def test_a_fault_is_caught_and_the_law_is_named(kind, component, law):
    with pytest.raises(AssertionError) as caught:
        check_component(kind, component())
    message = str(caught.value)
    assert law in message
    assert message.startswith(f"{kind} ")
    assert component.__name__ in message


@pytest.mark.parametrize(
    ("kind", "component"),
    [
        ("scorer", faulty.OverTokens),
        ("aggregator", faulty.Adding),
        ("selector", faulty.Choosing),
        ("selector", faulty.Grouping),
        ("reduction", faulty.Folding),
    ],
)
def test_what_the_faulty_ones_are_made_from_is_not_faulty(kind, component):
    check_component(kind, component())


def test_every_law_has_caught_something():
    modules = {"scorer": scorers, "aggregator": aggregators, "selector": selectors, "reduction": reductions}
    for kind, module in modules.items():
        for law in module.LAWS:
            sentence = Law(kind, None, law).sentence
            caught = [c for k, c, words in FAULTS if words in sentence and (k == kind or law in components.LAWS)]
            assert caught, f"add a faulty {kind} that breaks the law {law.__name__}"


def test_every_faulty_component_is_on_the_list():
    from_module = {c for c in vars(faulty).values() if isinstance(c, type) and c.__module__ == faulty.__name__}
    good = {faulty.OverTokens, faulty.Adding, faulty.Choosing, faulty.Grouping, faulty.Folding}
    assert from_module - good == {component for _, component, _ in FAULTS}
