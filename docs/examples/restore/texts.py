"""Make the texts of the example: stories that a model tells, and paragraphs of a book.

    python docs/examples/restore/texts.py stories260K "The War of the Worlds.txt" texts

writes ``stories-dev.jsonl``, ``stories-test.jsonl`` and ``book.txt`` into the folder ``texts``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

LENGTH = 200  # tokens


def stories(folder: str, count: int, seed: int) -> list[str]:
    """Let a model tell stories, each from the start-of-text token alone."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(seed)
    start = torch.full((count, 1), tokenizer.bos_token_id)
    ids = model.generate(
        start,
        attention_mask=torch.ones_like(start),
        do_sample=True,
        temperature=0.7,
        max_new_tokens=LENGTH,
        pad_token_id=tokenizer.eos_token_id,
    )
    return list(dict.fromkeys(tokenizer.batch_decode(ids, skip_special_tokens=True)))


def paragraphs(book: Path, count: int) -> list[str]:
    """Take paragraphs from the middle of a book, each on one line."""
    found = [" ".join(text.split()) for text in book.read_text(encoding="utf-8").split("\n\n")]
    found = [text for text in found if 200 < len(text) < 800]
    middle = len(found) // 2
    return found[middle : middle + count]


def main(model: str, book: str, out: str) -> None:
    """Write the three files."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    told = stories(model, 300, seed=0)
    for name, texts in (("dev", told[:100]), ("test", told[100:])):
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
        (folder / f"stories-{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    kept = paragraphs(Path(book), 200)
    (folder / "book.txt").write_text("\n\n".join(kept) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
