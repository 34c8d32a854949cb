"""What is observed of the image tokens on their way into the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.capture import Capture
from tokprune.adapters.firstlayer import READER_SIGNALS, FirstLayer
from tokprune.adapters.packed import PackedAttention
from tokprune.adapters.prompt.call import PromptCall
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.wording import at_target
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Cut
from tokprune.layers import LayerVotes, layer_indices
from tokprune.pooled import PooledVotes, mean_of_places, padded_places
from tokprune.signal import ATTENTION_NAMES, ENCODER_VECTORS, Signal, Text, question_of


class ImageSignals:
    """Makes the signal of images that have equally many tokens.

    Args:
        model: the whole model.
        base: the part of it that encodes the images.
        family: the model family.
        cut: what is asked for.
        capture: what was observed.
    """

    def __init__(self, model: Any, base: nn.Module, family: PromptFamily, cut: Cut, capture: Capture) -> None:
        self.model, self.base, self.family, self.cut, self.capture = model, base, family, cut, capture
        ahead = any(name in cut.needs for name in READER_SIGNALS)
        self.first_layer = FirstLayer.of(model, family) if ahead else None

    def of(
        self,
        call: PromptCall,
        arguments: Mapping[str, Any],
        images: Sequence[int],
        tokens: Tensor,
        read: Callable[[], Tensor],
    ) -> Signal:
        """The signal of `images`, whose vectors are `tokens` `[image token dim]`; `read` gives what is read of them."""
        needs, found = self.cut.needs, dict[str, Any]()
        for name in ATTENTION_NAMES:
            if name in needs:
                found[name] = self._votes(call, arguments, name, images)
        found |= {name: self._vectors(call, arguments, name, images) for name in ENCODER_VECTORS if name in needs}
        if self.first_layer is not None:
            found |= self.first_layer.signals(read(), needs)
        if "tokens" in needs:
            found["tokens"] = tokens.detach()
        if "text" in needs:
            found["text"] = self._text(call, arguments, images)
        if "grid" in needs:
            found["grid"] = self.grids(call, arguments)[images[0]]
        return Signal(
            **found,
            shape=(tokens.shape[0], tokens.shape[1]),
            source=at_target(self.family.name, self.cut),
        )

    def grids(self, call: PromptCall, arguments: Mapping[str, Any]) -> Sequence[tuple[int, int] | None]:
        """Rows and columns of each image's tokens."""
        if self.family.grids is not None:
            return self.family.grids(arguments)
        return [self.family.grid] * (0 if call.features is None else len(call.features.images))

    def _votes(self, call: PromptCall, arguments: Mapping[str, Any], name: str, images: Sequence[int]) -> LayerVotes:
        depth = len(self.family.sources[name])
        votes: Any = self.capture.layer_votes(call, name, range(depth))
        chosen = self._places(call, arguments, images) if name == "encoder_attention" else None
        if chosen is None or call.places is None:
            found: LayerVotes = votes
            return found
        wanted = layer_indices(self.cut.needs[name], depth)
        if isinstance(votes[wanted[0]], PackedAttention):
            pooled = {index: votes[index].pooled(chosen, len(call.places)) for index in wanted}
        else:
            pooled = {index: PooledVotes(votes[index], chosen) for index in wanted}
        return LayerVotes(pooled, depth, name)

    def _places(self, call: PromptCall, arguments: Mapping[str, Any], images: Sequence[int]) -> Tensor | None:
        """Of which encoder tokens the images' tokens are made `[image token merged]`; None: of one each, in order."""
        if self.family.places is None:
            return None
        if call.places is None:
            counts = [] if call.features is None else call.features.counts
            call.places = self.family.places(self.base, arguments, counts)
        return padded_places([call.places[image] for image in images])

    def _vectors(self, call: PromptCall, arguments: Mapping[str, Any], name: str, images: Sequence[int]) -> Tensor:
        """A vector of the encoder for each target token: the mean of what it is made of, zero where that is nothing."""
        states = self.capture.vectors_of(call, name)[:, self.family.sources["encoder_attention"][-1].protected :]
        places = self._places(call, arguments, images)
        return states if places is None else mean_of_places(states, places)

    def _text(self, call: PromptCall, arguments: Mapping[str, Any], images: Sequence[int]) -> Text:
        """One prompt for each image: a row with several images lends its text to each of them."""
        rows, ids, places, mask = call.rows_of_images or [], call.input_ids, call.placeholders, call.mask
        if places is None or mask is None:
            raise UnsupportedCallError("the prompt was not seen in this call; was the model compiled before?")
        if self.family.vectors is not None or ids is None:
            embeddings: Tensor = arguments["inputs_embeds"].detach()
        else:
            places = places | torch.isin(ids, ids.new_tensor(list(self.family.others)))
            words = ids.masked_fill(places, 0)  # some placeholders are not in the vocabulary
            embeddings = self.model.get_input_embeddings()(words).detach()
        owner = torch.tensor([rows[image] for image in images], device=places.device)
        words_of = mask.bool() & ~places
        return Text(embeddings[owner.to(embeddings.device)], words_of[owner], question_of(words_of, places)[owner])
