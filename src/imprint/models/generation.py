"""Continuing prompts with a model in this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from imprint.errors import require
from imprint.models.engine import Generated
from imprint.models.inverse_cdf import key
from imprint.models.requests import Encoder
from imprint.models.sampling import Ended, Row, Sampler
from imprint.progress import note

PROMPTS = 64  # read together


@dataclass(frozen=True, slots=True)
class Continuing:
    """How prompts are continued; the arguments of ``Engine.generate``."""

    encoder: Encoder
    n: int
    temperature: float
    max_new_tokens: int
    seed: int
    stop: Sequence[str]

    def __call__(self, prompts: Sequence[str]) -> Iterator[Generated]:
        """Continue each prompt ``n`` times, in order of prompt and sample."""
        stateful = getattr(self.encoder.loaded.model, "_is_stateful", False)
        found = self._one_by_one(prompts) if stateful else self._together(prompts)
        if self.temperature > 0:
            yield from found
            return
        for one in found:  # the most likely text is drawn once and given as often as asked for
            yield from (replace(one, sample=sample) for sample in range(self.n))

    def _samples(self) -> int:
        return self.n if self.temperature > 0 else 1

    def _keys(self, prompts: Sequence[str]) -> list[list[int]]:
        """Give what the draws of each sample depend on: seed and text, not place or batch.

        A prompt that comes again goes on where it ended before.
        """
        seen: Counter[str] = Counter()
        found = []
        for prompt in prompts:
            begin = seen[prompt] * self._samples()
            seen[prompt] += 1
            found.append([key(self.seed, prompt, begin + s) for s in range(self._samples())])
        return found

    def _together(self, prompts: Sequence[str]) -> Iterator[Generated]:
        sampler = Sampler(
            self.encoder.loaded, self.temperature, self.max_new_tokens, tuple(self.stop)
        )
        sampler.encoder = self.encoder
        keys = self._keys(prompts)
        for begin in range(0, len(prompts), PROMPTS):
            block = prompts[begin : begin + PROMPTS]
            rows = [
                Row(at, sample, own)
                for at in range(len(block))
                for sample, own in enumerate(keys[begin + at])
            ]
            for one in sampler.draw(sampler.read(block), rows):
                yield replace(one, prompt=begin + one.prompt)
        self._tell(sampler.cut, len(prompts))

    def _tell(self, cut: int, prompts: int) -> None:
        if cut:
            room = self.encoder.limit - self.max_new_tokens
            note(f"{cut} of {prompts} prompts had more than {room} tokens and lost the first ones")

    def _one_by_one(self, prompts: Sequence[str]) -> Iterator[Generated]:
        """Let transformers generate: a recurrent state cannot be shared by samples."""
        torch = require("torch", "models")
        room, cut = max(1, self.encoder.limit - self.max_new_tokens), 0
        for at, (prompt, keys) in enumerate(zip(prompts, self._keys(prompts), strict=True)):
            ids = self.encoder.encode(prompt) or [self.encoder.prefix]
            cut += len(ids) > room
            for sample, own in enumerate(keys):
                with torch.random.fork_rng(), torch.inference_mode():
                    torch.manual_seed(own)
                    yield self._written(at, sample, ids[-room:])
        self._tell(cut, len(prompts))

    def _written(self, prompt: int, sample: int, ids: list[int]) -> Generated:
        torch, model = require("torch", "models"), self.encoder.loaded.model
        drawn = {"temperature": self.temperature} if self.temperature > 0 else {}
        given = torch.tensor([ids], device=self.encoder.loaded.device)
        written = model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            do_sample=self.temperature > 0,
            top_k=0 if self.temperature > 0 else None,
            max_new_tokens=self.max_new_tokens,
            pad_token_id=self.encoder.prefix,
            **drawn,
        )[0, len(ids) :].tolist()
        ended: Ended = "length" if len(written) == self.max_new_tokens else "end"
        text = str(self.encoder.tokenizer.decode(written, skip_special_tokens=True))
        begins = [at for at in map(text.find, self.stop) if at >= 0]
        if begins:
            text, ended = text[: min(begins)], "stop"
        return Generated(prompt, sample, text, len(written), ended)
