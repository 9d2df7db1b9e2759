"""Reads and edits the residual stream of a transformers model at named sites, with forward hooks.

This is the reference implementation that the fixtures record: it knows nothing of llama.cpp. Each site is
touched where its tensor exists as the input or output of a module. Edits happen *in place*, because the
stream is used twice (by the next norm and by the residual addition) and both uses must see the edit;
a hook that returned a new tensor would change only the first.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from architectures import Architecture

SITES = ("residPre", "residMid", "residPost", "attnOut", "mlpPost", "mlpOut")

Visit = Callable[[str, int, torch.Tensor], None]
"""Called with (site, layer, rows [tokenCount, width]); it may change the rows in place."""


def blocks_of(model: torch.nn.Module, architecture: Architecture) -> torch.nn.ModuleList:
    """The transformer blocks, in order."""
    return model.get_submodule(architecture.blocks)


def available_sites(architecture: Architecture) -> list[str]:
    """Sites that this architecture has, in the order of `SITES`."""
    return [site for site in SITES if site != "mlpPost" or architecture.sites.mlp_post]


def _rows(value) -> torch.Tensor:
    """The [tokenCount, width] view of a hook's argument, which may be wrapped in a tuple or a batch."""
    tensor = value[0] if isinstance(value, tuple) else value
    rows = tensor[0] if tensor.dim() == 3 else tensor
    assert rows.dim() == 2 and rows.data_ptr() == tensor.data_ptr(), "a hook must see the tensor, not a copy"
    return rows


def _hidden_argument(args: tuple, kwargs: dict):
    """The hidden-state argument of a module call, however it was passed."""
    return args[0] if args else kwargs["hidden_states"]


@contextmanager
def visiting(model: torch.nn.Module, architecture: Architecture, visit: Visit) -> Iterator[None]:
    """While active, call `visit` at every site of every layer during a forward pass, in graph order."""
    handles = []

    def on_input(module: torch.nn.Module, site: str, layer: int) -> None:
        def hook(_module, args, kwargs):
            visit(site, layer, _rows(_hidden_argument(args, kwargs)))
        handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def on_output(module: torch.nn.Module, site: str, layer: int) -> None:
        handles.append(module.register_forward_hook(lambda _m, _args, output: visit(site, layer, _rows(output))))

    names = architecture.sites
    for layer, block in enumerate(blocks_of(model, architecture)):
        on_input(block, "residPre", layer)
        on_output(block.get_submodule(names.attn_out), "attnOut", layer)
        on_input(block.get_submodule(names.mid), "residMid", layer)
        if names.mlp_post:
            on_input(block.get_submodule(names.mlp_post), "mlpPost", layer)
        on_output(block.get_submodule(names.mlp_out), "mlpOut", layer)
        on_output(block, "residPost", layer)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run(model: torch.nn.Module, architecture: Architecture, tokens: list[int],
        edit: Visit | None = None) -> dict[str, torch.Tensor]:
    """One forward pass over `tokens`; every site of every layer after `edit`, and the logits.

    Returns `<site>.<layer>` and `logits`, each [tokenCount, width], f32.
    """
    seen: dict[str, torch.Tensor] = {}

    def visit(site: str, layer: int, rows: torch.Tensor) -> None:
        if edit is not None:
            edit(site, layer, rows)
        assert f"{site}.{layer}" not in seen, "a site fired twice in one pass"
        seen[f"{site}.{layer}"] = rows.clone()

    with torch.no_grad(), visiting(model, architecture, visit):
        logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits
    seen["logits"] = logits[0].clone()
    return seen
