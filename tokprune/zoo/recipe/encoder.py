"""Stage 2: the image encoder learns what every patch shows, where the patch is, and where its object's centre is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokprune.zoo.recipe.pool import PATCH, Pool
from tokprune.zoo.scenes import COLOURS, IMAGE_SIZE, SHAPES, SIZES

_GRID = IMAGE_SIZE // PATCH
_HEADS = {"colour": len(COLOURS) + 1, "shape": len(SHAPES) + 1, "size": len(SIZES) + 1, "row": _GRID, "column": _GRID}


def pixel_values(pixels: Tensor) -> Tensor:
    """Pictures as the processor would hand them to the model: floats in -1 .. 1, channels first."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


class EncoderWithHeads(nn.Module):
    """The image encoder with linear heads on its patch tokens; the heads are thrown away after the stage."""

    def __init__(self, vision_model: Any, width: int) -> None:
        super().__init__()
        self.vision_model = vision_model
        self.heads = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in _HEADS.items()})
        self.centre = nn.Linear(width, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Patch tokens, [CLS] left out `[scene patch width]`."""
        hidden: Tensor = self.vision_model(pixel_values(pixels)).last_hidden_state
        return hidden[:, 1:]


class EncoderLoss:
    """Cross-entropy for content and position of every patch, squared error for the centre of the object it shows."""

    def __init__(self, model: EncoderWithHeads, pool: Pool, batch: int, device: torch.device) -> None:
        self.model, self.pool, self.batch, self.device = model, pool, batch, device

    def __call__(self, generator: torch.Generator) -> tuple[Tensor, float]:
        """Loss and accuracy (of all content heads, on patches that show an object) of one batch."""
        index = torch.randint(len(self.pool), (self.batch,), generator=generator)
        tokens = self.model(self.pool.pixels[index].to(self.device))
        labels, centre, shows = (x.to(self.device) for x in patch_labels(self.pool, index))
        losses, right = [], torch.ones_like(shows)
        for place, (name, head) in enumerate(self.model.heads.items()):
            logits = head(tokens)
            losses.append(F.cross_entropy(logits.flatten(0, 1), labels[..., place].flatten()))
            if name in ("colour", "shape", "size"):
                right &= logits.argmax(-1) == labels[..., place]
        error = (self.model.centre(tokens) - centre).square().sum(-1)
        losses.append((error * shows).sum() / shows.sum())
        return torch.stack(losses).sum(), float(right[shows].float().mean())


def patch_labels(pool: Pool, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels of every head `[scene patch head]`, object centres `[scene patch 2]` in units of 16 pixels, and
    whether a patch shows an object `[scene patch]`."""
    owner = pool.owner[index].long()
    shows = owner >= 0
    objects = pool.objects[index].long()
    mine = objects.gather(1, owner.clamp(min=0).unsqueeze(-1).expand(-1, -1, objects.shape[-1]))
    background = torch.tensor([len(COLOURS), len(SHAPES), len(SIZES)])
    content = torch.where(shows.unsqueeze(-1), mine[..., :3], background)
    rows, columns = (x.flatten() for x in torch.meshgrid(torch.arange(_GRID), torch.arange(_GRID), indexing="ij"))
    place = torch.stack([rows, columns], -1).expand(len(index), -1, -1)
    middle = torch.stack([columns, rows], -1) * PATCH + (PATCH - 1) / 2
    centre = (mine[..., 3:] - middle) / 16
    return torch.cat([content, place], -1), centre, shows


@torch.no_grad()
def all_features(vision_model: Any, pool: Pool, device: torch.device) -> Tensor:
    """Image tokens of the whole pool, in half precision: the encoder is frozen, so once is enough."""
    vision_model.eval()
    chunks = (pool.pixels[start : start + 256].to(device) for start in range(0, len(pool), 256))
    return torch.cat([vision_model(pixel_values(chunk)).last_hidden_state.half().cpu() for chunk in chunks])
