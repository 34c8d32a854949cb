"""What an adapter says of its signals decides, before anything is changed, what fits: the call never disagrees."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

import tokprune
from tokprune.adapters import GenericAdapter
from tokprune.errors import AdapterError
from tokprune.fit import adapter_for, fitting_scorers, misfits
from tokprune.reductions import Prune
from tokprune.signal import SignalName
from tokprune.testing.tiny_crossattention import tiny_whisper
from tokprune.testing.tiny_embed import tiny_idefics2, tiny_idefics3, tiny_llava
from tokprune.testing.tiny_qwen import tiny_qwen2_5_vl, tiny_qwen3_vl

from .traces import traces


@dataclass(frozen=True)
class ReadsKeys(Prune):
    """A reduction that compares the encoder's keys, as VisionZip's does."""

    wants: ClassVar = ("encoder_attention",)
    keys_read: ClassVar = ("encoder_attention",)


@dataclass(frozen=True)
class ReadsBoth:
    """A scorer that wants the image encoder's votes and the text's."""

    needs: ClassVar = ("cross_attention", "encoder_attention")

    def __call__(self, signal):
        yield from signal.cross_attention


def test_who_votes_is_part_of_the_declaration():
    signals = {name: build() for name, build in {"idefics2": tiny_idefics2, "whisper": tiny_whisper}.items()}
    offered = {name: next(iter(adapter_for(model).offers(model).values())) for name, model in signals.items()}
    voters = {name: {str(n): getattr(n, "voters", None) for n in names} for name, names in offered.items()}
    assert voters["idefics2"]["cross_attention"] == "image"
    assert voters["whisper"]["cross_attention"] == "text"
    assert "text-attention" not in fitting_scorers("image", offered["idefics2"])
    assert "catp-vote" in fitting_scorers("image", offered["idefics2"])
    assert misfits(tokprune.scorers.TextAttention, "image", offered["idefics2"]) == (
        "needs the votes of text tokens in 'cross_attention', and here image tokens vote",
    )


def test_where_it_is_not_said_who_votes_nothing_is_refused():
    assert misfits(tokprune.scorers.TextAttention, "image", ("cross_attention",)) == ()
    assert misfits(tokprune.scorers.TextAttention, "image", (SignalName("cross_attention", voters="text"),)) == ()


@pytest.mark.parametrize("build", [tiny_qwen2_5_vl, tiny_idefics3])
def test_keys_of_tokens_that_were_merged_are_refused_before_anything_changes(build):
    model = build()
    before = traces(model)
    with pytest.raises(
        AdapterError, match=r"reads the keys in 'encoder_attention', and here each token is made of sev"
    ):
        tokprune.apply(model, scorer="first", reduction=ReadsKeys())
    assert traces(model) == before
    with tokprune.apply(tiny_llava(), scorer="first", reduction=ReadsKeys()):
        pass


def test_signals_that_are_observed_in_two_places_do_not_fit_together():
    model = tiny_llava()
    with pytest.raises(AdapterError, match="needs 'cross_attention' and 'encoder_attention' together, which are obs"):
        tokprune.apply(model, scorer=ReadsBoth())
    with tokprune.apply(model, scorer="catp-vote"), pytest.raises(tokprune.AlreadyAppliedError):
        tokprune.apply(model, scorer="received-attention")


@pytest.mark.parametrize("build", [tiny_qwen2_5_vl, tiny_qwen3_vl])
@pytest.mark.parametrize("seam", ["embed_merge", "layers"])
def test_paths_alone_do_not_place_tokens_by_row_and_column(build, seam):
    model = build()
    before = traces(model)
    with pytest.raises(AdapterError, match="places image tokens by row and column, and paths alone do not say"):
        tokprune.apply(model, adapter=GenericAdapter(encoder="model.visual", layers="blocks.*", seam=seam))
    assert traces(model) == before
