"""Output pruning in an encoder: after some of its layers, or of what it gives.

The layers that follow, and what reads the encoder's output, get the shorter sequence. Tokens carry their position since
before the first layer, so there is nothing to move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from tokprune.adapters.calls import current_call, enter_call, leave_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.entrance import Entrance, Running
from tokprune.adapters.hooks import Hook
from tokprune.adapters.masktap import weighing_tap
from tokprune.adapters.modules import module_at
from tokprune.adapters.output.family import EncoderFamily
from tokprune.adapters.output.pruning import Output, OutputPruning, unprotected
from tokprune.adapters.output.weighing import Key, Passed, attentions, output_logs, refuse_weighing_again, why_plain
from tokprune.adapters.refusals import refuse_recomputing, refuse_what_needs_a_mask
from tokprune.adapters.shape import Relied, checkpoints
from tokprune.adapters.sizes import Sizes
from tokprune.adapters.sources import AttentionSource, vector_sources
from tokprune.adapters.stages import Stage, Weighing, enter_stage, leave_stage
from tokprune.adapters.tap import Seen
from tokprune.after import falling_counts
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.interfaces import Cut, Observed
from tokprune.layers import layer_indices
from tokprune.signal import ENCODER_VECTORS

ENCODER_SIGNALS = ("tokens", "encoder_attention", "self_attention", "grid", *ENCODER_VECTORS)
"""What is observed where tokens leave; both attentions are that of the encoder's layers, [CLS] voting too."""

ENCODER_ATTENTION = ("encoder_attention", "self_attention")


@dataclass(kw_only=True)
class Encoding(Output):
    """One call of the encoder."""

    stage: int = 0
    """How many times tokens have left."""
    counts: tuple[int, ...] = ()
    """How many target tokens stay each time."""


class EncoderPruning(OutputPruning):
    """Output pruning of the tokens in an encoder that an `EncoderFamily` describes."""

    def __init__(
        self, model: nn.Module, family: EncoderFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        super().__init__(model, cut, done, owner)
        self.family, self.protected = family, family.protected
        self.places = family.places(cut.after)
        self._refuse()
        self.encoder = module_at(model, family.encoder)
        self.reader = module_at(model, family.reader)
        watcher = family.reader if family.sentinel is None else family.sentinel
        self.sentinel = module_at(model, watcher)
        # What gets shorter: layers, or the encoder itself
        whole = family.after is None and cut.after is None
        paths = [family.encoder] if whole else [family.layers[place - 1] for place in self.places]
        self.points = [module_at(model, path) for path in paths]
        self.later = [module_at(model, path) for path in family.layers[self.places[0] :]]
        self.capture = Capture(self, model, self._sources(), watched=(family.encoder, family.reader, watcher, *paths))
        self.proportional = cut.attention == "proportional"
        self.passed = Key(self)
        self._given: Any = WeakIdKeyDictionary()  # what the encoder gave -> its sizes, for when it comes back
        self._attach(self.encoder)

    def _refuse(self) -> None:
        refuse_what_needs_a_mask(self.where, self.cut, "its reader")
        reason = why_plain(self.model, self.family, self.places) if self.cut.attention == "proportional" else ""
        if reason:
            raise AdapterError(f"{self.where}: attention cannot be proportional, for {reason}; use attention='plain'")
        if "grid" in self.cut.needs and len(self.places) > 1:
            raise AdapterError(
                f"{self.where}: 'grid' is only known at the first of {len(self.places)} cuts, afterwards tokens are "
                "missing from it; cut once, such as after=0.33"
            )

    def _sources(self) -> list[AttentionSource]:
        """The layers to capture: those asked for, counted anew from one pruning point to the next."""
        found = []
        for begin, end in zip((0, *self.places), self.places, strict=False):
            for name in ENCODER_ATTENTION:
                if name in self.cut.needs:
                    chosen = layer_indices(self.cut.needs[name], end - begin)
                    found += [replace(self.family.attention[begin + index], signal=name) for index in chosen]
        ends = [self.family.attention[end - 1] for end in self.places] if self.family.attention else []
        return [replace(source, protected=self.protected) for source in (*found, *vector_sources(ends, self.cut))]

    def _relies(self) -> list[Relied]:
        return checkpoints(self.points)

    def _install(self, undo: list[Any]) -> None:
        self._install_entry(undo)
        undo.append(self.sentinel.register_forward_pre_hook(Hook(self._on_sentinel), with_kwargs=True, prepend=True))
        self.capture.install(undo)
        for stage, point in enumerate(self.points):
            if point is self.encoder:
                continue  # its entrance sees what it gives
            # In front of other hooks: what records the output (transformers' `output_hidden_states`) gets what goes
            # on, whether it was there before or comes later.
            undo.append(point.register_forward_hook(Hook(self._on_output, stage), prepend=True))
        for layer in self.later:
            undo.append(layer.register_forward_pre_hook(_narrow_masks, with_kwargs=True, prepend=True))
        if self.proportional:
            later = attentions(self.model, self.family, self.places[0])
            Weighing(self, self.encoder, [(index, each) for index, each in later if each is not None]).install(undo)
            for path in self.family.crossed:
                tap = weighing_tap(module_at(self.model, path), self._weigh_output)
                undo.append(tap)
                tap.install()

    def _install_entry(self, undo: list[Any]) -> None:
        """Put in place what begins and ends one encoding."""
        Entrance(self, self.encoder, self._begin, self._end).install(undo)

    def _begin(self, encoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.capture.verify()
        if self.proportional:
            refuse_weighing_again(self.encoder, self.reader)
        refuse_recomputing(self.points)
        if self.later and self.family.masked and isinstance(kwargs.get("attention_mask"), Tensor):
            refuse_mask("attention_mask")
        images = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dim() >= 4]
        enter_call(self, self._encoding(images[0] if images else None))

    def _encoding(self, images: Tensor | None) -> Encoding:
        """The encoding of `images` `[image channel row column]`."""
        return Encoding(grid=None if images is None else self.family.grid(self.encoder, images))

    def _end(self, call: Encoding, output: Any) -> Any:
        leave_stage(self.encoder, self)
        if self.encoder in self.points:
            shorter = self._on_output(0, self.encoder, (), output)
            output = output if shorter is None else shorter
        if self.family.crossed:
            self._given[last_hidden(output)] = self._sizes(call)
        return output

    def begins(self, call: Running, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Nothing was passed on yet in a call that begins."""
        super().begins(call, args, kwargs)
        leave_call(self.passed)

    def left(self) -> None:
        """What was passed on in a call that ended is forgotten, also where it broke off."""
        leave_call(self.passed)
        leave_stage(self.encoder, self)

    def _on_sentinel(self, sentinel: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # An encoder that was put in the place of the hooked one runs no hook of ours; what is called with it does.
        self.capture.verify()
        for tokens in (*args, *kwargs.values()):
            if isinstance(tokens, Tensor) and tokens in self._given:
                enter_call(self.passed, Passed(sizes=self._given[tokens]))

    def _sizes(self, call: Encoding) -> Sizes | None:
        """The sizes of all tokens that are left; None if each stands for itself."""
        if call.sizes is None or not self.proportional:
            return None
        return Sizes(nn.functional.pad(call.sizes.float(), (self.protected, 0), value=1.0))

    def _weigh_output(self, seen: Seen) -> Tensor | None:
        passed = current_call(self.passed)
        if passed is None or passed.sizes is None:
            return None
        return output_logs(passed.sizes, seen, self.joins_images)

    @property
    def joins_images(self) -> bool:
        """Whether the reader takes all images of a row as one sequence, while the report is about one image."""
        return False

    def _on_output(self, stage: int, module: nn.Module, args: Any, output: Any) -> Any:
        call = current_call(self)
        if call is None or call.stage != stage:
            return None
        hidden = last_hidden(output)
        shorter = self._prune(call, hidden)
        return None if shorter is hidden else with_last_hidden(output, shorter)

    def _prune(self, call: Encoding, hidden: Tensor) -> Tensor:
        tokens = unprotected(hidden, self.protected)
        before, stages = int(tokens.shape[1]), len(self.places)  # a tensor while torch.jit.trace records
        if not call.stage:
            call.counts = falling_counts(self.cut.keep or 1.0, before, stages)
        count, begin, end = call.counts[call.stage], (0, *self.places)[call.stage], self.places[call.stage]
        self._refuse_others(call, before, end)
        signal = self._signal(call, tokens, dict.fromkeys(ENCODER_ATTENTION, range(begin, end)))
        choice = self.cut.choose(signal, count) if stages > 1 else self.cut.choose(signal)
        call.choices.append(choice)
        call.stage += 1
        shorter = self._shorter(call, hidden, choice, signal, count)
        call.votes.clear()  # queries and keys of the layers: not needed any more
        sizes = self._sizes(call)
        enter_stage(self.encoder, Stage(self, end, sizes))
        enter_call(self.passed, Passed(sizes=sizes))
        if call.stage == stages:
            call.done = True
            self._report(call, shorter.shape[1])
        return shorter

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_given"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_given": WeakIdKeyDictionary()})

    def _refuse_others(self, call: Encoding, tokens: int, layer: int) -> None:
        counts = {int(votes.shape[2]) for seen in call.votes.values() for votes in seen.values()} - {tokens}
        if counts:
            raise UnsupportedCallError(
                f"behind layer {layer} there are {tokens} target tokens, but in the layers before they were "
                f"{max(counts)}: something else removes tokens in between. Take it off the model first (another "
                "policy: handle.remove()), or prune earlier"
            )


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


def last_hidden(output: Any) -> Tensor:
    """The tokens in what an encoder or one of its layers gives: by name, first in a tuple, or all there is."""
    if isinstance(output, Tensor):
        return output
    found = getattr(output, "last_hidden_state", None)
    tokens: Tensor = output[0] if found is None else found
    return tokens


def with_last_hidden(output: Any, tokens: Tensor) -> Any:
    """The same output with other tokens."""
    if isinstance(output, Tensor):
        return tokens
    if isinstance(output, tuple):
        return (tokens, *output[1:])
    return type(output)(**{**output, "last_hidden_state": tokens})
