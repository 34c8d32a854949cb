"""What a pruned Qwen-VL must do: the same model, handed ids, positions and features shortened by hand."""

import contextlib
import copy
import functools
import inspect

import torch

from tokprune.testing.tiny_qwen import IMAGE

from .aligned import aligned, without_padding

VISUAL = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw", "second_per_grid_ts")


def token_counts(inputs):
    """How many tokens each image has."""
    return [int(grid.prod()) // 4 for grid in inputs["image_grid_thw"]]


def kept_indices(inputs, kept):
    """For each image, which of its tokens stay."""
    return [kept[image, :count].nonzero()[:, 0] for image, count in enumerate(token_counts(inputs))]


def staying(inputs, kept):
    """For each row, which positions stay: real tokens, without the placeholders of dropped image tokens."""
    flags = iter([bool(f) for image, n in enumerate(token_counts(inputs)) for f in kept[image, :n]])
    pairs = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True)
    return [[i for i, word in enumerate(words) if (next(flags) if word == IMAGE else real[i])] for words, real in pairs]


def gather(values, rows, fill=0):
    """The positions of `rows` in `values` `[row sequence]`, padded in front."""
    taken = values.new_full((len(rows), max(map(len, rows))), fill)
    for index, row in enumerate(rows):
        taken[index, taken.shape[1] - len(row) :] = values[index, row]
    return taken


def positions(model, inputs):
    """The model's own grid positions of the whole prompt `[3 row sequence]`."""
    names = inspect.signature(model.model.get_rope_index).parameters
    return model.model.get_rope_index(**{name: inputs[name] for name in names if name in inputs})[0]


def shrunk(model, inputs, kept):
    """Ids, masks and positions of the shorter prompt; text positions without gaps, in front of those of the grid."""
    rows = staying(inputs, kept)
    fed = {
        name: gather(value, rows, -100 if name == "labels" else 0)
        for name, value in inputs.items()
        if name not in VISUAL
    }
    counted = (fed["attention_mask"].cumsum(1) - 1).clamp(min=0)
    fed["position_ids"] = torch.stack([counted, *(gather(channel, rows) for channel in positions(model, inputs))])
    return fed


def shrunk_features(model, inputs, kept):
    """What the model's encoder makes of its images, without the dropped tokens."""
    out = copy.copy(model.model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True))
    which = kept_indices(inputs, kept)
    out.pooler_output = tuple(image[index] for image, index in zip(out.pooler_output, which, strict=True))
    if getattr(out, "deepstack_features", None) is not None:
        split = [f.split(token_counts(inputs)) if isinstance(f, torch.Tensor) else f for f in out.deepstack_features]
        layers = [[image[index] for image, index in zip(layer, which, strict=True)] for layer in split]
        flat = isinstance(out.deepstack_features[0], torch.Tensor)
        out.deepstack_features = [torch.cat(layer) if flat else tuple(layer) for layer in layers]
    return out


@contextlib.contextmanager
def features_given(model, inputs, kept):
    """The arguments by which the model takes these features (5.20 and later), or gets them where it asks (before)."""
    with torch.no_grad():
        features = shrunk_features(model, inputs, kept)
        if "mm_encoder_outputs" in inspect.signature(model.forward).parameters:
            given = {"image": features}
            if "pixel_values_videos" in inputs:
                films = inputs["pixel_values_videos"], inputs["video_grid_thw"]
                given["video"] = model.model.get_video_features(*films, return_dict=True)
            grids = {name: inputs[name] for name in VISUAL if name in inputs and not name.startswith("pixel")}
            yield {**grids, "mm_encoder_outputs": given}
            return
    per_row = [(row == IMAGE).sum().item() for row in inputs["input_ids"]]
    owners, row, filled = [], 0, 0
    for count in token_counts(inputs):
        while filled == per_row[row]:
            row, filled = row + 1, 0
        owners.append(row)
        filled += count
    original = model.model.get_image_features

    @functools.wraps(original)
    def constant(pixel_values, image_grid_thw=None, **kwargs):
        if not pixel_values[0].equal(inputs["pixel_values"][0]):
            return original(pixel_values, image_grid_thw, **kwargs)  # a video's, in Qwen3-VL
        times = len(pixel_values) // len(inputs["pixel_values"])
        return _repeated(features, owners, times)

    model.model.__dict__["get_image_features"] = constant
    try:
        yield {name: inputs[name] for name in VISUAL if name in inputs}
    finally:
        del model.model.__dict__["get_image_features"]


def _repeated(features, owners, times):
    """The features of every row `times` times, row by row, as releases before 5.20 repeat the images."""
    order = [i for row in sorted(set(owners)) for _ in range(times) for i, owner in enumerate(owners) if owner == row]
    out, counts = copy.copy(features), [len(image) for image in features.pooler_output]
    out.pooler_output = tuple(features.pooler_output[i] for i in order)
    if getattr(out, "deepstack_features", None) is not None:
        out.deepstack_features = [torch.cat([f.split(counts)[i] for i in order]) for f in features.deepstack_features]
    return out


def oracle_logits(model, inputs, kept):
    """Logits of the shorter prompt for each position of the whole one, NaN at padding."""
    fed = shrunk(model, inputs, kept)
    with torch.no_grad(), features_given(model, inputs, kept) as given:
        logits = model(**fed, **given).logits
    mask = inputs["attention_mask"]
    return without_padding(aligned(logits, staying(inputs, kept), mask.shape[1]), mask)


def oracle_new_tokens(model, inputs, kept, options):
    """New tokens after the shorter prompt."""
    fed = shrunk(model, inputs, kept)
    torch.manual_seed(7)
    with torch.no_grad(), features_given(model, inputs, kept) as given:
        return model.generate(**fed, **given, **options)[:, fed["input_ids"].shape[1] :]
