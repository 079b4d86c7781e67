"""A small completions server over transformers, for tests of what talks to vLLM or SGLang.

It answers ``/v1/models`` and ``/v1/completions`` with ``prompt`` (a text or a list), ``n``,
``seed``, ``temperature``, ``max_tokens``, ``stop``, ``logprobs`` and ``echo``, and can be told to
fail. Run as a process of its own: it prints its port and serves until it is killed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAME = "stories"


@contextmanager
def serving(model: Path, *flags: str) -> Iterator[str]:
    """Run the server in a process of its own; gives its address."""
    command = [sys.executable, __file__, str(model), *flags]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def told(url: str, **faults: Any) -> str:
    """Tell a running server how to behave from now on, and to count anew; gives its address."""
    body = json.dumps(faults).encode()
    request = urllib.request.Request(f"{url}/control", body, method="POST")  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        assert answer.status == 200
    return url


class Model:
    """The model, and what it answers."""

    def __init__(self, folder: str):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.limit = self.model.config.max_position_embeddings
        self.lock = threading.Lock()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        given = body["prompt"]
        prompts = [given] if isinstance(given, str) else given
        choices: list[dict[str, Any]] = []
        with self.lock, self.torch.inference_mode():
            for prompt in prompts:
                choices += self._samples(prompt, body)
        for index, choice in enumerate(choices):
            choice["index"] = index
        return {"object": "text_completion", "model": body["model"], "choices": choices}

    def _samples(self, prompt: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        encoded = self.tokenizer(prompt, return_offsets_mapping=True)
        ids, spans = encoded["input_ids"], encoded["offset_mapping"]
        if len(ids) + body.get("max_tokens", 16) > self.limit + 1:
            raise ValueError(f"This model's maximum context length is {self.limit} tokens.")
        temperature, seed = body.get("temperature", 1.0), body.get("seed", 0)
        if temperature == 0 and body.get("n", 1) > 1:
            raise ValueError("n must be 1 when using greedy sampling")
        found = []
        for sample in range(body.get("n", 1)):
            generator = self.torch.Generator().manual_seed(seed * 1000 + sample)
            found.append(self._one(prompt, ids, spans, body, temperature, generator))
        return found

    def _one(
        self, prompt: str, ids: list[int], spans: Any, body: dict[str, Any], heat: float, rng: Any
    ) -> dict[str, Any]:
        torch = self.torch
        known, drawn, text, reason = list(ids), [], "", "length"
        while len(drawn) < body.get("max_tokens", 16) and len(known) < self.limit:
            last = self.model(torch.tensor([known])).logits[0, -1].float()
            if heat == 0:
                token = int(last.argmax())
            else:
                token = int(torch.multinomial(torch.softmax(last / heat, -1), 1, generator=rng))
            if token == self.tokenizer.eos_token_id:
                reason = "stop"
                break
            known.append(token)
            drawn.append(token)
            text = self.tokenizer.decode(known)[len(self.tokenizer.decode(ids)) :]
            stops = [text.find(word) for word in body.get("stop", []) if word in text]
            if stops:
                text, reason = text[: min(stops)], "stop"
                break
        choice: dict[str, Any] = {"text": text, "finish_reason": reason, "logprobs": None}
        if body.get("logprobs") is not None:
            choice["logprobs"] = self._logprobs(prompt, ids, spans, drawn, body)
        if body.get("echo") and not Handler.options.no_echo:
            choice["text"] = prompt + text
        return choice

    def _logprobs(
        self, prompt: str, ids: list[int], spans: Any, drawn: list[int], body: dict[str, Any]
    ) -> dict[str, Any]:
        torch, whole = self.torch, ids + drawn
        table = torch.log_softmax(self.model(torch.tensor([whole])).logits[0].float(), -1)
        tokens: list[str] = []
        offsets: list[int] = []
        values: list[float | None] = []
        tops: list[dict[str, float] | None] = []
        at, shift = len(prompt), 0
        for place, token in enumerate(whole):
            start = place == 0 and token == self.tokenizer.bos_token_id
            if place < len(ids):
                begin, end = spans[place]
                text = self.tokenizer.decode([token]) if start else prompt[begin:end]
            else:
                begin, text = at, self.tokenizer.decode([token])
                at += len(text)
            tokens.append(text)
            offsets.append(begin + shift)
            if start and Handler.options.count_start:
                shift = len(text)  # vLLM counts the start token as text
            best = None if place == 0 else int(table[place - 1].argmax())
            values.append(None if place == 0 else float(table[place - 1, token]))
            top = None if best is None else float(table[place - 1, best])
            tops.append(None if best is None else {self.tokenizer.decode([best]): top or 0.0})
        if Handler.options.no_prompt_logprobs:
            values = [None] * len(ids) + values[len(ids) :]
        cut = 0 if body.get("echo") else len(ids)
        return {
            "tokens": tokens[cut:],
            "token_logprobs": values[cut:],
            "top_logprobs": tops[cut:],
            "text_offset": offsets[cut:],
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: Model
    asked: argparse.Namespace  # on the command line
    options: argparse.Namespace  # as told since
    seen = 0
    failed = 0
    most = 0
    now = 0
    counting = threading.Lock()
    working = False  # of this connection: a request is being answered

    def do_GET(self) -> None:
        if self._wrong_key():
            return
        if self.path == "/v1/counts":
            self._answer(200, {"requests": Handler.seen, "most_at_once": Handler.most})
        elif self.path == "/v1/models" and not self.options.no_models:
            entry = {"id": NAME, "object": "model", "max_model_len": self.model.limit}
            self._answer(200, {"object": "list", "data": [entry]})
        else:
            self._answer(404, {"error": {"message": "no such path"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/control":
            Handler.options = argparse.Namespace(**{**vars(Handler.asked), **body})
            Handler.seen = Handler.failed = Handler.most = 0
            self._answer(200, {})
            return
        with Handler.counting:
            Handler.seen += 1
            Handler.now += 1
            Handler.most = max(Handler.most, Handler.now)
            number = Handler.seen
        self.working = True
        try:
            if not self._wrong_key() and not self._fault(number):
                self._complete(body)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Count the request as done; before its answer, upon which the client may send another."""
        with Handler.counting:
            Handler.now -= self.working
            self.working = False

    def _complete(self, body: dict[str, Any]) -> None:
        try:
            self._answer(200, self.model.complete(body))
        except ValueError as wrong:
            self._answer(400, {"error": {"message": str(wrong), "type": "BadRequestError"}})

    def _wrong_key(self) -> bool:
        key = self.options.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return False
        self._answer(401, {"error": {"message": "Unauthorized"}})
        return True

    def _fault(self, number: int) -> bool:
        """Misbehave as asked; says whether the request has been dealt with."""
        options = self.options
        if options.die_after is not None and number > options.die_after:
            os._exit(1)
        time.sleep(options.delay)
        with Handler.counting:
            failing = Handler.failed < options.fail
            Handler.failed += failing
        if not failing and number % options.rubbish_from != 0:
            return False
        if options.fault == "busy":
            self._answer(503, {"error": "overloaded"}, {"Retry-After": options.retry_after})
        elif options.fault == "hang-up":
            self.close_connection = True
            self.connection.close()
        elif options.fault == "html":
            self._raw(200, b"<html>welcome</html>", {})
        elif options.fault == "list":
            self._raw(200, b"[1, 2]", {})
        elif options.fault == "choices":
            self._answer(200, {"choices": [{"txt": 1}]})
        elif options.fault == "nan":
            self._raw(200, b'{"choices": [{"text": "one two", "logprobs": NaN}]}', {})
        return True

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._leave()
        self._raw(status, json.dumps(body).encode(), headers or {})

    def _raw(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--fail", type=int, default=0, help="misbehave for so many requests")
    parser.add_argument("--rubbish-from", type=int, default=1 << 40, help="every so many requests")
    parser.add_argument("--fault", default="busy")
    parser.add_argument("--retry-after")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--die-after", type=int)
    parser.add_argument("--key")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--no-echo", action="store_true")
    parser.add_argument("--no-prompt-logprobs", action="store_true")
    parser.add_argument("--no-models", action="store_true")
    parser.add_argument("--count-start", action="store_true")
    options = parser.parse_args()
    Handler.asked = Handler.options = options
    Handler.model = Model(options.model)
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
