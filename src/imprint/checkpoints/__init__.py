"""Weights on disk, tensor by tensor; no model is built here."""

from __future__ import annotations

from imprint.checkpoints.adapters import Merged, merge
from imprint.checkpoints.alignment import Alignment, Pair, Rows, Span, align
from imprint.checkpoints.card import model_card
from imprint.checkpoints.checkpoint import Checkpoint, open_folder
from imprint.checkpoints.files import weight_files
from imprint.checkpoints.header import TensorInfo, read_header
from imprint.checkpoints.identity import tensor_hash, weights_hash
from imprint.checkpoints.index import trainer_checkpoints
from imprint.checkpoints.opening import open_checkpoint
from imprint.checkpoints.reference import Reference, locate, parse_reference
from imprint.checkpoints.regions import module_type, place, region, select
from imprint.checkpoints.writer import write_checkpoint

__all__ = [
    "Alignment",
    "Checkpoint",
    "Merged",
    "Pair",
    "Reference",
    "Rows",
    "Span",
    "TensorInfo",
    "align",
    "locate",
    "merge",
    "model_card",
    "module_type",
    "open_checkpoint",
    "open_folder",
    "parse_reference",
    "place",
    "read_header",
    "region",
    "select",
    "tensor_hash",
    "trainer_checkpoints",
    "weight_files",
    "weights_hash",
    "write_checkpoint",
]
