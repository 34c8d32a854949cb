"""One name in all its forms: as a component, a distribution, a package, a module and a class."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Collection
from dataclasses import dataclass

from tokprune.errors import InvalidValueError
from tokprune.specs import NAME

PREFIX = "tokprune-"
"""How the names of distributions begin, so that they are found beside each other."""

LONGEST = 32
"""Letters of the longest name: it is typed in commands, and fits on a line of code in every form."""


@dataclass(frozen=True)
class Names:
    """What a new distribution and everything in it is called.

    Attributes:
        kind: kind of component.
        name: what the component is called.
        distribution: what is installed.
        package: what is imported.
        module: the module of the package that holds the component.
        cls: the component's class.
    """

    kind: str
    name: str
    distribution: str
    package: str
    module: str
    cls: str

    @classmethod
    def of(cls, kind: str, name: str, used: Collection[str] = ()) -> Names:
        """Derive them all from the component's name, or from the distribution's, which begins with `tokprune-`.

        A module or class that would be called as something that is used beside it carries its kind in front, and so
        does what would be no identifier.

        Args:
            kind: kind of component.
            name: lower-case words with hyphens between them.
            used: names that are used beside it.

        Raises:
            InvalidValueError: it is no name, or too long for one.

        Example:
            >>> Names.of("scorer", "3d-class").module, Names.of("scorer", "votes", {"Votes"}).cls
            ('scorer_3d_class', 'ScorerVotes')
        """
        short = name.removeprefix(PREFIX)
        if not NAME.fullmatch(name):
            raise InvalidValueError(
                f"{name!r} is not a name; use lower-case words with hyphens between them, such as my-{kind}"
            )
        if len(short) > LONGEST:
            raise InvalidValueError(f"{short!r} has {len(short)} letters; a name has at most {LONGEST}")
        words = short.split("-")
        module, title = "_".join(words), "".join(word.capitalize() for word in words)
        if not _is_free(module) or module in used:
            module = f"{kind}_{module}"
        if not _is_free(title) or title in used or hasattr(builtins, title):
            title = f"{kind.capitalize()}{title}"
        distribution = f"{PREFIX}{short}"
        return cls(kind, short, distribution, distribution.replace("-", "_"), module, title)


def _is_free(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)
