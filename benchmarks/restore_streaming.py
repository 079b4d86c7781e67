"""Two checkpoints compared and repaired: ours beside what people write, each in its own process.

A generated pair of bfloat16 checkpoints (Llama's names and shapes; changes of 1e-4 on weights of
.015) lies in the page cache. Timed, whole processes with their start-up unless said otherwise:

- *study*: concentration at seven ratios and one restored checkpoint. Ours is `imprint diff` (with
  its nulls) and `imprint restore`. The peer is the published procedure in plain torch: both models
  in memory, one flat vector, `topk`, one run per ratio; only one of its runs saves.
- *one ratio* with output: ours beside mergekit's `ties` at the same density, where mergekit is
  installed (`--mergekit FOLDER/bin/mergekit-yaml`; it wants an environment of its own).
- *threshold*: the exact top 1 % of |Δ|, the best of three in one process, beside `np.partition`
  with glibc's allocator kept from giving memory back.
- *limit*: the bytes that must be read and written, at the speed that this machine reads and writes.
- *size*: cost at several sizes.

    python benchmarks/restore_streaming.py              # 2 GB pair; half an hour, 30 GB of disk
    python benchmarks/restore_streaming.py --size 0.25 --sizes 0.1,0.25
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

RATIOS = (0.01, 0.03, 0.05, 0.1, 0.2, 0.4, 0.6)
HIDDEN, INNER, KEYS, VOCABULARY = 2048, 5632, 512, 32_000
IMPRINT = str(Path(sys.executable).with_name("imprint"))
KEPT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
BLOCK = 1 << 22


def shapes(gigabytes: float) -> dict[str, tuple[int, ...]]:
    """Name the tensors of a Llama of about this size in bfloat16."""
    block = {
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (KEYS, HIDDEN),
        "self_attn.v_proj": (KEYS, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (INNER, HIDDEN),
        "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
        "input_layernorm": (HIDDEN,),
        "post_attention_layernorm": (HIDDEN,),
    }
    vocabulary = (VOCABULARY, HIDDEN) if gigabytes >= 0.5 else (2000, HIDDEN)
    each = sum(int(np.prod(shape)) for shape in block.values())
    layers = max(1, round((gigabytes * 5e8 - 2 * vocabulary[0] * HIDDEN) / each))
    inner = {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in range(layers)
        for name, shape in block.items()
    }
    ends = {"model.norm.weight": (HIDDEN,), "lm_head.weight": vocabulary}
    return {"model.embed_tokens.weight": vocabulary, **inner, **ends}


def generate(folder: Path, gigabytes: float) -> int:
    """Write ``base`` and ``tuned`` and give the number of weights."""
    from imprint.checkpoints.dtypes import round_to_bfloat16, to_float32

    found, draw = shapes(gigabytes), np.random.default_rng(0)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in found.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    for side in ("base", "tuned"):
        (folder / side).mkdir(parents=True)
        (folder / side / "config.json").write_text(json.dumps(_config(found)))
    with (
        (folder / "base/model.safetensors").open("wb") as base,
        (folder / "tuned/model.safetensors").open("wb") as tuned,
    ):
        for file in (base, tuned):
            file.write(len(text).to_bytes(8, "little") + text)
        left = at // 2
        while left:
            count = min(left, BLOCK)
            bits = round_to_bfloat16(draw.standard_normal(count, np.float32) * np.float32(0.015))
            moved = draw.standard_normal(count, np.float32) * np.float32(1e-4)
            base.write(bits.tobytes())
            tuned.write(round_to_bfloat16(to_float32(bits, "BF16") + moved).tobytes())
            left -= count
    return at // 2


def _config(found: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": sum(name.endswith("q_proj.weight") for name in found),
        "num_attention_heads": HIDDEN // 64,
        "num_key_value_heads": KEYS // 64,
        "head_dim": 64,
        "vocab_size": found["lm_head.weight"][0],
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }


def timed(command: Sequence[str], **environment: str) -> tuple[float, float, str]:
    """Run a command and give seconds, peak memory in bytes, and what it wrote to stdout."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **environment})
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begun
        out.seek(0)
        err.seek(0)
        if child.returncode:
            said = err.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"{command[0]} ended with {child.returncode}: {' '.join(said[-1:])}")
        return seconds, used.ru_maxrss * 1024.0, out.read().decode()


def here(part: str, *arguments: str, **environment: str) -> tuple[float, float, str]:
    """Run a part of this script in its own process."""
    return timed([sys.executable, __file__, "--part", part, *arguments], **environment)


def published(folder: Path, ratio: float, save: str) -> None:
    """Restore one ratio as the published code does, and tell its share of the relative change."""
    import torch
    from safetensors.torch import load_file, save_file

    # the larger ratios want ten times the model: where memory ends, this process ends, no other
    Path("/proc/self/oom_score_adj").write_text("1000")
    base = load_file(folder / "base/model.safetensors")
    tuned = load_file(folder / "tuned/model.safetensors")
    names = [name for name in tuned if "layers" in name and "norm" not in name]
    flat = torch.cat(
        [((tuned[n] - base[n]).abs() / (base[n].abs() + 1e-8)).reshape(-1) for n in names]
    )
    k = int(flat.numel() * ratio)
    top = torch.topk(flat, k)
    share = float(top.values.sum() / flat.sum())
    mask = torch.zeros(flat.numel(), dtype=torch.bool)
    mask[top.indices] = True
    at = 0
    for name in names:
        chosen = mask[at : at + tuned[name].numel()].reshape(tuned[name].shape)
        tuned[name][chosen] = base[name][chosen]
        at += tuned[name].numel()
    if save == "save":
        save_file(tuned, folder / "published.safetensors", {"format": "pt"})
    print(share)


def our_threshold(folder: Path) -> None:
    """Find the exact top 1 % of |Δ| over all weights by streaming; the best of three."""
    from imprint.checkpoints import open_checkpoint

    base, tuned = (open_checkpoint(folder / side) for side in ("base", "tuned"))
    before, seconds = _memory(), []
    for _ in range(3):
        begun = time.perf_counter()
        found = _streamed(base, tuned)
        seconds.append(time.perf_counter() - begun)
    print(json.dumps([min(seconds), _peak() - before, found.value, found.k]))


def _streamed(base: Any, tuned: Any) -> Any:
    from imprint.restoration.mask import Scores
    from imprint.restoration.methods import by_change
    from imprint.restoration.restore import RestoreConfig, survey
    from imprint.restoration.selection import thresholds

    config = RestoreConfig(by="absolute", top=(0.01,), region="all")
    _, parts = survey(base, tuned, config)
    scores = Scores(base, tuned, parts, by_change("absolute", 1e-8), config.chunk)
    streams = [lambda part=part: scores.of(part) for part in parts]
    return thresholds(streams, [0.01], sample=scores.sample(parts))[0]


def partition(folder: Path) -> None:
    """Find the same by ``np.partition`` over all of it; the best of three, in warm memory."""
    from imprint.checkpoints import open_checkpoint

    base, tuned = (open_checkpoint(folder / side) for side in ("base", "tuned"))
    before, seconds = _memory(), []
    for _ in range(3):
        begun = time.perf_counter()
        flat = _distances(base, tuned)
        k = int(len(flat) * 0.01)
        flat.partition(len(flat) - k)
        value = float(flat[len(flat) - k])
        seconds.append(time.perf_counter() - begun)
        del flat
    print(json.dumps([min(seconds), _peak() - before, value, k]))


def _distances(base: Any, tuned: Any) -> Any:
    """Give |Δ| of all weights as float32, two threads widening."""
    flat, jobs, at = np.empty(sum(i.elements for i in base.tensors.values()), np.float32), [], 0
    for name, info in base.tensors.items():
        for start in range(0, info.elements, BLOCK):
            jobs.append((name, start, min(start + BLOCK, info.elements), at + start))
        at += info.elements

    def fill(job: tuple[str, int, int, int]) -> None:
        name, start, stop, place = job
        one, other = (
            np.left_shift(c.read(name, start, stop), 16, dtype=np.uint32).view(np.float32)
            for c in (base, tuned)
        )
        here = flat[place : place + stop - start]
        np.subtract(other, one, out=here)
        np.abs(here, out=here)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(fill, jobs))
    return flat


def _memory() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return float(fields[1]) * os.sysconf("SC_PAGESIZE")


def _peak() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def limit(folder: Path) -> tuple[float, float]:
    """Give the seconds that reading both files, and writing one, take at this machine's speed."""
    files = [folder / side / "model.safetensors" for side in ("base", "tuned")]
    begun = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_touch, files))
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    with (folder / "raw").open("wb", buffering=0) as target, files[1].open("rb", buffering=0) as f:
        buffer = bytearray(1 << 20)
        while count := f.readinto(buffer):
            target.write(memoryview(buffer)[:count])
        os.fsync(target.fileno())
    wrote = time.perf_counter() - begun
    (folder / "raw").unlink()
    return read, wrote


def _touch_both(folder: Path) -> None:
    for side in ("base", "tuned"):
        _touch(folder / side / "model.safetensors")


def _touch(file: Path) -> None:
    buffer = bytearray(1 << 20)
    with file.open("rb", buffering=0) as handle:
        while handle.readinto(buffer):
            pass


def our_study(folder: Path) -> tuple[float, float, float]:
    """Give seconds of `imprint diff` and of `imprint restore`, and the larger peak memory."""
    pair = [str(folder / "base"), str(folder / "tuned")]
    compared = timed([IMPRINT, "diff", *pair, "--out", str(folder / "diff"), "--quiet"])
    restored = our_restore(folder, "relative")
    return compared[0], restored[0], max(compared[1], restored[1])


def our_restore(folder: Path, by: str) -> tuple[float, float]:
    """Give seconds and peak memory of one restored checkpoint."""
    out = folder / f"restored-{by}"
    pair = [str(folder / "base"), str(folder / "tuned"), str(out)]
    scope = ["--scope", "tensor", "--region", "all"] if by == "absolute" else []
    command = [IMPRINT, "restore", *pair, "--by", by, "--top", "0.2", *scope, "--quiet"]
    seconds, peak, _ = timed(command)
    shutil.rmtree(out)
    return seconds, peak


def merged(folder: Path, program: str) -> float:
    """Give the seconds of mergekit's ``ties`` at the same density."""
    settings = {
        "merge_method": "ties",
        "base_model": str(folder / "base"),
        "models": [{"model": str(folder / "tuned"), "parameters": {"density": 0.2, "weight": 1}}],
        "dtype": "bfloat16",
    }
    (folder / "ties.yaml").write_text(json.dumps(settings))
    seconds, _, _ = timed([program, str(folder / "ties.yaml"), str(folder / "ties")])
    shutil.rmtree(folder / "ties")
    return seconds


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Time everything on one pair and print it."""
    weights = generate(folder, arguments.size)
    size = (folder / "base/model.safetensors").stat().st_size
    print(f"two checkpoints of {size / 1e9:.2f} GB, {weights:,} weights each")
    our_study(folder)  # warms files and compiled code
    compared, restored, peak = min((our_study(folder) for _ in range(arguments.repeats)), key=sum)
    ours = compared + restored
    print(f"ours: diff {compared:.1f} s, restore {restored:.1f} s, peak {peak / 1e9:.2f} GB")
    seconds, memory = 0.0, 0.0
    for ratio in RATIOS:
        try:
            took, used, _ = here(
                "published", str(folder), str(ratio), "save" if ratio == 0.2 else "drop"
            )
        except RuntimeError as failed:  # the larger ratios need more memory than many machines have
            print(f"published procedure, top {ratio:g}: {failed}")
            continue
        seconds, memory = seconds + took, max(memory, used)
        print(f"published procedure, top {ratio:g}: {took:.1f} s, peak {used / 1e9:.2f} GB")
    print(
        f"study: {seconds:.1f} s against {ours:.1f} s, {seconds / ours:.1f} times as fast; "
        f"peak {memory / 1e9:.2f} against {peak / 1e9:.2f} GB, one part in {memory / peak:.1f}"
    )
    program = arguments.mergekit or shutil.which("mergekit-yaml")
    if program:
        _touch_both(folder)  # the published procedure may have pushed the files out of memory
        theirs, mine = merged(folder, program), our_restore(folder, "absolute")[0]
        print(f"one ratio: mergekit ties {theirs:.1f} s, ours {mine:.1f} s: {theirs / mine:.1f}")
    else:
        print("one ratio: skipped, mergekit-yaml is not on the path; name it with --mergekit")
    _print_threshold(folder)
    read, wrote = limit(folder)
    print(
        f"limit: reading both {read:.2f} s, writing one {wrote:.2f} s; diff takes "
        f"{compared / read:.1f} times its limit, restore {restored / (read + wrote):.1f} times"
    )


def _print_threshold(folder: Path) -> None:
    _touch_both(folder)
    mine = json.loads(here("our_threshold", str(folder))[2])
    theirs = json.loads(here("partition", str(folder), **KEPT)[2])
    assert mine[2:] == theirs[2:], (mine, theirs)
    print(
        f"threshold: np.partition {theirs[0]:.2f} s and {theirs[1] / 1e9:.2f} GB, ours "
        f"{mine[0]:.2f} s and {mine[1] / 1e9:.2f} GB: {theirs[0] / mine[0]:.2f} times as fast, "
        f"one part in {theirs[1] / mine[1]:.1f} of the memory"
    )


def grow(folder: Path, sizes: Sequence[float]) -> None:
    """Print the cost of our study at several sizes."""
    for gigabytes in sizes:
        pair = folder / f"{gigabytes:g}"
        weights = generate(pair, gigabytes)
        our_study(pair)
        compared, restored, peak = our_study(pair)
        print(
            f"size: {2 * weights / 1e9:.2f} GB: diff {compared:.1f} s, restore {restored:.1f} s, "
            f"{(compared + restored) / weights * 1e9:.1f} s per 10^9 weights, "
            f"peak {peak / 1e9:.2f} GB"
        )
        shutil.rmtree(pair)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=float, default=2.0, help="GB of one checkpoint")
    parser.add_argument("--sizes", default="0.5,1,2,4", help="GB, for the cost by size; or none")
    parser.add_argument("--repeats", type=int, default=2, help="the best of these counts, for us")
    parser.add_argument("--folder", type=Path, help="where to put the checkpoints")
    parser.add_argument("--mergekit", help="the program mergekit-yaml")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        part, folder, *rest = arguments.part
        {
            "published": lambda: published(Path(folder), float(rest[0]), rest[1]),
            "our_threshold": lambda: our_threshold(Path(folder)),
            "partition": lambda: partition(Path(folder)),
        }[part]()
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        compare(Path(folder) / "pair", arguments)
        shutil.rmtree(Path(folder) / "pair")
        if arguments.sizes != "none":
            grow(Path(folder), [float(size) for size in arguments.sizes.split(",")])


if __name__ == "__main__":
    main()
