"""What is published for and against choosing data by difficulty, in our words, with sources.

Where the two bodies of advice part: the theory of arXiv 2603.01293 asks for SFT rows that are hard
for the model; measurements on facts (arXiv 2509.16596) find rows of middling mastery best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Side = Literal["for", "against"]
About = Literal["sft", "rl"]

CONFLICT = (
    "Two bodies of advice part over SFT. A theory of a linear model (arXiv 2603.01293) finds that "
    "SFT gains most from rows that are hard for the pretrained model and point where the test "
    "adds something; it tests no language model. Experiments on factual questions (arXiv "
    "2509.16596) find facts of middling mastery best and unmastered ones harmful. They need not "
    "contradict each other if hard means a skill that a trace can show, and unmastered means a "
    "fact that was never stored; which of the two holds is yours to say (--kind), and the random "
    "control is there to test it.",
    "That a group without a pass teaches a group-relative method nothing, and that the theory's "
    "outcome loss has a steep landscape there, are different mechanisms with the same advice; "
    "neither proves the other.",
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One published result.

    Attributes:
        side: for choosing by difficulty, or against it.
        about: SFT or RL data.
        source: where it is published.
        says: what was found, with its numbers.
    """

    side: Side
    about: About
    source: str
    says: str


EVIDENCE = (
    Evidence("for", "sft", "arXiv 2501.19393 (s1)",
             "1,000 of 59,029 rows, by quality, difficulty and diversity, made a competitive "
             "reasoning model; its authors report no other draws (simplescaling/s1, issue 8)"),
    Evidence("for", "sft", "arXiv 2502.03387 (LIMO)",
             "817 curated traces took a 32B model to 57.1 on AIME 2024 and 94.8 on MATH"),
    Evidence("for", "sft", "arXiv 2503.10460 (Light-R1)",
             "a second SFT stage on the 3,000 hardest of 76,000 rows, then RL: 74.0 and 60.2 on "
             "AIME 2024 and 2025 at 14B"),
    Evidence("for", "sft", "arXiv 2507.01921 (NaturalThoughts)",
             "hard traces of diverse strategies need fewer rows; random scaling is a strong "
             "baseline in the same work"),
    Evidence("for", "sft", "arXiv 2509.16596",
             "facts: level 2 at 240 rows gave the best accuracy on LLaMA-3-8B, 59.32 in and 55.35 "
             "out of domain (single runs); at 1,920 rows level 2 is 12.06 points above level 0"),
    Evidence("for", "rl", "arXiv 2503.14476 (DAPO)",
             "dropping groups without signal and refilling: AIME 2024 from 42 to 50"),
    Evidence("for", "rl", "arXiv 2504.03380",
             "the gain of a step is bounded below by the variance of success, largest near a pass "
             "rate of one half; plain GRPO's best reward in less than 60 % of time and data"),
    Evidence("for", "rl", "arXiv 2504.05520 (AdaRFT)",
             "prompts nearest a moving target difficulty: up to twice as fast"),
    Evidence("for", "rl", "arXiv 2506.06632",
             "from easy to hard, with easy prompts fading out, helps at 1.5B to 3B"),
    Evidence("for", "rl", "arXiv 2601.15158",
             "a theorem: outcome rewards need enough weight on simple instances, and fail as it "
             "vanishes"),
    Evidence("against", "sft", "arXiv 2504.11741",
             "more SFT rows beat careful choice; the hard tier levels off near 65 %, and 500 to "
             "1,000 rows suffice from easy to medium"),
    Evidence("against", "sft", "arXiv 2503.18069 (Long1K)",
             "the length of traces, not the difficulty of problems, makes the gain (1,000 rows: "
             "95.6 on MATH500)"),
    Evidence("against", "sft", "arXiv 2509.16596",
             "facts that the model has not mastered harm: 1,920 rows of level 0 are 8.86 points "
             "below 240"),
    Evidence("against", "sft", "exact evaluation of the theory (imprint theory)",
             "in the theory's own model a small set does not win everywhere: not at context length "
             "400 with interference 0.01 or 0.1"),
    Evidence("against", "rl", "arXiv 2502.11886 (LIMR)",
             "1,389 of 8,523 RL prompts chosen by learning trajectory, not by difficulty, match or "
             "beat all of them"),
    Evidence("against", "rl", "arXiv 2511.01937",
             "keeping and up-weighting easier prompts gives the same accuracy on AIME 2025 with "
             "answers about half as long"),
    Evidence("against", "rl", "arXiv 2605.09188 (DARE)",
             "difficulty measured once goes stale as the policy moves, and choice alone adds "
             "little in the end"),
)  # fmt: skip

SIZES = (
    "The default size is a rule of thumb, not a result: chosen sets of 800 to 1,000 traces are "
    "published as enough (arXiv 2501.19393, 2502.03387), 500 to 1,000 rows as enough from easy to "
    "medium (arXiv 2504.11741); for facts accuracy rose to 240 rows and fell beyond on one model "
    "with one set of hyper-parameters (arXiv 2509.16596). --sizes writes nested sets to measure "
    "the curve for this model, with several seeds, at equal epochs and at equal steps."
)
