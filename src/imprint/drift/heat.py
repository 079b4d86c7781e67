"""Texts with every token on a ground as strong as its divergence."""

from __future__ import annotations

import altair as alt
import polars as pl

from imprint.report.figure import Chart
from imprint.report.figures.panels import layer

COLUMNS = 100  # characters in a line
WIDTH, LINE, FONT = 860, 21, 13.5
GROUND = "#e8772e"  # mixed with the page's own ground, so that the ink on it stays readable
LONGEST = 40  # characters shown of a token
BLANK = "\u00a0"
MARKS = {"\n": "⏎", "\t": "⇥", "\r": "␍"}


def coloured_text(tokens: pl.DataFrame, *, strongest: float, lines: int = 24) -> Chart:
    """Draw a text, each token on a ground that is the stronger the higher its KL.

    Args:
        tokens: rows of the table ``drift`` of one text, in order.
        strongest: the KL, in nats, from which on the ground gets no stronger.
        lines: the most that are drawn; the rest of the text is left out.
    """
    data = _laid_out(tokens, lines)
    height = (data["line"].to_list()[-1] + 1) * LINE
    across = alt.Scale(domain=[0, COLUMNS], nice=False, zero=False)
    down = alt.Scale(domain=[0, height / LINE], reverse=True, nice=False, zero=False)
    tips = [
        alt.Tooltip("shown:N", title="token"),
        alt.Tooltip("kl:Q", title="KL(base‖tuned)", format=".3~g"),
        alt.Tooltip("base_p:Q", title="base's probability", format=".3~p"),
        alt.Tooltip("tuned_p:Q", title="tuned probability", format=".3~p"),
        alt.Tooltip("position:Q", title="position"),
    ]
    base = alt.Chart(data)
    ground = base.mark_rect(fill=GROUND, strokeWidth=0, cornerRadius=2).encode(
        x=alt.X("x:Q", scale=across, axis=None),
        x2="x2:Q",
        y=alt.Y("line:Q", scale=down, axis=None),
        y2="below:Q",
        opacity=alt.Opacity(
            "kl:Q", scale=alt.Scale(domain=[0, strongest], range=[0, 0.72], clamp=True), legend=None
        ),
        tooltip=tips,
    )
    words = base.mark_text(align="left", baseline="middle", font="monospace", fontSize=FONT).encode(
        x=alt.X("begin:Q", scale=across, axis=None),
        y=alt.Y("middle:Q", scale=down, axis=None),
        text="word:N",
        tooltip=tips,
    )
    return layer(ground, words).properties(width=WIDTH, height=height)


def _laid_out(tokens: pl.DataFrame, lines: int) -> pl.DataFrame:
    rows, x, line = [], 0, 0
    for row in tokens.iter_rows(named=True):
        shown = _shown(row["token"])
        if x and x + len(shown) > COLUMNS:
            x, line = 0, line + 1
        if line >= lines:
            break
        rows.append(
            {
                "shown": shown,
                # blanks in front of a text are not drawn, so that it begins behind them
                "word": shown.strip(BLANK),
                "begin": x + len(shown) - len(shown.lstrip(BLANK)),
                "x": x,
                "x2": x + len(shown),
                "line": line,
                "middle": line + 0.5,
                "below": line + 0.92,
                "kl": row["kl"],
                "base_p": row["base_p"],
                "tuned_p": row["tuned_p"],
                "position": row["position"],
            }
        )
        x += len(shown)
        if "\n" in row["token"]:
            x, line = 0, line + 1
    return pl.DataFrame(rows)


def _shown(token: str) -> str:
    for sign, mark in MARKS.items():
        token = token.replace(sign, mark)
    # a line is drawn as it is: leading blanks stay, and nothing turns the direction of writing
    plain = "".join(c if c.isprintable() else "·" for c in token) or "·"
    plain = plain.replace(" ", BLANK)
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"
