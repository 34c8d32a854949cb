"""Hooks that observe: queries and keys of the wanted layers, and the target tokens' vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.calls import Observation, current_call
from tokprune.adapters.hooks import Hook
from tokprune.adapters.modules import module_at
from tokprune.adapters.packed import PackedSource
from tokprune.adapters.shape import Relied, takes
from tokprune.adapters.sources import AttentionSource
from tokprune.compiled import unwrap_compiled
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.layers import LayerVotes


class Capture:
    """Observes attention sources and token vectors during the calls of `owner`.

    Queries and keys of a layer meet by rendezvous: old releases of transformers compute the keys first. Outside a
    call, and after its cut, a hook costs one look at a context variable.

    Args:
        owner: whose calls are observed.
        model: the whole model.
        sources: the layers to capture.
        vectors: path of the module whose input is the target tokens' vectors, or None to leave them alone.
        watched: paths of other modules that must stay the ones they were, too.
        padded: path of a module whose keyword `attention_mask` `[image token]` says which tokens are no padding, for
            the sources where that matters.
        padded_by: name of that keyword; it may be `[image row column]`, too.
    """

    def __init__(
        self,
        owner: object,
        model: nn.Module,
        sources: Sequence[AttentionSource],
        vectors: str | None = None,
        watched: Sequence[str] = (),
        padded: str | None = None,
        padded_by: str = "attention_mask",
    ) -> None:
        self.owner, self.model, self.sources, self.vectors = owner, model, tuple(sources), vectors
        self.padded = padded if any(source.padded for source in self.sources) else None
        self.padded_by = padded_by
        paths = {path for source in sources for path, _ in source.modules} | set(watched)
        paths |= {source.attention for source in sources if source.attention is not None and source.reads}
        if self.padded is not None:
            paths.add(self.padded)
        if vectors is not None:
            paths.add(vectors)
        self.modules = {path: module_at(model, path) for path in sorted(paths)}

    def relies(self) -> list[Relied]:
        """What is read of the arguments of the modules that are observed."""
        found = [takes(self.modules[self.padded], "forward", self.padded_by)] if self.padded is not None else []
        for source in self.sources:
            if source.attention is not None and source.reads:
                found.append(takes(self.modules[source.attention], "forward", *source.reads))
        return found

    def install(self, undo: list[Any]) -> None:
        """Register the hooks and append their handles to `undo`."""
        for source in self.sources:
            if source.attention is not None and source.reads:
                module = self.modules[source.attention]
                undo.append(module.register_forward_pre_hook(Hook(self._on_attention, source), with_kwargs=True))
            for path, parts in source.modules:
                hook = Hook(self._on_projection, source, parts)
                undo.append(self.modules[path].register_forward_hook(hook))
        if self.padded is not None:
            undo.append(self.modules[self.padded].register_forward_pre_hook(Hook(self._on_padded), with_kwargs=True))
        if self.vectors is not None:
            undo.append(self.modules[self.vectors].register_forward_pre_hook(Hook(self._on_vectors)))

    def verify(self) -> None:
        """Raise `AdapterError` if a hooked module is no longer the one in the model (LoRA, quantisation, a swap)."""
        for path, module in self.modules.items():
            if unwrap_compiled(module_at(self.model, path)) is not unwrap_compiled(module):
                raise AdapterError(
                    f"{path!r} was replaced after tokprune.apply, so what goes through it is no longer seen; call "
                    "handle.remove() and tokprune.apply again"
                )

    def _on_projection(self, source: AttentionSource, parts: str, module: nn.Module, args: Any, output: Tensor) -> None:
        call = current_call(self.owner)
        if call is None or call.done:
            return
        halves = call.halves.setdefault(source.slot, {})
        halves.update(source.split(parts, output))
        if len(halves) == 2:
            halves = call.halves.pop(source.slot)
            if isinstance(source, PackedSource):
                seen: Any = source.packed(halves, call.around.pop(source.slot))
            else:
                seen = source.votes(halves, call.real)
            call.votes.setdefault(source.signal, {})[source.layer] = seen

    def _on_attention(self, source: AttentionSource, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call = current_call(self.owner)
        if call is not None and not call.done:
            call.around[source.slot] = kwargs

    def _on_padded(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call = current_call(self.owner)
        if call is not None and not call.done:
            mask = kwargs.get(self.padded_by)
            call.real = None if mask is None else mask.flatten(1).bool()

    def _on_vectors(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        call = current_call(self.owner)
        if call is not None and not call.done:
            call.vectors = args[0].detach()

    def layer_votes(self, call: Observation, signal: str, layers: Sequence[int]) -> LayerVotes:
        """What was observed of `signal` in `layers`, counted from the first of them; complete, or an error."""
        seen = call.votes.get(signal, {})
        missing = sorted({s.layer for s in self.sources if s.signal == signal and s.layer in layers} - set(seen))
        if missing:
            raise UnsupportedCallError(
                f"layers {missing} of {signal!r} did not run in this call, so they could not vote. This happens when "
                "the model was compiled before tokprune.apply, or is given features that were computed earlier"
            )
        found = {index: seen[layer] for index, layer in enumerate(layers) if layer in seen}
        return LayerVotes(found, len(layers), signal)
