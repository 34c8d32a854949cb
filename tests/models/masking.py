"""An oracle for cuts inside a decoder: the whole model, with a mask on the dropped tokens."""

import torch


class Masking:
    """Hides the dropped tokens from the cross-attention modules at `paths` while it is entered."""

    def __init__(self, model, paths, name, kept, protected):
        self.modules, self.name = [model.get_submodule(path) for path in paths], name
        self.dropped = torch.nn.functional.pad(~kept, (protected, 0))

    def hide(self, module, args, kwargs):
        """The hook."""
        rows, text = (args[0] if args else kwargs["hidden_states"]).shape[:2]
        dropped = self.dropped if len(self.dropped) < rows else self.dropped.view(rows, -1)  # several images in a row
        dropped = dropped.repeat_interleave(rows // len(dropped), dim=0)[:, None, None]
        mask = kwargs.get(self.name)
        mask = torch.zeros(rows, 1, text, dropped.shape[-1]) if mask is None else mask
        return args, {**kwargs, self.name: mask.masked_fill(dropped, torch.finfo(mask.dtype).min)}

    def __enter__(self):
        self.hooks = [each.register_forward_pre_hook(self.hide, with_kwargs=True) for each in self.modules]

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()
