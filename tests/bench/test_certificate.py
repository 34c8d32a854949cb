import copy
import dataclasses
from importlib.metadata import PackageNotFoundError

import pytest
import torch

import tokprune
from tokprune.bench.certificate import Certificate, certify, questions_digest, weights_digest
from tokprune.bench.noise import noise_samples
from tokprune.bench.surroundings import package_version
from tokprune.errors import InvalidValueError


def certificate_of(model, samples, **changed):
    given = {
        "name": "tiny",
        "data": "noise",
        "seed": 0,
        "template": "{}",
        "max_new_tokens": 3,
        "batch_size": 4,
    } | changed
    return certify(model, samples=samples, **given)


def test_certificate_says_what_ran(opt):
    certificate = certificate_of(opt, noise_samples(3))
    assert (certificate.n, certificate.dtype, certificate.attention) == (3, "float32", "sdpa")
    assert certificate.torch == torch.__version__
    assert certificate.tokprune
    assert certificate.command
    assert Certificate.from_dict(certificate.to_dict()) == certificate


def test_what_changes_an_answer_is_a_difference_and_the_rest_is_not(opt):
    before = certificate_of(opt, noise_samples(3))
    same = dataclasses.replace(before, date="later", command="another", batch_size=1, threads=99)
    assert before.differences(same) == []
    for field in dataclasses.fields(before):
        if field.name not in ("date", "command", "batch_size", "threads"):
            assert before.differences(dataclasses.replace(before, **{field.name: "x"})), field.name


def test_a_part_with_attention_of_its_own_is_named(opt):
    other = copy.deepcopy(opt)
    other.set_attn_implementation({"qformer_config": "eager"})
    assert certificate_of(other, noise_samples(1)).attention == "sdpa, qformer_config: eager"


def test_weights_digest_sees_training_and_dtype_but_not_copying(opt):
    digest = weights_digest(opt)
    trained = copy.deepcopy(opt)
    assert weights_digest(trained) == digest
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1e-3 * torch.randn_like(parameter))
    assert weights_digest(trained) != digest
    assert weights_digest(copy.deepcopy(opt).to(torch.bfloat16)) != digest


def test_questions_digest_sees_order_and_answers():
    samples = noise_samples(3)
    other = [*samples[:2], dataclasses.replace(samples[2], answers=("else",))]
    assert len({questions_digest(each) for each in (samples, samples[::-1], samples[:2], other)}) == 4


def test_a_package_that_is_only_on_the_path_has_a_version(monkeypatch):
    def not_installed(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("tokprune.bench.surroundings.version", not_installed)
    assert package_version("torch") == torch.__version__
    assert package_version("tokprune") == tokprune.__version__
    assert package_version("no_such_package") == ""


def test_a_broken_certificate_is_refused():
    with pytest.raises(InvalidValueError, match="certificate"):
        Certificate.from_dict({"model": "tiny"})
