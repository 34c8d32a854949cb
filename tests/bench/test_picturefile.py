import os

import pytest
import torch
from PIL import Image
from transformers.image_utils import load_image

from tokprune.bench.picturefile import open_picture
from tokprune.errors import InvalidValueError


def test_a_picture_is_read_whole_and_in_colour(tmp_path):
    Image.new("L", (6, 4), 200).save(tmp_path / "grey.png")
    picture = open_picture(tmp_path / "grey.png", "here")
    (tmp_path / "grey.png").unlink()
    assert (picture.mode, picture.size, picture.getpixel((5, 3))) == ("RGB", (6, 4), (200, 200, 200))


def test_a_picture_that_is_not_there_is_told_by_who_asked(tmp_path):
    with pytest.raises(InvalidValueError, match=r"^questions\.jsonl:3: no image at .*none\.png$"):
        open_picture(tmp_path / "none.png", "questions.jsonl:3")


def test_a_file_that_is_no_picture_is_found_when_it_is_opened(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InvalidValueError, match=r"^--image: cannot open image .*text\.png"):
        open_picture(tmp_path / "text.png", "--image")


def test_a_picture_is_turned_as_transformers_turns_it(tmp_path):
    picture, exif = Image.effect_noise((6, 4), 80).convert("RGB"), Image.Exif()
    exif[0x0112] = 6  # lying on its side
    picture.save(tmp_path / "turned.png", exif=exif)
    found = open_picture(tmp_path / "turned.png", "here")
    assert found.size == (4, 6)
    assert found.tobytes() == load_image(str(tmp_path / "turned.png")).tobytes()


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_grey_of_16_bits_is_scaled(tmp_path, ending):
    values = torch.arange(0, 2**16, 2**16 // 24, dtype=torch.int32)[:24].view(4, 6)
    Image.fromarray(values.numpy().astype("uint16")).save(tmp_path / f"deep.{ending}")
    found = torch.tensor(list(open_picture(tmp_path / f"deep.{ending}", "here").convert("L").tobytes())).view(4, 6)
    assert (found - values / 257).abs().max() <= 0.5


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_an_agreed_white_are_refused(tmp_path, mode):
    Image.new(mode, (6, 4), 2**20).save(tmp_path / "odd.tif")
    with pytest.raises(InvalidValueError, match="no agreed white; save it with 8 bits"):
        open_picture(tmp_path / "odd.tif", "here")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(InvalidValueError, match=r"^here: no image at "):
            open_picture(path, "here")


def test_pictures_that_are_broken_in_any_way_are_one_message(tmp_path, monkeypatch):
    Image.effect_noise((60, 40), 80).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    for end in (1, 20, 40, len(whole) // 2):
        (tmp_path / "short.png").write_bytes(whole[:end])
        with pytest.raises(InvalidValueError, match=r"^here: cannot open image .*short\.png"):
            open_picture(tmp_path / "short.png", "here")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InvalidValueError, match=r"^here: cannot open image .*decompression bomb"):
        open_picture(tmp_path / "whole.png", "here")
