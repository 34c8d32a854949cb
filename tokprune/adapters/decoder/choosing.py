"""Choose among the image tokens at one pruning point of a language model, and shorten the sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tokprune.adapters.decoder.layout import Group
from tokprune.adapters.decoder.shorter import Shorter
from tokprune.adapters.decoder.state import Left, Prompt
from tokprune.adapters.grouped import observed_in_groups
from tokprune.adapters.reducing import reduce_tokens
from tokprune.adapters.rows import Rows
from tokprune.adapters.wording import at_target
from tokprune.after import falling_counts
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Observed
from tokprune.keep import keep_count
from tokprune.layers import LayerVotes
from tokprune.signal import Signal, Text, question_of

if TYPE_CHECKING:
    from tokprune.adapters.decoder.cut import DecoderCut


def choose_among(cut: DecoderCut, call: Prompt, place: int, states: Tensor, before: Left) -> tuple[Left, Tensor]:
    """Choose at one pruning point, and shorten the sequence.

    Args:
        cut: the attachment whose pruning point it is.
        call: the run.
        place: how many layers are in front of the pruning point.
        states: the hidden states `[row token dim]` that come there.
        before: what earlier pruning points left.
    """
    policy, copies, step = cut.cut, call.layout.copies, cut.places.index(place)
    groups = call.layout.groups([*before.images], before.stays, copies=1)
    if not step:
        call.groups, call.before = groups, before
    if len(groups) > 1 and len(cut.places) > 1:
        raise UnsupportedCallError(
            f"tokens leave at {len(cut.places)} pruning points in equal steps, and the images have different numbers "
            f"of tokens ({sorted(set(before.images))}); expected images of equally many, or one pruning point"
        )
    inverse = None if before.shorter is None else call.once(before.shorter.inverse())
    tokens = [_tokens(call.once(states), group, inverse) for group in groups]
    signals = [_signal(cut, call, place, group, each) for group, each in zip(groups, tokens, strict=True)]
    keeps: list[Any] = [policy.keep] * len(groups)
    if len(cut.places) > 1:
        keeps = [falling_counts(policy.keep or 1.0, call.groups[0].places.shape[1], len(cut.places))[step]]
        chosen = [policy.choose(signals[0], keeps[0])]
    else:
        chosen = [policy.choose(signal) for signal in signals]
    call.chosen.append(chosen)
    stays, images, lengths = before.stays, list(before.images), list(before.lengths)
    for group, choice, keep in zip(groups, chosen, keeps, strict=True):
        kept = choice.kept.to(stays.device)
        stays = stays.index_put((group.rows[:, None], group.places), kept)
        size = kept.shape[1]
        counts = kept.sum(dim=1).tolist() if keep is None else [keep_count(keep, size)] * len(group.images)
        for image, row, count in zip(group.images, group.owners, counts, strict=True):
            images[image] = count
            lengths[row] -= size - count
    left = Left(stays, images, lengths, before.sizes, before.weighed, before.shorter)
    if lengths == list(before.lengths):
        return left, states
    if policy.reduction.reads_tokens or any(choice.assignment is not None for choice in chosen):
        sizes = torch.ones(stays.shape, dtype=torch.float32, device=stays.device)
        sizes = sizes if before.sizes is None else before.sizes
        reduced = call.once(states)
        for group, choice, own, signal in zip(groups, chosen, tokens, signals, strict=True):
            where = group.rows[:, None], group.places
            own_sizes = None if before.sizes is None else sizes[where].to(own.device)
            own, found = reduce_tokens(policy.reduction, own, choice, signal, own_sizes)
            if found is not None:
                sizes = sizes.index_put(where, found.to(sizes))
            rows, places = _local(group, inverse, reduced.device)
            reduced = reduced.index_put((rows[:, None], places), own)
        left = replace(left, sizes=sizes, weighed=policy.attention == "proportional")
        states = reduced.repeat_interleave(copies, dim=0)
    shorter = _shorter(left, before, policy.reduction.removes, copies)
    if left.weighed and left.sizes is not None:
        shorter = shorter.weighing(left.sizes.repeat_interleave(copies, dim=0))
    states = shorter.states(states, before.shorter) if policy.reduction.removes else states
    if not policy.reduction.removes:
        left = replace(left, lengths=before.lengths, stays=stays)
    return replace(left, shorter=shorter), states


def _shorter(left: Left, before: Left, removes: bool, copies: int) -> Shorter:
    stays = left.stays.repeat_interleave(copies, dim=0)
    if removes:
        return Shorter.of(stays, [each for each in left.lengths for _ in range(copies)])
    if before.shorter is None:
        return Shorter.hiding(stays)
    rows = before.shorter.rows
    valid = stays.gather(1, rows.index)
    return Shorter(Rows(rows.index, valid if rows.valid is None else valid & rows.valid, rows.before))


def _local(group: Group, inverse: Tensor | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row of each image, and where its tokens `[image token]` stand among the tokens that came to a pruning point."""
    places = group.places if inverse is None else inverse[group.rows[:, None], group.places]
    return group.rows.to(device), places.to(device)


def _tokens(states: Tensor, group: Group, inverse: Tensor | None) -> Tensor:
    rows, places = _local(group, inverse, states.device)
    return states[rows[:, None], places]


def _signal(cut: DecoderCut, call: Prompt, place: int, group: Group, tokens: Tensor) -> Signal:
    found: dict[str, Any] = {}
    needs = cut.cut.needs
    if "tokens" in needs:
        found["tokens"] = tokens.detach()
    if "cross_attention" in needs:
        wanted, begin = cut.wanted[place], (0, *cut.places)[cut.places.index(place)]
        missing = sorted(set(wanted) - set(call.looks))
        if missing:
            raise UnsupportedCallError(
                f"layers {missing} of the language model did not run in this call, so the text could not vote; was "
                "the model compiled before tokprune.apply?"
            )
        votes = {index - begin: call.looks[index].votes(group) for index in wanted}
        found["cross_attention"] = LayerVotes(votes, place - begin, "cross_attention")
    if "hidden_states" in needs:
        found["hidden_states"] = tokens.detach()
    if call.embeds is not None and cut.first_layer is not None:
        found |= cut.first_layer.signals(_tokens(call.embeds, group, None), needs)
    if call.embeds is not None and "text" in needs:
        places = call.layout.placeholders
        mask = call.layout.real & ~places
        rows = group.rows.to(call.embeds.device)
        found["text"] = Text(call.embeds[rows], mask[group.rows], question_of(mask, places)[group.rows])
    source = f"{at_target(cut.family.name, cut.cut)} inside the language model"
    return Signal(**found, shape=(tokens.shape[0], tokens.shape[1]), source=source)


def observed(cut: DecoderCut, call: Prompt) -> Observed:
    """What one run did, told of the tokens that came to the first pruning point of the policy."""
    last = call.left[cut.places[-1]]
    before = call.before
    length = before.lengths if last.shorter is None or not cut.cut.reduction.removes else last.lengths
    sizes: Sequence[Tensor | None] = [None] * len(call.groups)
    if last.sizes is not None and last.sizes is not before.sizes:
        sizes = [_of(last.sizes.where(last.stays, 0.0), group) for group in call.groups]
    if len(cut.places) == 1:
        return observed_in_groups(call.groups, call.chosen[0], sizes, max(before.lengths), max(length))
    kept = _of(last.stays, call.groups[0]).to(call.chosen[0][0].kept.device)
    choices = tuple(chosen[0] for chosen in call.chosen)
    return Observed(kept, max(before.lengths), max(length), sizes[0], choices)


def _of(values: Tensor, group: Group) -> Tensor:
    return values[group.rows[:, None], group.places]
