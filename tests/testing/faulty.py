"""Components that are wrong on purpose: each breaks one law, the way real code does."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from tokprune import Groups, SignalError, Votes
from tokprune.functional import average_ranks, exact_sum, merge_tokens, top_k


@dataclass(frozen=True)
class OverTokens:
    """A scorer of one ballot per image; the faulty ones change `score`."""

    needs: ClassVar = ("tokens",)
    aggregator: ClassVar = "sum"

    def __call__(self, signal):
        yield Votes(self.score(signal)[:, None])

    def score(self, signal):
        return signal.tokens.float().norm(dim=-1)


class BatchWide(OverTokens):
    """Divides by the largest norm of the whole batch."""

    def score(self, signal):
        norms = super().score(signal)
        return norms / norms.max().clamp(min=1)


class Counting(OverTokens):
    """Remembers in a class variable how often it was called."""

    calls: ClassVar = []

    def score(self, signal):
        self.calls.append(1)
        return super().score(signal) * len(self.calls)


class Smoothed(OverTokens):
    """Keeps the last scores of a shape, and mixes them into the next."""

    def score(self, signal):
        now = super().score(signal)
        last = vars(self).get("last", now)
        object.__setattr__(self, "last", now)
        return now + last if last.shape == now.shape else now


class HalfSum(OverTokens):
    """Squares and adds up in the type the tokens came in."""

    def score(self, signal):
        return (signal.tokens**2).sum(dim=-1)


class RoundedHalf(OverTokens):
    """Half precision that overflows nowhere, but rounds."""

    def score(self, signal):
        return signal.tokens.abs().amax(dim=-1).sqrt()


class TiesByPlace(OverTokens):
    """Ranks with argsort(argsort): equal tokens get different ranks, by where they stand."""

    def score(self, signal):
        return super().score(signal).argsort(dim=-1).argsort(dim=-1).float()


class NotANumber(OverTokens):
    """Standardises: with a single token, 0 / 0."""

    def score(self, signal):
        norms = super().score(signal)
        return (norms - norms.mean(dim=-1, keepdim=True)) / norms.std(dim=-1, keepdim=True, correction=0)


class Undeclared(OverTokens):
    """Reads the prompt without saying so."""

    def score(self, signal):
        return (signal.tokens @ signal.text.embeddings.mean(dim=1)[..., None])[..., 0]


class WrongLayers(OverTokens):
    """Says that it reads the first layer, and reads all."""

    needs: ClassVar = ("cross_attention",)
    layers_read: ClassVar = {"cross_attention": "first"}

    def __call__(self, signal):
        yield from signal.cross_attention


class ReadsTooManyLayers(OverTokens):
    """Says that it reads the first layer, and reads all that were captured for anybody."""

    needs: ClassVar = ("cross_attention",)
    layers_read: ClassVar = {"cross_attention": "first"}

    def __call__(self, signal):
        for layer in range(len(signal.cross_attention)):
            with suppress(SignalError):
                yield signal.cross_attention[layer]


class Greedy(OverTokens):
    """Has every attention captured, and reads none."""

    needs: ClassVar = ("tokens", "self_attention")


class AtHome(OverTokens):
    """Makes its votes on the CPU, wherever it is called."""

    def score(self, signal):
        return torch.arange(signal.shape[1]).expand(signal.shape).float() * 0 + super().score(signal).cpu()


class MixesDevices(OverTokens):
    """Multiplies by a tensor that it makes on the CPU."""

    def score(self, signal):
        return super().score(signal) * torch.ones(signal.shape[1])


class NeedsClsToBe(OverTokens):
    """Takes the first voter for [CLS], which not every encoder has."""

    needs: ClassVar = ("encoder_attention",)
    targets: ClassVar = ("image",)

    def __call__(self, signal):
        for votes in signal.encoder_attention:
            yield votes.of_voters(0, 1)


class VotersFirst(OverTokens):
    """Gives votes [batch token voter]."""

    def __call__(self, signal):
        yield Votes(signal.tokens)


class RawTensor(OverTokens):
    """Gives a tensor instead of votes."""

    def __call__(self, signal):
        yield super().score(signal)[:, None]


class ScoresVotersFirst(OverTokens):
    """Gives scores [token batch]."""

    def __call__(self, signal):
        return super().score(signal).T


class SaysScores(OverTokens):
    """Says that it gives scores, and gives votes."""

    aggregator: ClassVar = None


class Silent(OverTokens):
    """Gives nothing."""

    def __call__(self, signal):
        return iter(())


class Overwriting(OverTokens):
    """Centres the tokens in place."""

    def score(self, signal):
        tokens = signal.tokens
        tokens -= tokens.mean(dim=1, keepdim=True)
        return tokens.float().norm(dim=-1)


class GlobalChance(OverTokens):
    """Draws from torch's global random numbers, seeded, as if that were harmless."""

    def score(self, signal):
        torch.manual_seed(0)
        return torch.rand(signal.shape[1]).expand(signal.shape)


class NoNeeds(OverTokens):
    """Forgets to say what it reads."""

    needs: ClassVar = ()


@dataclass
class Thawed:
    """A dataclass that can be changed."""

    needs: ClassVar = ("tokens",)
    aggregator: ClassVar = "sum"

    def __call__(self, signal):
        yield Votes(signal.tokens.float().norm(dim=-1)[:, None])


@dataclass(frozen=True)
class Unhashable(OverTokens):
    """Has a list among its options."""

    layers: list = field(default_factory=lambda: [0])


class Unprintable(OverTokens):
    """Prints as an address."""

    def __repr__(self):
        return object.__repr__(self)


class StaysHere(OverTokens):
    """Cannot be sent to another process."""

    def __reduce__(self):
        raise TypeError("holds a lock")


@dataclass(frozen=True)
class OptionWithoutText(OverTokens):
    """Takes an option that nobody can type."""

    axes: frozenset = frozenset({-1})


@dataclass(frozen=True)
class Adding:
    """An aggregator that works; the faulty ones change `layer`."""

    def __call__(self, votes):
        total = sum(self.layer(v) for v in votes)
        if isinstance(total, int):
            raise ValueError("no votes")
        return total

    def layer(self, votes):
        return exact_sum(votes.values, votes.weights)


class WrongAxis(Adding):
    """Ranks the voters by each token instead of the tokens by each voter."""

    def layer(self, votes):
        return exact_sum(average_ranks(votes.values.transpose(1, 2)).transpose(1, 2), votes.weights)


class PlacesDecide(Adding):
    """Borda with argsort(argsort): ties go to the later token."""

    def layer(self, votes):
        return exact_sum(votes.values.argsort(dim=2, stable=True).argsort(dim=2).float(), votes.weights)


class HalfPoints(Adding):
    """Adds the points up in half precision."""

    def layer(self, votes):
        return average_ranks(votes.values).half().sum(dim=1).float()


class HalfVotes(Adding):
    """Adds the votes up in the type they came in."""

    def layer(self, votes):
        return votes.values.sum(dim=1).float()


class HalfScores(Adding):
    """Returns half precision."""

    def layer(self, votes):
        return votes.values.sum(dim=1).bfloat16()


class BatchNormalised(Adding):
    """Divides by the largest score of the batch."""

    def layer(self, votes):
        scores = super().layer(votes)
        return scores / scores.abs().max().clamp(min=1)


class FirstVoter(Adding):
    """Only looks at the first voter."""

    def layer(self, votes):
        return votes.values[:, 0].float()


class Upside(Adding):
    """Thinks that lower is better."""

    def layer(self, votes):
        return -super().layer(votes)


class ReadsTwice(Adding):
    """Goes through the layers twice, though they come only once."""

    def __call__(self, votes):
        largest = max(float(v.values.abs().max()) for v in votes)
        return super().__call__(votes) / largest


class WeightsNormalised(Adding):
    """Softmaxes the weights, but only where there are some."""

    def layer(self, votes):
        return exact_sum(votes.values, None if votes.weights is None else votes.weights.softmax(dim=1))


class EmptyIsZero(Adding):
    """Scores an empty electorate."""

    def __call__(self, votes):
        total = sum((self.layer(v) for v in votes), start=torch.zeros(()))
        return total if total.dim() else torch.zeros(1, 1)


class OverwritesVotes(Adding):
    """Centres the votes in place."""

    def layer(self, votes):
        return exact_sum(votes.values.sub_(votes.values.mean(dim=2, keepdim=True)), votes.weights)


class Momentum(Adding):
    """Adds the scores of the last call, where they fit."""

    last: ClassVar = {}

    def __call__(self, votes):
        now = super().__call__(votes)
        mixed = now + self.last.get(now.shape, 0)
        self.last[now.shape] = now
        return mixed


class CountsAtHome(Adding):
    """Adds a bonus that it makes on the CPU."""

    def layer(self, votes):
        return super().layer(votes) + torch.zeros(votes.shape[2])


@dataclass(frozen=True)
class Choosing:
    """A selector that works; the faulty ones change `__call__`."""

    uniform: ClassVar = True

    def __call__(self, scores, keep):
        return top_k(scores, keep)


class OneTooMany(Choosing):
    """Keeps one more than asked."""

    def __call__(self, scores, keep):
        kept = super().__call__(scores, keep)
        worst = scores.masked_fill(kept, float("inf")).argmin(dim=1, keepdim=True)
        return kept.scatter(1, worst, True)


class Grouping(Choosing):
    """Puts every dropped token into the group of the first kept one, which is not wrong; the next ones are."""

    makes_groups: ClassVar = True

    def __call__(self, scores, keep):
        kept = super().__call__(scores, keep)
        return Groups(kept, self.assignment(kept))

    def assignment(self, kept):
        return (kept.cumsum(dim=1) - 1).masked_fill(~kept, 0)


class UnsaidGroups(Grouping):
    """Does not say that it gives groups."""

    makes_groups: ClassVar = False


class GroupsByPlace(Grouping):
    """Names groups by the places of the kept tokens, and not by their numbers."""

    def assignment(self, kept):
        return torch.where(kept, torch.arange(kept.shape[1]), 0)


class Indices(Choosing):
    """Returns indices, best first, instead of a mask."""

    def __call__(self, scores, keep):
        return scores.argsort(dim=1, descending=True)[:, : int(super().__call__(scores, keep)[0].sum())]


class Numbers(Choosing):
    """Returns 0 and 1 instead of False and True."""

    def __call__(self, scores, keep):
        return super().__call__(scores, keep).float()


class Threshold(Choosing):
    """Keeps what is above the mean of the batch; nothing where all are equal."""

    uniform: ClassVar = False

    def __call__(self, scores, keep):
        super().__call__(scores, keep)
        return scores > scores.mean()


class BatchThreshold(Choosing):
    """Keeps what reaches a share of the best score of the whole batch, and the best."""

    uniform: ClassVar = False

    def __call__(self, scores, keep):
        top_k(scores, keep)
        return (scores >= scores.max() * (1 - keep)) | top_k(scores, 1) | (keep == 1.0)


class Clamped(Choosing):
    """Takes a keep that is too large for all there are."""

    def __call__(self, scores, keep):
        return super().__call__(scores, min(keep, scores.shape[1]) if isinstance(keep, int) else keep)


class FirstHalf(Choosing):
    """Keeps by place, whatever the scores."""

    def __call__(self, scores, keep):
        return super().__call__(torch.arange(scores.shape[1], 0, -1.0).expand(scores.shape), keep)


class InPlace(Choosing):
    """Writes into the scores."""

    def __call__(self, scores, keep):
        return super().__call__(scores.sub_(scores.min()), keep)


class NeverAll(Choosing):
    """Leaves out the worst token, unless it is the only one."""

    uniform: ClassVar = False

    def __call__(self, scores, keep):
        return super().__call__(scores, keep) & (super().__call__(scores, max(scores.shape[1] - 1, 1)))


class Alternating(Choosing):
    """Breaks ties the other way round every second time."""

    times: ClassVar = []

    def __call__(self, scores, keep):
        self.times.append(1)
        if len(self.times) % 2:
            return super().__call__(scores, keep)
        return super().__call__(scores.flip(1), keep).flip(1)


class MaskAtHome(Choosing):
    """Returns a mask on the CPU."""

    def __call__(self, scores, keep):
        return super().__call__(scores, keep).cpu()


@dataclass(frozen=True)
class Folding:
    """A reduction that works; the faulty ones change `__call__`."""

    removes: ClassVar = True
    reads_tokens: ClassVar = True

    def __call__(self, tokens, kept, sizes=None):
        return merge_tokens(tokens, kept, sizes)


class LosesMass(Folding):
    """Folds by a plain mean of two, however many tokens meet."""

    def __call__(self, tokens, kept, sizes=None):
        _, after = merge_tokens(tokens, kept, sizes)
        dropped = tokens.masked_fill(kept[..., None], 0).sum(dim=1, keepdim=True)
        return torch.where(kept[..., None] & ~kept.all(dim=1)[:, None, None], (tokens + dropped) / 2, tokens), after


class IgnoresGroups(Folding):
    """Says that it follows groups, and folds into the most similar token."""

    follows_groups: ClassVar = True

    def __call__(self, tokens, kept, sizes=None, assignment=None):
        return merge_tokens(tokens, kept, sizes)


class ForgetsSizes(Folding):
    """Begins with sizes of one, whatever was merged before."""

    def __call__(self, tokens, kept, sizes=None):
        return merge_tokens(tokens, kept)


class SecretlyScales(Folding):
    """Says that it leaves tokens alone, and does not."""

    reads_tokens: ClassVar = False

    def __call__(self, tokens, kept, sizes=None):
        return tokens * 2, kept.float() if sizes is None else sizes * kept


class ShortensItself(Folding):
    """Returns only the kept tokens."""

    def __call__(self, tokens, kept, sizes=None):
        tokens, after = merge_tokens(tokens, kept, sizes)
        count = int(kept.sum(dim=1).max())
        return tokens[:, :count], after


class HalfMean(Folding):
    """Adds tokens up in the type they came in."""

    def __call__(self, tokens, kept, sizes=None):
        _, after = merge_tokens(tokens, kept, sizes)
        size = torch.ones_like(after) if sizes is None else sizes
        if bool(kept.all()):
            return tokens, after
        total = (tokens * size[..., None].to(tokens.dtype)).sum(dim=1, keepdim=True)
        mean = total / size.sum(dim=1).to(tokens.dtype)[:, None, None]
        return torch.where(kept[..., None], mean, tokens), after


class RoundsAlways(Folding):
    """Adds up and divides again, also where there is nothing to fold."""

    def __call__(self, tokens, kept, sizes=None):
        merged, after = merge_tokens(tokens, kept, sizes)
        return ((merged.float() * 3 + 0.1) / 3 - 0.1 / 3).to(tokens.dtype), after


class FoldsLast(Folding):
    """Overwrites the tokens that it is given."""

    def __call__(self, tokens, kept, sizes=None):
        merged, after = merge_tokens(tokens, kept, sizes)
        return tokens.copy_(merged), after


class FoldsAtHome(Folding):
    """Returns sizes on the CPU."""

    def __call__(self, tokens, kept, sizes=None):
        merged, after = merge_tokens(tokens, kept, sizes)
        return merged, after.cpu()


class WantsTokens(Folding):
    """Wants a signal that is its first argument anyway."""

    wants: ClassVar = ("tokens",)


class FoldsBatchWide(Folding):
    """Folds by the attention of the first image of the batch."""

    conserves: ClassVar = False
    wants: ClassVar = ("encoder_attention",)

    def __call__(self, tokens, kept, sizes=None, *, encoder_attention):
        if bool(kept.all()):
            return tokens, torch.ones_like(kept, dtype=torch.float32) if sizes is None else sizes
        merged, after = merge_tokens(tokens, kept, sizes)
        factor = encoder_attention[-1].values[0].sum(dim=0)
        return (merged * factor[:, None]).to(tokens.dtype), after
