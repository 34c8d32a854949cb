"""An oracle for cuts inside a decoder: the whole model, with a mask on the dropped tokens."""

import torch


class Masking:
    """Hides the dropped tokens from the cross-attention modules at `paths` while it is entered."""

    def __init__(self, model, paths, name, kept, protected, rows=None):
        self.modules, self.name = [model.get_submodule(path) for path in paths], name
        # one row of tokens for each row of the batch, which may have several images
        self.dropped = torch.nn.functional.pad(~kept, (protected, 0)).view(rows or len(kept), -1)

    def hide(self, module, args, kwargs):
        """The hook."""
        rows, text = (args[0] if args else kwargs["hidden_states"]).shape[:2]
        dropped = self.dropped.repeat_interleave(rows // len(self.dropped), dim=0)[:, None, None]
        mask = kwargs.get(self.name)
        mask = torch.zeros(rows, 1, text, dropped.shape[-1]) if mask is None else mask
        return args, {**kwargs, self.name: mask.masked_fill(dropped, torch.finfo(mask.dtype).min)}

    def __enter__(self):
        self.hooks = [each.register_forward_pre_hook(self.hide, with_kwargs=True) for each in self.modules]

    def __exit__(self, *_):
        for hook in self.hooks:
            hook.remove()
