"""``imprint lm-eval``: lm-eval's own command line, with imprint's scoring as its backend."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from imprint.errors import require


def lm_eval(
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
) -> None:
    """Run lm-eval with imprint's scoring: same requests, same answers, contexts read once.

    Takes what `lm-eval` takes (see its own documentation); without `--model` the backend is
    `imprint`, which takes the arguments of the backend `hf`:

        imprint lm-eval --model_args pretrained=my/model --tasks arc_challenge,mmlu
    """
    require("lm_eval", "lm-eval")
    require("imprint.integrations.lm_eval", "lm-eval").run(arguments)
