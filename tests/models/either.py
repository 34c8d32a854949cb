"""BLIP-2 and InstructBLIP, for tests of what both must do: the fixtures `either`, `lay` and `laid`."""

import pytest

from tokprune.testing import tiny_blip2, tiny_instructblip

BLIP2 = (tiny_blip2.tiny_blip2, tiny_blip2.prompts)
INSTRUCTBLIP = (tiny_instructblip.tiny_instructblip, tiny_instructblip.prompts)
EITHER = {
    "blip2-opt": ("opt", *BLIP2),
    "blip2-t5": ("t5", *BLIP2),
    "instructblip-llama": ("llama", *INSTRUCTBLIP),
    "instructblip-t5": ("t5", *INSTRUCTBLIP),
}
"""Kind of language model, and how to make model and inputs."""


def only(*names):
    """Runs a test that asks for `either` on these alone."""
    return pytest.mark.parametrize("which", [EITHER[name] for name in names], ids=names)


decoder_only = only("blip2-opt", "instructblip-llama")
"""Those whose `generate` puts the prompt in front."""
each_q_former = decoder_only
"""One of each family: what comes before the language model is the same whichever it is."""
