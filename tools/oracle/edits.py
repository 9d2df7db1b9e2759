"""Edits as plain data, the cases that every fixture records, and how one edit changes a block of rows.

An edit is `{kind, site, layers, neurons?, positions, ...}`; arrays that belong to it are named under
`tensors`, which maps a payload name (value, direction, rows) to a tensor of the fixture. README.md lists
the kinds. The arithmetic here is the reference and is written for reading, not for speed.
"""

from typing import Any

import numpy as np
import torch

Edit = dict[str, Any]
Tensors = dict[str, torch.Tensor]


def position_rows(edit: Edit, token_count: int) -> list[int]:
    """Rows that an edit touches; in a single prefill every row belongs to the prompt."""
    positions = edit["positions"]
    return list(range(token_count)) if positions in ("all", "prompt") else list(positions["explicit"])


def edit_values(edit: Edit, values: torch.Tensor, tensors: Tensors) -> torch.Tensor:
    """New values [rowCount, neuronCount] of the selected coordinates, for the old ones of the same shape."""
    payload = {name: tensors[key] for name, key in edit.get("tensors", {}).items()}
    kind = edit["kind"]
    if kind == "zero":
        return torch.zeros_like(values)
    if kind == "set":
        return payload["value"].expand_as(values)
    if kind == "add":
        return values + edit["coefficient"] * payload["direction"]
    if kind == "scale":
        return values * edit["factor"]
    if kind == "clamp":
        return values.clamp(edit["min"], edit["max"])
    if kind == "projectOut":
        unit = payload["direction"] / payload["direction"].norm()
        return values - torch.outer(values @ unit, unit)
    if kind == "patch":
        return payload["rows"]
    raise ValueError(f"unknown edit kind {kind!r}")


def editor(edits: list[Edit], tensors: Tensors):
    """A visitor for `sites.run` that applies `edits` in list order wherever their site and layer match."""
    def visit(site: str, layer: int, rows: torch.Tensor) -> None:
        for edit in edits:
            if edit["site"] != site or layer not in edit["layers"]:
                continue
            index = torch.tensor(position_rows(edit, rows.shape[0]))[:, None]
            neurons = torch.tensor(edit.get("neurons") or range(rows.shape[1]))[None, :]
            rows[index, neurons] = edit_values(edit, rows[index, neurons], tensors)
    return visit


def _edit(kind: str, site: str, layers: list[int], positions: Any = "all", **extra: Any) -> Edit:
    """One edit in the field order of the schema; `extra` holds neurons, scalars and payloads."""
    if isinstance(positions, list):
        positions = {"explicit": positions}
    return {"kind": kind, "site": site, "layers": layers, "positions": positions, **extra}


def plan_cases(layers: int, has_mlp_post: bool) -> list[dict[str, Any]]:
    """The edit cases of one fixture, with payloads still described by how to make them.

    `layers` is the layer count. A payload is `("random", width)` or `("captured", sequence)`; the latter
    takes the rows of that sequence's unedited run at the edit's own site, layer, positions and neurons.
    """
    last, middle = layers - 1, max(layers - 2, 0)
    random, captured = "random", "captured"
    cases = [
        ("zero-residPost", 2, [_edit("zero", "residPost", [middle], neurons=[3, 17, 29, 40, 63])]),
        ("add-residMid", 1, [_edit("add", "residMid", [0], [0, 4, 6], coefficient=2.5,
                                   tensors={"direction": (random, 64)})]),
        ("patch-residPost", 2, [_edit("patch", "residPost", [middle], [2, 5], tensors={"rows": (captured, 1)})]),
        ("patch-neurons-residPre", 1, [_edit("patch", "residPre", [last], [1, 3], neurons=[0, 9, 33],
                                             tensors={"rows": (captured, 2)})]),
        ("scale-residPost", 1, [_edit("scale", "residPost", [0, middle], "prompt", neurons=[5, 6, 7, 60],
                                      factor=-0.5)]),
        ("clamp-residMid", 1, [_edit("clamp", "residMid", [middle], min=-0.5, max=0.5)]),
        ("projectOut-residPost", 2, [_edit("projectOut", "residPost", [0], tensors={"direction": (random, 64)})]),
        ("zero-residPre", 1, [_edit("zero", "residPre", [0], neurons=[1, 8])]),
        ("set-attnOut", 1, [_edit("set", "attnOut", [last], neurons=[2, 20, 50], tensors={"value": (random, 3)})]),
        ("zero-mlpOut", 1, [_edit("zero", "mlpOut", [last])]),
        ("zero-last-residPost", 1, [_edit("zero", "residPost", [last], neurons=list(range(0, 64, 8)))]),
        ("add-every-layer", 1, [_edit("add", "residPost", list(range(layers)), coefficient=0.75,
                                      tensors={"direction": (random, 64)})]),
        ("two-edits", 2, [_edit("zero", "attnOut", [0], [10, 11, 12], neurons=list(range(16))),
                          _edit("set", "residPost", [middle], [4, 12, 18], neurons=[0, 1],
                                tensors={"value": (random, 2)})]),
    ]
    if has_mlp_post:
        cases.append(("scale-mlpPost", 2, [_edit("scale", "mlpPost", [middle], [0, 7, 8, 18],
                                                 neurons=[1, 2, 30, 95], factor=3.0)]))
    return [{"name": name, "sequence": sequence, "edits": edits} for name, sequence, edits in cases]


def resolve_payloads(case: dict[str, Any], runs: list[Tensors], rng: np.random.Generator) -> Tensors:
    """Make a case's payload tensors `edit.<name>.<payload>`, and point the case's edits at them.

    Changes `case` in place: each payload description becomes the tensor's name, and a captured payload
    also leaves `source` (sequence, site, layer) behind. Draws random payloads from `rng`.
    """
    made: Tensors = {}
    for edit in case["edits"]:
        for payload, (how, argument) in edit.get("tensors", {}).items():
            key = f"edit.{case['name']}.{payload}"
            assert key not in made, "payload names are unique within a case"
            if how == "random":
                made[key] = torch.from_numpy(rng.standard_normal(argument).astype(np.float32))
            else:
                rows = runs[argument][f"{edit['site']}.{edit['layers'][0]}"][edit["positions"]["explicit"]]
                made[key] = rows[:, edit["neurons"]].contiguous() if "neurons" in edit else rows
                edit["source"] = {"sequence": argument, "site": edit["site"], "layer": edit["layers"][0]}
            edit["tensors"][payload] = key
    return made
