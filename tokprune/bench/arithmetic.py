"""Arithmetic: what a call of a BLIP-2-like model costs, unpruned or pruned, stage by stage, before anything is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from tokprune.adapters.output.family import EncoderFamily
from tokprune.after import After, check_after, falling_counts, layers_before
from tokprune.bench.costs import Costs, Workload
from tokprune.bench.flops import Cost, deep, meter, shallow
from tokprune.bench.language import LanguageCosts, ids
from tokprune.bench.weightless import weightless
from tokprune.errors import AdapterError, InvalidValueError
from tokprune.keep import Keep, keep_count
from tokprune.policy import Policy

DEFAULT_AFTER = EncoderFamily.after
"""Where image tokens leave the image encoder unless a policy says otherwise."""

TARGETS = ("query", "image")
"""The targets whose arithmetic is known."""

MODELS = {"blip-2": "Blip2ForConditionalGeneration", "instructblip": "InstructBlipForConditionalGeneration"}
"""Type of the model -> the class whose arithmetic is known."""
_LANGUAGE_MODELS = ("opt", "llama", "t5")


class Arithmetic:
    """Counts what one sample of a `generate` call costs, on a copy of the model without weights.

    Every module really runs, on the meta device, with as many tokens as would reach it, and torch's own counter looks
    on. Nothing needs memory or a GPU, and every distinct size is counted once. What pruning itself costs is not
    counted: this is what it can gain at most.

    Args:
        model: A `Blip2ForConditionalGeneration` or an `InstructBlipForConditionalGeneration` with OPT, T5 or LLaMA
            (Vicuna), on any device, "meta" included. It is only looked at.

    Raises:
        AdapterError: Another model; its arithmetic is not known here.

    Example:
        >>> from tokprune.zoo import load_model
        >>> arithmetic = Arithmetic(load_model("blip2-shapes")[0])
        >>> whole = arithmetic.count(Workload(text_tokens=16, answer_tokens=4))
        >>> pruned = arithmetic.count(Workload(text_tokens=16, answer_tokens=4), query_keep=0.25, image_keep=0.25)
        >>> pruned.total < whole.total
        True
    """

    stages: Mapping[str, str] = MappingProxyType({"query": "prefill", "image": "image encoder"})
    """Target -> the stage that pruning it makes cheaper."""

    def __init__(self, model: nn.Module) -> None:
        _check(model)
        self._twin = weightless(model.config, attention="eager")
        self._language = LanguageCosts(self._twin.language_model, self._twin.config.text_config.hidden_size)
        self._whole_encoder = cache(self._count_whole_encoder)
        self._layer = cache(self._count_layer)
        self._connector = cache(self._count_connector)
        self.query_tokens = int(self._twin.config.num_query_tokens)
        """Query tokens of each image, unpruned."""
        self.image_tokens = int(self._twin.vision_model.embeddings.num_patches)
        """Image tokens of each image, unpruned and without the protected [CLS]."""
        self.encoder_layers = len(self._twin.vision_model.encoder.layers)
        """Depth of the image encoder."""

    @property
    def tokens(self) -> Mapping[str, int]:
        """Target -> tokens of each image, unpruned."""
        return {"query": self.query_tokens, "image": self.image_tokens}

    def count(
        self,
        workload: Workload | None = None,
        *,
        query_keep: Keep | None = None,
        image_keep: Keep | None = None,
        after: After | None = None,
    ) -> Costs:
        """What one sample costs.

        Args:
            workload: Prompt, answer and beams; None for the default `Workload`.
            query_keep: Keep of target "query": what reaches the language model. None for all.
            image_keep: Keep of target "image": what goes through the rest of the image encoder and to the Q-Former.
                None for all.
            after: Behind which layers of the image encoder image tokens leave, as in a policy; None for the default.

        Raises:
            InvalidValueError: A keep that is none, or more tokens or layers than there are.
        """
        work = workload or Workload()
        queries = self.query_tokens if query_keep is None else keep_count(query_keep, self.query_tokens)
        lengths = self._encoder_lengths(image_keep, after)
        prompt = queries + work.text_tokens
        # InstructBLIP's Q-Former has word embeddings: the prompt goes through it too.
        text_tokens = work.text_tokens if hasattr(self._twin.qformer, "embeddings") else 0
        return Costs(
            encoder=(self._encoder(lengths),),
            connector=(self._connector(lengths[-1], text_tokens),),
            prefill=self._language.prefill(prompt, work.beams),
            decode=self._language.decode(prompt, work.answer_tokens, work.beams),
        )

    def of(self, workload: Workload, policies: Policy | Iterable[Policy]) -> Costs:
        """What one sample costs under one policy, or several that are applied together.

        A policy without a target is about query tokens, as BLIP-2's adapter has it. Masking removes nothing, so it
        saves nothing.

        Raises:
            InvalidValueError: Two policies of the same target, a target whose arithmetic is not known, or a selector
                that keeps a different number of tokens of every image.
        """
        keeps: dict[str, Keep] = {}
        after: After | None = None
        for policy in [policies] if isinstance(policies, Policy) else policies:
            target = policy.target or TARGETS[0]
            if target not in TARGETS or target in keeps:
                raise InvalidValueError(
                    f"arithmetic: expected at most one policy for each of {', '.join(map(repr, TARGETS))}, got "
                    f"{'two' if target in keeps else 'one'} for {target!r}"
                )
            if not getattr(policy.selector, "uniform", False):
                raise InvalidValueError(
                    f"arithmetic: {policy.selector!r} keeps a different number of tokens of every image, so the costs "
                    "are not known beforehand; give the number that was kept to `count`"
                )
            keeps[target] = policy.keep if policy.reduction.removes else 1.0
            after = policy.after if target == "image" else after
        return self.count(workload, query_keep=keeps.get("query"), image_keep=keeps.get("image"), after=after)

    def cuts(self, after: After | None = None) -> tuple[int, ...]:
        """How many layers of the image encoder run before each cut.

        Raises:
            InvalidValueError: `after` names no layers, or more than there are.
        """
        return layers_before(check_after(DEFAULT_AFTER if after is None else after), self.encoder_layers)

    def _encoder_lengths(self, keep: Keep | None, after: After | None) -> tuple[int, ...]:
        """Length of the sequence, [CLS] included, in each layer of the image encoder, and behind the last one."""
        lengths = [self.image_tokens + 1] * (self.encoder_layers + 1)
        if keep is not None:
            cuts = self.cuts(after)
            for cut, count in zip(cuts, falling_counts(keep, self.image_tokens, len(cuts)), strict=True):
                lengths[cut:] = [count + 1] * (len(lengths) - cut)
        return tuple(lengths)

    def _encoder(self, lengths: tuple[int, ...]) -> Cost:
        whole = lengths[0]
        shortened = Counter(length for length in lengths[:-1] if length != whole)
        saved = (times * (self._layer(whole) - self._layer(length)) for length, times in shortened.items())
        return self._whole_encoder() - sum(saved, start=Cost())

    def _count_whole_encoder(self) -> Cost:
        vision, size = self._twin.vision_model, self._twin.config.vision_config.image_size
        pixels = torch.empty(1, 3, size, size, device="meta")
        return deep(lambda: meter(lambda: vision(pixels), vision), vision.encoder.layers)

    def _count_layer(self, length: int) -> Cost:
        """One layer of the image encoder; they are all alike."""
        encoder = self._twin.vision_model.encoder
        tokens = torch.empty(1, length, self._twin.config.vision_config.hidden_size, device="meta")
        with shallow(encoder.layers, 1):
            return meter(lambda: encoder(inputs_embeds=tokens), encoder)

    def _count_connector(self, image_length: int, text_tokens: int) -> Cost:
        former, projection, config = self._twin.qformer, self._twin.language_projection, self._twin.config
        image = torch.empty(1, image_length, config.vision_config.hidden_size, device="meta")
        query = torch.empty(1, self.query_tokens, config.qformer_config.hidden_size, device="meta")
        text = {"input_ids": ids(text_tokens)} if text_tokens else {}
        cost = meter(lambda: former(query_embeds=query, encoder_hidden_states=image, **text), former)
        return cost + meter(lambda: projection(query), projection)


def _check(model: nn.Module) -> None:
    """Raise `AdapterError` unless the arithmetic of `model` is known: a wrong number would be worse than none."""
    config: Any = getattr(model, "config", None)
    known = MODELS.get(getattr(config, "model_type", ""))
    if type(model).__name__ != known:  # a subclass or a wrapper may do something else
        raise AdapterError(
            f"arithmetic: expected {' or '.join(MODELS.values())} (the model itself, neither wrapped nor compiled), "
            f"got {type(model).__name__}"
        )
    language = config.text_config.model_type
    if language not in _LANGUAGE_MODELS:
        raise AdapterError(
            f"arithmetic: expected a language model of type {', '.join(_LANGUAGE_MODELS)}, got {language!r}"
        )
