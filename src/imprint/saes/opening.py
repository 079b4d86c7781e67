"""From an SAE's name to the SAE: its format is told by what the folder holds, never guessed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imprint.errors import CheckpointError, ConfigError
from imprint.findings import Finding
from imprint.saes.folder import Folder
from imprint.saes.readers import FORMATS, Format
from imprint.saes.reference import LISTED, locate_sae, parse_sae
from imprint.saes.sae import Sae

# names of weights that are an SAE's alone
OWN = {"sae_weights.safetensors", "sae.safetensors", "params.safetensors", "params.npz", "ae.pt"}
SETTINGS = ("cfg.json", "config.json", "hyperparams.json")
DEEPEST = 4  # folders below the one named in which SAEs are looked for


def open_sae(reference: str | Path, *, k: int | None = None, layer: int | None = None) -> Sae:
    """Open an SAE by its name; it is read whole, checked, and held as float32 on the CPU.

    Args:
        reference: ``PATH_OR_REPO[@REVISION][:SUBPATH]``; a folder above a single SAE stands for it.
        k: how many latents fire, for a top-k format that does not say so itself.
        layer: the layer it reads, for a format that does not say so itself.

    Raises:
        ConfigError: the name fits no form, or ``layer`` or ``k`` is another than the SAE's own.
        CheckpointError: it cannot be found, is damaged, or is of no known format, or of several.
        DependencyError: torch is not installed.
    """
    named = parse_sae(str(reference))
    path = locate_sae(named)
    folder = _folder(path, str(named), k)
    form = _format(folder)
    sae = form.read(folder)
    files = [*folder.read, *(name for name in SETTINGS if folder.has(name))]
    found = replace(
        sae,
        format=form.title,
        source=str(named),
        files=tuple(folder.path / name for name in files),
    )
    _refuse_k(found, k)
    return _at_layer(found, layer)


def _folder(path: Path, named: str, k: int | None) -> Folder:
    if path.is_file():
        above = path.parent
        if path.name == "final.safetensors" and above.name == "checkpoints":
            return Folder(above.parent, named, k=k)
        return Folder(above, named, path.name, k)
    folder = Folder(path, named, k=k)
    if _known(folder):
        return folder
    below = _below(path)
    if len(below) == 1:
        return Folder(below[0], named, k=k)
    if below:
        names = [str(p.relative_to(path)) for p in below]
        shown = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
        raise CheckpointError(
            f"holds {len(below)} SAEs: {shown}",
            where=str(path),
            remedy=f"choose {named}:{names[0]}",
        )
    return folder


def _below(path: Path) -> list[Path]:
    """Find folders below that hold an SAE."""
    found, level = [], [path]
    for _ in range(DEEPEST):
        level = sorted(
            p for above in level for p in above.iterdir() if p.is_dir() and p.name[0] != "."
        )
        found += [p for p in level if _looks_known(p)]
        level = [p for p in level if p not in found]
    return found


def _looks_known(path: Path) -> bool:
    """Whether a folder may hold an SAE, by the names of its files alone."""
    names = {p.name for p in path.iterdir() if p.is_file()}
    pickled = [name for name in names if name.endswith((".sae.pt", ".pth"))]
    return bool(names & OWN or pickled) or (path / "checkpoints" / "final.safetensors").is_file()


def _known(folder: Folder) -> list[Format]:
    return [form for form in FORMATS if form.matches(folder)]


def _format(folder: Folder) -> Format:
    found = _known(folder)
    if len(found) == 1:
        return found[0]
    seen = sorted(p.name for p in folder.path.iterdir())
    shown = ", ".join(seen[:LISTED]) + (", …" if len(seen) > LISTED else "")
    where = str(folder.path / folder.chosen) if folder.chosen else str(folder.path)
    if found:
        raise CheckpointError(
            f"could be an SAE of {' or of '.join(form.title for form in found)}: it holds {shown}",
            where=where,
            remedy="name the file of weights itself, or keep each SAE in a folder of its own.",
        )
    pickled = [name for name in folder.weights if name.endswith((".pt", ".pth"))]
    known = "\n  ".join(f"{form.title}: {form.holds}" for form in FORMATS)
    held = f"; {folder.chosen or pickled[0]} holds {_names(folder)}" if len(pickled) == 1 else ""
    raise CheckpointError(
        f"is no SAE of a known format: it holds {shown or 'nothing'}{held}",
        where=where,
        remedy=(f"name one file of the {len(pickled)}. " if len(pickled) > 1 else "")
        + f"Known are\n  {known}",
    )


def _names(folder: Folder) -> str:
    tensors = folder.pickled()
    return ", ".join(tensors.names[:LISTED]) if tensors else "nothing"


def _refuse_k(sae: Sae, k: int | None) -> None:
    own = getattr(sae.function, "k", None)
    if k is None or k == own:
        return
    told = f"{own} of its latents fire" if own else f"it is {sae.activation} and has no k"
    raise ConfigError(
        f"--sae-k {k}, but the SAE says that {told}",
        where=sae.source,
        remedy="leave --sae-k out.",
    )


def _at_layer(sae: Sae, layer: int | None) -> Sae:
    own = sae.hook.layer
    if layer is None or layer == own:
        return sae
    if own is not None:
        raise ConfigError(
            f"--layer {layer}, but the SAE was made for {sae.hook}",
            where=sae.source,
            remedy="leave --layer out.",
        )
    told = Finding(
        "layer",
        f"The SAE does not tell its layer: {sae.hook.point} of layer {layer} is taken.",
        level="info",
    )
    return replace(sae, hook=replace(sae.hook, layer=layer), findings=(*sae.findings, told))
