import copy
import itertools

import pytest
import torch

from tokprune.bench.parts import parts_of
from tokprune.bench.randominputs import random_inputs
from tokprune.bench.speed.clock import EventClock, HostClock, clock_for
from tokprune.bench.speed.flopcount import count_flops
from tokprune.bench.speed.memory import peak_memory
from tokprune.bench.speed.stages import STAGES, watch_stages
from tokprune.errors import AdapterError, InvalidValueError, UnsupportedCallError

CPU = torch.device("cpu")


def parts_in_order(model, call):
    """What happened, in order: a part of the model, or a mark."""
    log = []
    hooks = [
        getattr(model, part).register_forward_pre_hook(lambda module, args, part=part: log.append(part))
        for part in ("vision_model", "qformer", "language_projection", "language_model")
    ]
    passage = watch_stages(model, call, lambda: log.append("mark") or len(log))
    for hook in hooks:
        hook.remove()
    return log, passage


def test_marks_are_set_at_the_borders_of_the_stages(model):
    inputs = random_inputs(model, 2)
    log, passage = parts_in_order(model, lambda: model.generate(**inputs, max_new_tokens=3, min_new_tokens=3))
    assert [part for part in log if part != "language_model"] == [
        *("mark", "vision_model"),
        *("qformer", "mark"),  # its hook was there first
        *("language_projection", "mark"),
        *("mark", "mark"),
    ]
    first = log.index("language_model")
    assert log[first + 1] == "mark", "the prefill ends with the first pass"
    assert log[first + 2 :] == ["language_model", "language_model", "mark"]
    assert passage.steps == 2
    assert list(passage.stages(lambda begin, end: end - begin)) == list(STAGES)
    assert sum(passage.stages(lambda begin, end: end - begin).values()) == passage.marks[-1] - passage.marks[0]


def test_watching_leaves_no_hook_behind_also_after_an_error(opt):
    def hooks():
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in opt.modules())

    before = hooks()
    inputs = random_inputs(opt, 1)
    watch_stages(opt, lambda: opt.generate(**inputs, max_new_tokens=1), itertools.count().__next__)
    with pytest.raises(ZeroDivisionError):
        watch_stages(opt, lambda: 1 / 0, itertools.count().__next__)
    assert hooks() == before


def test_a_part_that_was_not_called_as_a_module_is_named(opt):
    with pytest.raises(UnsupportedCallError, match="end of stage encoder, connector, prefill was not seen"):
        watch_stages(opt, lambda: None, itertools.count().__next__)


def test_a_model_with_other_parts_is_refused():
    with pytest.raises(AdapterError, match="parts of a Linear are not known; measured are BLIP-2"):
        parts_of(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_operations_are_those_of_the_layers(opt, attention):
    """By hand, for the image encoder: two per multiply-add."""
    model = copy.deepcopy(opt)
    model.set_attn_implementation(attention)
    inputs = random_inputs(model, 2)
    flops = count_flops(model, lambda: model.generate(**inputs, max_new_tokens=2, min_new_tokens=2, do_sample=False))
    tokens, width, layers = 65, 32, 2
    patches = 2 * 64 * (3 * 8 * 8) * width
    layer = 2 * tokens * width * (3 * width + width + 4 * width + 4 * width) + 2 * 2 * tokens * tokens * width
    assert flops["encoder"] == 2 * (patches + layers * layer)
    words = len(model.get_output_embeddings().weight)
    length = inputs["input_ids"].shape[1] + 1
    one = 2 * width * (4 * width + 8 * width) + 2 * 2 * length * width
    assert flops["decode"] == 2 * (layers * one + 2 * width * words)


def test_counting_leaves_gradients_as_they_were(opt):
    wanted = [parameter.requires_grad for parameter in opt.parameters()]
    assert any(wanted)
    count_flops(opt, lambda: opt.generate(**random_inputs(opt, 1), max_new_tokens=1))
    assert [parameter.requires_grad for parameter in opt.parameters()] == wanted


def test_peak_memory_is_what_lies_there_at_once():
    def both_at_once():
        one = torch.ones(1000)
        other = one + 1
        return one + other

    def one_after_the_other():
        torch.ones(1000)
        torch.ones(1000)

    assert peak_memory(both_at_once, CPU) == 3 * 4000
    assert peak_memory(one_after_the_other, CPU) == 4000
    assert peak_memory(lambda: None, CPU) == 0
    assert peak_memory(lambda: None, torch.device("meta")) is None


def test_peak_memory_does_not_count_what_was_there(opt):
    lying = torch.ones(10_000)
    assert peak_memory(lambda: lying.sum(), CPU) < 1000


def test_the_clock_of_a_device():
    assert isinstance(clock_for(CPU), HostClock)
    assert isinstance(clock_for(torch.device("cuda")), EventClock)
    clock = clock_for(CPU)
    clock.settle()
    begin = clock.mark()
    assert clock.seconds(begin, clock.mark()) >= 0
    assert clock.seconds(2.0, 5.0) == 3.0


def test_a_device_finishes_its_work_before_the_hosts_clock_is_read(monkeypatch):
    log = []
    monkeypatch.setattr("time.perf_counter", lambda: log.append("read") or 1.0)
    clock = HostClock(CPU)
    monkeypatch.setattr(clock, "_module", type("Module", (), {"synchronize": staticmethod(lambda: log.append("wait"))}))
    clock.mark()
    assert log == ["wait", "read"]


def test_cpu_time_does_not_count_what_others_do(monkeypatch):
    monkeypatch.setattr("time.process_time", lambda: 7.0)
    clock = clock_for(CPU, "cpu")
    assert clock.mark() == 7.0
    assert (clock.name, clock_for(CPU).name) == ("CPU time", "wall clock")
    with pytest.raises(InvalidValueError, match=r"clock 'cpu' of device 'cuda': expected wall"):
        clock_for(torch.device("cuda"), "cpu")
    with pytest.raises(InvalidValueError, match="clock 'sun'"):
        clock_for(CPU, "sun")


def test_events_are_recorded_on_the_devices_stream_and_give_seconds(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            log.append(("record", stream))

        def synchronize(self):
            log.append("wait for the end")

        def elapsed_time(self, other):
            return 1500.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append(f"settle {device}"))
    clock = EventClock(torch.device("cuda:1"))
    clock.settle()
    begin, end = clock.mark(), clock.mark()
    assert clock.seconds(begin, end) == 1.5
    assert log == ["settle cuda:1", *[("record", "stream of cuda:1")] * 2, "wait for the end"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_tells_time_and_memory():
    device = torch.device("cuda")
    clock = clock_for(device)
    begin = clock.mark()
    peak = peak_memory(lambda: torch.ones(1 << 20, device=device), device)
    assert clock.seconds(begin, clock.mark()) > 0
    assert peak >= 4 << 20
