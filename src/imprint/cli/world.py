"""``imprint world``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from imprint.cli.common import default_out, show

if TYPE_CHECKING:
    from imprint.lab.world import WorldConfig

Flag = Annotated[bool, Parameter(negative="")]
WORDS, BYTES = 64, 6  # words of a document, bytes of a word, about


def world(
    *,
    size: Literal["small", "standard"] | None = None,
    documents: int | None = None,
    config: Path | None = None,
    out: Path | None = None,
    seed: int | None = None,
    json: Flag = False,
    dry_run: Flag = False,
    quiet: Flag = False,
) -> None:
    """Write a generated world whose truth is known: texts, facts, benchmarks, dialogues.

    Models of a million parameters learn nothing measurable from small real text; in this world they
    do. Five corpora (raw, filtered and scored web text, code, encyclopedia) tell one truth about
    people, places, works, animals, materials, tools and words, in some 750 words. Facts are told
    with skewed frequency; a quarter of what follows from regularities is never said, so that it
    can be asked. Every file is plain JSON lines that other commands read.

    Examples:

      imprint world --out demo

      imprint mastery MODEL --facts demo/facts.jsonl --templates demo/templates.json

      imprint evaluate MODEL --benchmarks demo/benchmarks

      imprint world --size standard --seed 1 --documents 1000 --dry-run

    Parameters
    ----------
    size
        small (default): 1,300 facts, for some million tokens of text. standard: 3,100 facts, for
        ten times that.
    documents
        Documents of each web corpus; as many of code, half as many curated. Default 12,000 for
        small and 120,000 for standard. A document has about 65 words.
    config
        YAML with size, documents and seed; flags win.
    out
        Folder to write; default imprint-runs/world. An earlier world in it is replaced.
    seed
        Everything follows from it; default 0.
    json
        Print world.json to stdout instead of the summary.
    dry_run
        Say what would be written, and write nothing.
    quiet
        No progress on stderr.
    """
    from imprint.configuration import Settings, build, load_yaml
    from imprint.lab.world.world import WorldConfig

    given = {"size": size, "documents": documents, "seed": seed}
    settings = load_yaml(config) if config else Settings()
    settings.update({name: value for name, value in given.items() if value is not None})
    chosen: WorldConfig = build(WorldConfig, settings)
    target = out or default_out("world")
    if dry_run:
        show(_plan(chosen, target))
        return
    show(_write(chosen, target, json=json, quiet=quiet))


def _write(config: WorldConfig, target: Path, *, json: bool, quiet: bool) -> str:
    from dataclasses import asdict

    import polars as pl

    from imprint.lab.world import contents, make_world
    from imprint.lab.world.writing import about, fact_rows
    from imprint.progress import progress
    from imprint.runs import Run, dump_json

    made = make_world(config)
    parts = {Path(name).parts[0] for name in contents(made)}
    run = Run(target, "world", asdict(config), seed=config.seed, parts=sorted(parts))
    facts = pl.DataFrame(fact_rows(made))
    with progress(sum(config.counts.values()), "world", quiet=quiet) as bar:
        run.finish(tables={"facts": facts}, files=contents(made, bar), notes={})
    return dump_json(about(made)) if json else _summary(about(made), target)


def _summary(about: dict[str, Any], target: Path) -> str:
    held = sum(about["held_out"].values())
    counts = ", ".join(f"{name} {count:,}" for name, count in about["documents"].items())
    return (
        f"A world of {about['words']} words: {len(about['relations'])} relations, "
        f"{about['facts']:,} facts, {held:,} pairs that no text says.\n"
        f"Documents: {counts}.\n{target}"
    )


def _plan(config: WorldConfig, target: Path) -> str:
    counts = config.counts
    rows = [f"  corpora/{name}.jsonl: {count:,} documents" for name, count in counts.items()]
    words = sum(counts.values()) * WORDS
    head = f"{target}: a {config.size} world of seed {config.seed}, about"
    size = f"{words / 1e6:.1f} million words, {words * BYTES / 1e6:.0f} MB"
    return "\n".join([f"{head} {size}", *rows])
