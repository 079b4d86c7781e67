"""One spelling for tensor names that different tools write differently."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from imprint.errors import CheckpointError, ConfigError

WRAPPERS = ("module.", "_orig_mod.", "base_model.model.")
BODIES = (
    "model.language_model.",
    "language_model.model.",
    "language_model.",
    "model.",
    "transformer.",
    "gpt_neox.",
)
MIXTRAL = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}


def plain(name: str) -> str:
    """Strip what wrappers and model classes put before a name; spell experts in one way.

    >>> plain("model.language_model.layers.0.mlp.up_proj.weight")
    'layers.0.mlp.up_proj.weight'
    >>> plain("model.layers.0.block_sparse_moe.experts.3.w1.weight")
    'layers.0.mlp.experts.3.gate_proj.weight'
    """
    while (wrapper := next((w for w in WRAPPERS if name.startswith(w)), None)) is not None:
        name = name.removeprefix(wrapper)
    body = next((b for b in BODIES if name.startswith(b)), "")
    name = name.removeprefix(body).replace(".block_sparse_moe.", ".mlp.")
    return re.sub(r"(\.experts\.\d+\.)(w[123])\.", lambda m: f"{m[1]}{MIXTRAL[m[2]]}.", name)


def by_plain_name(names: Iterable[str], where: str) -> dict[str, str]:
    """Map plain names to names.

    Raises:
        CheckpointError: two names have the same plain one.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(plain(name), name)
        if other != name:
            raise CheckpointError(
                f"{other!r} and {name!r} would be aligned as the same tensor",
                where=where,
                remedy="tell them apart with --rename REGEX=NEW.",
            )
    return found


def rename_all(
    names: Iterable[str], rules: Sequence[tuple[str, str]], where: str
) -> Mapping[str, str]:
    """Apply a user's renames, one after the other, to every name.

    Args:
        names: the names of one checkpoint.
        rules: regular expressions with what replaces each match (``\\1`` for groups).
        where: the checkpoint, for messages.

    Returns:
        New name → name.

    Raises:
        ConfigError: a rule that does not compile, or matches nothing.
        CheckpointError: two names become one.
    """
    spelled = {name: name for name in names}
    for expression, new in rules:
        try:
            changed = {name: re.sub(expression, new, now) for name, now in spelled.items()}
        except (re.error, IndexError, OverflowError, RecursionError) as wrong:
            raise ConfigError(f"--rename {expression}={new} cannot be applied: {wrong}") from None
        if changed == spelled:
            raise ConfigError(
                f"--rename {expression}={new} changes no name",
                where=where,
                remedy=f"the names look like {next(iter(spelled), '')}.",
            )
        spelled = changed
    found: dict[str, str] = {}
    for name, now in spelled.items():
        if now in found:
            raise CheckpointError(
                f"--rename makes {found[now]!r} and {name!r} both {now!r}", where=where
            )
        found[now] = name
    return found
