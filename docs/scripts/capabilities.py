"""The capability table: what really ran on tiny random models, never what is claimed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

HEAD = """# Capabilities

Made by running, not by claiming: each adapter is tried on tiny random models, for every target and scorer. *Yes* means
that `handle.check` passed (keep=1.0 changes no bit of the logits, and fewer tokens really enter the language model),
that `forward` with labels and `generate` (greedy and with beams, two prompts of different length) ran and reported a
shorter sequence, and that the model gave bit-identical logits again after `remove()`.
"""

IMAGE, QUERIES = 5, 8
KEEP = 0.5


def _blip2(language_model: str) -> tuple[Any, dict[str, Any]]:
    """A tiny BLIP-2 with random weights, and a batch of two prompts of different length, with labels."""
    import torch
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 97, "vocab_size": 99}
    texts: dict[str, dict[str, Any]] = {
        "opt": {"model_type": "opt", **small, **tokens, "ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.0},
        "t5": {"model_type": "t5", **tokens, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
        | {"decoder_start_token_id": 1, "dropout_rate": 0.0},
    }
    config = Blip2Config(
        vision_config={**small, "intermediate_size": 64, "image_size": 16, "patch_size": 4},
        qformer_config={**small, "intermediate_size": 64, "encoder_hidden_size": 32, "vocab_size": 99},
        text_config=texts[language_model],
        num_query_tokens=QUERIES,
        image_token_index=IMAGE,
    )
    model = Blip2ForConditionalGeneration(config).eval()
    dice = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=dice) * 0.25)
            # transformers' own start makes attention uniform, so that what is kept would be rounding noise
            if "query.weight" in name or "key.weight" in name:
                parameter.mul_(4)
    text = torch.randint(10, 90, (2, 6), generator=dice)
    mask = torch.ones(2, QUERIES + 6, dtype=torch.long)
    text[1, :3], mask[1, QUERIES : QUERIES + 3] = 1, 0
    inputs = {
        "pixel_values": torch.randn(2, 3, 16, 16, generator=dice),
        "input_ids": torch.cat([torch.full((2, QUERIES), IMAGE), text], dim=1),
        "attention_mask": mask,
    }
    inputs["labels"] = inputs["input_ids"].masked_fill(inputs["input_ids"] < 10, -100)
    return model, inputs


def _instructblip(language_model: str) -> tuple[Any, dict[str, Any]]:
    """A tiny InstructBLIP with random weights, and a batch of two prompts of different length, with labels."""
    from tokprune.testing.tiny_instructblip import prompts, tiny_instructblip

    inputs: dict[str, Any] = prompts(language_model)
    inputs["labels"] = inputs["input_ids"].masked_fill(inputs["input_ids"] < 10, -100)
    return tiny_instructblip(language_model), inputs


MODELS: Mapping[str, Mapping[str, Callable[[], tuple[Any, dict[str, Any]]]]] = {
    "blip2": {"BLIP-2 with OPT": lambda: _blip2("opt"), "BLIP-2 with T5": lambda: _blip2("t5")},
    "instructblip": {
        "InstructBLIP with LLaMA": lambda: _instructblip("llama"),
        "InstructBLIP with T5": lambda: _instructblip("t5"),
    },
}
"""Adapter -> model -> how to make a tiny one with its inputs."""


def render() -> str:
    """The page as Markdown."""
    from tokprune.registry import default_registry

    registry = default_registry()
    parts = [HEAD]
    for adapter in registry.names("adapter"):
        models = {label: build() for label, build in MODELS[adapter].items()}
        trials = {
            "Scorers": {f"`{name}`": {"scorer": name} for name in registry.names("scorer")},
            "Reductions and positions, with `catp-vote`, or `received-attention` where that does not fit": {
                f"`{reduction}`, {positions}": {"reduction": reduction, "positions": positions}
                for reduction in registry.names("reduction")
                for positions in ("compact", "preserve")
            },
            "Aggregators and selectors, with `catp-vote`, or `received-attention` where that does not fit": {
                f"{kind} `{name}`": {kind: name} for kind in ("aggregator", "selector") for name in registry.names(kind)
            },
            "Places of the cut": {f"`after={after!r}`": {"after": after} for after in (1, 1.0, (1, 2), "every")},
        }
        parts += [f"## Adapter `{adapter}`", "", *_signals(adapter, models), ""]
        for title, choices in trials.items():
            parts += [f"### {title}", "", *_table(adapter, models, choices), ""]
        parts += ["### All targets together, by policies in one `apply`", "", *_together(adapter, models), ""]
    return "\n".join(parts)


def _signals(adapter: str, models: Mapping[str, tuple[Any, Any]]) -> list[str]:
    from tokprune import observe

    lines = ["| model | target | tokens per image | signals observed |", "| --- | --- | ---: | --- |"]
    for label, (model, inputs) in models.items():
        for target, names in _offers(adapter, model).items():
            signal = observe(model, inputs, needs=names, target=target, adapter=adapter)
            observed = ", ".join(f"`{name}`" for name in signal.offered)
            lines.append(f"| {label} | `{target}` | {signal.token_count} | {observed} |")
    return lines


def _table(adapter: str, models: Mapping[str, Any], choices: Mapping[str, dict[str, Any]]) -> list[str]:
    columns = [(label, target) for label, (model, _) in models.items() for target in _offers(adapter, model)]
    lines = ["| " + " | ".join(["", *(f"{label}, target `{target}`" for label, target in columns)]) + " |"]
    lines.append("| " + " | ".join(["---"] * (len(columns) + 1)) + " |")
    for name, options in choices.items():
        verdicts = [
            _try(*models[label], adapter, [_policy(adapter, models[label][0], t, options)]) for label, t in columns
        ]
        lines.append("| " + " | ".join([name, *verdicts]) + " |")
    return lines


def _offers(adapter: str, model: Any) -> Mapping[str, tuple[str, ...]]:
    from tokprune.registry import default_registry

    offers: Mapping[str, tuple[str, ...]] = default_registry().create("adapter", adapter).offers(model)
    return offers


def _policy(adapter: str, model: Any, target: str, options: dict[str, Any]) -> Any:
    """A policy for a target; where the options name no scorer, with the first of the two usual ones that fits."""
    from tokprune import Policy
    from tokprune.fit import fitting_scorers

    fitting = fitting_scorers(target, _offers(adapter, model)[target])
    scorer = next(name for name in ("catp-vote", "received-attention", "first") if name in fitting)
    return Policy(**{"scorer": scorer, "keep": KEEP, "target": target, **options})


def _together(adapter: str, models: Mapping[str, tuple[Any, Any]]) -> list[str]:
    lines = ["| model | targets |  |", "| --- | --- | --- |"]
    for label, (model, inputs) in models.items():
        targets = list(_offers(adapter, model))
        verdict = _try(model, inputs, adapter, [_policy(adapter, model, target, {}) for target in targets])
        lines.append(f"| {label} | {', '.join(f'`{target}`' for target in targets)} | {verdict} |")
    return lines


def _try(model: Any, inputs: dict[str, Any], adapter: str, policies: list[Any]) -> str:
    """Run policies in earnest. "yes", or what kind of error said no."""
    import torch

    from tokprune import TokpruneError, apply

    prompt = {name: value for name, value in inputs.items() if name != "labels"}
    removes = all(policy.reduction.removes for policy in policies)
    with torch.no_grad():
        before = model(**inputs).logits
        try:
            with apply(model, policies, adapter=adapter) as handles:
                for report in handles.check(inputs).values():
                    _shorter(report, removes)
                for beams in (1, 3):
                    model.generate(**prompt, max_new_tokens=3, do_sample=False, num_beams=beams)
                    for report in handles.reports.values():
                        _shorter(report, removes)
        except TokpruneError as error:
            return f"no: {type(error).__name__}"
        if not torch.equal(before, model(**inputs).logits):
            raise AssertionError(f"{policies}: remove() did not put the model back")
    return "yes" if removes else "yes, at full length"


def _shorter(report: Any, removes: bool) -> None:
    if (report.length_after < report.length_before) is not removes or bool(report.kept.all()):
        raise AssertionError(f"the report does not fit the reduction: {report!r}")
