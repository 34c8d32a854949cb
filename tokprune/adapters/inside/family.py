"""What the inside seam has to know about a language model that reads image tokens among its text."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn


@dataclass(frozen=True, eq=False)
class DecoderFamily:
    """A model that puts its images' tokens in the place of placeholders, and a language model built like LLaMA's.

    Args:
        name: name of the adapter, for messages.
        image_token_id: id of the placeholder that each image token takes in the prompt.
        core: path of the module that is given ids and pixels and calls the language model; its `get_image_features`
            turns images into tokens. "" if that is the model itself.
        language_model: path of the language model, from the core.
        image_argument: name of the argument that carries the images.
        layers: path of its list of layers, from the language model. Each is given `attention_mask`, `position_ids`,
            `position_embeddings` and the cache.
        norm: path of what reads the last layer, from the language model.
        attention: path of the attention in a layer; it has `head_dim` and `scaling`.
        query: path of what makes the queries, from the attention: all that happens before they are turned by their
            positions.
        key: the same of the keys.
        after: behind how many layers to cut if the policy does not say, or behind the last but one where there are
            fewer: FastV's K = 2 (arXiv 2403.06764).
    """

    name: str
    image_token_id: int
    core: str = "model"
    language_model: str = "language_model"
    image_argument: str = "pixel_values"
    layers: str = "layers"
    norm: str = "norm"
    attention: str = "self_attn"
    query: str = "q_proj"
    key: str = "k_proj"
    after: int = 2

    def at(self, *parts: str) -> str:
        """Path of a module, from the model: what follows the language model, part by part."""
        return ".".join(part for part in (self.core, self.language_model, *parts) if part)


def decoder_family(model: nn.Module, name: str, image_token_id: int, core: str, image_argument: str) -> DecoderFamily:
    """A family whose queries and keys are normalised behind their projections if the language model has norms there."""
    family = DecoderFamily(name, image_token_id, core, image_argument=image_argument)
    norms = {name for name, _ in model.get_submodule(core).named_modules() if name.endswith((".q_norm", ".k_norm"))}
    first = f"{family.language_model}.{family.layers}.0.{family.attention}"
    if {f"{first}.q_norm", f"{first}.k_norm"} <= norms:
        return replace(family, query="q_norm", key="k_norm")
    return family
