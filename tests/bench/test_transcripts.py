import random

import numpy
import pytest
from scipy.io import wavfile

from tokprune.bench.soundfiles import open_sound
from tokprune.bench.transcripts import edits, word_errors
from tokprune.errors import InvalidValueError
from tokprune.samples import Sound


def fewest(said, meant):
    """Levenshtein's distance by its definition."""
    if not said or not meant:
        return len(said) + len(meant)
    return min(
        fewest(said[1:], meant[1:]) + (said[0] != meant[0]), fewest(said[1:], meant) + 1, fewest(said, meant[1:]) + 1
    )


def test_edits_are_those_of_the_definition():
    draw = random.Random(0)
    for _ in range(100):
        said, meant = (draw.choices("abc", k=draw.randint(0, 5)) for _ in range(2))
        assert edits(said, meant) == fewest(said, meant)


def test_the_transcript_with_the_fewest_errors_counts():
    assert word_errors("It's red.", ["it is red", "its red"]) == (0, 2)
    assert word_errors("", ["one two"]) == (2, 2)
    assert word_errors("a b c d e", ["x"]) == (5, 1), "words too many are errors too"


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_a_sound_of_any_width_is_read_from_minus_1_to_1(tmp_path, dtype):
    wave = numpy.sin(numpy.linspace(0, 9, 400))
    whole = numpy.issubdtype(dtype, numpy.integer)
    most = numpy.iinfo(dtype).max if whole else 1
    stored = wave * 127 + 128 if dtype == "uint8" else wave * most
    both = numpy.stack([stored, stored], axis=1)
    wavfile.write(tmp_path / "a.wav", 8000, both.astype(dtype))
    sound = open_sound(tmp_path / "a.wav", "here")
    assert (sound.rate, sound.values.dtype) == (8000, numpy.float32)
    numpy.testing.assert_allclose(sound.values, wave, atol=0.02)  # 8 bits


def test_another_rate_has_another_length_and_the_same_pitch():
    wave = numpy.sin(numpy.arange(8000) / 8000 * 2 * numpy.pi * 50).astype("float32")
    twice = Sound(wave, 8000).at(16000)
    assert len(twice) == 16000
    spectrum = numpy.abs(numpy.fft.rfft(twice))
    assert spectrum.argmax() == 50


def test_what_is_no_sound_is_one_message(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF of nothing")
    with pytest.raises(InvalidValueError, match=r"here: cannot read sound .*Expected a WAV file"):
        open_sound(tmp_path / "a.wav", "here")
    with pytest.raises(InvalidValueError, match="here: no sound at"):
        open_sound(tmp_path / "b.wav", "here")
