"""Observes attention layers, and the target tokens' vectors, in the calls of one attachment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.attention import projections_for
from tokprune.adapters.calls import Observation, current_call
from tokprune.adapters.hooks import Hook
from tokprune.adapters.modules import module_at
from tokprune.adapters.sources import AttentionSource
from tokprune.adapters.tap import Seen, Tap, reaches
from tokprune.compiled import unwrap_compiled
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.layers import LayerVotes


class Capture:
    """Observes attention layers and token vectors during the calls of `owner`.

    What transformers' attention interface reaches is tapped; elsewhere hooks observe the projections. Outside a call,
    and after its pruning point, both cost one look at a context variable.

    Args:
        owner: whose calls are observed.
        model: the whole model.
        sources: the layers to capture.
        vectors: path of the module whose input is the target tokens' vectors, or None to ignore them.
        watched: paths of other modules that must stay the ones they were, too.
        features: path of the layer whose output are the encoder's features, or None to ignore it.
    """

    def __init__(
        self,
        owner: object,
        model: nn.Module,
        sources: Sequence[AttentionSource],
        vectors: str | None = None,
        watched: Sequence[str] = (),
        features: str | None = None,
    ) -> None:
        self.features = features
        self.owner, self.model, self.sources, self.vectors = owner, model, tuple(sources), vectors
        paths = {*watched, *(path for source in self.sources for path in self._observed(source))}
        paths |= {path for path in (vectors, features) if path is not None}
        self.modules = {path: module_at(model, path) for path in sorted(paths)}

    def _observed(self, source: AttentionSource) -> list[str]:
        """Paths of the modules at which a source is observed: its attention if that can be tapped."""
        if source.attention is not None and reaches(module_at(self.model, source.attention)):
            return [source.attention]
        return [path for path, _ in projections_for(self.model, source)]

    def install(self, undo: list[Any]) -> None:
        """Put taps and hooks in place, and append what takes each of them off to `undo`."""
        for source in self.sources:
            if self._observed(source) == [source.attention]:
                tap = Tap(self.modules[str(source.attention)], observe=self._on_attention, first=(source,))
                undo.append(tap)
                tap.install()
                continue
            for path, parts in projections_for(self.model, source):
                hook = Hook(self._on_projection, source, parts)
                undo.append(self.modules[path].register_forward_hook(hook))
        if self.features is not None:
            undo.append(self.modules[self.features].register_forward_hook(Hook(self._on_features)))
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

    def _on_attention(self, source: AttentionSource, seen: Seen) -> None:
        call = current_call(self.owner)
        if call is None or call.done:
            return
        if source.part is not None:
            call.states[source.signal] = source.noted(seen, call.states.get(source.signal))
            return
        noted = call.votes.setdefault(source.signal, {})
        noted[source.layer] = source.noted(seen, noted.get(source.layer))

    def _on_projection(self, source: AttentionSource, parts: str, module: nn.Module, args: Any, output: Tensor) -> None:
        call = current_call(self.owner)
        if call is None or call.done:
            return
        if source.part is not None:
            call.states[source.signal] = source.split(parts, output)[source.part].transpose(1, 2).flatten(2)
            return
        # Old modules compute the keys first, so queries and keys meet here, in whichever order they come.
        halves = call.halves.setdefault(source.slot, {})
        halves.update(source.split(parts, output))
        if {"query", "key"} <= set(halves):
            self._on_attention(source, source.seen(call.halves.pop(source.slot)))

    def _on_features(self, module: nn.Module, args: Any, output: Any) -> None:
        call = current_call(self.owner)
        if call is not None and not call.done:
            states: Tensor = output[0] if isinstance(output, tuple) else output
            call.states["encoder_features"] = states.detach().reshape(-1, *states.shape[-2:])

    def _on_vectors(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        call = current_call(self.owner)
        if call is not None and not call.done:
            call.vectors = args[0].detach()

    def vectors_of(self, call: Observation, signal: str) -> Tensor:
        """What was observed of `signal` `[row token dim]`, all tokens of the encoder, or an error."""
        if signal not in call.states:
            raise UnsupportedCallError(
                f"the layer that {signal!r} comes from did not run in this call. This happens when the model was "
                "compiled before tokprune.apply, or is given features that were computed earlier"
            )
        return call.states[signal]

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
