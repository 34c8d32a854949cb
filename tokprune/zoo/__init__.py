"""A bundled, really trained miniature of BLIP-2, and the task that it was trained for.

Nothing needs to be downloaded: `load_model` reads weights from inside the package, `load_dataset` draws its pictures.
`python -m tokprune.zoo.train` trains the model again from nothing.
"""

from tokprune.zoo.loading import load_dataset, load_model
from tokprune.zoo.names import list_datasets, list_models, model_path
from tokprune.zoo.vocabulary import PROMPT_TEMPLATE

__all__ = ["PROMPT_TEMPLATE", "list_datasets", "list_models", "load_dataset", "load_model", "model_path"]
