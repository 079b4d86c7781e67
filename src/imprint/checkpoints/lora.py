"""The settings of a LoRA adapter: what is understood, and the scale of each module's change.

W' = W + s B A with s = alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA (arXiv 2106.09685,
2312.03732). Rank and alpha may be set per module by patterns. What changes this rule is refused by
name, so that an adapter is merged exactly or not at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imprint.errors import CheckpointError

CONFIG = "adapter_config.json"
MERGE = "merge it with peft (merge_and_unload, in float32), save, and give that folder."
# settings that do not touch what is merged, or that are read here
UNDERSTOOD = frozenset(
    {
        *("base_model_name_or_path", "revision", "peft_type", "task_type", "inference_mode"),
        *("auto_mapping", "peft_version", "megatron_core", "runtime_config", "eva_config"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
        *("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "fan_in_fan_out"),
        *("lora_dropout", "modules_to_save", "init_lora_weights", "qalora_group_size", "bias"),
    }
)
# starts that leave the base as it is; others (pissa, olora, corda, loftq, …) change it
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")


def refuse_unknown_kinds(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse an adapter whose merge is not W + s B A.

    Raises:
        CheckpointError: naming the setting.
    """
    where = str(folder / CONFIG)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise CheckpointError(f"peft_type is {kind!r}, not 'LORA'", where=where, remedy=MERGE)
    if config.get("bias", "none") != "none":
        raise CheckpointError(f"bias is {config['bias']!r}", where=where, remedy=MERGE)
    start = config.get("init_lora_weights")
    if start not in PLAIN_STARTS:
        raise CheckpointError(
            f"init_lora_weights is {start!r}, which also changed the base weights",
            where=where,
            remedy="convert it to a plain adapter with peft, or merge with the changed base.",
        )
    for name, value in config.items():
        if name not in UNDERSTOOD and value not in (None, False, [], {}, 0, ""):
            raise CheckpointError(f"{name} is {value!r}", where=where, remedy=MERGE)


def refuse_odd_values(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse ranks, scales and switches of other types than peft writes.

    Raises:
        CheckpointError: naming the setting.
    """
    for name, kind, fits in (
        ("r", "a whole number from 1", _is_rank),
        ("lora_alpha", "a finite number", _is_scale),
        ("rank_pattern", "regular expressions with whole numbers from 1", _by_pattern(_is_rank)),
        ("alpha_pattern", "regular expressions with finite numbers", _by_pattern(_is_scale)),
        ("use_rslora", "true or false", lambda value: isinstance(value, bool)),
        ("fan_in_fan_out", "true or false", lambda value: isinstance(value, bool)),
    ):
        if name in config and not fits(config[name]):
            raise CheckpointError(
                f"{name} is {repr(config[name])[:200]}, not {kind}",
                where=str(folder / CONFIG),
                remedy="save the adapter again with peft.",
            )


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_scale(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30


def _by_pattern(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def check(patterns: Any) -> bool:
        try:
            return patterns is None or all(re.compile(k) and fits(v) for k, v in patterns.items())
        except (AttributeError, re.error, OverflowError, RecursionError):
            return False

    return check


def scale_of(module: str, config: Mapping[str, Any]) -> float:
    """Give the factor on B A for one module.

    >>> scale_of("model.q_proj", {"r": 4, "lora_alpha": 8})
    2.0
    """
    rank = pattern(config.get("rank_pattern"), module, config.get("r", 8))
    alpha = pattern(config.get("alpha_pattern"), module, config.get("lora_alpha", 8))
    return float(alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank)


def pattern(patterns: Any, module: str, otherwise: Any) -> Any:
    """Look a module up among patterns that must match the end of its path; the first one counts.

    >>> pattern({"layers.1.mlp": 3, "mlp": 2}, "model.layers.1.mlp", 1)
    3
    >>> pattern({"proj": 3}, "model.q_proj", 1)
    1
    """
    for key, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return otherwise
