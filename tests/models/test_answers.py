"""Logits, labels and loss fit the caller's prompt, however short it became: whatever compares them outside works."""

import copy

import pytest
import torch

from tokprune import UnsupportedCallError

from .families import embedmerge, inside, qformer, qwen
from .test_families import applied, chosen, lent

QUERIES = [family for family in qformer.FAMILIES if family.target == "query" and family.new_tokens]
SHORTENED = [*QUERIES, *embedmerge.FAMILIES, *qwen.FAMILIES, *inside.FAMILIES]
"""Those whose prompt becomes shorter, in front of the language model or inside it."""


@pytest.fixture(params=SHORTENED, ids=str)
def family(request):
    """One of them."""
    return request.param


def labels_of(inputs):
    """Labels: all real text, the first token of each row too."""
    ids = inputs["input_ids"]
    images = ids == ids.mode().values[0]  # nothing else comes as often
    return ids.masked_fill(images | (inputs["attention_mask"] == 0), -100)


def test_logits_labels_and_loss_are_those_of_the_prompt_that_came(family):
    model, inputs = lent(family), family.inputs()
    labels, (_, policy) = labels_of(inputs), chosen(family, (2, 4))
    with torch.no_grad():
        plain = model(**inputs, labels=labels)
        with applied(model, family, scorer="first", keep=1.0):
            same = model(**inputs, labels=labels)
        with applied(model, family, **policy) as handle:
            named, bare = model(**inputs, labels=labels), model(**inputs)
            rest = model(**inputs, labels=labels, return_dict=False)
            shared = model(**inputs, labels=labels, num_items_in_batch=torch.tensor(7)).loss
            last = model(**inputs, logits_to_keep=5).logits
    assert torch.equal(same.loss, plain.loss)
    assert torch.equal(same.logits, plain.logits)
    assert list(named) == list(plain)
    assert named.logits.shape == plain.logits.shape
    assert torch.equal(named.logits, bare.logits)
    assert torch.equal(rest[0], named.loss)
    assert torch.equal(rest[1], named.logits)
    assert torch.allclose(last, named.logits[:, -5:], atol=1e-5)
    words = named.logits[:, :-1].flatten(0, 1).log_softmax(dim=-1)
    losses = [-words[place, label] for place, label in enumerate(labels[:, 1:].flatten().tolist()) if label != -100]
    assert torch.allclose(named.loss, torch.stack(losses).mean(), atol=1e-5)
    assert torch.allclose(shared, torch.stack(losses).sum() / 7, atol=1e-5)
    assert (named.loss - plain.loss).abs() > 1e-3
    assert handle.report.length_after < handle.report.length_before


@pytest.mark.parametrize("family", [QUERIES[0], embedmerge.FAMILIES[0]], ids=str)
def test_places_of_logits_by_their_numbers_are_refused(family):
    model = lent(family)
    with applied(model, family, scorer="first", keep=2), pytest.raises(UnsupportedCallError, match="logits_to_keep"):
        model(**family.inputs(), logits_to_keep=torch.tensor([1, 2]))


class Rows(torch.utils.data.Dataset):
    """Each row of a batch with one image each."""

    def __init__(self, inputs):
        self.inputs = {**inputs, "labels": labels_of(inputs)}

    def __len__(self):
        return len(self.inputs["labels"])

    def __getitem__(self, row):
        return {name: value[row] for name, value in self.inputs.items()}


@pytest.mark.parametrize("family", [QUERIES[0], embedmerge.FAMILIES[0]], ids=str)
def test_a_trainer_smooths_labels_and_measures(family, tmp_path):
    from transformers import Trainer, TrainingArguments

    model, rows, seen = copy.deepcopy(lent(family)), Rows(family.inputs()), []

    def accuracy(evaluated):
        seen.append((evaluated.predictions, torch.from_numpy(evaluated.label_ids)))
        return {"accuracy": float((evaluated.predictions[:, :-1] == evaluated.label_ids[:, 1:]).mean())}

    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to=[],
        label_smoothing_factor=0.1,
        max_steps=1,
        disable_tqdm=True,
        save_strategy="no",
    )
    with applied(model, family, scorer="first", keep=2) as handle:
        trainer = Trainer(
            model,
            arguments,
            train_dataset=rows,
            eval_dataset=rows,
            compute_metrics=accuracy,
            preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(dim=-1),
        )
        loss = trainer.train().training_loss
        others = [name for name in model(**family.inputs()) if name != "logits"]
        assert trainer.evaluate(ignore_keys=others)["eval_accuracy"] >= 0
    assert loss > 0
    assert seen[0][0].shape == seen[0][1].shape == rows.inputs["input_ids"].shape
    assert handle.report.length_after < handle.report.length_before
