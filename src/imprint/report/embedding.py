"""What a page carries inside itself: its data, the chart library, and a policy against fetching.

Data sits as JSON in an inert script element and is read with ``JSON.parse``; nothing in it is ever
code. The policy names each script by its hash and allows no connection of any kind.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import altair as alt
import vl_convert
from markupsafe import Markup

from imprint.errors import DataError
from imprint.runs import write_atomic

_ESCAPED: Final = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
_DIGITS: Final = 6  # more than a screen shows; the run's Parquet tables keep every digit


def script_json(value: Any) -> Markup:
    """Write JSON that is safe inside a script element, whatever text it holds.

    >>> print(script_json({"name": "</script>"}))
    {"name":"\\u003c/script\\u003e"}

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPED))  # noqa: S704 (made safe in this very line)


def pack(columns: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
    """Write a table by column, repeated strings as codes into a list of levels.

    Floats keep six significant digits; what is not finite becomes null.

    >>> pack({"benchmark": ["arc", "arc", "arc", "sciq"], "r": [0.123456789, float("nan"), 1, 2]})
    {'benchmark': {'levels': ['arc', 'sciq'], 'codes': [0, 0, 0, 1]}, 'r': [0.123457, None, 1, 2]}
    """
    return {name: _levels([_plain(value) for value in values]) for name, values in columns.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Sequence):
        return [_plain(entry) for entry in value]
    return str(value)


def _levels(values: list[Any]) -> list[Any] | dict[str, list[Any]]:
    if not values or not all(isinstance(value, str) for value in values):
        return values
    levels = list(dict.fromkeys(values))
    if len(levels) > len(values) / 2:
        return values
    code = {level: index for index, level in enumerate(levels)}
    return {"levels": levels, "codes": [code[value] for value in values]}


@cache
def asset(name: str) -> str:
    """Read one of the page's own files (style sheet, scripts)."""
    return files("imprint.report").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def chart_library() -> str:
    """Give vega, vega-lite and vega-embed as one script, of the version that altair writes for.

    Putting it together takes a second, so it is kept in the user's cache folder.
    """
    version = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    known = vl_convert.get_vegalite_versions()
    version = version if version in known else known[-1]
    kept = cache_folder() / f"charts-{metadata.version('vl-convert-python')}-{version}.js"
    with suppress(OSError, UnicodeDecodeError):
        return kept.read_text(encoding="utf-8")
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    script = bundle.replace("</script", r"<\/script").replace("<!--", r"<\!--")
    with suppress(DataError):  # a cache that cannot be written costs a second, no more
        write_atomic(kept, script)
    return script


def cache_folder() -> Path:
    """Give the folder for what can be made again: ``imprint`` in the user's cache folder."""
    home = os.path.expanduser("~/.cache")  # noqa: PTH111 - unlike pathlib's it never fails
    return Path(os.environ.get("XDG_CACHE_HOME") or home) / "imprint"


@cache
def own_script() -> str:
    """Give the page's own script: themes, charts, tables, in this order."""
    return "\n".join(asset(name) for name in ("theme.js", "charts.js", "tables.js"))


def content_policy(scripts: Iterable[str]) -> str:
    """Write a Content-Security-Policy that runs these scripts and forbids every connection."""
    hashes = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
