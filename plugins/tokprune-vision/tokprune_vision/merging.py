"""VisionZip's folding: dropped tokens live on in the contextual ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from tokprune import AttentionVotes, InvalidValueError, Votes
from tokprune.layers import Layers
from tokprune_vision.cls_attention import cls_votes
from tokprune_vision.shares import PAPER, check_share, contextual_counts

Attention = Literal["cls", "received"]
Fold = Literal["mean", "add"]


@dataclass(frozen=True)
class VisionZipMerging:
    """Fold every dropped token into the contextual one with the most similar key; dominant tokens are not touched.

    Formula: with A the attention and k the keys of the last encoder layer before the cut, the kept tokens t with the
    lowest `sum over heads h of A[h, CLS, t]` (without a [CLS], the lowest attention received) are contextual, as many
    as the selector says (among equals those with the higher index), and the others are dominant. A dropped token d goes
    to `argmax over contextual c of cos(k[d], k[c])`, keys averaged over the heads, and then
    `token[c] = (size[c] token[c] + sum over d of size[d] token[d]) / (size[c] + sum over d of size[d])`.
    Dominant tokens, and contextual ones that receive nothing, are returned bit for bit.

    Who is dominant is found anew from the attention: a reduction is not told who scored. With the selector `visionzip`,
    the same `contextual`, and the scorer `cls-attention` (or `received-attention` and `attention="received"`) these are
    exactly the selector's dominant tokens. With other scorers, layers or selectors the rule above still holds and
    nothing is lost, but a token that the selector kept as contextual can count as dominant here.

    Args:
        contextual: share of the kept tokens that are contextual: the selector's.
        attention: "cls" as above; "received" for the rule without a [CLS] also where there is one.
        fold: "mean" as above, the paper's average, weighted by sizes; "add" for the authors' code, which adds the mean
            of the folded tokens to the contextual one, so that it comes out about twice as long.

    Source: VisionZip, arXiv 2412.04467, section 3.3.

    Example:
        >>> key = torch.tensor([[[[0.0, 1.0], [1.0, 0.0], [1.0, 0.1], [0.1, 1.0]]]])
        >>> votes = AttentionVotes(key, key, 1.0, candidates="key")
        >>> tokens = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]])
        >>> kept = torch.tensor([[True, True, False, True]])
        >>> VisionZipMerging(contextual=0.6)(tokens, kept, encoder_attention=[votes])[1]
        tensor([[1., 2., 0., 1.]])
    """

    contextual: float = PAPER
    attention: Attention = "cls"
    fold: Fold = "mean"

    wants: ClassVar[tuple[str, ...]] = ("encoder_attention",)
    targets: ClassVar[tuple[str, ...]] = ("image",)  # the encoder's keys say nothing about tokens of another kind
    keys_read: ClassVar[tuple[str, ...]] = ("encoder_attention",)
    layers_read: ClassVar[Mapping[str, Layers]] = {"encoder_attention": "last"}
    removes: ClassVar[bool] = True
    reads_tokens: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share("reduction 'visionzip'", self.contextual)
        for name, value, known in (("attention", self.attention, Attention), ("fold", self.fold, Fold)):
            if value not in get_args(known):
                first, second = get_args(known)
                raise InvalidValueError(
                    f"reduction 'visionzip': {name} must be {first!r} or {second!r}, got {value!r}; {first!r} is the "
                    "default"
                )

    @property
    def conserves(self) -> bool:
        """Whether the sum of the tokens, weighted by sizes, stays what it was."""
        return self.fold == "mean"

    def __call__(
        self, tokens: Tensor, kept: Tensor, sizes: Tensor | None = None, *, encoder_attention: Sequence[Votes]
    ) -> tuple[Tensor, Tensor]:
        """Merged tokens `[batch token dim]` and sizes `[batch token]` (0 for dropped tokens)."""
        votes = _checked(encoder_attention[-1], tokens)
        contextual = _lowest(cls_votes(votes) if self.attention == "cls" else votes, kept, self.contextual)
        size = torch.ones_like(kept, dtype=torch.float32) if sizes is None else sizes.float()
        own = torch.arange(kept.shape[1], device=tokens.device).expand_as(kept)
        target = torch.where(kept, own, _most_similar(votes, contextual))

        values, given = tokens.float(), size * ~kept
        new_size = torch.zeros_like(size).scatter_add(1, target, size)
        folded = torch.zeros_like(values).scatter_add(1, target[..., None].expand_as(values), values * given[..., None])
        if self.fold == "mean":
            merged = (values * size[..., None] + folded) / _positive(new_size)[..., None]
        else:
            merged = values + folded / _positive(new_size - size)[..., None]
        received = new_size > size
        return torch.where(received[..., None], merged.to(tokens.dtype), tokens), new_size


def _checked(votes: Votes, tokens: Tensor) -> AttentionVotes:
    """The last layer of the encoder's attention, if it is attention and about these tokens."""
    if not isinstance(votes, AttentionVotes) or votes.candidates != "key":
        raise InvalidValueError(
            "reduction 'visionzip': encoder_attention must be attention among the image tokens, with its keys (a "
            f"tokprune.AttentionVotes with candidates='key'); got {votes!r}. Use 'merge', which needs no keys"
        )
    if (votes.shape[0], votes.shape[2]) != tuple(tokens.shape[:2]):
        raise InvalidValueError(
            f"reduction 'visionzip': tokens [batch token dim] are {tuple(tokens.shape)}, but encoder_attention is "
            f"about {votes.shape[2]} tokens of {votes.shape[0]} images; the encoder's keys say nothing about tokens "
            "of another kind: use it with target='image', and 'merge' elsewhere"
        )
    return votes


def _lowest(votes: Votes, kept: Tensor, share: float) -> Tensor:
    """The contextual ones among the kept tokens, bool `[batch token]`: those with the fewest votes."""
    with torch.no_grad():
        attention = votes.total()
        best = attention.masked_fill(~kept, float("-inf")).sort(dim=1, descending=True, stable=True).indices
        count = kept.sum(dim=1)
        dominant = count - contextual_counts(count, share)
        place = torch.arange(kept.shape[1], device=kept.device).expand_as(best)
        return kept & torch.zeros_like(best).scatter(1, best, place).ge(dominant[:, None])


def _most_similar(votes: AttentionVotes, contextual: Tensor) -> Tensor:
    """For every token the contextual one with the most similar key, int64 `[batch token]`."""
    with torch.no_grad():
        key = votes.key[:, :, votes.protected :].float().mean(dim=1)
        unit = torch.nn.functional.normalize(key, dim=-1)
        similarity = torch.matmul(unit, unit.transpose(1, 2))
        return similarity.masked_fill(~contextual[:, None, :], float("-inf")).argmax(dim=-1)


def _positive(size: Tensor) -> Tensor:
    """`size` without zeros, to divide by."""
    return size.clamp(min=torch.finfo(torch.float32).tiny)
