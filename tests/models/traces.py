"""Everything that a pruned model could leave behind, in a form that can be compared."""

from tokprune.adapters.tap import View

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def traces(model):
    """Hooks, names of instance attributes, parameters' identities and kind of configuration of every module."""
    return {
        name: (
            sorted(module.__dict__),
            {key: list(each) for key, each in module.__dict__.items() if "hooks" in key and isinstance(each, dict)},
            {key: id(value) for key, value in module._parameters.items()},
            type(module.__dict__.get("config")),
        )
        for name, module in model.named_modules()
    }


def hook_count(model):
    """How many hooks and taps sit on the model."""
    hooks = sum(len(getattr(module, kind)) for module in model.modules() for kind in HOOKS)
    configs = (module.__dict__.get("config") for module in model.modules())
    return hooks + sum(len(config.parts) for config in configs if isinstance(config, View))


def weights(model):
    """A copy of the state dict."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_weights(one, other):
    """Same names in the same order, same bits."""
    return list(one) == list(other) and all(one[name].equal(other[name]) for name in one)
