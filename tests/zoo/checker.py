"""Answers a question from the objects of a scene by reading its words: shares no code with the generator."""

from __future__ import annotations

from tokprune.zoo.scenes import Scene, SceneObject

WORDS = {
    "colour": {"red", "green", "blue", "yellow", "purple", "orange"},
    "shape": {"circle", "square", "triangle", "cross"},
    "size": {"small", "large"},
}
SINGULAR = {"circles": "circle", "squares": "square", "triangles": "triangle", "crosses": "cross"}
NUMBERS = ["zero", "one", "two", "three", "four", "five"]
HALF = 31.5


def fitting(scene: Scene, words: list[str]) -> list[SceneObject]:
    """The objects that have every colour, shape and size named among the words."""
    found = list(scene)
    for word in (SINGULAR.get(word, word) for word in words):
        for attribute, values in WORDS.items():
            if word in values:
                found = [o for o in found if getattr(o, attribute) == word]
    return found


def the(scene: Scene, words: list[str]) -> SceneObject:
    """The one object meant by "the ..."."""
    (found,) = fitting(scene, words)
    return found


def answer(scene: Scene, question: str) -> str:
    """The right answer; fails where the question means no object, or more than one."""
    assert question.endswith("?")
    words = question[:-1].replace(":", " :").split()
    match words:
        case ["what", asked, "is", "the", "object", "at", "the", row, column]:
            (found,) = (o for o in scene if (o.y < HALF) == (row == "top") and (o.x < HALF) == (column == "left"))
            return str(getattr(found, asked))
        case ["what", asked, "is", "the", *description]:
            return str(getattr(the(scene, description), asked))
        case ["how", "many", *description, "are", "there"]:
            return NUMBERS[len(fitting(scene, description))]
        case ["is", "there", "a", *description]:
            return "yes" if fitting(scene, description) else "no"
        case ["are", "there", "more", *both]:
            cut = both.index("than")
            return "yes" if len(fitting(scene, both[:cut])) > len(fitting(scene, both[cut:])) else "no"
        case ["is", "the", *both] if "larger" in both:
            cut = both.index("larger")
            first, second = the(scene, both[:cut]), the(scene, both[cut:])
            assert first.radius != second.radius
            return "yes" if first.radius > second.radius else "no"
        case ["left", "or", "right", ":", "where", "is", "the", *description]:
            return "left" if the(scene, description).x < HALF else "right"
        case ["top", "or", "bottom", ":", "where", "is", "the", *description]:
            return "top" if the(scene, description).y < HALF else "bottom"
    raise AssertionError(f"no reading of {question!r}")
