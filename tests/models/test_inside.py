"""Image tokens leave inside the language model: the answer is that of a model from which they are hidden by masks."""

import copy

import pytest
import torch

import tokprune
from tokprune import InvalidValueError
from tokprune.adapters.upstream import cache_of
from tokprune.testing import check_adapter
from tokprune.testing.tiny_inside import DEPTH, IMAGE, LANGUAGE_MODELS, TOKENS, prompts, shaped

from . import inside_oracle as oracle
from .calls import CACHE
from .families.family import GENERATE, assert_same, some_kept
from .inside import Inside, built, generate, logits, pruned
from .keeping import keeping
from .traces import traces

CLOSE = 1e-5
ATTENTION = {"gemma2": "eager"}
"""Implementations of those kinds that cannot be had with "sdpa"."""
BATCHES = {
    "padding": prompts,
    "no padding, no mask": lambda: {k: v for k, v in prompts(pads=(0, 0)).items() if k != "attention_mask"},
    "one row": lambda: prompts((1,), (0,)),
    "several images": lambda: prompts((2, 1)),
    "as many in each row": lambda: prompts((2, 2), (0, 1)),
    "a row without an image": lambda: prompts((1, 0, 1), (0, 0, 2)),
    "the image is last": lambda: prompts(after=0),
}


def chosen(inputs, *counts):
    """Which tokens stay of each image."""
    images = len(inputs["pixel_values"])
    return some_kept((TOKENS,) * images, [counts[image % len(counts)] for image in range(images)])


def close(found, expected):
    assert_same(found, expected, CLOSE)


CASES = [("llama", "sdpa"), ("llama", "eager"), *((kind, ATTENTION.get(kind, "sdpa")) for kind in LANGUAGE_MODELS)]


@pytest.fixture(params=dict.fromkeys(CASES), ids="-".join)
def case(request):
    """Kind of language model and its attention implementation."""
    return request.param


@pytest.mark.parametrize("counts", [(3,), (2, 5)], ids=str)
def test_forward_and_generate_are_those_of_hidden_tokens(case, counts):
    model, inputs = built(*case), prompts()
    before, kept = traces(model), chosen(inputs, *counts)
    plain = logits(model, inputs)
    with pruned(model, **keeping(kept)) as handle:
        found = logits(model, inputs)
        assert torch.equal(handle.report.kept, kept)
        new = {mode: generate(model, inputs, **options) for mode, options in GENERATE.items()}
    assert traces(model) == before
    close(found, oracle.logits(model, inputs, kept))
    assert (found - plain).abs().max() > 1
    for mode, options in GENERATE.items():
        assert torch.equal(new[mode], oracle.generated(model, inputs, kept, {"max_new_tokens": 5, **options})), mode
    longest = max(counts)
    assert (handle.report.length_before, handle.report.length_after) == (25, 25 - TOKENS + longest)
    assert torch.equal(logits(model, inputs), plain)


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("counts", [(3,), (2, 5)], ids=str)
def test_every_batch(name, counts):
    model, inputs = built(), BATCHES[name]()
    kept, plain = chosen(inputs, *counts), logits(model, inputs)
    if name == "the image is last":
        kept[:, -1], kept[:, 0] = True, False  # what is hidden by masks alone still speaks at the end
        kept[1, 1] = len(counts) > 1
    with pruned(model, keep=1.0):
        assert torch.equal(logits(model, inputs), plain)
    with pruned(model, **keeping(kept)):
        found, uncached = logits(model, inputs), logits(model, inputs, use_cache=False)
        new = generate(model, inputs)
    close(found, oracle.logits(model, inputs, kept))
    close(uncached, found)
    assert torch.equal(new, oracle.generated(model, inputs, kept, {"max_new_tokens": 5}))


@pytest.mark.parametrize("after", [1, 3, 0.5])
def test_other_places(after):
    model, inputs = built(), prompts()
    kept = chosen(inputs, 3)
    with pruned(model, after=after, **keeping(kept)):
        found = logits(model, inputs)
    close(found, oracle.logits(model, inputs, kept, after=2 if after == 0.5 else after))


def test_a_prompt_whose_last_token_left_goes_on_from_the_last_that_stayed():
    model, inputs = built(), prompts((1,), (0,), after=0)
    kept = torch.arange(TOKENS)[None] < 3
    with pruned(model, **keeping(kept)):
        found, new = logits(model, inputs)[:, -1], generate(model, inputs, max_new_tokens=1)
    shorter = {name: value[:, : 4 + 3] if value.dim() == 2 else value for name, value in inputs.items()}
    with torch.no_grad():
        features = model.get_image_features(inputs["pixel_values"]).pooler_output[0]
        embeds = model.get_input_embeddings()(shorter["input_ids"]).index_put(
            (torch.tensor([0]), torch.arange(4, 7)), features[:3]
        )
        expected = model(inputs_embeds=embeds).logits[:, -1]  # what comes first sees nothing of what comes later
    close(found, expected)
    assert new.item() == expected.argmax()


def test_layers_and_cache_behind_the_cut_are_shorter():
    model, inputs = built(), prompts()
    lengths = []
    hooks = [
        layer.mlp.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
        for layer in model.model.language_model.layers
    ]
    with pruned(model, keep=4), torch.no_grad():
        output = model.generate(**inputs, max_new_tokens=3, do_sample=False, return_dict_in_generate=True)
        cache = cache_of(output)
    for hook in hooks:
        hook.remove()
    assert lengths == [25, 25, 13, 13] + [1] * 4 * 2
    assert [cache.get_seq_length(index) for index in range(DEPTH)] == [27, 27, 15, 15]


def test_keeping_all_generates_the_same():
    model, inputs = built(), prompts()
    for options in GENERATE.values():
        expected = generate(model, inputs, **options)
        with pruned(model, keep=1.0):
            assert torch.equal(generate(model, inputs, **options), expected)


def test_logits_to_keep_and_labels_mean_what_they_meant():
    model, inputs = built(), prompts(pads=(0, 0))
    labels = inputs["input_ids"].masked_fill((inputs["input_ids"] == IMAGE) | (inputs["attention_mask"] == 0), -100)
    kept = chosen(inputs, 3)
    with pruned(model, **keeping(kept)), torch.no_grad():
        output = model(**inputs, labels=labels)
        assert torch.allclose(model(**inputs, logits_to_keep=1).logits, output.logits[:, -1:], atol=CLOSE)
    expected = oracle.logits(model, inputs, kept).nan_to_num(0.0)
    loss = torch.nn.functional.cross_entropy(expected[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    assert torch.allclose(output.loss, loss, atol=1e-5)


def test_gradients_are_those_of_hidden_tokens():
    model, inputs = copy.deepcopy(built()), prompts(pads=(0, 0))
    kept = chosen(inputs, 3)
    rows = slice(-5, None)  # the words behind the images

    def gradients(run):
        model.zero_grad()
        run().logits[:, rows].square().mean().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    with pruned(model, **keeping(kept)) as handle:
        found = gradients(lambda: model(**inputs))
        assert not handle.report.scores.requires_grad
    with oracle.hiding(model, inputs, kept):
        expected = gradients(lambda: model(**inputs))
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], rtol=1e-3, atol=1e-4) for name in expected)


def test_images_with_different_numbers_of_tokens():
    model, inputs = built(shapes=True), shaped()
    plain = logits(model, inputs)
    with pruned(model, keep=1.0):
        assert torch.equal(logits(model, inputs), plain)
    with pruned(model, keep=0.5) as handle:
        found, new, report = logits(model, inputs), generate(model, inputs), handle.report
    assert report.counts.tolist() == [4, 2, 4]
    assert report.kept.shape == (3, 8)
    assert report.scores.isnan().tolist() == [[False] * 8, [False] * 4 + [True] * 4, [False] * 8]
    kept = [row[:size] for row, size in zip(report.kept, (8, 4, 8), strict=True)]
    close(found, oracle.logits(model, inputs, kept))
    assert torch.equal(new, oracle.generated(model, inputs, kept, {"max_new_tokens": 5}))
    with pruned(model, keep=0.5, reduction="merge") as handle:
        logits(model, inputs)
    assert handle.report.sizes.sum(dim=1).tolist() == [8, 4, 8]


def test_hiding_instead_of_taking_away():
    model, inputs = built(), prompts()
    kept = chosen(inputs, 3)
    with pruned(model, reduction="mask", **keeping(kept)) as handle:
        found, new = logits(model, inputs), generate(model, inputs)
    close(found, oracle.logits(model, inputs, kept))
    assert torch.equal(new, oracle.generated(model, inputs, kept, {"max_new_tokens": 5}))
    assert handle.report.length_after == handle.report.length_before


def test_merged_tokens_are_the_means_of_what_left_the_layer():
    model, inputs = built(), prompts()
    with pruned(model, scorer="l2-norm", keep=3, reduction="merge") as handle:
        found, entered = logits(model, inputs), []
        hook = model.model.language_model.layers[2].register_forward_pre_hook(lambda _, args: entered.append(args[0]))
        logits(model, inputs)
        hook.remove()
    assert handle.report.sizes.sum(dim=1).tolist() == [TOKENS, TOKENS]
    with pruned(model, scorer="l2-norm", keep=3):
        assert not torch.allclose(logits(model, inputs), found, atol=1e-2)
    states = tokprune.observe(model, inputs, ("tokens",), adapter=Inside()).tokens
    for image in range(2):
        stays = handle.report.kept[image].nonzero()[:, 0].tolist()
        groups = {token: [token] for token in stays}
        for token in set(range(TOKENS)) - set(stays):
            angles = {k: torch.cosine_similarity(states[image, token], states[image, k], dim=0) for k in stays}
            groups[max(angles, key=angles.get)].append(token)
        expected = torch.stack([states[image, members].mean(dim=0) for members in groups.values()])
        ids = inputs["input_ids"][image]
        first = (ids == IMAGE).nonzero()[0, 0]
        assert torch.allclose(entered[0][image, first : first + 3], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "windowed mistral", "gemma2", "gemma3"])
def test_a_merged_token_counts_for_as_many_as_it_stands_for(kind):
    model, inputs = built(kind, ATTENTION.get(kind, "sdpa")), prompts()
    entered = []
    with pruned(model, scorer="l2-norm", keep=3, reduction="merge") as handle:
        new = {mode: generate(model, inputs, **options) for mode, options in GENERATE.items()}
        hook = model.model.language_model.layers[2].register_forward_pre_hook(lambda _, args: entered.append(args[0]))
        found, report = logits(model, inputs), handle.report
        hook.remove()
    with pruned(model, scorer="l2-norm", keep=3, reduction="merge", attention="plain"):
        assert (logits(model, inputs) - found).abs().max() > 0.1
    first = [int((ids == IMAGE).nonzero()[0, 0]) for ids in inputs["input_ids"]]
    merged = torch.cat([entered[0][row, place : place + 3] for row, place in enumerate(first)])
    with oracle.hiding(model, inputs, report.kept, sizes=report.sizes, merged=merged):
        expected = oracle.filled(inputs, report.kept, logits(model, inputs))
        for mode, options in GENERATE.items():
            assert torch.equal(generate(model, inputs, **options), new[mode]), mode
    close(found, expected)


def test_a_row_does_not_depend_on_the_others():
    model, inputs = built(), prompts()
    alone = {k: v[1:, 3:] if v.dim() == 2 else v[1:] for k, v in inputs.items()}
    with pruned(model, keep=4) as handle:
        together = logits(model, inputs)[1:, 3:]
        kept = handle.report.kept[1:]
        close(logits(model, alone), together)
        assert torch.equal(handle.report.kept, kept)


def test_beams_of_a_prompt_elect_once():
    model, inputs = built(), prompts()
    with pruned(model, keep=4) as handle:
        logits(model, inputs)
        kept = handle.report.kept
        generate(model, inputs, num_beams=3, do_sample=False)
        assert torch.equal(handle.report.kept, kept)


def test_text_alone_is_left_alone():
    model, inputs = built(), prompts()
    text = {"input_ids": torch.randint(2, 80, (2, 7)), "attention_mask": torch.ones(2, 7, dtype=torch.long)}
    expected, tokens = logits(model, text), generate(model, text)
    with pruned(model, keep=4) as handle:
        logits(model, inputs)
        handle.report = None
        assert torch.equal(logits(model, text), expected)
        assert torch.equal(generate(model, text), tokens)
        assert handle.report is None


def test_embeddings_instead_of_ids():
    model, inputs = built(), prompts()
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach()
    with pruned(model, keep=4):
        expected = logits(model, inputs)
        given = {k: v for k, v in inputs.items() if k != "input_ids"}
        assert torch.equal(logits(model, {**given, "inputs_embeds": embeds}), expected)


def test_a_conversation_goes_on_from_a_cut_cache():
    model, inputs = built(), prompts()
    kept, more = chosen(inputs, 2, 5), torch.tensor([[11, 12, 13], [21, 22, 23]])
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(more)], dim=1)

    def two_turns():
        with torch.no_grad():
            cache = cache_of(model(**inputs))
            first = model(input_ids=more, attention_mask=mask, **{CACHE: cache}).logits
            again = torch.cat([mask, torch.ones_like(more[:, :1])], dim=1)
            return torch.cat([first, model(input_ids=more[:, :1], attention_mask=again, **{CACHE: cache}).logits], 1)

    with pruned(model, **keeping(kept)):
        found = two_turns()
    with oracle.hiding(model, inputs, kept):
        expected = two_turns()
    close(found, expected)


def test_the_model_without_a_head():
    model, inputs = built().model, prompts()
    kept = chosen(inputs, 3)
    with (
        tokprune.apply(model, adapter=Inside(core=""), **keeping(kept)),
        torch.no_grad(),
    ):
        found = model(**inputs).last_hidden_state
    whole = built()
    close(whole.lm_head(found), oracle.logits(whole, inputs, kept))


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_the_seam_keeps_the_laws_of_adapters(kind):
    check_adapter(Inside(), built(kind, ATTENTION.get(kind, "sdpa")), prompts())


def test_a_copy_prunes_on_its_own():
    model, inputs = built(), prompts()
    before = traces(model)
    with pruned(model, keep=4):
        expected, new = logits(model, inputs), generate(model, inputs)
        twin = copy.deepcopy(model)
    assert traces(model) == before
    assert torch.equal(logits(twin, inputs), expected)
    assert torch.equal(generate(twin, inputs), new)
    (handle,) = tokprune.handles_of(twin)
    handle.remove()
    assert torch.equal(logits(twin, inputs), logits(model, inputs))


def test_half_precision():
    model, inputs = copy.deepcopy(built()).to(torch.bfloat16), prompts()
    inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
    plain = logits(model, inputs)
    with pruned(model, keep=1.0):
        assert torch.equal(logits(model, inputs), plain)
    with pruned(model, keep=4) as handle:
        assert logits(model, inputs).isfinite().all()
        generate(model, inputs, num_beams=2)
    assert handle.report.counts.tolist() == [4, 4]


def test_an_exception_in_the_middle_leaves_nothing_behind():
    model, inputs = built(), prompts()
    before, plain = traces(model), logits(model, inputs)

    class Broken:
        needs = ("cross_attention",)
        aggregator = "sum"

        def __call__(self, signal):
            raise KeyError("in the middle")

    with pruned(model, scorer=Broken(), keep=2):
        for call in (logits, generate):
            with pytest.raises(KeyError):
                call(model, inputs)
        text = {"input_ids": torch.randint(2, 80, (1, 7))}
        logits(model, text)
    assert traces(model) == before
    assert torch.equal(logits(model, inputs), plain)


def test_a_policy_that_keeps_too_many_is_refused():
    model = built()
    with pruned(model, keep=17), pytest.raises(InvalidValueError):
        logits(model, prompts())
