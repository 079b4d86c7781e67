"""Measuring a model in the middle of its training, by forward passes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imprint.errors import ConfigError, require
from imprint.integrations.trl.probes import Encoded
from imprint.models.requests import Request

Floats = npt.NDArray[np.float64]
TOKENS = 1 << 12  # tokens in a batch
KEPT = 128  # most likely tokens kept of the base where its whole distribution is too large


@dataclass(frozen=True)
class Measured:
    """What the probes say of a model.

    Attributes:
        drift: [texts] mean KL(base‖model) per token, nats; empty at the base itself.
        facts: [facts] probability that the answer follows, mean over prompts.
        facts_right: [facts] share of prompts after which greedy decoding gives the answer.
        confidence, right: [questions] probability of the likeliest option among the options, and
            whether it is a right one.
        domains: domain → [rows] loss per token, nats.
    """

    drift: Floats
    facts: Floats
    facts_right: Floats
    confidence: Floats
    right: Floats
    domains: dict[str, Floats]


def measure(
    model: Any, encoded: Encoded, golds: Sequence[Sequence[int]], base: Base | None
) -> Measured:
    """Put all probes to a model.

    The model is called as it is, wrapped or not, with the same batches on every process, so that
    sharded models gather their parameters as in a training step.

    Args:
        model: causal; its mode is restored.
        encoded: the probes.
        golds: right options of each question.
        base: what is known of the model before training; ``None`` to leave drift out.
    """
    rows = [
        *(one for fact in encoded.facts for one in fact),
        *(one for question in encoded.questions for one in question),
        *(one for domain in encoded.domains.values() for one in domain),
    ]
    with asking(model):
        scored = iter(_scores(model, rows))
        drift = base.divergence(model, encoded.texts) if base else np.empty(0)
    facts = [[next(scored) for _ in fact] for fact in encoded.facts]
    options = [[next(scored) for _ in question] for question in encoded.questions]
    domains = {
        name: np.array([-logprob / count for logprob, _, count in (next(scored) for _ in own)])
        for name, own in encoded.domains.items()
    }
    confidence, right = _chosen(options, golds)
    return Measured(
        drift,
        np.array([np.mean([np.exp(one[0]) for one in fact]) for fact in facts]),
        np.array([np.mean([one[1] for one in fact]) for fact in facts]),
        confidence,
        right,
        domains,
    )


@dataclass
class Base:
    """The model before training: its log-probabilities, or a way to call it.

    Attributes:
        without: gives a context in which the model is its own base (an adapter switched off);
            then nothing is kept.
        kept: per text its log-probabilities, float16 [tokens, vocabulary], or where that is too
            large the ``KEPT`` largest with their tokens.
    """

    without: Callable[[], Any] | None = None
    kept: list[tuple[npt.NDArray[Any], npt.NDArray[np.int32] | None]] | None = None

    @property
    def whole(self) -> bool:
        """Whether divergences are over the whole vocabulary."""
        return self.kept is None or all(tokens is None for _, tokens in self.kept)

    @classmethod
    def of(cls, model: Any, texts: Sequence[Request], memory: int) -> Base:
        """Compute it once, before the first step; at most so many bytes are kept."""
        torch = require("torch", "models")
        kept: dict[int, Any] = {}
        positions = sum(len(one.targets) for one in texts)
        with asking(model):
            for at, logits in _batches(model, texts):
                found = torch.log_softmax(logits.float(), -1)
                if positions * found.shape[-1] * 4 <= memory:
                    kept[at] = found.cpu().numpy(), None
                else:
                    top = found.topk(min(KEPT, found.shape[-1]), -1)
                    tokens = top.indices.cpu().numpy().astype(np.int32)
                    kept[at] = top.values.cpu().numpy(), tokens
        return cls(None, [kept[at] for at in range(len(texts))])

    def divergence(self, model: Any, texts: Sequence[Request]) -> Floats:
        """Give the mean KL(base‖model) per token of each text, nats.

        Where only the base's likeliest tokens are kept, all others count as one: the value is then
        never above the true one.
        """
        torch = require("torch", "models")
        found = np.zeros(len(texts))
        for at, logits in _batches(model, texts):
            log_q = torch.log_softmax(logits.float(), -1)
            log_p, tokens = self._known(torch, model, texts, at, log_q.device)
            if tokens is not None:
                log_p, log_q = _lumped(torch, log_p), _lumped(torch, log_q.gather(-1, tokens))
            terms = torch.where(log_p.isneginf(), 0.0, log_p.exp() * (log_p - log_q))
            found[at] = max(0.0, float(terms.double().sum(-1).mean()))
        return found

    def _known(
        self, torch: Any, model: Any, texts: Sequence[Request], at: int, device: Any
    ) -> tuple[Any, Any]:
        if self.kept is not None:
            values, tokens = self.kept[at]
            known = None if tokens is None else torch.from_numpy(tokens).long().to(device)
            return torch.from_numpy(values).to(device), known
        with self.without() if self.without else nullcontext():
            ((_, logits),) = _batches(model, [texts[at]])
        return torch.log_softmax(logits.float(), -1), None

    def save(self, path: Path, fingerprint: str) -> None:
        """Keep it beside the training, for one that is resumed."""
        arrays: dict[str, Any] = {"fingerprint": np.array(fingerprint)}
        for at, (values, tokens) in enumerate(self.kept or []):
            arrays[f"values{at}"] = values
            if tokens is not None:
                arrays[f"tokens{at}"] = tokens
        temporary = path.with_name(f".{path.name}.tmp.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, **arrays)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path, fingerprint: str, count: int) -> Base:
        """Read what ``save`` wrote.

        Raises:
            ConfigError: it is missing, damaged, or of other texts.
        """
        try:
            with np.load(path, allow_pickle=False) as held:
                if str(held["fingerprint"]) != fingerprint:
                    raise ConfigError(
                        "the base that drift is measured from is that of other texts",
                        where=str(path),
                        remedy="give the same texts as before.",
                    )
                known = set(held.files)
                return cls(
                    None,
                    [
                        (
                            held[f"values{at}"],
                            held[f"tokens{at}"] if f"tokens{at}" in known else None,
                        )
                        for at in range(count)
                    ],
                )
        except (OSError, ValueError, KeyError) as failed:
            raise ConfigError(
                f"training goes on, and its base for drift cannot be read: {failed}",
                where=str(path),
                remedy="begin anew, or follow without texts.",
            ) from failed


def adapter_off(model: Any) -> Callable[[], Any] | None:
    """Give a context in which a model's adapter is switched off, where it has one."""
    inner = model
    while inner is not None:
        found = getattr(inner, "disable_adapter", None)
        if callable(found) and hasattr(inner, "peft_config"):
            return found  # type: ignore[no-any-return]
        parts = inner.__dict__.get("_modules", {})
        inner = parts.get("module", parts.get("_fsdp_wrapped_module"))
    return None


@contextmanager
def asking(model: Any) -> Iterator[None]:
    """Ask a model without gradients, in evaluation mode, and restore its mode."""
    torch = require("torch", "models")
    training = {name: part.training for name, part in model.named_modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for name, part in model.named_modules():
            part.training = training.get(name, part.training)


def _scores(model: Any, rows: Sequence[Request]) -> list[tuple[float, bool, int]]:
    """Give sum of log-probabilities, whether all are the likeliest, and number of the targets."""
    torch = require("torch", "models")
    found: dict[int, tuple[float, bool, int]] = {}
    for at, logits in _batches(model, rows):
        targets = torch.tensor(rows[at].targets, device=logits.device)
        logs = torch.log_softmax(logits.float(), -1).gather(-1, targets[:, None])[:, 0]
        greedy = bool((logits.argmax(-1) == targets).all())
        found[at] = float(logs.double().sum()), greedy, len(targets)
    return [found[at] for at in range(len(rows))]


def _batches(model: Any, rows: Sequence[Request]) -> Iterator[tuple[int, Any]]:
    """Give each row's number and its logits [targets, vocabulary], rows of like length together."""
    torch = require("torch", "models")
    order = sorted(range(len(rows)), key=lambda at: -len(rows[at].ids))
    device = next(iter(model.parameters())).device
    while order:
        longest = len(rows[order[0]].ids)
        batch, order = order[: max(1, TOKENS // longest)], order[max(1, TOKENS // longest) :]
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, at in enumerate(batch):
            # padding stands behind the text, where a causal model cannot see it
            own = torch.tensor(rows[at].ids)
            ids[place, : len(own)], mask[place, : len(own)] = own, 1
        logits = model(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
        ).logits
        for place, at in enumerate(batch):
            end = len(rows[at].ids)
            yield at, logits[place, end - len(rows[at].targets) : end]


def _lumped(torch: Any, logs: Any) -> Any:
    """Add what is left of the probability as one more token."""
    rest = (1 - logs.double().exp().sum(-1, keepdim=True)).clamp(min=1e-9).log()
    return torch.cat([logs.double(), rest], -1)


def _chosen(
    options: Sequence[Sequence[tuple[float, bool, int]]], golds: Sequence[Sequence[int]]
) -> tuple[Floats, Floats]:
    confidence, right = [], []
    for found, gold in zip(options, golds, strict=True):
        sums = np.array([one[0] for one in found])
        chances = np.exp(sums - sums.max())
        confidence.append(float(chances.max() / chances.sum()))
        right.append(float(int(sums.argmax()) in gold))
    return np.array(confidence), np.array(right)
