import base64
import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprint.report.embedding import chart_library, content_policy, own_script, pack, script_json


@given(st.text())
def test_json_in_a_script_ends_no_element_and_reads_back(text: str) -> None:
    written = str(script_json({"name": text}))
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {"name": text}


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        script_json([math.nan])


def test_packing_turns_what_is_not_finite_into_null() -> None:
    assert pack({"x": [1.0, math.nan, math.inf, None]}) == {"x": [1.0, None, None, None]}


@given(st.lists(st.sampled_from(["a", "b", ""]), max_size=20))
def test_levels_and_codes_give_the_column_back(values: list[str]) -> None:
    packed = pack({"x": values})["x"]
    if isinstance(packed, dict):
        packed = [packed["levels"][code] for code in packed["codes"]]
    assert packed == values


def test_six_digits_are_kept() -> None:
    assert pack({"x": [0.12345678, 123456789.0]})["x"] == [0.123457, 123457000.0]


def test_policy_names_each_script_and_nothing_else() -> None:
    digest = base64.b64encode(hashlib.sha256(b"let x").digest()).decode()
    policy = content_policy(["let x"])
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    assert "http" not in policy


def test_no_script_closes_its_element() -> None:
    for script in (chart_library(), own_script()):
        assert "</script" not in script.lower()
        assert "<!--" not in script


def test_the_chart_library_is_kept_and_a_missing_cache_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chart_library.cache_clear()
    script = chart_library()
    (kept,) = (tmp_path / "imprint").iterdir()
    assert kept.read_text(encoding="utf-8") == script
    kept.write_text("from the cache", encoding="utf-8")
    chart_library.cache_clear()
    assert chart_library() == "from the cache"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    chart_library.cache_clear()
    assert chart_library() == script
    chart_library.cache_clear()
