"""The laws of the conformance kit, in the words in which a failed check names them."""

from __future__ import annotations

HEAD = """# Laws

What `tokprune.testing` and `tokprune check` hold every component against, in the words in which a broken one is named.
Each law catches a faulty component that was written for it, and the tests show that it does.
"""

INTRODUCTIONS = {
    "Every component": "Whatever its kind.",
    "Registered components": "What users of a name rely on; checked where a whole distribution is.",
    "Scorers": "On made-up observations from one image of one token to three of 32, with and without ties and [CLS].",
    "Aggregators": "On made-up votes of whole numbers, up to the size of a layer of BLIP-2.",
    "Selectors": "On made-up scores that are all different, partly equal, and all equal; the signals go with them.",
    "Reductions": "On made-up tokens and choices, sizes carried along or not.",
    "Adapters": "On a tiny model that the adapter knows.",
}


def render() -> str:
    """The page as Markdown."""
    from tokprune.testing import adapters, aggregators, components, reductions, registration, scorers, selectors
    from tokprune.testing.laws import Law

    groups = {
        "Every component": components.LAWS,
        "Registered components": (*registration.LAWS, registration.gives_an_example),
        "Scorers": scorers.LAWS,
        "Aggregators": aggregators.LAWS,
        "Selectors": selectors.LAWS,
        "Reductions": reductions.LAWS,
        "Adapters": adapters.LAWS,
    }
    parts = [HEAD]
    for title, laws in groups.items():
        own = [law for law in laws if title == "Every component" or law not in components.LAWS]
        lines = [f"| `{law.name}` | {law.sentence} |" for law in (Law("", None, function) for function in own)]
        parts += [f"## {title}", "", INTRODUCTIONS[title], "", "| law | in words |", "| --- | --- |", *lines, ""]
    return "\n".join(parts)
