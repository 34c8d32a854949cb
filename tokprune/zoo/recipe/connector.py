"""Stage 3: queries, Q-Former and projection learn to connect the frozen encoder with the frozen language model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tokprune.zoo.architecture import start_weights
from tokprune.zoo.recipe.language import draw_questions
from tokprune.zoo.recipe.packing import answer_loss
from tokprune.zoo.recipe.pool import Pool


class Connector(nn.Module):
    """What learns in this stage."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.query_tokens = model.query_tokens
        self.qformer = model.qformer
        self.language_projection = model.language_projection

    def restart(self, seed: int) -> None:
        """New random starting weights."""
        torch.manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        start_weights(self)

    def forward(self, image_tokens: Tensor) -> Tensor:
        """The visual prefix `[scene query width]`: always all queries."""
        queries = self.query_tokens.expand(len(image_tokens), -1, -1)
        hidden = self.qformer(query_embeds=queries, encoder_hidden_states=image_tokens).last_hidden_state
        prefix: Tensor = self.language_projection(hidden)
        return prefix


class ConnectorLoss:
    """The question loss alone, through the frozen language model."""

    def __init__(
        self,
        connector: Connector,
        language_model: Any,
        features: Tensor,
        pool: Pool,
        batch: int,
        packed: int,
        device: torch.device,
    ) -> None:
        self.connector, self.language_model, self.features, self.pool = connector, language_model, features, pool
        self.batch, self.packed, self.device = batch, packed, device

    def __call__(self, generator: torch.Generator) -> tuple[Tensor, float]:
        """Loss and accuracy of one batch."""
        index, chosen = draw_questions(self.pool, self.batch, self.packed, generator)
        prefix = self.connector(self.features[index].float().to(self.device))
        queries = prefix.shape[1]
        positions = torch.arange(queries, device=self.device).expand(self.batch, -1)
        start = torch.full((self.batch,), queries, device=self.device)
        return answer_loss(self.language_model, prefix, positions, start, chosen.to(self.device))
