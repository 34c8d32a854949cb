"""On the bundled model: by name, end to end."""

import copy
import re
from pathlib import Path

import pytest
import torch
from by_hand import fold_by_hand, made, scores_by_hand, select_by_hand

import tokprune
from tokprune.zoo import load_dataset, load_model

VISIONZIP = {"scorer": "cls-attention", "selector": "visionzip", "reduction": "visionzip", "target": "image"}


@pytest.fixture(scope="module")
def loaded():
    return load_model("blip2-shapes")


@pytest.fixture(scope="module")
def model(loaded):
    return loaded[0]


@pytest.fixture(scope="module")
def inputs(loaded):
    samples = [load_dataset("shapes-vqa", split="test", n=2)[i] for i in range(2)]
    texts = [f"Question: {sample.question} Short answer:" for sample in samples]
    images = [sample.image for sample in samples]
    return loaded[1](images=images, text=texts, return_tensors="pt", padding=True)


def after_layer(model, inputs, layer, **options):
    """The tokens that a layer hands on while a policy is applied, and the report."""
    seen = []
    with tokprune.apply(model, **options) as handle:
        hook = model.vision_model.encoder.layers[layer].register_forward_hook(
            lambda module, args, output: seen.append(output[0] if isinstance(output, tuple) else output)
        )
        with torch.no_grad():
            model(**inputs)
        hook.remove()
    return seen[0], handle.report


@pytest.mark.parametrize(("after", "layer"), [(1.0, 3), (2, 1)])
@pytest.mark.parametrize("fold", ["mean", "add"])
def test_the_encoder_hands_on_what_a_loop_makes(model, inputs, after, layer, fold):
    signal = tokprune.observe(model, inputs, needs=("tokens", "encoder_attention"), target="image", after=after)
    votes = signal.encoder_attention[-1]
    assert votes.protected == 1
    options = VISIONZIP | {"reduction": f"visionzip:fold={fold}"}
    found, report = after_layer(model, inputs, layer, keep=0.25, after=after, **options)
    assert found.shape == (2, 1 + 16, signal.tokens.shape[2])
    for image in range(2):
        dominant, contextual = select_by_hand(scores_by_hand(votes, image), 16, 0.15625)
        assert (len(dominant), len(contextual)) == (13, 3)
        expected = fold_by_hand(votes, image, signal.tokens, dominant, contextual, fold=fold)
        assert report.kept[image].nonzero()[:, 0].tolist() == sorted(expected)
        assert report.sizes[image, sorted(expected)].tolist() == [expected[token][1] for token in sorted(expected)]
        rows = torch.tensor([expected[token][0] for token in sorted(expected)])
        torch.testing.assert_close(found[image, 1:], rows, check_dtype=False, rtol=1e-4, atol=1e-4)


def test_cls_attention_prunes_what_cls_does_not_look_at(model, inputs):
    signal = tokprune.observe(model, inputs, needs=("encoder_attention",), target="image", after=1)
    _, report = after_layer(model, inputs, 0, scorer="cls-attention", keep=16, target="image", after=1)
    for image in range(2):
        scores = scores_by_hand(signal.encoder_attention[-1], image)
        best = sorted(range(64), key=lambda token: -scores[token])[:16]
        assert report.kept[image].nonzero()[:, 0].tolist() == sorted(best)


def test_no_token_is_lost_in_several_cuts(model, inputs):
    _, report = after_layer(model, inputs, 3, keep=0.25, after="every", **VISIONZIP)
    assert report.sizes.sum(dim=1).tolist() == [64.0, 64.0]
    assert report.kept.sum(dim=1).tolist() == [16, 16]


def test_keeping_all_changes_nothing(model, inputs):
    with torch.no_grad():
        before = model(**inputs).logits
        with tokprune.apply(model, keep=1.0, after=0.5, **VISIONZIP):
            assert torch.equal(model(**inputs).logits, before)
        with tokprune.apply(model, keep=0.25, after=0.5, **VISIONZIP) as handle:
            assert not torch.equal(model(**inputs).logits, before)
            handle.check(inputs)
        assert torch.equal(model(**inputs).logits, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_and_loses_nothing(model, inputs, dtype):
    half = copy.deepcopy(model).to(dtype)
    given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    with tokprune.apply(half, keep=0.25, after=1.0, **VISIONZIP) as handle, torch.no_grad():
        assert half(**given).logits.isfinite().all()
    assert handle.report.sizes.sum(dim=1).tolist() == [64.0, 64.0]


def test_an_image_does_not_depend_on_its_batch_mates(model, inputs):
    together, _ = after_layer(model, inputs, 3, keep=0.25, after=1.0, **VISIONZIP)
    for image in range(2):
        one = {name: value[image : image + 1] for name, value in inputs.items()}
        alone, _ = after_layer(model, one, 3, keep=0.25, after=1.0, **VISIONZIP)
        torch.testing.assert_close(alone[0], together[image], rtol=1e-4, atol=1e-4)


def test_it_generates(loaded, inputs):
    model, processor = loaded
    with tokprune.apply(model, keep=0.5, after=1.0, **VISIONZIP):
        answers = processor.batch_decode(model.generate(**inputs, max_new_tokens=3), skip_special_tokens=True)
    assert len(answers) == 2


def test_query_tokens_are_refused_by_name(model, inputs):
    with pytest.raises(tokprune.AdapterError, match=r"ClsAttention.*'image' tokens only"):
        tokprune.apply(model, scorer="cls-attention", target="query")
    with pytest.raises(tokprune.AdapterError, match=r"VisionZipMerging.*'image' tokens only"):
        tokprune.apply(model, scorer="l2-norm", reduction="visionzip", target="query", keep=8)


def test_a_policy_can_be_written_down():
    policy = tokprune.Policy(keep=0.25, after=1.0, **(VISIONZIP | {"reduction": "visionzip:fold=add"}))
    assert policy.to_dict()["reduction"] == "visionzip:fold=add"
    assert tokprune.Policy.from_dict(policy.to_dict()) == policy
    assert made("selector", "visionzip") == policy.selector


def test_the_readmes_examples_run():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    exec("\n".join(blocks), {})
