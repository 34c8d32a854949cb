"""Seam S4: cut between two layers of an encoder, once or in several steps.

The layers that follow, and whoever reads the encoder's output, get the shorter sequence. Image tokens carry their
position since before the first layer, so there is nothing to move.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from tokprune.adapters.attached import Attached
from tokprune.adapters.calls import Observation, current_call, enter_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.hooks import Hook
from tokprune.adapters.layercut.family import EncoderFamily
from tokprune.adapters.modules import module_at
from tokprune.adapters.reducing import reduce_tokens
from tokprune.adapters.refusals import refuse_recomputing, refuse_what_needs_a_mask
from tokprune.adapters.shape import Relied, checkpoints
from tokprune.adapters.sources import AttentionSource
from tokprune.after import falling_counts, layers_before
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.functional import kept_index
from tokprune.functional.chunks import is_traced
from tokprune.interfaces import Cut, Observed
from tokprune.layers import layer_indices
from tokprune.signal import Signal

ENCODER_SIGNALS = ("tokens", "encoder_attention", "self_attention", "grid")
"""What is observed at the cut; both attentions are that of the encoder's layers, [CLS] voting too."""

_ATTENTION = ("encoder_attention", "self_attention")


@dataclass(kw_only=True)
class Encoding(Observation):
    """One call of the encoder."""

    grid: tuple[int, int] | None = None
    step: int = 0
    """How many cuts have happened."""
    counts: tuple[int, ...] = ()
    """How many target tokens stay after each cut."""
    alive: Tensor | None = None
    """Which of the original target tokens are left, int `[image token]`; None while all are."""
    sizes: Tensor | None = None
    choices: list[Tensor] = field(default_factory=list)


class LayerCut(Attached):
    """A cut of the image tokens inside an encoder that an `EncoderFamily` describes."""

    def __init__(
        self, model: nn.Module, family: EncoderFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        super().__init__(model, cut, done, owner)
        self.family = family
        depth = len(family.layers)
        self.places = layers_before(family.after if cut.after is None else cut.after, depth)
        self._refuse()
        self.encoder = module_at(model, family.encoder)
        self.reader = module_at(model, family.reader)
        watcher = family.reader if family.sentinel is None else family.sentinel
        self.sentinel = module_at(model, watcher)
        self.layers = [module_at(model, family.layers[place - 1]) for place in self.places]
        watched = (family.encoder, family.reader, watcher, *(family.layers[place - 1] for place in self.places))
        self.capture = Capture(self, model, self._sources(), watched=watched)
        self._attach(self.encoder)

    def _refuse(self) -> None:
        where = f"adapter {self.family.name!r} target {self.cut.target!r}"
        refuse_what_needs_a_mask(where, self.cut, "the encoder")
        if "grid" in self.cut.needs and len(self.places) > 1:
            raise AdapterError(
                f"{where}: 'grid' is only known at the first of {len(self.places)} cuts, afterwards tokens are missing "
                "from it; cut once, such as after=0.33"
            )

    def _sources(self) -> list[AttentionSource]:
        """The layers to capture: those asked for, counted anew between any two cuts."""
        found = []
        for begin, end in zip((0, *self.places), self.places, strict=False):
            for name in _ATTENTION:
                if name in self.cut.needs:
                    chosen = layer_indices(self.cut.needs[name], end - begin)
                    found += [replace(self.family.attention[begin + index], signal=name) for index in chosen]
        return [replace(source, protected=self.family.protected) for source in found]

    def _relies(self) -> list[Relied]:
        return [*checkpoints(self.layers), *self.capture.relies()]

    def _install(self, undo: list[Any]) -> None:
        self._install_entry(undo)
        undo.append(self.sentinel.register_forward_pre_hook(Hook(self._on_sentinel), prepend=True))
        self.capture.install(undo)
        for step, layer in enumerate(self.layers):
            # In front of other hooks: whoever records what the layer gives (transformers' `output_hidden_states`) gets
            # what goes on, whether it was there before or comes later.
            undo.append(layer.register_forward_hook(Hook(self._on_layer, step), prepend=True))
        for path in self.family.layers[self.places[0] :]:
            later = module_at(self.model, path)
            undo.append(later.register_forward_pre_hook(_narrow_masks, with_kwargs=True, prepend=True))

    def _install_entry(self, undo: list[Any]) -> None:
        """Put in place what begins and ends one encoding."""
        Entrance(self, self.encoder, self._begin).install(undo)

    def _begin(self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.capture.verify()
        refuse_recomputing(self.layers)
        if isinstance(kwargs.get("attention_mask"), Tensor):
            refuse_mask("attention_mask")
        images = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dim() == 4]
        enter_call(self, self._encoding(images[0] if images else None))

    def _encoding(self, images: Tensor | None) -> Encoding:
        """The encoding of `images` `[image channel row column]`."""
        return Encoding(grid=None if images is None else self.family.grid(self.encoder, images))

    def _on_sentinel(self, sentinel: nn.Module, args: tuple[Any, ...]) -> None:
        # An encoder that was put in the place of the hooked one runs no hook of ours; what is called with it does.
        self.capture.verify()

    def _on_layer(self, step: int, layer: nn.Module, args: Any, output: Any) -> Any:
        call = current_call(self)
        if call is None or call.step != step:
            return None
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        shorter = self._shorten(call, hidden)
        if shorter is hidden:
            return None
        return (shorter, *output[1:]) if isinstance(output, tuple) else shorter

    def _shorten(self, call: Encoding, hidden: Tensor) -> Tensor:
        protected = self.family.protected
        tokens = hidden[:, protected:]
        images, before = tokens.shape[0], int(tokens.shape[1])  # a tensor while torch.jit.trace records
        if is_traced():  # what is recorded is right for as many tokens only: it shall fail with others
            tokens = tokens.reshape(images, before, tokens.shape[2])
        several = len(self.places) > 1
        if not call.step:
            call.counts = falling_counts(self.cut.keep or 1.0, before, len(self.places))
        count = call.counts[call.step]
        signal = self._signal(call, tokens)
        kept = self.cut.choose(signal, count) if several else self.cut.choose(signal)
        call.choices.append(kept)
        call.step += 1
        shorter = hidden
        if count < before:
            kept = kept.to(hidden.device)
            tokens, call.sizes = reduce_tokens(self.cut.reduction, tokens, kept, signal, call.sizes)
            stays = kept_index(kept, count)
            call.alive = stays if call.alive is None else call.alive.gather(1, stays)
            call.sizes = None if call.sizes is None else call.sizes.gather(1, stays)
            rows = stays[..., None].expand(-1, -1, hidden.shape[-1])
            shorter = torch.cat([hidden[:, :protected], tokens.gather(1, rows)], dim=1)
        call.votes.clear()  # queries and keys of the layers: not needed any more
        if call.step == len(self.places):
            call.done = True
            self.done(self._observed(call, images, shorter.shape[1]))
        return shorter

    def _signal(self, call: Encoding, tokens: Tensor) -> Signal:
        begin, end = (0, *self.places)[call.step], self.places[call.step]
        counts = {int(votes.shape[2]) for seen in call.votes.values() for votes in seen.values()} | {
            int(tokens.shape[1])
        }
        if len(counts) > 1:
            raise UnsupportedCallError(
                f"behind layer {end} there are {tokens.shape[1]} image tokens, but in the layers before they were "
                f"{max(counts)}: something else takes tokens away in between. Take it off the model first (another "
                "policy: handle.remove()), or cut in front of it"
            )
        found: dict[str, Any] = {
            name: self.capture.layer_votes(call, name, range(begin, end))
            for name in _ATTENTION
            if name in self.cut.needs
        }
        if "tokens" in self.cut.needs:
            found["tokens"] = tokens.detach()
        if "grid" in self.cut.needs:
            found["grid"] = call.grid
        return Signal(
            **found,
            shape=(tokens.shape[0], tokens.shape[1]),
            source=f"adapter {self.family.name!r} target {self.cut.target!r}",
        )

    def _observed(self, call: Encoding, images: int, length: int) -> Observed:
        """What was done, told of the tokens that there were before the first cut."""
        first = call.choices[0]
        kept, sizes = first, None
        if call.alive is not None:
            alive = call.alive.to(first.device)
            kept = torch.zeros_like(first).scatter(1, alive, torch.ones_like(alive, dtype=torch.bool))
            if call.sizes is not None:
                sizes = torch.zeros_like(first, dtype=torch.float32).scatter(1, alive, call.sizes.to(first.device))
        return Observed(kept, first.shape[1] + self.family.protected, length, sizes, tuple(call.choices))


def _narrow_masks(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Fit the encoder's own mask to the tokens that are left. It knows of no call, so the compiler may enter it.

    While a call is traced or compiled, some releases of transformers make a mask that hides nothing, `[image 1 token
    token]`, once for all layers. A mask that hides something cannot come here: `refuse_mask`.
    """
    length = args[0].shape[1] if args else kwargs["hidden_states"].shape[1]

    def narrow(value: Any) -> Any:
        square = isinstance(value, Tensor) and value.dim() == 4 and value.shape[-1] == value.shape[-2]
        return value[..., :length, :length] if square else value

    return tuple(map(narrow, args)), {name: narrow(value) for name, value in kwargs.items()}


def refuse_mask(name: str) -> NoReturn:
    """Raise `UnsupportedCallError` for a mask of image tokens: it would hide others once some have left."""
    raise UnsupportedCallError(
        f"{name} hides tokens of the encoder by their places, and those change where tokens leave; omit it, or "
        "call handle.remove() first"
    )
