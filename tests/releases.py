"""Which releases of transformers `make` tests beside the installed one.

python tests/releases.py older    the lowest that pyproject.toml promises, and the line before the installed one
python tests/releases.py newer    the newest there is, pre-releases included, if it is newer than the installed one
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

KNOWN = ("5.17.0", "5.23.0")
"""What there was when this was written: for when the package index does not answer."""


def older(installed: Version, promised: SpecifierSet, known: Sequence[Version]) -> list[Version]:
    """The first promised release, and the last one of the minor line before the installed one."""
    final = sorted(each for each in known if each in promised and not each.is_prerelease)
    before = [each for each in final if each.release[:2] < installed.release[:2]]
    return sorted({final[0], before[-1]} - {installed}) if before else []


def newer(installed: Version, promised: SpecifierSet, known: Sequence[Version]) -> list[Version]:
    """The newest promised release, pre-releases included, if it is newer than the installed one."""
    newest = max((each for each in known if promised.contains(each, prereleases=True)), default=installed)
    return [newest] if newest > installed else []


def listed() -> list[Version]:
    """What the package index has, or what is known without it."""
    ask = [sys.executable, "-m", "pip", "index", "versions", "transformers", "--pre"]
    answer = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    found = re.search(r"Available versions: (.*)", answer)
    return [Version(each) for each in (found[1].split(", ") if found else KNOWN)]


def promised() -> SpecifierSet:
    """What pyproject.toml says."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    parsed = map(Requirement, project["dependencies"])
    return next(each.specifier for each in parsed if each.name == "transformers")


if __name__ == "__main__":
    choose = {"older": older, "newer": newer}[sys.argv[1]]
    print(*choose(Version(version("transformers")), promised(), listed()))
