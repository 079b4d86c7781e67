"""JSON over HTTP with a server that may be slow, busy or gone for a moment.

Requests run side by side up to a bound. What may pass (a refused or broken connection, a timeout,
429 and 5xx, an answer that is no JSON) is tried again after a growing, randomly shortened wait, or
after what ``Retry-After`` says.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from imprint.errors import ConfigError, DataError

Item = TypeVar("Item")
Found = TypeVar("Found")
Json = dict[str, Any]
PASSING = (408, 409, 425, 429, 500, 502, 503, 504)
LONGEST_WAIT = 60.0  # seconds; a server that asks for longer is asked again after this
LARGEST = 1 << 28  # bytes of an answer
RESUME = "the same command resumes where it stopped."


@dataclass(frozen=True, slots=True)
class Patience:
    """How a server is treated.

    Attributes:
        concurrency: requests under way at the same time.
        retries: how often a request is tried again.
        timeout: seconds without a byte after which a request has failed.
        wait: seconds before the first retry; doubled for each further one.
        key_variable: the environment variable that holds the API key, if there is one.
    """

    concurrency: int = 8
    retries: int = 6
    timeout: float = 300.0
    wait: float = 0.5
    key_variable: str = "OPENAI_API_KEY"

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ConfigError(f"--concurrency {self.concurrency} leaves no request to make")
        if self.retries < 0:
            raise ConfigError(f"--retries {self.retries} is below 0")
        if not self.timeout > 0:
            raise ConfigError(f"--timeout {self.timeout:g} is not above 0 seconds")


class _PassingError(Exception):
    """A failure that may pass; ``after`` is how long the server wants us to wait, in seconds."""

    def __init__(self, problem: str, after: float | None = None):
        super().__init__(problem)
        self.after = after


class RefusedError(Exception):
    """The server answered that it will not do what was asked.

    Attributes:
        status: the HTTP status.
        message: its reason, shortened.
    """

    def __init__(self, status: int, message: str):
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class Server:
    """A server that speaks JSON.

    Args:
        url: where it is; paths are added to it.
        patience: how it is treated.

    Raises:
        ConfigError: the address is none.
    """

    def __init__(self, url: str, patience: Patience | None = None):
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise ConfigError(
                f"{url!r} is not the address of a server", remedy="write http://HOST:PORT/v1."
            )
        if parts.username or parts.password:
            raise ConfigError(
                "an address with a user name or password would be written into results",
                remedy="put the key into an environment variable.",
            )
        self.url, self.patience = url.rstrip("/"), patience or Patience()
        self._host, self._port, self._base = parts.hostname, port, parts.path.rstrip("/")
        self._secure = parts.scheme == "https"
        self._stopped = threading.Event()
        self._open: set[http.client.HTTPConnection] = set()

    def ask(self, path: str, body: Json | None = None) -> Json:
        """Give the answer to a request: GET, or POST where there is a body.

        Raises:
            RefusedError: the server will not do it (4xx).
            ConfigError: the server wants a key, or another one.
            DataError: it does not answer, or answers rubbish, as often as we tried.
        """
        problem = ""
        for attempt in range(self.patience.retries + 1):
            if self._stopped.is_set():
                raise DataError("was given up", where=self.url)
            try:
                return self._once(path, body)
            except _PassingError as failed:
                problem = str(failed)
                if attempt < self.patience.retries:
                    self._stopped.wait(self._pause(attempt, failed.after))
        tried = self.patience.retries + 1
        raise DataError(
            f"{problem} (tried {tried} time{'s' if tried > 1 else ''})",
            where=self.url + path,
            remedy=f"is the server up? {RESUME}",
        )

    def map(self, function: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
        """Give the results in the order of the items, some requests ahead of the one awaited.

        On an error or interrupt all requests under way are broken off.
        """
        width = self.patience.concurrency
        pool = ThreadPoolExecutor(width, thread_name_prefix="imprint-endpoint")
        waiting: deque[Future[Found]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * width:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            self._break_off()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            self._stopped.clear()

    def _once(self, path: str, body: Json | None) -> Json:
        try:
            status, headers, raw = self._exchange(path, body)
        except TimeoutError as late:
            raise _PassingError(f"no answer within {self.patience.timeout:g} seconds") from late
        except (OSError, http.client.HTTPException) as broken:
            raise _PassingError(f"no answer: {str(broken) or type(broken).__name__}") from broken
        if status in PASSING:
            told = f"answered {status}: {_message(raw)}"
            raise _PassingError(told, _retry_after(headers.get("retry-after")))
        if status in (401, 403):
            raise ConfigError(
                f"the server answered {status}: it wants another API key",
                where=self.url,
                remedy=f"set the environment variable {self.patience.key_variable}.",
            )
        if status >= 300:
            raise RefusedError(status, _message(raw))
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError) as broken:
            raise _PassingError(f"answered what is no JSON: {raw[:60]!r}") from broken
        if not isinstance(found, dict):
            raise _PassingError(f"answered {str(found)[:60]!r}, not an object")
        return found

    def _exchange(self, path: str, body: Json | None) -> tuple[int, dict[str, str], bytes]:
        headers = {"Accept": "application/json", "User-Agent": "imprint"}
        key = os.environ.get(self.patience.key_variable)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        raw = None
        if body is not None:
            raw = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        with self._connection() as connection:
            connection.request("POST" if raw else "GET", self._base + path, raw, headers)
            answer = connection.getresponse()
            content = answer.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise http.client.HTTPException(f"an answer of more than {LARGEST:,} bytes")
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, content

    @contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        """Open a connection for one request, known to who breaks requests off."""
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self.patience.timeout)
        self._open.add(connection)
        try:
            yield connection
        finally:
            self._open.discard(connection)
            connection.close()

    def _break_off(self) -> None:
        self._stopped.set()
        for connection in list(self._open):
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _pause(self, attempt: int, after: float | None) -> float:
        # waits are spread out, so that many requests refused at once do not come back at once
        own = self.patience.wait * 2.0**attempt * random.uniform(0.5, 1.0)  # noqa: S311
        return min(LONGEST_WAIT, own if after is None else max(own, after))


def _message(raw: bytes) -> str:
    """Find the reason in an error's body, as OpenAI, vLLM and others write it."""
    text = raw.decode("utf-8", "replace").strip()
    with suppress(ValueError, RecursionError):
        found = json.loads(text)
        for key in ("error", "message", "detail"):
            if isinstance(found, dict) and key in found:
                found = found[key]
        text = str(found)
    return " ".join(text.split())[:300] or "without a reason"


def _retry_after(text: str | None) -> float | None:
    """Read a header that holds seconds or a date.

    >>> _retry_after("3"), _retry_after("soon"), _retry_after(None)
    (3.0, None, None)
    """
    if text is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(text)) if float(text) < float("inf") else LONGEST_WAIT
    with suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None
