"""Choosing what is read: examples of each SFT set and texts of each domain, by the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imprint.errors import DataError
from imprint.findings import Finding
from imprint.forecast.columns import Columns
from imprint.forecast.config import ForecastConfig
from imprint.forecast.material import Text
from imprint.forecast.sources import Sources
from imprint.forecast.tasks import is_task, read_task
from imprint.forecast.texts import drawn, read_domains, read_sft, without_repeats

FEWEST = 10  # texts of a domain, and examples of SFT: fewer give no interval worth the name
OF_SFT = 2  # times the tokens of a domain are read of each SFT set, as the paper does (App. B.2)
Sets = dict[str, tuple[Text, ...]]


def read_sets(
    sources: Sources,
    config: ForecastConfig,
    tokenizer: Any,
    columns: Columns,
    findings: list[Finding],
) -> tuple[Sets, Sets, dict[str, int]]:
    """Read the SFT sets, and draw from each what the model will read.

    Args:
        sources: their files; without any, the rewarded samples of the rollouts.
        config: how many, and by what column sets are told apart.
        tokenizer: counts tokens.
        columns: how columns of the files are found.
        findings: what was noticed is added here.

    Returns:
        Set → examples drawn, set → all of its examples, set → tokens drawn.

    Raises:
        DataError: a file cannot be used, or a set has too few examples.
    """
    found: Sets = {}
    whole: Sets = {}
    tokens: dict[str, int] = {}
    # before RL there is no SFT set: what the policy was rewarded for stands in its place
    paths = sources.sft or tuple(filter(None, [sources.rollouts]))
    for path, name in zip(paths, _names(paths), strict=True):
        rewarded = path == sources.rollouts
        texts, said = read_sft(path, columns=columns, group_by=config.group_by, rewarded=rewarded)
        texts, again = without_repeats(texts, f"examples of {path.name}")
        findings += [*said, *again]
        lengths = _lengths(tokenizer, [f"{t.prompt}\n{t.answer}" for t in texts])
        kept = drawn(
            texts, lengths, tokens=OF_SFT * config.tokens, limit=config.limit, seed=config.seed
        )
        for group in dict.fromkeys(text.group for text in texts):
            own = [at for at in kept if texts[at].group == group]
            label = _label(name, group, config.group_by, len(paths))
            if len(own) < FEWEST:
                raise DataError(
                    f"the SFT set {label!r} has {len(own)} examples, and a forecast needs {FEWEST}",
                    where=str(path),
                    remedy=f"give at least {FEWEST}, or raise --tokens or --limit.",
                )
            found[label] = tuple(texts[at] for at in own)
            tokens[label] = sum(lengths[at] for at in own)
            whole[label] = tuple(text for text in texts if text.group == group)
            _note_sample(label, len(own), len(whole[label]), findings)
    return found, whole, tokens


def _names(paths: Sequence[Path]) -> list[str]:
    stems = [path.name.partition(".")[0] or path.name for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _label(name: str, group: str, group_by: str | None, files: int) -> str:
    if group_by is None:
        return name
    return group if files == 1 else f"{name}: {group}"


def _note_sample(name: str, taken: int, total: int, findings: list[Finding]) -> None:
    if taken < total:
        detail = f"of the SFT set {name!r}, {taken} of {total} examples were drawn"
        findings.append(Finding("sft_sample", detail, "info", count=taken))


def read_texts(
    sources: Sources,
    config: ForecastConfig,
    tokenizer: Any,
    context: int,
    columns: Columns,
    findings: list[Finding],
) -> tuple[list[Text], list[int], dict[str, int]]:
    """Read the texts of all domains, and draw from each what the model will read.

    Args:
        sources: their files, or tasks of lm-eval.
        config: how many tokens and texts.
        tokenizer: counts tokens.
        context: tokens that the model reads at once; longer texts are left out.
        columns: how columns of the files are found.
        findings: what was noticed is added here.

    Returns:
        Texts, those of one domain together, the tokens of each, and how many texts each domain has
        of which they were drawn.

    Raises:
        DataError: a file cannot be used, or a domain has too few texts.
    """
    texts = _read(sources.domains, columns, findings)
    groups = list(dict.fromkeys(text.group for text in texts))
    texts = sorted(texts, key=lambda text: groups.index(text.group))
    texts, again = without_repeats(texts, "domain texts")
    findings += again
    items = dict(Counter(text.group for text in texts))
    lengths = _lengths(tokenizer, [text.prompt for text in texts])
    texts, lengths = _fitting(texts, lengths, context, findings)
    kept = drawn(texts, lengths, tokens=config.tokens, limit=config.limit, seed=config.seed)
    taken = [texts[at] for at in kept]
    _refuse_few(groups, taken, texts, config)
    if len(groups) < 2:
        raise DataError(
            f"{len(groups)} domain, and a forecast compares domains",
            where=sources.domains[0],
            remedy="name the domain of each row in a column `domain`, or give several files.",
        )
    return taken, [lengths[at] for at in kept], items


def _read(names: Sequence[str], columns: Columns, findings: list[Finding]) -> list[Text]:
    texts: list[Text] = []
    called: dict[str, Path] = {}
    for name in names:
        path = Path(name)
        if is_task(name):
            read, said = read_task(name)
        else:
            read, said = read_domains(path, columns=columns, alike=called.get(path.stem))
            called[path.stem] = path
        texts += read
        findings += said
    return texts


def _fitting(
    texts: list[Text], lengths: list[int], context: int, findings: list[Finding]
) -> tuple[list[Text], list[int]]:
    """Leave out texts that the model cannot read whole; they would lose their question."""
    fits = [n for n, length in enumerate(lengths) if length < context]
    gone = [text for text, length in zip(texts, lengths, strict=True) if length >= context]
    if gone:
        detail = (
            f"{len(gone)} domain texts are longer than the model's context of {context} tokens "
            f"and are left out, the first at {gone[0].place or gone[0].name}"
        )
        findings.append(Finding("beyond_context", detail, count=len(gone)))
    return [texts[n] for n in fits], [lengths[n] for n in fits]


def _refuse_few(
    groups: Sequence[str], taken: Sequence[Text], fitting: Sequence[Text], config: ForecastConfig
) -> None:
    for group in groups:
        count = sum(text.group == group for text in taken)
        if count >= FEWEST:
            continue
        there = sum(text.group == group for text in fitting)
        where = next((text.place for text in fitting if text.group == group), None)
        more = "raise --tokens." if there >= FEWEST else f"give at least {FEWEST}, or leave it out."
        raise DataError(
            f"the domain {group!r} has {count} texts to read, and its interval needs {FEWEST}"
            + (f" (--tokens {config.tokens} stops there)" if there > count else ""),
            where=where,
            remedy=more,
        )


def note_leaks(sets: Sets, texts: Sequence[Text], findings: list[Finding]) -> None:
    """Say which domain texts are prompts of an SFT set too."""
    for name, examples in sets.items():
        known = {text.prompt for text in examples}
        shared = [text for text in texts if text.prompt in known]
        if shared:
            detail = (
                f"{len(shared)} domain texts are prompts of the SFT set {name!r} too, the first at "
                f"{shared[0].place or shared[0].name}: those domains are trained on"
            )
            findings.append(Finding("leak", detail, count=len(shared)))


def _lengths(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    found = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [len(ids) for ids in found]
