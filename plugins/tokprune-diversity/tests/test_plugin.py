"""What holds for both selectors: they are found by name, obey the kit's laws, refuse bad options, never wait."""

import doctest
import inspect
import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from diversity_select import FLAVOURS, create, kept_mask

import tokprune
from tokprune.testing import check_selector

GENERATOR = torch.Generator().manual_seed(0)
TOKENS = torch.randn(3, 24, 6, generator=GENERATOR)
SCORES = torch.rand(3, 24, generator=GENERATOR)


def plugin():
    (found,) = entry_points(group="tokprune", name="diversity")
    return found


def test_the_names_come_through_the_entry_point():
    assert plugin().dist.name == "tokprune-diversity"
    assert {"divprune", "dpp"} <= set(tokprune.list_selectors())
    assert set(plugin().load().register_selectors()) == {"divprune", "dpp"}


@pytest.mark.parametrize(
    "spec", [pytest.param(spec, marks=[pytest.mark.slow] if ":" in spec else []) for spec in FLAVOURS]
)
def test_the_laws_of_selectors(spec):
    check_selector(create(spec))


@pytest.mark.parametrize("name", ["divprune", "dpp"])
def test_the_number_is_known_beforehand(name):
    """Without this promise an adapter has to read every count back from the device."""
    assert create(name).uniform is True
    assert create(name).wants == ("tokens",)


@pytest.mark.parametrize("spec", FLAVOURS)
def test_a_policy_can_be_written_down(spec):
    policy = tokprune.Policy(selector=spec)
    assert tokprune.Policy.from_dict(policy.to_dict()) == policy


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("divprune:start=first", ["divprune", "start", "isolated", "'first'"]),
        ("divprune:start=1", ["divprune", "start", "got 1"]),
        ("divprune:centre=1", ["divprune", "centre", "True or False", "got 1"]),
        ("dpp:centre=yes", ["dpp", "centre", "True or False", "'yes'"]),
        ("dpp:similarity=euclidean", ["dpp", "similarity", "cosine", "dot"]),
        ("dpp:form=softmax", ["dpp", "form", "exponential", "linear"]),
        ("dpp:quality=1", ["dpp", "quality", "below 1", "top-k"]),
        ("dpp:quality=1.5", ["dpp", "quality", "got 1.5"]),
        ("dpp:quality=-0.1", ["dpp", "quality", "got -0.1"]),
        ("dpp:quality=True", ["dpp", "quality", "got True"]),
        ("dpp:quality=False", ["dpp", "quality", "got False"]),
        ("dpp:quality=high", ["dpp", "quality", "'high'"]),
        ("dpp:quality=1e999", ["dpp", "quality", "got inf"]),
    ],
)
def test_a_bad_option_is_refused_in_words(spec, words):
    with pytest.raises(tokprune.InvalidValueError) as caught:
        create(spec)
    assert all(word in str(caught.value) for word in words)


def test_quality_that_is_not_a_number_is_refused():
    with pytest.raises(tokprune.InvalidValueError, match="quality"):
        type(create("dpp"))(quality=float("nan"))


@pytest.mark.parametrize("name", ["divprune", "dpp"])
def test_tokens_that_do_not_go_with_the_scores_are_refused(name):
    for tokens in (TOKENS[:, :5], TOKENS[:2], TOKENS[0], SCORES):
        with pytest.raises(tokprune.InvalidValueError, match=f"{name}.*tokens"):
            create(name)(SCORES, 4, tokens=tokens)


@pytest.mark.parametrize("keep", [25, 0, 1.5, float("nan"), True])
@pytest.mark.parametrize("name", ["divprune", "dpp"])
def test_a_keep_that_cannot_be_is_refused(name, keep):
    with pytest.raises(ValueError, match="keep"):
        create(name)(SCORES, keep, tokens=TOKENS)


@pytest.mark.parametrize("spec", FLAVOURS)
def test_nothing_waits_for_the_device(spec):
    """Tensors without data: whatever reads a number, or makes a shape out of one, fails on them."""
    kept = create(spec)(SCORES.to("meta"), 0.25, tokens=TOKENS.to("meta"))
    assert kept.shape == SCORES.shape
    assert kept.dtype == torch.bool


@pytest.mark.parametrize("spec", ["divprune", "dpp"])
def test_it_can_be_compiled_in_one_piece(spec):
    selector = create(spec)

    def choose(scores, tokens):
        return selector(scores, 4, tokens=tokens)

    compiled = torch.compile(choose, fullgraph=True, backend="eager")
    assert torch.equal(compiled(SCORES, TOKENS), choose(SCORES, TOKENS))


@pytest.mark.parametrize("spec", FLAVOURS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_number_means_the_same_in_every_type(spec, dtype):
    tokens, scores = TOKENS.half().bfloat16(), SCORES.half().bfloat16()  # exact in all four types
    for keep in (3, 0.5):
        expected = kept_mask(spec, tokens.float(), scores.float(), keep)
        assert torch.equal(kept_mask(spec, tokens.to(dtype), scores.to(dtype), keep), expected)


@pytest.mark.parametrize("spec", FLAVOURS)
def test_autocast_changes_nothing(spec):
    expected = [kept_mask(spec, TOKENS, SCORES, count) for count in range(1, 25)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [kept_mask(spec, TOKENS, SCORES, count) for count in range(1, 25)]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("spec", FLAVOURS)
def test_batch_mates_change_nothing(spec):
    tokens = torch.cat([TOKENS, TOKENS * 1e30, TOKENS.round(), torch.zeros(1, 24, 6)])
    scores = torch.cat([SCORES, SCORES * 1e30, SCORES - 100, torch.zeros(1, 24)])
    for keep in (1, 5, 0.5, 20):
        together = kept_mask(spec, tokens, scores, keep)
        for row in range(len(tokens)):
            assert torch.equal(kept_mask(spec, tokens[row : row + 1], scores[row : row + 1], keep)[0], together[row])


@pytest.mark.parametrize("spec", FLAVOURS)
def test_the_order_of_tokens_changes_nothing(spec):
    """Also where tokens are equal or alike to the last digits, as long as their scores differ."""
    alike = TOKENS.clone()
    alike[:, 12:] = alike[:, :12] * 3
    alike[:, 20:] = alike[:, 4:8] + 1e-7
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    for tokens in (TOKENS, TOKENS.round(), alike):
        for keep in (1, 5, 0.5, 20):
            kept = kept_mask(spec, tokens, SCORES, keep)
            assert torch.equal(kept_mask(spec, tokens[:, order], SCORES[:, order], keep), kept[:, order])


@pytest.mark.parametrize("spec", FLAVOURS)
def test_inputs_are_not_written_to(spec):
    for dtype in (torch.float32, torch.float64):
        tokens, scores = TOKENS.to(dtype), SCORES.to(dtype)
        given = tokens.clone(), scores.clone()
        kept_mask(spec, given[0], given[1], 0.5)
        assert torch.equal(given[0], tokens)
        assert torch.equal(given[1], scores)


@pytest.mark.parametrize("spec", FLAVOURS)
@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-30, 1e30, 3e37])
def test_every_norm_gives_the_right_number(spec, scale):
    tokens = TOKENS * scale
    tokens[1, ::2] = 0
    for keep in (1, 7, 23, 24):
        assert kept_mask(spec, tokens, SCORES, keep).sum(1).tolist() == [keep] * 3


@pytest.mark.parametrize("spec", FLAVOURS)
@pytest.mark.parametrize("factor", [2.0**-100, 2.0**90])
def test_the_scale_of_an_image_changes_nothing(spec, factor):
    for keep in (1, 7, 20):
        assert torch.equal(kept_mask(spec, TOKENS * factor, SCORES, keep), kept_mask(spec, TOKENS, SCORES, keep))


@pytest.mark.parametrize("spec", FLAVOURS)
def test_broken_numbers_still_give_the_right_number(spec):
    """A model that overflows is not the selector's fault; a crash in another image's generation would be."""
    tokens = TOKENS.clone()
    tokens[0, 3], tokens[1, 4, 2] = torch.nan, torch.inf
    kept = kept_mask(spec, tokens, SCORES, 7)
    assert kept.sum(1).tolist() == [7] * 3
    assert torch.equal(kept[2], kept_mask(spec, TOKENS, SCORES, 7)[2])


@pytest.mark.parametrize("spec", FLAVOURS)
def test_gradients_do_not_flow_in(spec):
    kept = kept_mask(spec, TOKENS.clone().requires_grad_(), SCORES.clone().requires_grad_(), 7)
    assert torch.equal(kept, kept_mask(spec, TOKENS, SCORES, 7))


def modules():
    package = plugin().load()
    found = [import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)]
    return [package, *found]


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_are_right(module):
    assert doctest.testmod(module).failed == 0


def test_nothing_private_is_imported():
    for module in modules():
        for line in inspect.getsource(module).splitlines():
            if line.startswith(("import ", "from ")):
                assert not any(part.startswith("_") for part in line.replace(".", " ").split() if part != "__future__")


@pytest.mark.parametrize("name", ["divprune", "dpp"])
def test_the_summary_is_one_sentence(name):
    summary = type(create(name)).__doc__.splitlines()[0]
    assert summary.endswith(".")
    assert len(summary) <= 120


def test_the_readme_runs():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    assert blocks
    for block in blocks:
        exec(block, {})
