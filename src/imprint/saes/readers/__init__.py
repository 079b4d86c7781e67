"""One reader per format on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imprint.saes.folder import Folder
from imprint.saes.readers import (
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    linear,
    llama_scope,
    qwen_scope,
    sae_lens,
    sparsify,
)
from imprint.saes.sae import Sae


@dataclass(frozen=True, slots=True)
class Format:
    """A format on disk.

    Attributes:
        title: its name.
        holds: what a folder of it holds, for messages.
        matches: whether a folder does.
        read: gives the SAE.
    """

    title: str
    holds: str
    matches: Callable[[Folder], bool]
    read: Callable[[Folder], Sae]


_MODULES = (sae_lens, sparsify, gemma_scope, gemma_scope_2, llama_scope)
FORMATS: tuple[Format, ...] = (
    *(Format(m.TITLE, m.HOLDS, m.matches, m.read) for m in _MODULES),
    Format(llama_scope.TITLE_R1, llama_scope.HOLDS_R1, llama_scope.matches_r1, llama_scope.read_r1),
    *(Format(m.TITLE, m.HOLDS, m.matches, m.read) for m in (qwen_scope, dictionary_learning)),
    Format(
        linear.TITLE_GOODFIRE,
        linear.HOLDS_GOODFIRE,
        linear.matches_goodfire,
        linear.read_goodfire,
    ),
    Format(
        linear.TITLE_QRESEARCH,
        linear.HOLDS_QRESEARCH,
        linear.matches_qresearch,
        linear.read_qresearch,
    ),
)
