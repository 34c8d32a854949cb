"""Qwen-VL: kept tokens keep the places that they have in the whole prompt, and later calls go on from there."""

import inspect

import pytest
import torch

import tokprune
from tokprune.adapters.upstream import cache_of
from tokprune.errors import UnsupportedCallError
from tokprune.testing.tiny_qwen import BOS, IMAGE, prompts

from .calls import CACHE
from .families.family import assert_same, some_kept
from .keeping import keeping
from .qwen_models import BUILDS, lend
from .qwen_oracle import gather, oracle_logits, oracle_new_tokens, positions, shrunk, staying, token_counts
from .traces import traces

RAGGED = (((4, 8), (4, 4)), ((4, 6),))
"""Rows of images: 8 and 4 tokens, 6 tokens."""


@pytest.fixture(params=BUILDS, ids=str)
def name(request):
    """The family."""
    return request.param


@pytest.fixture
def model(name):
    """One model of the family, shared: a test must leave it as it came."""
    yield from lend(name)


class Chosen:
    """Votes for given tokens, also where images have different numbers of them."""

    needs = ("tokens",)
    aggregator = "sum"

    def __init__(self, model, inputs, kept):
        with torch.no_grad():
            pooled = model.model.get_image_features(
                inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
            ).pooler_output
        self.known = [(image, row[: len(image)]) for image, row in zip(pooled, kept, strict=True)]

    def __call__(self, signal):
        own = [next(row for image, row in self.known if image.equal(tokens)) for tokens in signal.tokens]
        yield tokprune.Votes(torch.stack(own).float()[:, None])


def chosen(model, inputs, counts, **options):
    """Which tokens stay, and what makes them stay."""
    kept = some_kept(token_counts(inputs), counts)
    return kept, {**keeping(kept), "scorer": Chosen(model, inputs, kept), **options}


def logits(model, inputs, **options):
    """Logits of a forward."""
    with torch.no_grad():
        return model(**inputs, **options).logits


def generate(model, inputs, **options):
    """New tokens, with a seed."""
    torch.manual_seed(7)
    with torch.no_grad():
        return model.generate(**inputs, **{"max_new_tokens": 5, **options})[:, inputs["input_ids"].shape[1] :]


def read(model, run):
    """The position ids that the language model is given in `run`, call by call."""
    seen = []
    hook = model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True
    )
    run()
    hook.remove()
    return seen


def test_images_of_any_size_and_number(model):
    inputs = prompts(RAGGED)
    kept, policy = chosen(model, inputs, (3, 2, 4))
    modes = ({"do_sample": False}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2})
    expected = oracle_logits(model, inputs, kept)
    new = [oracle_new_tokens(model, inputs, kept, {"max_new_tokens": 5, **mode}) for mode in modes]
    with tokprune.apply(model, **policy) as handle:
        assert_same(logits(model, inputs), expected)
        for mode, words in zip(modes, new, strict=True):
            assert torch.equal(generate(model, inputs, **mode), words)
    assert torch.equal(handle.report.kept, kept)


def test_positions_by_hand(model):
    """Row 0: 4 words, an image of 2 x 4 tokens, text. Its tokens stand at 4 + row, 4 + column; text goes on at 8."""
    inputs = prompts([[(4, 8)]])
    kept = torch.tensor([[False, True, False, False, True, False, False, True]])
    with tokprune.apply(model, **keeping(kept)):
        (seen,) = read(model, lambda: logits(model, inputs))
    text = inputs["input_ids"].shape[1] - 4 - 8
    after = list(range(8, 8 + text))
    assert seen[-3:, 0].tolist() == [
        [0, 1, 2, 3, 4, 4, 4, *after],
        [0, 1, 2, 3, 4, 5, 5, *after],
        [0, 1, 2, 3, 5, 4, 7, *after],
    ]


@pytest.mark.parametrize("choice", ["compact", "preserve"])
def test_both_kinds_of_positions_keep_the_grid(model, choice):
    inputs = prompts(RAGGED)
    kept, policy = chosen(model, inputs, (3, 2, 4), positions=choice)
    expected = oracle_logits(model, inputs, kept)
    with tokprune.apply(model, **policy):
        assert_same(logits(model, inputs), expected)


def test_the_text_channel_has_no_gaps(model):
    inputs = prompts(RAGGED)
    _, policy = chosen(model, inputs, (3, 2, 4))
    with tokprune.apply(model, **policy) as handle:
        first, second, *_ = read(model, lambda: generate(model, inputs))
    assert first.shape[0] == 4
    assert first.shape[2] == handle.report.length_after
    lengths = [
        sum(row) for row in zip(inputs["attention_mask"].sum(1).tolist(), (-(8 + 4 - 3 - 2), -(6 - 4)), strict=True)
    ]
    for row, length in enumerate(lengths):
        assert first[0, row, -length:].tolist() == list(range(length))
        assert second[0, row].item() == length
        assert second[1:, row].flatten().tolist() == [positions(model, inputs)[:, row].max().item() + 1] * 3


def test_hiding_equals_pruning(model):
    inputs = prompts(RAGGED)
    kept, policy = chosen(model, inputs, (3, 2, 4))
    with tokprune.apply(model, **policy, reduction="mask"):
        hidden, answer = logits(model, inputs), generate(model, inputs)
    rows = staying(inputs, kept)
    with tokprune.apply(model, **policy):
        pruned = logits(model, inputs)
        assert torch.equal(generate(model, inputs), answer)
    for row, place in enumerate(rows):
        assert (hidden - pruned)[row, place[0] :].abs().max() < 1e-4


@pytest.mark.parametrize("channels", [3, 4])
def test_positions_that_are_given_go_with_their_tokens(model, channels):
    inputs = prompts(RAGGED)
    kept, policy = chosen(model, inputs, (3, 2, 4))
    grid = positions(model, inputs)
    counted = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    shifted = torch.cat([counted[None], grid + 5])[-channels:]
    fed = shrunk(model, inputs, kept)
    expected = oracle_logits(
        model, inputs, kept
    )  # rotary positions are relative: all of them moved is none of them moved
    with tokprune.apply(model, **policy):
        (seen,) = read(model, lambda: assert_close(logits(model, inputs, position_ids=shifted), expected))
    moved = torch.stack([gather(channel + 5, staying(inputs, kept)) for channel in grid])
    assert torch.equal(seen[-3:], moved)
    if channels == 4:
        assert torch.equal(seen[0], fed["position_ids"][0])


def assert_close(found, expected):
    """Equal but for rounding, wherever `expected` is not NaN."""
    matters = ~expected.isnan()
    assert found.shape == expected.shape
    assert (found - expected)[matters].abs().max() < 1e-3


def test_without_types_the_model_counts_and_positions_decide(model):
    inputs = prompts([[(4, 8)]])
    del inputs["mm_token_type_ids"]
    if "mm_token_type_ids" not in inspect.signature(model.model.get_rope_index).parameters:
        pytest.skip("older releases find images by their ids")
    length = inputs["input_ids"].shape[1]
    kept = some_kept((8,), (3,))
    for choice in ("compact", "preserve"):
        expected = list(range(length - 5)) if choice == "compact" else staying(inputs, kept)[0]
        with tokprune.apply(model, **keeping(kept, positions=choice)):
            (first, second, *_) = read(model, lambda: generate(model, inputs))
            assert first[-1].flatten().tolist() == expected
            assert second[-1].flatten().tolist() == [expected[-1] + 1]


def test_calls_with_the_cache_of_a_pruned_one_go_on_from_its_positions(model):
    inputs = prompts([[(4, 8)]])
    kept = some_kept((8,), (3,))
    expected = oracle_new_tokens(model, inputs, kept, {"max_new_tokens": 4, "do_sample": False})[0].tolist()
    with tokprune.apply(model, **keeping(kept)), torch.no_grad():
        output = model(**inputs, use_cache=True)
        found = []
        for _ in expected:
            found.append(output.logits[:, -1].argmax(-1, keepdim=True))
            output = model(input_ids=found[-1], **{CACHE: cache_of(output)}, use_cache=True)
    assert [word.item() for word in found] == expected


def test_the_next_unpruned_call_is_as_ever(model):
    inputs, other = prompts(RAGGED), prompts([[(8, 4)], [(4, 4), (4, 4)]], seed=4)
    words = {"input_ids": other["input_ids"][:, -4:], "attention_mask": torch.ones(2, 4, dtype=torch.long)}
    before = [logits(model, other), generate(model, other), logits(model, words), generate(model, words)]
    _, policy = chosen(model, inputs, (3, 2, 4))
    with tokprune.apply(model, **policy):
        logits(model, inputs)
        generate(model, inputs)
        assert torch.equal(logits(model, words), before[2])  # no image, nothing to prune
        assert torch.equal(generate(model, words), before[3])
        logits(model, inputs)
    after = [logits(model, other), generate(model, other), logits(model, words), generate(model, words)]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize(
    "options", [{"use_cache": False}, {"cache_implementation": "static"}], ids=["no cache", "static"]
)
def test_other_caches_give_the_same(model, options):
    inputs = prompts(RAGGED)
    kept, policy = chosen(model, inputs, (3, 2, 4))
    expected = oracle_new_tokens(model, inputs, kept, {"max_new_tokens": 4, "do_sample": False})
    before = traces(model)
    with tokprune.apply(model, **policy):
        assert torch.equal(generate(model, inputs, max_new_tokens=4, do_sample=False, **options), expected)
    for key in traces(model)[""][0]:
        if key not in before[""][0]:
            del model.__dict__[key]  # transformers keeps what it compiles for a static cache


def test_the_loss_is_that_of_the_logits_that_come_with_it(model):
    inputs = prompts(RAGGED)
    text = (inputs["input_ids"] > BOS) & (inputs["input_ids"] < IMAGE)
    inputs["labels"] = inputs["input_ids"].masked_fill(~text, -100)
    kept, policy = chosen(model, inputs, (3, 2, 4))
    expected = oracle_logits(model, {k: v for k, v in inputs.items() if k != "labels"}, kept)
    predicted, labels = expected[:, :-1].nan_to_num().flatten(0, 1), inputs["labels"][:, 1:].flatten()
    loss = torch.nn.functional.cross_entropy(predicted, labels, ignore_index=-100)
    with tokprune.apply(model, **policy), torch.no_grad():
        found = model(**inputs).loss
    assert found.item() == pytest.approx(loss.item(), rel=1e-3)


def with_cache(model, inputs, **options):
    """What `generate` returns, by name, with the cache."""
    with torch.no_grad():
        return model.generate(**inputs, do_sample=False, return_dict_in_generate=True, **options)


def test_generate_goes_on_with_the_cache_of_a_pruned_one(model):
    inputs = prompts(RAGGED)
    _, policy = chosen(model, inputs, (3, 2, 4))
    more = torch.tensor([[21, 22, 23], [31, 32, 33]])
    with tokprune.apply(model, **policy):
        first = with_cache(model, inputs, max_new_tokens=3)
        ids = torch.cat([first.sequences, more], dim=1)
        mask = torch.cat([inputs["attention_mask"], torch.ones(2, 6, dtype=torch.long)], dim=1)
        given = {"input_ids": ids, "attention_mask": mask, CACHE: cache_of(first)}
        found = with_cache(model, given, max_length=ids.shape[1] + 4).sequences
        # The same in one go: the prompt with all that came after it.
        types = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, 6))
        whole = {**inputs, "input_ids": ids, "attention_mask": mask, "mm_token_type_ids": types}
        expected = with_cache(model, whole, max_new_tokens=4).sequences
        assert torch.equal(found, expected)
        other = with_cache(model, inputs, max_new_tokens=3)
        wrong = {**given, "input_ids": ids.flip(1), CACHE: cache_of(other)}
        with pytest.raises(UnsupportedCallError, match="do not begin with it"):
            with_cache(model, wrong, max_new_tokens=4)
    assert torch.equal(found[:, : ids.shape[1]], ids)
