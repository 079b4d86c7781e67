"""Naming an SAE: ``PATH_OR_REPO[@REVISION][:SUBPATH]``, and finding its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
WEIGHTS = (".safetensors", ".npz", ".pt", ".pth")
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
    if not subpath or parts.is_absolute() or ".." in parts.parts or set(":*?[") & set(subpath):
        raise ConfigError(f"{text!r}: {subpath!r} is no path inside the folder", remedy=FORM)
    return str(parts)


def locate_sae(reference: SaeReference) -> Path:
    """Find the folder or file of an SAE, downloading that part of a repository where needed.

    Raises:
        CheckpointError: it is not there, the repository cannot be had, or holds several.
    """
    if exists(reference.source):
        return _below(Path(reference.source), reference.subpath)
    if reference.subpath is not None:
        return _below(_fetched(reference, reference.subpath), reference.subpath)
    root = _fetched(reference, None)
    # what else lies there was fetched for another name, and says nothing about this one
    if any((root / name).is_file() for name in ROOT if not name.endswith(".json")):
        return root
    only = _only_one(reference)
    return _below(_fetched(reference, only), only)


def _below(root: Path, subpath: str | None) -> Path:
    path = root / subpath if subpath else root
    if not path.exists():
        inside = sorted(p.name for p in root.iterdir())[:LISTED] if root.is_dir() else []
        raise CheckpointError(
            f"has no {subpath!r}; it holds {', '.join(inside) or 'nothing'}", where=str(root)
        )
    return path


def _fetched(reference: SaeReference, subpath: str | None) -> Path:
    """Download a part of a repository, and give the folder that it lies in."""
    from huggingface_hub import snapshot_download

    # a subpath may be a file or a folder; settings of the root tell of the model
    wanted = [subpath, f"{subpath}/*", "config.json", "cfg.json"] if subpath else list(ROOT)
    with _had(reference):
        return Path(
            snapshot_download(reference.source, revision=reference.revision, allow_patterns=wanted)
        )


def _only_one(reference: SaeReference) -> str:
    """Give the one SAE of a repository, which may lie in a folder."""
    from huggingface_hub import HfApi

    with _had(reference):
        files = HfApi().list_repo_files(reference.source, revision=reference.revision)
    found = sorted({_sae_of(name) for name in files if name.endswith(WEIGHTS)})
    if len(found) == 1:
        return found[0]
    shown = ", ".join(found[:LISTED]) + (", …" if len(found) > LISTED else "")
    raise CheckpointError(
        f"the repository holds {len(found)} SAEs: {shown}" if found else "holds no weights",
        where=str(reference),
        remedy=f"choose one: {reference}:{found[0]}." if found else None,
    )


def _sae_of(name: str) -> str:
    """Give the folder of an SAE's weights, or the file itself where files lie side by side."""
    path = PurePosixPath(name)
    alone = path.name.endswith((".pt", ".pth")) and path.name != "ae.pt"
    return name if alone else str(path.parent).removesuffix("/checkpoints")


@contextmanager
def _had(reference: SaeReference) -> Iterator[None]:
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except (OSError, HFValidationError) as failed:
        said = str(failed).strip().splitlines() or [""]
        raise CheckpointError(
            f"no such folder here, and it cannot be had as a repository ({type(failed).__name__}: "
            f"{said[0]})",
            where=str(SaeReference(reference.source, reference.revision)),
            remedy="check the name and revision; offline, download it first or give its folder.",
        ) from failed
