"""The Qwen-VL models that tests share: built once, lent to a test that must leave them as they came."""

from tokprune.testing.tiny_qwen import tiny_qwen2_5_vl, tiny_qwen2_vl, tiny_qwen3_vl

from .traces import traces

BUILDS = {"qwen2-vl": tiny_qwen2_vl, "qwen2-5-vl": tiny_qwen2_5_vl, "qwen3-vl": tiny_qwen3_vl}
_BUILT = {}


def lend(name):
    """One model of the family."""
    shared = _BUILT.setdefault(name, BUILDS[name]())
    before = traces(shared)
    yield shared
    assert traces(shared) == before
