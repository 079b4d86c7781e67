"""A two-step forecast with a wide SAE: ours beside the plain way, each in a process of its own.

Both read SFT prompts bare and behind two demonstrations, take the 100 latents with the largest
paired t, and score 14 domains by them: first and second moments, and (unless `--no-icl`) the shift
behind five answered examples of the domain. The plain way runs the whole model, computes the dense
matrix of features of a step or of a domain, and reads the chosen latents off it. Model and SAE are
generated, in float32. Loading is not timed; memory is what a way adds at its peak beyond model, SAE
and texts. The full size takes about a quarter of an hour on two cores and 20 GB for the plain way.

    python benchmarks/forecast_features.py           # 65,536 latents, 14 domains of 10,000 tokens
    python benchmarks/forecast_features.py --latents 8192 --domains 3 --tokens 1000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imprint.errors import require

VOCABULARY, LENGTH, ANSWER, TOP, FIRES = 32_000, 100, 20, 100, 64
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
Found = dict[str, Any]


def prepare(folder: Path, asked: argparse.Namespace) -> None:
    """Write a random model and an SAE that fires on about 64 latents per token."""
    import torch
    from safetensors.torch import save_file

    transformers: Any = require("transformers", "models")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=asked.width,
        intermediate_size=4 * asked.width,
        num_hidden_layers=asked.layers,
        num_attention_heads=8,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    w_dec = torch.nn.functional.normalize(torch.randn(asked.latents, asked.width), dim=-1)
    with torch.no_grad():
        states = model(torch.randint(5, VOCABULARY, (4, 64)), output_hidden_states=True)
    x = states.hidden_states[asked.layers // 2 + 1][:, 1:].flatten(0, 1)
    threshold = (x @ w_dec.T).topk(FIRES, dim=-1).values[:, -1].mean()
    save_file({"w_dec": w_dec, "threshold": threshold[None]}, folder / "sae.safetensors")


def tokenizer() -> Any:
    """Give a tokenizer with a token per word."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    transformers: Any = require("transformers", "models")

    words = {name: n for n, name in enumerate(SPECIAL.values())}
    words |= {f"w{n}": n for n in range(3, VOCABULARY)}
    inner = Tokenizer(models.WordLevel(words, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **SPECIAL)


def given(folder: Path, asked: argparse.Namespace) -> tuple[Any, Any]:
    """Load model and SAE, and make texts, each domain of words of its own."""
    from safetensors.torch import load_file

    from imprint.forecast.material import Material, Text
    from imprint.forecast.setting import Setting
    from imprint.models import load
    from imprint.saes import Hook, Sae
    from imprint.saes.activations import JumpRelu

    chances = np.random.default_rng(0)

    def texts(group: str, tokens: int, low: int) -> list[Text]:
        def words(n: int) -> str:
            return " ".join(f"w{w}" for w in chances.integers(low, low + 2000, n))

        count = max(12, tokens // LENGTH)
        lengths = chances.integers(LENGTH // 2, 3 * LENGTH // 2, count)
        return [Text(f"{group}{n}", group, words(k), words(ANSWER)) for n, k in enumerate(lengths)]

    sft = texts("sft", 2 * asked.tokens, 100)
    domains = [t for d in range(asked.domains) for t in texts(f"d{d}", asked.tokens, 100 + 700 * d)]
    loaded = load(folder, dtype="fp32", device="cpu")
    held = load_file(folder / "sae.safetensors")
    w_dec, none = held["w_dec"], held["w_dec"].new_zeros(asked.latents)
    sae = Sae(
        w_dec.T.contiguous(),
        none,
        w_dec,
        w_dec.new_zeros(asked.width),
        JumpRelu(held["threshold"].expand(asked.latents).contiguous()),
        hook=Hook(asked.layers // 2),
    )
    material = Material(tuple(sft), tuple(domains))
    return Setting(material, loaded, draws=1, examples=len(sft)), sae


def ours(setting: Any, sae: Any, *, icl: bool) -> Found:
    """Forecast as the library does."""
    from imprint.forecast.chosen import choose
    from imprint.forecast.contexts import bare
    from imprint.forecast.features import Reader
    from imprint.forecast.icl import icl as contrast
    from imprint.forecast.scores import domain_means, score
    from imprint.saes.ablation import place_of

    reader = Reader(setting.model, place_of(setting.model, sae.hook), setting.batcher)
    _, rows = bare(setting, reader, setting.sample, bos=True)
    reader.calibrate(rows, setting.chances(10))
    (meter,) = contrast(setting, reader, [sae], bos=True, nulls=False)
    chosen = choose(setting, meter, TOP)
    (means,) = domain_means(setting, reader, [chosen], bos=True, icl=icl)
    said = {p.name: p.values[0] for p in score(setting, chosen, means, "sts", "")}
    names = {"act": "sts_act_raw", "act2": "sts_act2_raw"} | ({"icl": "sts_icl_raw"} if icl else {})
    return {"latents": chosen.latents.tolist(), **{k: said[n].tolist() for k, n in names.items()}}


def plain(setting: Any, sae: Any, *, icl: bool) -> Found:
    """Forecast with whole passes and dense matrices of features."""
    import torch

    from imprint.forecast.demonstrations import behind, room_before
    from imprint.forecast.rendering import render
    from imprint.forecast.scores import _fitting

    model, how = setting.model.model, setting.prompter
    layer = sae.hook.layer

    def dense(rows: Sequence[Any]) -> Any:
        parts = []
        for row in rows:
            states = model(torch.tensor([row.ids]), output_hidden_states=True).hidden_states
            parts.append(states[layer + 1][0, row.query.start : row.query.stop])
        pre = torch.cat(parts) @ sae.w_enc + sae.b_enc
        return torch.relu(pre) * (pre > sae.function.threshold)

    def means(h: Any, rows: Sequence[Any]) -> Any:
        return torch.stack([part.mean(0) for part in h.split([len(r.query) for r in rows])])

    def bare(texts: Sequence[Any]) -> list[Any]:
        return [render(setting.model.tokenizer, how, text) for text in texts]

    with torch.no_grad():
        rows = bare(setting.sample)
        shown = behind(setting, setting.sample, setting.drawn(0), bos=True)
        kept = [n for n, row in enumerate(shown) if row is not None]
        base = means(dense([rows[n] for n in kept]), [rows[n] for n in kept])
        after = [shown[n] for n in kept]
        d = (means(dense(after), after) - base).double()
        t = d.mean(0) / d.std(0) * len(d) ** 0.5
        latents = torch.nan_to_num(t.abs()).topk(TOP).indices
        found: Found = {"latents": latents.tolist(), "act": [], "act2": []}
        found |= {"icl": []} if icl else {}
        for number, members in enumerate(setting.groups.values()):
            texts = [setting.texts[n] for n in members]
            rows = bare(texts)
            h = dense(rows)
            first = means(h, rows)[:, latents]
            found["act"] += first.sum(1).tolist()
            found["act2"] += means(h.square(), rows)[:, latents].mean(1).tolist()
            if not icl:
                continue
            order = setting.chances(8, 0, number).permutation(len(texts))
            room = room_before(setting, rows)
            shots = _fitting(setting, [texts[n] for n in order], room, len(texts) // 2)
            shown = behind(setting, texts, shots, bos=True)
            kept = [n for n, row in enumerate(shown) if row is not None]
            after = [shown[n] for n in kept]
            moved = means(dense(after), after)[:, latents] - first[kept]
            values = np.full(len(texts), np.nan)
            values[kept] = moved.double().square().sum(1).numpy()
            found["icl"] += values.tolist()
    return found


WAYS: dict[str, Callable[..., Found]] = {"ours": ours, "plain": plain}


def resident() -> int:
    """Bytes in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Peak:
    """Watches how much memory is in use."""

    def __enter__(self) -> Peak:
        self.most, self._stop = resident(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.most = max(self.most, resident())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.most = max(self.most, resident())


def measure(way: str, folder: Path, asked: argparse.Namespace) -> Found:
    """Run one way."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    setting, sae = given(folder, asked)
    torch.randn(64, asked.width) @ sae.w_enc  # libraries start their threads
    before = resident()
    with Peak() as peak:
        begun = time.perf_counter()
        found = WAYS[way](setting, sae, icl=asked.icl)
        seconds = time.perf_counter() - begun
    return {**found, "seconds": seconds, "added": (peak.most - before) / 2**20}


def apart(way: str, folder: Path) -> Found:
    """Run one way in a fresh process, with the arguments of this one."""
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--one", way, "--folder", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    found: Found = json.loads(done.stdout)
    return found


def compare(asked: argparse.Namespace) -> None:
    """Run both ways and print ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, asked)
        found = {way: apart(way, folder) for way in WAYS}
    for way, one in found.items():
        print(f"{way:6} {one['seconds']:8.1f} s {one['added']:10,.0f} MiB added at the peak")
    first, other = found["ours"], found["plain"]
    faster, lighter = other["seconds"] / first["seconds"], other["added"] / max(1.0, first["added"])
    print(f"ours is {faster:.1f} times as fast and takes 1/{lighter:.1f} of the memory")
    shared = len(set(first["latents"]) & set(other["latents"]))
    print(f"the same {shared} of {TOP} latents")
    for score in [k for k in ("act", "act2", "icl") if k in first]:
        a, b = (np.array(one[score]).reshape(asked.domains, -1) for one in (first, other))
        texts = float(np.nanmax(np.abs(a - b) / np.maximum(np.abs(b), 1e-12)))
        domains = float(np.max(np.abs(np.nanmean(a, 1) / np.nanmean(b, 1) - 1)))
        print(f"{score:5} of domains within {domains:.1e}, of single texts within {texts:.1e}")
        assert domains <= 1e-4, f"{score} of domains differs by more than 1e-4"


def main() -> None:
    """Compare, or run one way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=14)
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--latents", type=int, default=65_536)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--no-icl", dest="icl", action="store_false")
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one, asked.folder, asked)))
        return
    compare(asked)


if __name__ == "__main__":
    main()
