"""A foreign folder or hub id is loaded, or one message says why not; nothing of it is run."""

import os

import huggingface_hub
import pytest
import transformers

from tokprune.bench.loading import load_config
from tokprune.errors import InvalidValueError


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "cannot be loaded as a folder: .*not a valid JSON"),
        ("config.json", "[" * 100_000, "cannot be loaded as a folder: RecursionError"),
        ("config.json", "[]", "cannot be loaded as a folder: "),
        ("other.txt", "", "cannot be loaded as a folder: "),
    ],
    ids=["torn", "deep", "a list", "no model"],
)
def test_a_folder_that_is_not_right_is_one_message(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidValueError, match=message):
        load_config(tmp_path)


def test_a_pipe_in_a_folder_is_refused_by_its_name(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(InvalidValueError, match=r"'config\.json' in it is neither a file nor a folder"):
        load_config(tmp_path)


@pytest.fixture
def hub(monkeypatch):
    """Answers as it is told to, and notes how transformers is asked afterwards."""

    class Hub:
        error, asked = None, []

        def head(self, url, **options):
            if self.error is not None:
                raise self.error

        def load(self, source, **options):
            self.asked.append(options)
            if options.get("local_files_only"):
                raise OSError("We couldn't connect")
            return transformers.OPTConfig()

    hub = Hub()
    hub.asked = []
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", hub.head)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", hub.load)
    return hub


def test_a_hub_that_cannot_be_reached_is_asked_once(hub):
    hub.error = ConnectionError("no network")
    with pytest.raises(InvalidValueError, match=r"no such folder here, and the hub cannot be reached, nor .* cache"):
        load_config("somebody/something")
    assert [asked["local_files_only"] for asked in hub.asked] == [True]  # its cache may still have the model


def test_a_hub_that_answers_is_left_to_transformers(hub):
    for hub.error in (None, huggingface_hub.errors.HFValidationError("no such name")):
        load_config("somebody/something")
    assert all("local_files_only" not in asked for asked in hub.asked)
