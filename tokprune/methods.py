"""Methods of papers by name, and what to write for them here: for the messages of errors."""

from __future__ import annotations

import re

_WRITE = {
    "catp": "scorer='catp-vote'",
    "fastv": "scorer='text-attention' with after=2, where tokens can leave inside the language model",
    "fastervlm": "scorer='cls-attention', of the plugin tokprune-vision",
    "visionzip": "scorer='cls-attention', selector='visionzip' and reduction='visionzip', "
    "of the plugin tokprune-vision",
    "divprune": "selector='divprune', of the plugin tokprune-diversity",
    "spatten": "scorer='self-attention', or 'received-attention' in an image encoder",
    "tome": "reduction='merge' with after='every' comes nearest; ToMe's own matching is not here",
    "cdpruner": "selector='dpp', of the plugin tokprune-diversity, comes nearest; it knows nothing of the question",
}
"""Name without signs -> what is written for it."""


def what_to_write(name: str) -> str | None:
    """What to write for the method of this name, however it is spelt; None if it is not known.

    Example:
        >>> what_to_write("Fast-V")
        "scorer='text-attention' with after=2, where tokens can leave inside the language model"
    """
    return _WRITE.get(re.sub(r"[^a-z0-9]", "", name.lower()))
