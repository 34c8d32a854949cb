import pytest
from PIL import Image

from tokprune.bench.picturefile import check_picture, open_picture
from tokprune.errors import InvalidValueError


def test_a_picture_is_read_whole_and_in_colour(tmp_path):
    Image.new("L", (6, 4), 200).save(tmp_path / "grey.png")
    picture = open_picture(tmp_path / "grey.png", "here")
    (tmp_path / "grey.png").unlink()
    assert (picture.mode, picture.size, picture.getpixel((5, 3))) == ("RGB", (6, 4), (200, 200, 200))


@pytest.mark.parametrize("ask", [check_picture, open_picture])
def test_a_picture_that_is_not_there_is_told_by_who_asked(tmp_path, ask):
    with pytest.raises(InvalidValueError, match=r"^questions\.jsonl:3: no image at .*none\.png$"):
        ask(tmp_path / "none.png", "questions.jsonl:3")


def test_a_file_that_is_no_picture_is_found_when_it_is_opened(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    check_picture(tmp_path / "text.png", "--image")
    with pytest.raises(InvalidValueError, match=r"^--image: cannot open image .*text\.png"):
        open_picture(tmp_path / "text.png", "--image")
