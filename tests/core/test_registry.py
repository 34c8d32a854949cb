"""The registry: names, options, origins."""

from types import ModuleType

import pytest

from tokprune import InvalidValueError, PluginError, UnknownNameError, hookimpl, scorers
from tokprune.plugins import Plugin, builtin_plugin
from tokprune.registry import KINDS, Registry, default_registry


def plugin(name="mine", distribution="my-dist", kind="scorer", **components):
    """A plugin that registers components of one kind."""
    module = ModuleType(name)
    named = {key.replace("_", "-"): value for key, value in components.items()}
    setattr(module, f"register_{kind}s", hookimpl(specname=f"register_{kind}s")(lambda: named))
    return Plugin(name, module, distribution, "1.2")


def with_mine(**components):
    return Registry([builtin_plugin(), plugin(**components)])


def test_a_plugins_component_can_be_made_by_name():
    registry = with_mine(my_norm=scorers.L2Norm)
    assert registry.create("scorer", "my-norm") == scorers.L2Norm()
    entry = registry.entry("scorer", "my-norm")
    assert (entry.distribution, entry.version, entry.kind) == ("my-dist", "1.2", "scorer")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_component_can_come_from_a_plugin(kind):
    assert "mine" in with_mine(kind=kind, mine=type("Mine", (), {})).names(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_built_ins_come_through_the_hooks_and_no_other_way(kind):
    assert Registry([]).names(kind) == []
    assert Registry([builtin_plugin()]).names(kind) == default_registry().names(kind) != []


def test_names_are_sorted_and_match_wildcards():
    names = default_registry().names("scorer")
    assert names == sorted(names)
    assert default_registry().names("scorer", "catp*") == ["catp-vote", "catp-weighted"]
    assert default_registry().names("scorer", "CATP*") == []


def test_one_name_from_two_distributions_is_an_error_that_names_both():
    other = plugin("other", "other-dist", my_norm=scorers.L2Norm)
    with pytest.raises(PluginError, match="'my-norm' is registered by two distributions, 'my-dist' and 'other-dist'"):
        Registry([plugin(my_norm=scorers.L2Norm), other])


def test_a_name_of_a_built_in_cannot_be_taken():
    with pytest.raises(PluginError, match="'first' is registered by two distributions, 'tokprune' and 'my-dist'"):
        with_mine(first=scorers.First)


def test_two_plugins_may_have_the_same_entry_point_name():
    both = [plugin("mine", "a-dist", a=scorers.First), plugin("mine", "b-dist", b=scorers.First)]
    assert Registry(both).names("scorer") == ["a", "b"]


@pytest.mark.parametrize("name", ["My-Norm", "my norm", "", "my:norm", 7])
def test_a_bad_name_says_who_registers_it(name):
    module = ModuleType("mine")
    module.register_scorers = hookimpl(specname="register_scorers")(lambda: {name: scorers.First})
    with pytest.raises(PluginError, match=r"distribution 'my-dist'.* is not a name; use lower-case words"):
        Registry([Plugin("mine", module, "my-dist", "1")])


@pytest.mark.parametrize("component", [scorers.First(), "first", None, len])
def test_only_classes_can_be_registered(component):
    with pytest.raises(PluginError, match="scorer 'mine' must be a class"):
        with_mine(mine=component)


@pytest.mark.parametrize("answer", [None, [("mine", scorers.First)], scorers.First])
def test_a_hook_must_return_a_mapping(answer):
    module = ModuleType("mine")
    module.register_scorers = hookimpl(specname="register_scorers")(lambda: answer)
    with pytest.raises(PluginError, match=r"'my-dist'.*register_scorers must return a mapping name -> class"):
        Registry([Plugin("mine", module, "my-dist", "1")])


def test_a_hook_that_raises_says_whose_it_is():
    def register_scorers():
        raise KeyError("oops")

    module = ModuleType("mine")
    module.register_scorers = hookimpl(register_scorers)
    with pytest.raises(PluginError, match=r"'my-dist'.*register_scorers raised KeyError"):
        Registry([Plugin("mine", module, "my-dist", "1")])


def test_a_hook_that_does_not_exist_is_refused():
    module = ModuleType("mine")
    module.register_scorer = hookimpl(specname="register_scorer")(lambda: {})
    with pytest.raises(PluginError, match=r"(?s)'my-dist'.*register_scorer"):
        Registry([Plugin("mine", module, "my-dist", "1")])


@pytest.mark.parametrize(("wrong", "near"), [("catp-votes", "catp-vote"), ("l2norm", "l2-norm"), ("strides", "stride")])
def test_an_unknown_name_is_answered_with_the_nearest_and_its_origin(wrong, near):
    with pytest.raises(UnknownNameError, match=rf"did you mean '{near}' \(from tokprune\)\?"):
        default_registry().create("scorer", wrong)


def test_an_unknown_name_lists_what_is_known_and_where_from():
    with pytest.raises(UnknownNameError) as caught:
        with_mine(my_norm=scorers.L2Norm).create("scorer", "zzz")
    assert "did you mean" not in str(caught.value)
    assert "my-norm (my-dist)" in str(caught.value)
    assert "first (tokprune)" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("fastv", "scorer='text-attention' with after=2"),
        (
            "vision-zip",
            "scorer='cls-attention', selector='visionzip' and reduction='visionzip', of the plugin tokprune-vision",
        ),
        ("divprune", "selector='divprune', of the plugin tokprune-diversity"),
        ("tome", "reduction='merge' with after='every' comes nearest"),
        ("catp", "scorer='catp-vote'"),
    ],
)
def test_the_name_of_a_method_is_answered_with_what_to_write(name, write):
    with pytest.raises(UnknownNameError, match=f"no scorer is called '{name}', which is a method: write {write}"):
        default_registry().create("scorer", name)


def test_the_name_of_another_kind_is_answered_with_that_kind():
    with pytest.raises(UnknownNameError, match=r"called 'top-k'; it is a selector: write selector='top-k'\. Known"):
        default_registry().create("scorer", "top-k")


def test_a_name_that_nothing_is_near_ends_with_a_full_stop():
    with pytest.raises(UnknownNameError, match=r"no scorer is called 'zzz'\. Known scorers: "):
        default_registry().create("scorer", "zzz")


def test_an_unknown_name_is_a_lookup_error_and_a_value_error():
    for kind in (LookupError, ValueError):
        with pytest.raises(kind):
            default_registry().create("scorer", "zzz")


def test_an_unknown_kind_lists_the_kinds():
    with pytest.raises(UnknownNameError, match="the kinds are scorer, aggregator, selector, reduction, adapter"):
        default_registry().names("scorers")


def test_an_unknown_option_lists_the_options_with_their_defaults():
    with pytest.raises(InvalidValueError, match="no option 'layer'; its options: layers='all', order='rank-then-sum'"):
        default_registry().create("scorer", "catp-vote:layer=first")


def test_an_option_of_a_component_without_any_says_so():
    with pytest.raises(InvalidValueError, match="'first' has no option 'a'; its options: none"):
        default_registry().create("scorer", "first:a=1")


def test_an_option_that_the_component_refuses_is_an_error_of_ours():
    class Picky:
        def __init__(self, size=1):
            raise TypeError("size must be even")

    with pytest.raises(InvalidValueError, match="scorer 'picky:size=3': size must be even"):
        with_mine(picky=Picky).create("scorer", "picky:size=3")


def test_an_object_is_taken_as_it_is():
    scorer = scorers.CatpVote("last")
    assert default_registry().create("scorer", scorer) is scorer


def test_a_class_in_place_of_an_object_is_explained():
    with pytest.raises(InvalidValueError, match=r"CatpVote is a class; give an object: CatpVote\(\.\.\.\)"):
        default_registry().create("scorer", scorers.CatpVote)


@pytest.mark.parametrize(
    ("kind", "thing", "lack"),
    [
        ("scorer", len, "lacks needs"),
        ("scorer", None, "lacks needs"),
        ("selector", 3, "cannot be called"),
        ("reduction", 3, "lacks removes"),
        ("aggregator", 3, "cannot be called"),
        ("adapter", object(), "lacks matches, offers, attach"),
    ],
)
def test_something_else_in_place_of_an_object_says_what_it_lacks(kind, thing, lack):
    with pytest.raises(InvalidValueError, match=f"is not an? {kind}: it {lack}"):
        default_registry().create(kind, thing)


def test_the_text_of_an_object_holds_only_what_was_changed():
    assert default_registry().spec_of("scorer", scorers.CatpVote()) == "catp-vote"
    assert default_registry().spec_of("scorer", scorers.CatpVote([0, 2])) == "catp-vote:layers=[0,2]"


def test_an_object_of_a_class_that_nobody_registered_has_no_text():
    class Mine(scorers.First):
        pass

    assert default_registry().spec_of("scorer", Mine()) is None
