"""Questions packed behind one prefix give the loss that they give one by one."""

import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tokprune.zoo.architecture import build_model
from tokprune.zoo.questions import KINDS, Question, questions
from tokprune.zoo.recipe.packing import SHARED, Asked, answer_loss, pack
from tokprune.zoo.recipe.pool import encode
from tokprune.zoo.scenes import draw_scene
from tokprune.zoo.vocabulary import EOS, VOCABULARY

SCENES, COUNT, PREFIX = 3, 4, 5


def some() -> Asked:
    rng = random.Random(0)
    asked: list[Question] = []
    for _ in range(SCENES):
        scene = draw_scene(rng)
        everything = [question for kind in KINDS for question in questions(scene, kind)]
        asked += rng.sample(everything, COUNT)
    return Asked(*(x.view(SCENES, COUNT, *x.shape[1:]).long() for x in encode(asked)))


def test_every_prompt_begins_with_what_is_shared() -> None:
    starts = {tuple(row) for row in some().text[..., : SHARED + 1].flatten(0, 1).tolist()}
    assert len({start[:SHARED] for start in starts}) == 1
    assert len(starts) > 1


def test_nothing_but_shared_tokens_and_padding_is_lost() -> None:
    asked = some()
    packed = pack(asked.text, asked.length)
    for row in range(SCENES):
        for question in range(COUNT):
            tokens = packed.text[row, packed.segment[row] == question + 1].tolist()
            whole = asked.text[row, question, : asked.length[row, question]].tolist()
            assert packed.text[row, :SHARED].tolist() + tokens == whole
            assert packed.text[row, packed.last[row, question]] == whole[-1]


@pytest.mark.parametrize("stop", [False, True])
def test_packed_loss_is_the_loss_one_by_one(stop: bool) -> None:
    torch.manual_seed(0)
    language_model = build_model(width=16, layers=2, heads=2, queries=4).language_model.eval()
    asked, prefix = some(), torch.randn(SCENES, PREFIX, 16)
    eos = VOCABULARY.index(EOS) if stop else None
    positions, start = torch.arange(PREFIX).expand(SCENES, -1), torch.full((SCENES,), PREFIX)
    loss, accuracy = answer_loss(language_model, prefix, positions, start, asked, eos)
    one_by_one, right = [], []
    for row in range(SCENES):
        for question in range(COUNT):
            said = asked.answer[row, question]
            ids = torch.cat([asked.text[row, question, : asked.length[row, question]], said[None]])
            embeds = torch.cat([prefix[row], language_model.get_input_embeddings()(ids)])[None]
            logits = language_model(inputs_embeds=embeds).logits[0]
            one = F.cross_entropy(logits[-2], said)
            if eos is not None:
                one = one + 0.1 * F.cross_entropy(logits[-1], torch.tensor(eos))
            one_by_one.append(one)
            right.append(float(logits[-2].argmax() == said))
    torch.testing.assert_close(loss, torch.stack(one_by_one).mean())
    assert accuracy == pytest.approx(sum(right) / len(right))
    assert isinstance(language_model, nn.Module)
