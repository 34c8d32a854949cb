"""A folder that somebody else made: its Python code does not run, and what is broken in it is one message."""

import json
import shutil
from pathlib import Path

import pytest

CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import PretrainedConfig, ProcessorMixin
class Config(PretrainedConfig):
    model_type = "foreign"
class Processor(ProcessorMixin):
    pass
"""


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


@pytest.fixture
def foreign(tmp_path, marker, checkpoint, monkeypatch):
    """Makes a folder whose model or whose processor brings code, which leaves a marker when it is run."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    folder = tmp_path / "foreign"

    def make(part):
        if part == "model":
            folder.mkdir()
            (folder / "config.json").write_text(
                json.dumps({"model_type": "foreign", "auto_map": {"AutoConfig": "code.Config"}})
            )
        elif part == "generate":
            shutil.copytree(checkpoint, folder)
            (folder / "custom_generate").mkdir()
            (folder / "custom_generate" / "generate.py").write_text(
                f"from pathlib import Path\nPath({str(marker)!r}).touch()\ndef generate(model, **kwargs):\n    pass\n"
            )
        else:
            shutil.copytree(checkpoint, folder)
            path = folder / "processor_config.json"
            fields = json.loads(path.read_text()) | {"processor_class": "Foreign"}
            path.write_text(json.dumps(fields | {"auto_map": {"AutoProcessor": "code.Processor"}}))
        (folder / "code.py").write_text(CODE.format(marker=str(marker)))
        return str(folder)

    return make


@pytest.mark.parametrize("part", ["model", "processor", "generate"])
@pytest.mark.parametrize("command", [("answer",), ("bench", "--n", "1"), ("speed",), ("inspect",)], ids=lambda c: c[0])
def test_code_that_a_folder_brings_is_not_run(tokprune, foreign, marker, command, part):
    result = tokprune(command[0], foreign(part), *command[1:], input="y\ny\ny\ny\n")
    assert not marker.exists()
    assert "run it" not in result.output  # no question on the terminal
    if part == "generate" or (command, part) == (("inspect",), "processor"):  # it does without
        assert result.exit_code == 0, result.output
    else:
        assert result.exit_code == 2
        assert "brings Python code of its own" in result.stderr
        assert "--trust-remote-code" in result.stderr


@pytest.mark.parametrize("command", [("answer",), ("bench", "--n", "1"), ("speed",), ("inspect",)], ids=lambda c: c[0])
def test_it_is_run_where_that_was_asked_for(tokprune, foreign, marker, command):
    result = tokprune(command[0], foreign("model"), *command[1:], "--trust-remote-code")
    assert "Warning: Python code that" in result.stderr
    assert marker.exists()


def test_weights_that_are_cut_short_are_one_message(tokprune, checkpoint, tmp_path):
    folder = Path(shutil.copytree(checkpoint, tmp_path / "short"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    result = tokprune("answer", folder)
    assert result.exit_code == 2
    assert "cannot be loaded as a folder: SafetensorError: " in result.stderr
