"""Items: exact probabilities are those of transformers; splits keep questions apart."""

from __future__ import annotations

from pathlib import Path

import pytest

import trials_support as toy
from imprint.lab.chapters.asked import chat, of_rows, plain, read_items, score, split, take
from imprint.lab.chapters.asked import write_items as write


def test_the_probability_is_that_of_the_whole_answer_with_its_end(tmp_path: Path) -> None:
    model = toy.material(tmp_path).models("sft")[0]["model"]
    items = of_rows(toy.rows())[:6]
    found = score(str(model), items, device="cpu")
    tokenizer = toy.transformers.AutoTokenizer.from_pretrained(model)
    network = toy.transformers.AutoModelForCausalLM.from_pretrained(model)
    for item, row in zip(items, found.iter_rows(named=True), strict=True):
        chats = [*item.turns, {"role": "assistant", "content": item.answer}]
        ids = tokenizer.apply_chat_template(chats, return_dict=True)["input_ids"]
        before = tokenizer.apply_chat_template(
            list(item.turns), add_generation_prompt=True, return_dict=True
        )["input_ids"]
        assert ids[-1] == tokenizer.eos_token_id
        with toy.torch.no_grad():
            logprobs = network(toy.torch.tensor([ids])).logits[0].log_softmax(-1)
        places = range(len(before) - 1, len(ids) - 1)
        total = sum(float(logprobs[at, ids[at + 1]]) for at in places)
        assert row["probability"] == pytest.approx(toy.torch.tensor(total).exp().item(), rel=1e-4)
        best = all(int(logprobs[at].argmax()) == ids[at + 1] for at in places)
        assert row["greedy"] == best


def test_questions_stay_on_one_side() -> None:
    items = [chat(f"q{at // 2}", f"a{at}", "d") for at in range(40)]
    train, held = split(items, 0.25, seed=0)
    assert not {i.asked for i in train} & {i.asked for i in held}
    assert len(held) == 10
    assert split(items, 0.25, seed=0) == (train, held)
    assert split(items, 0.25, seed=1) != (train, held)


def test_draws_are_nested() -> None:
    items = [chat(f"q{at}", "a", "d") for at in range(40)]
    assert take(items, 5, 3) == take(items, 20, 3)[:5]


def test_rows_of_every_kind_and_long_answers(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a b c"}]
    rows = [
        {"messages": messages, "skill": "s"},
        {"prompt": "p", "answer": ["x", "y"]},
        {"text": "t"},
    ]
    found = of_rows(rows)
    told = [(item.domain, item.asked, item.answer) for item in found]
    assert told == [("s", "q", "a b c"), ("all", "p", "x")]
    assert len(of_rows(rows, longest=2)) == 1
    assert found[0].taught["messages"] == messages
    write(tmp_path / "items.jsonl", [*found, plain("the cat is", "red", "d")])
    assert read_items(tmp_path / "items.jsonl") == [*found, plain("the cat is", "red", "d")]
