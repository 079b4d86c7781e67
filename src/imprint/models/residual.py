"""Activations at one place of a model, by a plain forward hook; the pass stops there.

Works on any causal model of transformers whose blocks stand in one list. What the last entry of
``hidden_states`` gives is after the final norm, so that a hook is the only true reading of the last
block. Beginnings that many sequences share are read once and their keys and values kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from imprint.errors import CheckpointError, ConfigError, require
from imprint.models.batching import padded
from imprint.models.hidden import decoder
from imprint.models.load import Loaded
from imprint.models.sharing import shareable

Side = Literal["output", "input"]
# names that architectures give to the parts of a block
ATTENTION = ("self_attn", "attn", "attention", "self_attention")
MLP = ("mlp", "feed_forward", "ffn")
OUT = ("o_proj", "c_proj", "dense", "out_proj", "wo")
SECOND_NORM = ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2")
LEAST = 8  # tokens of a common beginning from which it is worth reading apart


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A place in a model.

    Attributes:
        module: a ``torch`` module.
        side: whether its output or its input is read.
        name: for messages.
    """

    module: Any
    side: Side
    name: str

    @contextmanager
    def hooked(self, seen: Callable[[Any], Any]) -> Iterator[None]:
        """Call ``seen`` with the activations of every pass; what it gives stands in their place.

        ``None`` leaves them as they are.
        """

        def before(_: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
            name = next(iter(given), None) if not args else None
            new = seen(given[name] if name is not None else args[0])
            if new is None:
                return None
            return (args, {**given, name: new}) if name is not None else ((new, *args[1:]), given)

        def after(_: Any, __: Any, output: Any) -> Any:
            inner = isinstance(output, tuple)
            new = seen(output[0] if inner else output)
            return None if new is None else ((new, *output[1:]) if inner else new)

        if self.side == "input":
            handle = self.module.register_forward_pre_hook(before, with_kwargs=True)
        else:
            handle = self.module.register_forward_hook(after)
        try:
            yield
        finally:
            handle.remove()


class _StopError(Exception):
    """Ends a forward pass at the place that was asked for."""


def blocks(loaded: Loaded) -> Any:
    """Find the list of a model's blocks.

    Raises:
        CheckpointError: no list has as many entries as the config says.
    """
    torch = require("torch", "models")
    count = int(loaded.model.config.get_text_config().num_hidden_layers)
    lists = [
        (name.count("."), module)
        for name, module in decoder(loaded).named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    if not lists:
        raise CheckpointError(
            f"no list of {count} blocks is found in {type(loaded.model).__name__}",
            where=str(loaded.folder),
        )
    return min(lists, key=lambda one: one[0])[1]


def site(
    loaded: Loaded,
    *,
    layer: int | None = None,
    point: str = "resid_post",
    module: str | None = None,
    side: Side = "output",
) -> Site:
    """Find a place.

    Args:
        loaded: the model.
        layer: number of the block, from 0.
        point: ``resid_post`` (output of the block), ``resid_pre`` (its input), ``resid_mid``
            (between attention and MLP), ``mlp_in``, ``mlp_out``, ``attn_out``, ``attn_z``,
            ``embedding``, or ``other`` for a named module.
        module: name of a module in the model or below it; used for ``other``, and wherever the
            model has a module of that name.
        side: of the named module.

    Raises:
        ConfigError: the layer is beyond the model, or it has no such place.
    """
    if point == "embedding":
        return Site(loaded.model.get_input_embeddings(), "output", "the embedding")
    if layer is not None:
        _check(loaded, layer)
    if point in ("resid_post", "resid_pre") and layer is not None:
        where: Side = "output" if point == "resid_post" else "input"
        return Site(blocks(loaded)[layer], where, f"layer {layer}, {point}")
    if module is not None:
        return Site(_named(loaded, module), side, f"{module}, {side}")
    if layer is None:
        raise ConfigError("it is not known which layer is to be read", remedy="give --layer N.")
    return _part(loaded, layer, point)


def activations(
    loaded: Loaded,
    where: Site,
    sequences: Sequence[Sequence[int]],
    shared: Shared | None = None,
) -> list[Any]:
    """Give the activations at a place; nothing behind it is computed.

    Args:
        loaded: the model.
        where: the place.
        sequences: token ids, none empty; they are filled up on the right to one length, which a
            causal model does not see.
        shared: a beginning that all sequences have, read before.

    Returns:
        Of each sequence [length, width], in the model's type; only of what follows ``shared``.
    """
    torch = require("torch", "models")
    skip = 0 if shared is None else len(shared.ids)
    rows = [ids[skip:] for ids in sequences]
    given: dict[str, Any] = {"use_cache": False}
    if shared is not None:
        given = {"use_cache": True, "past_key_values": shared.cache(len(rows))}
    with torch.inference_mode():
        ids = torch.tensor(list(padded(rows)), device=loaded.device)
        found = _until(loaded, where, input_ids=ids, **given)
    return [found[row, : len(one)] for row, one in enumerate(rows)]


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """Keys and values of a beginning, up to the place where passes stop.

    Attributes:
        ids: its tokens.
        layers: keys and values [1, heads, tokens, width] of every layer that was reached.
    """

    ids: tuple[int, ...]
    layers: tuple[tuple[Any, Any], ...]

    def cache(self, rows: int) -> Any:
        """Give a cache with a row for each sequence; this one stays as it is."""
        transformers = require("transformers", "models")
        wide = [tuple(each.expand(rows, -1, -1, -1) for each in layer) for layer in self.layers]
        return transformers.DynamicCache(wide)


def share(loaded: Loaded, where: Site, sequences: Sequence[Sequence[int]]) -> Shared | None:
    """Read what all sequences begin with, ``None`` where that is short or cannot be shared.

    Every sequence keeps a token of its own. Recurrent models, those whose positions depend on the
    length, and windows shorter than a sequence allow no sharing.
    """
    common = _common(sequences)
    limit = shareable(loaded.model)
    if len(common) < LEAST or (limit is not None and max(map(len, sequences)) > limit):
        return None
    torch, transformers = require("torch", "models"), require("transformers", "models")
    cache = transformers.DynamicCache()
    with torch.inference_mode():
        ids = torch.tensor([common], device=loaded.device)
        _until(loaded, where, input_ids=ids, past_key_values=cache, use_cache=True)
    layers = [(one.keys, one.values) for one in cache.layers if one.get_seq_length()]
    return Shared(tuple(common), tuple(layers)) if layers else None


def refuse_nan(found: Any, where: Site, loaded: Loaded) -> None:
    """Refuse activations that are not finite.

    Raises:
        CheckpointError: some are NaN or infinite; says where.
    """
    torch = require("torch", "models")
    if bool(torch.isfinite(found).all()):
        return
    raise CheckpointError(
        f"the activations at {where.name} hold NaN or infinite values",
        where=str(loaded.reference or loaded.folder),
        remedy="are its weights whole? fp16 may overflow: try --dtype fp32.",
    )


def _until(loaded: Loaded, where: Site, **inputs: Any) -> Any:
    """Run the model up to a place and give the activations there."""
    held: list[Any] = []

    def stop(found: Any) -> None:
        held.append(found)
        raise _StopError

    with where.hooked(stop):
        try:
            decoder(loaded)(**inputs)
        except _StopError:
            return held[0]
    raise ConfigError(
        f"{where.name} is never reached when {type(loaded.model).__name__} reads a text",
        where=str(loaded.folder),
    )


def _common(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Give what all begin with, at most all but one token of the shortest."""
    low, high = min(map(tuple, sequences)), max(map(tuple, sequences))
    most = min(map(len, sequences)) - 1
    alike = 0
    while alike < most and low[alike] == high[alike]:
        alike += 1
    return list(low[:alike])


def _check(loaded: Loaded, layer: int) -> None:
    count = int(loaded.model.config.get_text_config().num_hidden_layers)
    if not 0 <= layer < count:
        raise ConfigError(
            f"--layer {layer}, but the model has {count} layers, 0 to {count - 1}",
            where=str(loaded.reference or loaded.folder),
        )


def _named(loaded: Loaded, name: str) -> Any:
    for above in (loaded.model, decoder(loaded)):
        for tried in (name, name.removeprefix("model.")):
            found = dict(above.named_modules()).get(tried)
            if found is not None and tried:
                return found
    raise ConfigError(
        f"{type(loaded.model).__name__} has no module {name!r}", where=str(loaded.folder)
    )


def _part(loaded: Loaded, layer: int, point: str) -> Site:
    block, name = blocks(loaded)[layer], f"layer {layer}, {point}"
    attention, mlp = _first(block, ATTENTION), _first(block, MLP)
    found: tuple[Any, Side] = {
        "mlp_in": (mlp, "input"),
        "mlp_out": (mlp, "output"),
        "attn_out": (attention, "output"),
        "attn_z": (_first(attention, OUT), "input"),
        "resid_mid": (_first(block, SECOND_NORM), "input"),
    }.get(point, (None, "output"))  # type: ignore[assignment]  # mypy widens the literals
    if found[0] is None:
        raise ConfigError(
            f"{type(loaded.model).__name__} has no place {point!r} that is known here",
            where=str(loaded.folder),
        )
    return Site(*found, name)


def _first(module: Any, names: Sequence[str]) -> Any:
    return next((getattr(module, n) for n in names if hasattr(module, n)), None)
