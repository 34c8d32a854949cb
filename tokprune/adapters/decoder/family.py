"""The layers of a language model, found from its modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from tokprune.adapters.modules import module_at
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.tap import reaches
from tokprune.adapters.upstream import layer_kinds, windows_of
from tokprune.errors import AdapterError

AFTER = 2
"""After how many layers tokens leave if the policy does not say, or after the last but one where there are fewer:
FastV's K = 2 (arXiv 2403.06764)."""


@dataclass(frozen=True, eq=False)
class Reader:
    """The module that runs a sequence through the layers of a language model.

    Attributes:
        path: its path, from the model.
        module: the module.
        names: paths of its layers.
        layers: its layers.
        attention: paths of their self-attention.
        kinds: what each layer sees, as its configuration says ("full_attention", "sliding_attention").
        windows: how many tokens, its own included, a token of each layer sees; None for all.
        encodes: whether it is the encoder of an encoder-decoder, whose decoder reads the shorter sequence.
    """

    path: str
    module: Any
    names: Sequence[str]
    layers: Sequence[nn.Module]
    attention: Sequence[str]
    kinds: Sequence[str]
    windows: Sequence[int | None]
    encodes: bool

    @classmethod
    def of(cls, model: nn.Module, family: PromptFamily) -> Reader:
        """The reader of the language model that `family` describes.

        Raises:
            AdapterError: its layers are not of a kind that is known here.
        """
        language_model: Any = module_at(model, family.language_model)
        config = language_model.config
        encodes = bool(getattr(config, "is_encoder_decoder", False))
        start = language_model.get_encoder() if encodes else language_model
        where = f"adapter {family.name!r}: a {type(language_model).__name__} cannot be pruned inside"
        within = next(name for name, module in model.named_modules() if module is start)
        found = next(filter(None, (_layers(name, module) for name, module in start.named_modules())), None)
        if found is None:
            raise AdapterError(f"{where}, for it has no layers whose attention can be observed")
        inner, name, layers, attention = found
        path = ".".join(part for part in (within, inner) if part)
        names = [f"{path}.{name}.{index}" for index in range(len(layers))]
        kinds = layer_kinds(config, len(layers))
        unknown = sorted(set(kinds) - {"full_attention", "sliding_attention"})
        if unknown:
            raise AdapterError(
                f"{where}, for its layers see their tokens in a way that is not known here ({unknown[0]}); omit "
                "`after` to prune in front of the language model"
            )
        return cls(
            path,
            module_at(model, path),
            names,
            layers,
            [f"{each}.{attention}" for each in names],
            kinds,
            windows_of(config, kinds),
            encodes,
        )

    @classmethod
    def known(cls, model: nn.Module, family: PromptFamily) -> bool:
        """Whether tokens can leave inside the language model of `model`."""
        try:
            cls.of(model, family)
        except AdapterError:
            return False
        return True


def _layers(inner: str, module: nn.Module) -> tuple[str, str, list[nn.Module], str] | None:
    """The list of layers of a module, with its name and the path of the attention in a layer; None if it has none."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList) and len(child):
            layers = list(child.children())
            paths = [next((path for path, part in each.named_modules() if reaches(part)), None) for each in layers]
            if paths[0] and set(paths) == {paths[0]}:
                return inner, name, layers, paths[0]
    return None
