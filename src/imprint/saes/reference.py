"""Naming an SAE: ``PATH_OR_REPO[@REVISION][:SUBPATH]``, and finding its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imprint.checkpoints.reference import REPOSITORY, exists
from imprint.errors import CheckpointError, ConfigError

FORM = "write PATH_OR_REPO[@REVISION][:SUBPATH]."
# of a repository without a subpath these alone are fetched: the others may be hundreds of GB
ROOT = (
    *("cfg.json", "config.json", "hyperparams.json"),
    *("sae_weights.safetensors", "sae.safetensors", "params.safetensors", "params.npz", "ae.pt"),
    "checkpoints/final.safetensors",
)
LISTED = 12


@dataclass(frozen=True, slots=True)
class SaeReference:
    """An SAE that a user named.

    Attributes:
        source: a local folder or file, or a repository.
        revision: branch, tag or commit of a repository.
        subpath: a folder or file inside.
    """

    source: str
    revision: str | None = None
    subpath: str | None = None

    def __str__(self) -> str:
        text = f"{self.source}@{self.revision}" if self.revision else self.source
        return f"{text}:{self.subpath}" if self.subpath else text


def parse_sae(text: str) -> SaeReference:
    """Read an SAE's name; a local path wins.

    >>> parse_sae("org/saes@main:layers.5")
    SaeReference(source='org/saes', revision='main', subpath='layers.5')

    Raises:
        ConfigError: the text is empty or fits no form, or its subpath leads out of the folder.
    """
    if text and exists(text):
        return SaeReference(text)
    for end in range(len(text) - 1, 0, -1):
        if text[end] == ":" and exists(text[:end]):
            return SaeReference(text[:end], None, _inside(text[end + 1 :], text))
    named, _, subpath = text.partition(":")
    source, _, revision = named.partition("@")
    if not REPOSITORY.fullmatch(source) or (("@" in named) and not revision):
        raise ConfigError(f"{text!r} names no folder here and no repository", remedy=FORM)
    return SaeReference(source, revision or None, _inside(subpath, text) if ":" in text else None)


def _inside(subpath: str, text: str) -> str:
    parts = PurePosixPath(subpath.replace("\\", "/"))
    if not subpath or parts.is_absolute() or ".." in parts.parts or ":" in subpath:
        raise ConfigError(f"{text!r}: {subpath!r} is no path inside the folder", remedy=FORM)
    return str(parts)


def locate_sae(reference: SaeReference) -> Path:
    """Find the folder or file of an SAE, downloading that part of a repository where needed.

    Raises:
        CheckpointError: it is not there, or the repository cannot be had.
    """
    root = Path(reference.source) if exists(reference.source) else _fetch(reference)
    path = root / reference.subpath if reference.subpath else root
    if not path.exists():
        inside = sorted(p.name for p in root.iterdir())[:LISTED] if root.is_dir() else []
        raise CheckpointError(
            f"has no {reference.subpath!r}; it holds {', '.join(inside) or 'nothing'}",
            where=str(root),
        )
    return path


def _fetch(reference: SaeReference) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError

    sub = reference.subpath
    # config.json of the root tells of the model; a subpath may be a file or a folder
    wanted = [sub, f"{sub}/*", "config.json", "cfg.json"] if sub else list(ROOT)
    named = str(SaeReference(reference.source, reference.revision))
    try:
        folder = Path(
            snapshot_download(reference.source, revision=reference.revision, allow_patterns=wanted)
        )
        if sub or any(path.suffix != ".json" for path in folder.iterdir() if path.is_file()):
            return folder
        files = HfApi().list_repo_files(reference.source, revision=reference.revision)
    except (OSError, HFValidationError) as failed:
        said = str(failed).strip().splitlines() or [""]
        raise CheckpointError(
            f"no such folder here, and it cannot be had as a repository ({type(failed).__name__}: "
            f"{said[0]})",
            where=named,
            remedy="check the name and revision; offline, download it first or give its folder.",
        ) from failed
    found = sorted({_sae_of(name) for name in files if not name.endswith((".json", ".md"))})
    shown = ", ".join(found[:LISTED]) + (
        f", … ({len(found)} in all)" if len(found) > LISTED else ""
    )
    raise CheckpointError(
        f"the repository holds several SAEs: {shown}",
        where=named,
        remedy=f"choose one: {named}:{found[0] if found else 'SUBPATH'}.",
    )


def _sae_of(name: str) -> str:
    path = PurePosixPath(name)
    return name if name.endswith((".pt", ".pth")) else str(path.parent)
