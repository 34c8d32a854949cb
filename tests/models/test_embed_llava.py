"""LLaVA: what the common matrix does not ask; the seam is the same for all families that merge image tokens."""

import copy
import threading

import pytest
import torch

import tokprune
from tokprune.adapters.upstream import CACHE_NAMES, cache_of, encodes_before_expanding
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.testing.tiny_embed import IMAGE, PAD, pixels, prompts, tiny_llava

from .calls import CACHE
from .embed_oracle import flat_features, flat_kept, gather, hand_fed, oracle_logits, oracle_new_tokens, stays
from .families.family import assert_same, some_kept
from .keeping import keeping
from .traces import traces

TWO = {"rows": [[16, 16], [16]], "tokens": (16, 16, 16)}
BATCHES = {
    "one image each": ([[16], [16]], (16, 16)),
    "two images in a row": ([[16, 16], [16]], (16,) * 3),
    "a row without an image": ([[16], [], [16]], (16, 16)),
}
GENERATE = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 3},
    "two of three beams": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
    "samples": {"do_sample": True, "num_return_sequences": 2},
    "repetition penalty": {"do_sample": False, "repetition_penalty": 3.0},
    "static cache": {"do_sample": False, "cache_implementation": "static"},
    "without cache": {"do_sample": False, "use_cache": False},
}


@pytest.fixture(scope="module")
def shared():
    """Built once."""
    model = tiny_llava()
    inputs = prompts([[16], [16]], pixels(2))
    generate(model, inputs, cache_implementation="static")
    return model


@pytest.fixture
def model(shared):
    """The shared model; a test must leave it as it came."""
    before = traces(shared)
    yield shared
    assert traces(shared) == before


def batch(name):
    """A batch and how many tokens its images have."""
    rows, tokens = BATCHES[name]
    return prompts(rows, pixels(len(tokens))), tokens


def generate(model, inputs, **options):
    """What `generate` returns, with a seed; five tokens unless a length is given."""
    torch.manual_seed(7)
    if not {"max_length", "max_new_tokens"} & set(options):
        options["max_new_tokens"] = 5
    with torch.no_grad():
        return model.generate(**inputs, **options)


def logits(model, inputs, **options):
    """Logits of a forward."""
    with torch.no_grad():
        return model(**inputs, **options).logits


@pytest.mark.parametrize("counts", [(3, 3, 3), (2, 5, 1)])
@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("positions", ["compact", "preserve"])
def test_logits_are_those_of_the_shorter_prompt(model, name, positions, counts):
    inputs, tokens = batch(name)
    kept = some_kept(tokens, counts[: len(tokens)])
    expected = oracle_logits(model, inputs, kept, tokens, positions=positions)
    with tokprune.apply(model, **keeping(kept, positions=positions)) as handle:
        assert_same(logits(model, inputs), expected)
    rows = stays(inputs, flat_kept(kept, tokens))
    assert handle.report.length_after == max(map(len, rows)) < handle.report.length_before == expected.shape[1]


@pytest.mark.parametrize("mode", GENERATE)
@pytest.mark.parametrize("positions", ["compact", "preserve"])
def test_generation_is_that_of_the_shorter_prompt(model, mode, positions):
    inputs, tokens = batch("one image each")
    kept = some_kept(tokens, (2, 5))
    if mode == "repetition penalty":  # counts the words of the prompt, which embeddings do not tell
        fed = hand_fed(model, inputs, kept, tokens, positions=positions, generating=True)
        rows = stays(inputs, flat_kept(kept, tokens))
        ids = gather(inputs["input_ids"], rows, PAD)
        given = {**fed, "input_ids": ids, "max_new_tokens": 5, **GENERATE[mode]}
        expected = model.generate(**given)[:, ids.shape[1] :]
    else:
        options = {"max_new_tokens": 5, **GENERATE[mode]}
        expected = oracle_new_tokens(model, inputs, kept, tokens, options, positions=positions)
    with tokprune.apply(model, **keeping(kept, positions=positions)):
        found = generate(model, inputs, **GENERATE[mode])
    prompt = inputs["input_ids"].shape[1]
    assert torch.equal(found[:, prompt:], expected)
    times = len(found) // 2
    assert torch.equal(found[:, :prompt], inputs["input_ids"].repeat_interleave(times, dim=0))


def test_scores_and_dictionaries_come_through(model):
    inputs, _ = batch("one image each")
    with tokprune.apply(model, scorer="l2-norm", keep=3):
        plain = generate(model, inputs)
        found = generate(model, inputs, return_dict_in_generate=True, output_scores=True)
    assert torch.equal(found.sequences, plain)
    assert len(found.scores) == 5


@pytest.mark.parametrize("limits", [{"max_length": 30}, {"max_new_tokens": 4}, {"max_length": 30, "min_length": 28}])
def test_length_limits_mean_what_they_meant(model, limits):
    inputs, _ = batch("one image each")
    length = inputs["input_ids"].shape[1]
    with tokprune.apply(model, scorer="l2-norm", keep=3):
        found = generate(model, inputs, **limits)
    assert found.shape[1] == limits.get("max_length", length + limits.get("max_new_tokens", 0))


def test_a_prompt_given_by_position_is_pruned_too(model):
    inputs, _ = batch("one image each")
    ids = inputs.pop("input_ids")
    with tokprune.apply(model, scorer="l2-norm", keep=3):
        with torch.no_grad():
            found = model.generate(ids, **inputs, max_new_tokens=5, do_sample=False)
        assert torch.equal(found, generate(model, {**inputs, "input_ids": ids}, do_sample=False))
        with torch.no_grad():
            positional = model(ids, inputs["pixel_values"], inputs["attention_mask"]).logits
        assert torch.equal(positional, logits(model, {**inputs, "input_ids": ids}))


@pytest.mark.parametrize("counts", [(3, 3), (2, 5)])
def test_a_missing_mask_is_the_one_that_generate_makes_up(model, counts):
    inputs, tokens = batch("one image each")
    kept = some_kept(tokens, counts)
    with tokprune.apply(model, **keeping(kept)):
        expected = generate(model, inputs, pad_token_id=PAD)
        del inputs["attention_mask"]
        assert torch.equal(generate(model, inputs, pad_token_id=PAD), expected)


@pytest.mark.parametrize("counts", [(3, 3), (2, 5)])
def test_a_forward_without_a_mask_reads_everything(model, counts):
    inputs, tokens = batch("one image each")
    inputs = {"input_ids": inputs["input_ids"][:, 1:], "pixel_values": inputs["pixel_values"]}
    inputs["input_ids"][0, :1] = 1
    kept = some_kept(tokens, counts)
    full = {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}
    with tokprune.apply(model, **keeping(kept)):
        assert torch.equal(logits(model, inputs), logits(model, full))


@pytest.mark.parametrize("counts", [(3, 3, 3), (2, 5, 1)])
@pytest.mark.parametrize("name", BATCHES)
def test_the_loss_is_that_of_the_logits_that_come_with_it(model, name, counts):
    inputs, tokens = batch(name)
    kept = some_kept(tokens, counts[: len(tokens)])
    real = inputs["attention_mask"].bool() & (inputs["input_ids"] != IMAGE)
    labels = torch.where(real, (inputs["input_ids"] * 7 + 3) % 90, -100)
    first = oracle_logits(model, inputs, kept, tokens)
    scores, losses = first.log_softmax(dim=-1), []
    for row, words in enumerate(labels.tolist()):
        for place, label in enumerate(words):
            if place > 0 and label != -100 and real[row, :place].any():
                losses.append(-scores[row, place - 1, label])
    labels[real.cumsum(dim=1) == 1] = -100  # what padding predicts is nothing
    with tokprune.apply(model, **keeping(kept)), torch.no_grad():
        loss = model(**inputs, labels=labels).loss
    assert torch.allclose(loss, torch.stack(losses).mean(), atol=1e-6)
    with torch.no_grad():
        assert (model(**inputs, labels=labels).loss - loss).abs() > 1e-3


def test_gradients_reach_the_encoder(shared):
    model = copy.deepcopy(shared)
    inputs, _ = batch("one image each")
    labels = inputs["input_ids"].masked_fill(inputs["input_ids"] == IMAGE, -100)
    with tokprune.apply(model, scorer="l2-norm", keep=3):
        model(**inputs, labels=labels).loss.backward()
    first = model.model.vision_tower.get_submodule("encoder.layers.0.self_attn.q_proj")
    assert first.weight.grad.abs().max() > 0


def test_hidden_tokens_are_as_good_as_gone(model):
    inputs, tokens = batch("two images in a row")
    kept = some_kept(tokens, (2, 5, 1))
    length = inputs["input_ids"].shape[1]
    rows = stays(inputs, flat_kept(kept, tokens))
    for positions in ("compact", "preserve"):
        with tokprune.apply(model, **keeping(kept, positions=positions)):
            pruned = logits(model, inputs)
            words = generate(model, inputs)
        with tokprune.apply(model, **keeping(kept, positions=positions, reduction="mask")) as handle:
            hidden = logits(model, inputs)
            assert torch.equal(generate(model, inputs), words)
        assert handle.report.length_after == handle.report.length_before == length
        for row, places in enumerate(rows):
            real = slice(places[0], None)
            assert (hidden[row, real] - pruned[row, real]).abs().max() < 1e-4


def test_merged_tokens_are_projected_vectors_weighted_by_hand(model):
    inputs, tokens = batch("one image each")
    kept = some_kept(tokens, (3, 3))
    vectors = flat_features(model, inputs).view(2, 16, -1)
    merged = vectors.clone()
    for image in range(2):
        stay = kept[image].nonzero()[:, 0].tolist()
        near = torch.nn.functional.normalize(vectors[image], dim=-1)
        groups = {token: [token] for token in stay}
        for token in range(16):
            if token not in stay:
                groups[max(stay, key=lambda k, t=token, n=near: float(n[k] @ n[t]))].append(token)
        for token, group in groups.items():
            merged[image, token] = vectors[image, group].mean(dim=0)
    expected = oracle_logits(model, inputs, kept, tokens, features=merged.flatten(0, 1))
    policy = {**keeping(kept), "selector": "top-k", "keep": 3, "reduction": "merge", "attention": "plain"}
    with tokprune.apply(model, **policy):
        assert_same(logits(model, inputs), expected, 1e-4)


def test_a_prompt_without_images_passes_untouched(model):
    inputs, _ = batch("one image each")
    words = {name: inputs[name][:, -4:] for name in ("input_ids", "attention_mask")}
    before, spoken = logits(model, words), generate(model, words)
    with tokprune.apply(model, scorer="l2-norm", keep=3) as handle:
        assert torch.equal(logits(model, words), before)
        assert torch.equal(generate(model, words), spoken)
    assert handle.report is None


def test_two_models_and_two_threads_do_not_mix(shared):
    other = copy.deepcopy(shared)
    inputs, _ = batch("one image each")
    found, expected = {}, {}
    for name, model, keep in (("one", shared, 3), ("other", other, 7)):
        with tokprune.apply(model, scorer="l2-norm", keep=keep):
            expected[name] = generate(model, inputs)

    def run(name, model):
        found[name] = [generate(model, inputs, do_sample=False) for _ in range(3)]

    with tokprune.apply(shared, scorer="l2-norm", keep=3), tokprune.apply(other, scorer="l2-norm", keep=7):
        threads = [threading.Thread(target=run, args=pair) for pair in (("one", shared), ("other", other))] * 1
        threads += [threading.Thread(target=run, args=("third", shared))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(torch.equal(each, expected["one"]) for each in [*found["one"], *found["third"]])
    assert all(torch.equal(each, expected["other"]) for each in found["other"])


def eager_attention(model, inputs):
    """The encoder's own attention in eager mode, layer by layer `[image head query key]`."""
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    seen, hooks = [], []
    for name, module in eager.model.vision_tower.named_modules():
        if name.endswith("self_attn"):
            hooks.append(module.register_forward_hook(lambda _, args, output: seen.append(output[1])))
    with torch.no_grad():
        eager.model.get_image_features(inputs["pixel_values"], return_dict=True)
    return seen


def test_votes_are_the_attention_of_the_layers_that_are_used(model):
    inputs, _ = batch("two images in a row")
    signal = tokprune.observe(model, inputs, ("encoder_attention", "tokens", "grid", "text"))
    own = eager_attention(model, inputs)
    assert len(signal.encoder_attention) == 2  # of three: the output of the last but one is taken
    for votes, attention in zip(signal.encoder_attention, own, strict=False):
        assert torch.allclose(votes.by_head, attention[..., 1:], atol=1e-6)
        assert torch.allclose(votes.of_voters(0, 1).by_head, attention[:, :, :1, 1:], atol=1e-6)  # [CLS]
    assert torch.equal(signal.tokens.flatten(0, 1), flat_features(model, inputs))
    assert signal.grid == (4, 4)
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    for image, row in enumerate((0, 0, 1)):
        mask = signal.text.mask[image]
        assert torch.equal(mask, inputs["attention_mask"][row].bool() & (inputs["input_ids"][row] != IMAGE))
        assert torch.equal(signal.text.embeddings[image][mask], embeddings[row][mask])


def test_received_attention_keeps_what_the_last_used_layer_looks_at(model):
    inputs, _ = batch("two images in a row")
    own = eager_attention(model, inputs)[1]
    expected = own[..., 1:].sum(dim=(1, 2)).topk(4).indices.sort().values
    with tokprune.apply(model, scorer="received-attention:layers=last", keep=4) as handle:
        logits(model, inputs)
    assert torch.equal(handle.report.kept.nonzero()[:, 1].view(3, 4), expected)


REFUSED = {
    "features that were computed earlier": ({"mm_encoder_outputs": {"image": object()}}, "mm_encoder_outputs"),
    "a finished mask": ({"attention_mask": torch.ones(2, 1, 24, 24)}, "attention_mask"),
    "another layer": ({"vision_feature_layer": -1}, "vision_feature_layer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_calls_that_cannot_be_pruned_are_refused(model, name):
    inputs, _ = batch("one image each")
    changes, words = REFUSED[name]
    with tokprune.apply(model, scorer="received-attention", keep=3) as handle:
        with pytest.raises(UnsupportedCallError, match=words):
            logits(model, {**inputs, **changes})
        with pytest.raises(UnsupportedCallError, match=words):
            generate(model, {**inputs, **changes})
        assert handle.report is None
        logits(model, inputs)


def test_embeddings_without_ids_are_refused(model):
    inputs, tokens = batch("one image each")
    fed = hand_fed(model, inputs, some_kept(tokens, (16, 16)), tokens)
    with tokprune.apply(model, scorer="l2-norm", keep=3), pytest.raises(UnsupportedCallError, match="input_ids"):
        logits(model, {**fed, "pixel_values": inputs["pixel_values"]})


@pytest.mark.parametrize("name", CACHE_NAMES)
def test_a_cache_with_tokens_in_it_is_refused(model, name):
    inputs, _ = batch("one image each")
    with torch.no_grad():
        cache = cache_of(model(**inputs, use_cache=True))
    with (
        tokprune.apply(model, scorer="l2-norm", keep=3),
        pytest.raises(UnsupportedCallError, match="tokens in it already"),
    ):
        logits(model, inputs, **{name: cache})


@pytest.mark.parametrize("rows", [[[15], [17]], [[16], [15]], [[16], []], [[16, 16], [16]], [[8, 16], [8]]])
def test_placeholders_that_are_not_those_of_whole_images_are_refused(model, rows):
    inputs = prompts(rows, pixels(2))
    with tokprune.apply(model, scorer="l2-norm", keep=3), pytest.raises(UnsupportedCallError, match="placeholders"):
        logits(model, inputs)


def test_calls_go_on_with_the_cache_of_a_shortened_prompt(model):
    inputs, _ = batch("one image each")
    word = torch.tensor([[33], [34]])
    mask = torch.cat([inputs["attention_mask"], torch.ones(2, 1, dtype=torch.long)], dim=1)
    longer = {"input_ids": torch.cat([inputs["input_ids"], word], dim=1), "attention_mask": mask}
    with tokprune.apply(model, scorer="l2-norm", keep=3), torch.no_grad():
        again = {**inputs, **longer}
        expected = model(**again).logits[:, -1]
        for place, start in ((slice(2), 0), (slice(1, 2), 13)):  # the mask of the whole prompt; of what the cache holds
            some = {name: value[place] for name, value in inputs.items()}
            cache = cache_of(model(**some, use_cache=True))
            found = model(input_ids=word[place], **{CACHE: cache}, attention_mask=mask[place, start:])
            assert torch.allclose(found.logits[:, -1], expected[place], atol=1e-4)
        first = generate(model, inputs, do_sample=False, max_new_tokens=2, return_dict_in_generate=True)
        ids, ones = torch.cat([first.sequences, word], dim=1), torch.ones(2, 3, dtype=torch.long)
        more = {"input_ids": ids, "attention_mask": torch.cat([inputs["attention_mask"], ones], dim=1)}
        words = generate(model, {**inputs, **more}, do_sample=False)
        assert torch.equal(generate(model, {**more, CACHE: cache_of(first)}, do_sample=False), words)
        cache = cache_of(model(**inputs, use_cache=True))
        with pytest.raises(UnsupportedCallError, match="attention_mask"):
            model(input_ids=word, **{CACHE: cache}, attention_mask=mask[:, 1:])
        with pytest.raises(UnsupportedCallError, match="do not begin with it"):
            generate(model, {**longer, "input_ids": longer["input_ids"].flip(1), CACHE: cache})
    with tokprune.apply(model, scorer="l2-norm", keep=3, positions="preserve"), torch.no_grad():
        cache = cache_of(model(**inputs, use_cache=True))
        with pytest.raises(UnsupportedCallError, match="position_ids"):
            model(input_ids=word, **{CACHE: cache})


def test_beams_over_several_images_in_a_row(model):
    inputs, tokens = batch("two images in a row")
    kept = some_kept(tokens, (2, 5, 1))
    with tokprune.apply(model, **keeping(kept)):
        if not encodes_before_expanding(model):  # releases before 5.20 mix up the images, pruned or not
            with pytest.raises(UnsupportedCallError, match="several images"):
                generate(model, inputs, num_beams=3)
            assert generate(model, inputs).shape[0] == 2
            return
        found = generate(model, inputs, num_beams=3)
    options = {"max_new_tokens": 5, "num_beams": 3}
    expected = oracle_new_tokens(model, inputs, kept, tokens, options)
    assert torch.equal(found[:, inputs["input_ids"].shape[1] :], expected)


def test_looking_words_up_in_the_prompt_changes_nothing(model):
    inputs, _ = batch("one image each")
    one = {name: value[1:] for name, value in inputs.items()}
    with tokprune.apply(model, scorer="l2-norm", keep=3):
        expected = generate(model, one, do_sample=False)
        assert torch.equal(generate(model, one, do_sample=False, prompt_lookup_num_tokens=2), expected)


def test_gaps_are_not_taken_for_the_ends_of_sequences(model):
    inputs, _ = batch("one image each")
    one = {name: value[1:] for name, value in inputs.items()}  # no padding: `generate` leaves the mask away
    with tokprune.apply(model, scorer="l2-norm", keep=3, positions="preserve"):
        expected = generate(model, one)
        assert torch.equal(generate(model, one, use_cache=False), expected)


def test_a_depth_means_nothing_in_front_of_the_language_model(model):
    with pytest.raises(AdapterError, match="after"):
        tokprune.apply(model, scorer="l2-norm", keep=3, after=2)


def test_a_failing_encoder_leaves_nothing_behind(model):
    inputs, _ = batch("one image each")
    before = logits(model, inputs)
    with tokprune.apply(model, scorer="l2-norm", keep=3):
        with pytest.raises(Exception):  # noqa: B017
            logits(model, {**inputs, "pixel_values": inputs["pixel_values"][:, :2]})
        assert not torch.equal(logits(model, inputs), before)
    assert torch.equal(logits(model, inputs), before)
