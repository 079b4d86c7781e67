"""Sampling many continuations of many short prompts.

Each prompt is read once and its keys and values serve all of its samples; samples of many prompts
run in one batch; tokens are drawn by inverse CDF; a sample ends as soon as its question is settled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from imprint.errors import require
from imprint.models.batching import OutOfMemoryError, memory_ran_out, release
from imprint.models.engine import Generated
from imprint.models.inverse_cdf import Keys, choose, uniforms
from imprint.models.load import Loaded
from imprint.models.prefix_cache import PromptCache, refuse_stateful
from imprint.models.requests import Encoder
from imprint.progress import note

Ended = Literal["end", "stop", "length"]
Settled = Callable[[int, str], bool]
LOOK = 4  # tokens between looks at the texts
CROWDED = 0.75  # rows that are done leave the batch when fewer than this share go on
ROWS_CPU, ROWS_GPU = 256, 2048


@dataclass(frozen=True, slots=True)
class Row:
    """One sample to draw.

    Attributes:
        prompt: index of its prompt.
        sample: which sample of the prompt, for the answer.
        key: what its random numbers depend on (``inverse_cdf.key``).
    """

    prompt: int
    sample: int
    key: int


@dataclass
class Sampler:
    """Continues prompts with a model in this process.

    In float32 the texts do not depend on ``rows``, up to draws that fall within a rounding error
    of the border between two tokens. In bfloat16 and float16 the model's own numbers depend on the
    size of a batch, so only equal ``rows`` give equal texts.

    Attributes:
        loaded: model and tokenizer.
        temperature: of the draws; 0 is greedy.
        max_new_tokens: the length at which a text ends.
        stop: texts that end a sample; they and what follows are cut off.
        rows: samples in a batch; halved when memory runs out. By default what suits the device.
        quiet: say nothing when memory runs out.
        cut: prompts that were too long and lost tokens on the left, so far.
    """

    loaded: Loaded
    temperature: float = 0.7
    max_new_tokens: int = 32
    stop: Sequence[str] = ()
    rows: int | None = None
    quiet: bool = False
    cut: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        refuse_stateful(self.loaded)
        self.encoder = Encoder(self.loaded)
        on_cpu = self.loaded.device.type == "cpu"
        self.rows = self.rows or (ROWS_CPU if on_cpu else ROWS_GPU)
        self.ends = _end_tokens(self.loaded)

    def read(self, prompts: Sequence[str]) -> PromptCache:
        """Run the model over the prompts, each once.

        Raises:
            DataError: there is no tokenizer.
            OutOfMemoryError: a single prompt does not fit.
        """
        torch = require("torch", "models")
        ids = [self._encoded(prompt) for prompt in prompts]
        order = sorted(range(len(ids)), key=lambda n: len(ids[n]))
        with torch.inference_mode():
            parts = self._in_batches(order, lambda batch: [self._prefill([ids[n] for n in batch])])
            return PromptCache(parts, order)

    def draw(
        self, read: PromptCache, rows: Sequence[Row], settled: Settled | None = None
    ) -> list[Generated]:
        """Draw samples, in the order of ``rows``.

        Args:
            read: of the prompts.
            rows: which samples of which prompts.
            settled: given the index of a row and its text so far, whether the rest is of no
                interest. A text is looked at every few tokens.

        Raises:
            OutOfMemoryError: a single sample does not fit.
        """
        torch = require("torch", "models")
        lengths = read.lengths.tolist()
        order = sorted(range(len(rows)), key=lambda n: (lengths[rows[n].prompt], n))
        with torch.inference_mode():
            found = self._in_batches(order, lambda batch: self._draw(read, rows, batch, settled))
        back = dict(zip(order, found, strict=True))
        return [back[n] for n in range(len(rows))]

    def _encoded(self, prompt: str) -> list[int]:
        ids = self.encoder.encode(prompt) or [self.encoder.prefix]
        room = max(1, self.encoder.limit - self.max_new_tokens)
        self.cut += len(ids) > room
        return ids[-room:]

    def _in_batches(self, order: Sequence[int], work: Callable[[Sequence[int]], list[Any]]) -> Any:
        """Work on batches of ``rows``, halved when memory runs out."""
        found: list[Any] = []
        begin = 0
        while begin < len(order):
            batch = order[begin : begin + (self.rows or 1)]
            try:
                found += work(batch)
                begin += len(batch)
            except (RuntimeError, MemoryError) as failed:
                if not memory_ran_out(failed):
                    raise
                self._shrink(len(batch), failed)
        return found

    def _shrink(self, used: int, failed: BaseException) -> None:
        if used == 1:
            raise OutOfMemoryError(
                "a single sample does not fit into memory",
                remedy="use a smaller model, --dtype bf16 or another --device.",
            ) from failed
        self.rows = used // 2
        release()
        note(f"memory ran out; batches now hold {self.rows} samples", quiet=self.quiet)

    def _prefill(self, batch: list[list[int]]) -> tuple[Any, Any, Any]:
        torch = require("torch", "models")
        longest = max(map(len, batch))
        device = self.loaded.device
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in batch], device=device)
        mask = torch.tensor(
            [[0] * (longest - len(row)) + [1] * len(row) for row in batch], device=device
        )
        cache = require("transformers.cache_utils", "models").DynamicCache()
        return cache, mask, self._forward(ids, mask, cache)

    def _forward(self, ids: Any, mask: Any, cache: Any) -> Any:
        """Give the logits after the last of the new tokens, [rows, vocabulary]."""
        new = ids.shape[1]
        positions = (mask.cumsum(1) - 1).clamp_min(0)[:, -new:]
        found = self.loaded.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return found.logits[:, -1]

    def _draw(
        self, read: PromptCache, rows: Sequence[Row], batch: Sequence[int], settled: Settled | None
    ) -> list[Generated]:
        torch = require("torch", "models")
        prompts = torch.tensor([rows[n].prompt for n in batch], device=self.loaded.device)
        keys: Keys = np.array([rows[n].key for n in batch], dtype=np.uint64)
        writing = _Writing(self, [rows[n] for n in batch], batch, settled)
        logits, alive = read.logits[prompts], np.arange(len(batch))
        cache: Any = None
        for step in range(self.max_new_tokens):
            tokens = choose(logits, uniforms(keys[alive], step), self.temperature)
            going = writing.take(alive, tokens.cpu().numpy(), last=step + 1 == self.max_new_tokens)
            if not going.any():
                break
            if cache is None:
                cache, mask = read.rows(prompts, self.max_new_tokens - 1)
                longest = mask.shape[1] - self.max_new_tokens + 1
            if going.mean() < CROWDED:
                kept = torch.from_numpy(np.flatnonzero(going)).to(self.loaded.device)
                cache.batch_select_indices(kept)
                mask, tokens, alive = mask[kept], tokens[kept], alive[going]
            logits = self._forward(tokens[:, None], mask[:, : longest + step + 1], cache)
        return writing.done()


class _Writing:
    """The texts of a batch as they grow."""

    def __init__(
        self, sampler: Sampler, rows: Sequence[Row], names: Sequence[int], settled: Settled | None
    ):
        self.sampler, self.rows, self.names, self.settled = sampler, rows, names, settled
        self.tokens = np.zeros((len(rows), sampler.max_new_tokens), dtype=np.int64)
        self.lengths = np.zeros(len(rows), dtype=np.int64)
        self.found: dict[int, Generated] = {}

    def take(self, alive: Any, tokens: Any, *, last: bool) -> Any:
        """Add a token to each row that is still in the batch, and tell which of them go on."""
        going = np.array([n not in self.found for n in alive])
        rows = alive[going]
        self.tokens[rows, self.lengths[rows]] = tokens[going]
        self.lengths[rows] += 1
        ended = np.isin(tokens[going], self.sampler.ends)
        self._close(rows[ended], "end")
        rest = rows[~ended]
        if last:
            self._close(rest, "length")
        elif len(rest) and self.lengths[rest[0]] % LOOK == 0:
            self._look(rest)
        return np.array([n not in self.found for n in alive])

    def done(self) -> list[Generated]:
        """Give all texts."""
        return [self.found[n] for n in range(len(self.rows))]

    def _look(self, rows: Any) -> None:
        if self.settled is None and not self.sampler.stop:
            return
        for row, text in zip(rows.tolist(), self._texts(rows), strict=True):
            stopped = any(stop in text for stop in self.sampler.stop)
            if stopped or (self.settled is not None and self.settled(self.names[row], text)):
                self._keep(row, text, "stop")

    def _close(self, rows: Any, how: Ended) -> None:
        for row, text in zip(rows.tolist(), self._texts(rows), strict=True):
            self._keep(row, text, how)

    def _keep(self, row: int, text: str, how: Ended) -> None:
        begins = [at for at in map(text.find, self.sampler.stop) if at >= 0]
        kept = text[: min(begins)] if begins else text
        asked, length = self.rows[row], int(self.lengths[row])
        how = "stop" if begins else how
        self.found[row] = Generated(asked.prompt, asked.sample, kept, length, how)

    def _texts(self, rows: Any) -> list[str]:
        ids = [self.tokens[row, : self.lengths[row]].tolist() for row in rows.tolist()]
        tokenizer = self.sampler.loaded.tokenizer
        return list(tokenizer.batch_decode(ids, skip_special_tokens=True)) if ids else []


def _end_tokens(loaded: Loaded) -> list[int]:
    """Give the tokens that end a text, of the model's generation config and the tokenizer."""
    told = getattr(loaded.model.generation_config, "eos_token_id", None)
    found = list(told) if isinstance(told, list) else [told]
    if loaded.tokenizer is not None:
        found.append(loaded.tokenizer.eos_token_id)
    return sorted({int(token) for token in found if token is not None})
