"""From texts to what both models read: tokens, and the positions where their predictions meet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from imprint.drift.config import DriftConfig
from imprint.drift.texts import Sample
from imprint.errors import DataError
from imprint.findings import Finding
from imprint.models.prompting import Prompter

Ids = tuple[int, ...]
LONGEST = 2048  # tokens in a window, unless another length is asked for
CHUNK = 1 << 13  # tokens that are finished, and kept, together


@dataclass(frozen=True, slots=True)
class Piece:
    """A text, or a window of one, as two models read it.

    Attributes:
        sample: number of the text.
        base, tuned: tokens that each model reads; the last is predicted and never read.
        targets: the tokens that are predicted.
        base_at, tuned_at: where in ``base`` and ``tuned`` each target stands.
        positions: where each target stands in the text, counted from 0 over all its windows.
    """

    sample: int
    base: Ids
    tuned: Ids
    targets: Ids
    base_at: Ids
    tuned_at: Ids
    positions: Ids

    @property
    def tokens(self) -> int:
        """The number of tokens that are read by one model."""
        return max(len(self.base), len(self.tuned))


@dataclass
class Cutter:
    """Cuts samples into pieces and notes what it did to them.

    Attributes:
        base, tuned: tokenizers.
        prompters: how prompts are put to base and tuned.
        limit: tokens that a model reads at once.
        config: which positions count.
        noted: check → how many texts it concerns.
    """

    base: Any
    tuned: Any
    prompters: tuple[Prompter, Prompter]
    limit: int
    config: DriftConfig
    noted: Counter[str] = field(default_factory=Counter)

    def cut(self, samples: Sequence[Sample]) -> list[Piece]:
        """Give the pieces of all samples, in their order.

        Raises:
            DataError: nothing is left to compare.
        """
        found: list[Piece] = []
        for number, sample in enumerate(samples):
            made = list(self._pieces(number, sample))
            self.noted["without_position"] += not made
            found += made
        if not found:
            raise DataError(
                "no position is left where the two models can be compared",
                where=samples[0].place if samples else None,
                remedy="are the answers named, and cut alike after both prompts?",
            )
        return found

    def findings(self) -> list[Finding]:
        """Say what was done to how many texts."""
        told = {
            "text_in_windows": f"longer than {self.limit} tokens and cut into windows that share "
            "one token; the beginning of a window is predicted from little context",
            "prompt_cut": f"with prompt longer than {self.limit} tokens; the prompt lost its "
            "beginning",
            "completion_in_two_ways": "left out: the answer is cut into other tokens after the "
            "tuned model's prompt than after the base's",
            "completion_too_long": f"left out: the completion alone is longer than {self.limit} "
            "tokens",
            "without_position": "have no position to compare",
        }
        return [
            Finding(check, f"{count:,} texts {told[check]}", count=count)
            for check, count in self.noted.items()
            if count
        ]

    def _pieces(self, number: int, sample: Sample) -> Iterator[Piece]:
        if sample.prompt is None:
            ids, wanted = self._text(sample)
            yield from self._windows(number, ids, wanted)
            return
        pair = self._prompted(sample)
        if pair is None:
            return
        (first, ids), (other, ids_there) = pair
        if ids != ids_there:
            self.noted["completion_in_two_ways"] += 1
        elif first == other and self.config.positions == "all":
            whole = first + ids
            yield from self._windows(number, whole, range(1, len(whole)))
        elif len(ids) > self.limit:
            self.noted["completion_too_long"] += 1
        else:
            yield self._answer(number, sample, first, other, ids)

    def _text(self, sample: Sample) -> tuple[Ids, Sequence[int]]:
        spans = sample.spans if self.config.positions != "all" else ()
        if self.config.positions == "answer" and not spans:
            raise DataError(
                "names no answer, and --positions answer compares nothing else",
                where=sample.place,
                remedy="give the row `answer` or `spans`, or use --positions auto.",
            )
        ids, offsets = _encoded(self.base, sample.text, spans=bool(spans), place=sample.place)
        if not spans:
            return ids, range(1, len(ids))
        return ids, [at for at in range(1, len(ids)) if _meets(offsets[at], spans)]

    def _windows(self, number: int, ids: Ids, wanted: Sequence[int]) -> Iterator[Piece]:
        kept = set(wanted)
        self.noted["text_in_windows"] += len(ids) - 1 > self.limit
        for start in range(0, len(ids) - 1, self.limit):
            piece = ids[start : start + self.limit + 1]
            at = tuple(n for n in range(1, len(piece)) if start + n in kept)
            if at:
                targets = tuple(piece[n] for n in at)
                places = tuple(start + n for n in at)
                yield Piece(number, piece, piece, targets, at, at, places)

    def _prompted(self, sample: Sample) -> tuple[tuple[Ids, Ids], tuple[Ids, Ids]] | None:
        blanks = [p.delimiter if sample.conversation else "" for p in self.prompters]
        sides = zip((self.base, self.tuned), contexts(sample, self.prompters), blanks, strict=True)
        found = [_pair(tokenizer, text + blank, sample.text) for tokenizer, text, blank in sides]
        if not all(ids for _, ids in found) or not all(first for first, _ in found):
            return None
        return found[0], found[1]

    def _answer(self, number: int, sample: Sample, first: Ids, other: Ids, ids: Ids) -> Piece:
        room = self.limit + 1 - len(ids)
        self.noted["prompt_cut"] += max(len(first), len(other)) > room
        first, other = first[-room:], other[-room:]
        at = self._within(sample, ids)
        return Piece(
            number,
            first + ids,
            other + ids,
            tuple(ids[n] for n in at),
            tuple(len(first) + n for n in at),
            tuple(len(other) + n for n in at),
            tuple(at),
        )

    def _within(self, sample: Sample, ids: Ids) -> Sequence[int]:
        if not sample.spans or self.config.positions == "all":
            return range(len(ids))
        # tokens after a prompt may differ from those of the completion alone: count characters
        ends = [len(self.base.decode(ids[: n + 1])) for n in range(len(ids))]
        # the prompt's last blank is the completion's first
        if self.base.decode(ids).endswith(sample.text):
            ends = [end - ends[-1] + len(sample.text) for end in ends]
        offsets = list(zip([0, *ends], ends, strict=False))
        return [n for n in range(len(ids)) if _meets(offsets[n], sample.spans)]


def contexts(sample: Sample, prompters: tuple[Prompter, Prompter]) -> tuple[str, str]:
    """Render the prompt of a sample for base and tuned; without a prompt its text is one."""
    base, tuned = prompters
    if sample.conversation is not None:
        return sample.conversation.context(base), sample.conversation.context(tuned)
    prompt = sample.text if sample.prompt is None else sample.prompt
    other = prompt if sample.tuned_prompt is None else sample.tuned_prompt
    return base.context(prompt), tuned.context(other)


def chunks(pieces: Sequence[Piece], tokens: int = CHUNK) -> list[list[Piece]]:
    """Group pieces, in order, into chunks of at most so many tokens; a single one may be longer."""
    found: list[list[Piece]] = []
    size = tokens
    for piece in pieces:
        if size + piece.tokens > tokens:
            found.append([])
            size = 0
        found[-1].append(piece)
        size += piece.tokens
    return found


def _meets(token: tuple[int, int], spans: Sequence[tuple[int, int]]) -> bool:
    return any(token[0] < stop and start < token[1] for start, stop in spans)


def _encoded(
    tokenizer: Any, text: str, *, spans: bool, place: str
) -> tuple[Ids, list[tuple[int, int]]]:
    if spans and not tokenizer.is_fast:
        raise DataError(
            "spans of a text need a fast tokenizer, which tells where its tokens lie",
            where=place,
            remedy="give prompt and completion, or save the tokenizer as tokenizer.json.",
        )
    # longer texts than the tokenizer expects are cut into windows: its warning would mislead
    found = tokenizer(text, verbose=False, return_offsets_mapping=spans)
    ids, offsets = tuple(found["input_ids"]), list(found["offset_mapping"]) if spans else []
    start = tokenizer.bos_token_id
    # without a start of text the first token would be predicted from nothing
    if start is not None and ids[:1] != (start,):
        ids, offsets = (int(start), *ids), [(0, 0), *offsets]
    return ids, offsets


def _pair(tokenizer: Any, context: str, text: str) -> tuple[Ids, Ids]:
    """Encode both jointly and split behind the context, whose trailing blanks go to the text."""
    kept = context.rstrip()
    first = encode(tokenizer, kept) if kept else ()
    if not first:
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else None
        start = tokenizer.eos_token_id if start is None else start
        plain = tuple(
            tokenizer(context + text, add_special_tokens=False, verbose=False)["input_ids"]
        )
        return (() if start is None else (int(start),)), plain
    return first, encode(tokenizer, kept + context[len(kept) :] + text)[len(first) :]


def encode(tokenizer: Any, text: str) -> Ids:
    """Encode a prompt as its tokenizer has it, with one start token at most."""
    start = tokenizer.bos_token
    special = not (start and text.startswith(start))
    return tuple(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
