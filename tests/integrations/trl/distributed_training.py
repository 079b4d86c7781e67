"""Two processes that train together and are followed; started by the test beside it."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers

warnings.simplefilter("ignore")


def main(base: str, out: str, kind: str, probes: str) -> None:
    """Train with the distribution of ``kind`` and write what the callback saw on this process."""
    from imprint.integrations.trl import ImprintCallback

    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    given = json.loads(probes)
    rows = [{"input_ids": ids, "labels": ids} for ids in tokenizer(given["texts"])["input_ids"]]
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    following = ImprintCallback(every=3, quiet=True, **given)
    train = copied if kind == "ddp" else sharded
    modules = train(model, tokenizer, rows, out, following)
    seen = {"rows": following.rows, "modules": modules, "processes": dist.get_world_size()}
    (Path(out) / f"rank{dist.get_rank()}.json").write_text(json.dumps(seen))


def copied(model: Any, tokenizer: Any, rows: list[Any], out: str, following: Any) -> list[str]:
    """Transformers' Trainer, a copy of the model on each process."""
    import datasets

    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=out,
            max_steps=6,
            per_device_train_batch_size=4,
            learning_rate=3e-3,
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            ddp_backend="gloo",
            remove_unused_columns=False,
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
        callbacks=[following],
    )
    trainer.train()
    return [type(trainer.model_wrapped).__name__]


def sharded(model: Any, tokenizer: Any, rows: list[Any], out: str, following: Any) -> list[str]:
    """A plain loop over torch's FSDP: transformers' Trainer shards on no CPU."""
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo")
    mesh = dist.init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    first = dist.get_rank() == 0
    state = transformers.TrainerState(is_world_process_zero=first, is_local_process_zero=first)
    control = transformers.TrainerControl()
    args = transformers.TrainingArguments(output_dir=out, use_cpu=True, report_to=[])
    given = {"model": model, "processing_class": tokenizer}
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    following.on_train_begin(args, state, control, **given)
    for step in range(6):
        ids = torch.tensor([row["input_ids"] for row in rows[dist.get_rank() :: 2]])
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        state.global_step = step + 1
        following.on_step_end(args, state, control, **given)
    following.on_train_end(args, state, control, **given)
    return [type(model).__name__]


if __name__ == "__main__":
    main(*sys.argv[1:])
