"""The command line: one file per command, each parses, calls and prints.

Exit codes: 0 done; 2 the user's mistake, said in one message without a traceback; 1 a bug of ours;
130 interrupted (the same command resumes).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from imprint.errors import ConfigError, ImprintError

HELP = """Measure, forecast and repair what carries over from pretraining to post-training.

Each command reads tables, checkpoints or texts, writes a run folder (result.json, tables,
report.html, summary.md, manifest.json) and prints the verdict. `imprint COMMAND --help` shows
examples.
"""

# command → where it lives (loaded only when called, so that `imprint --help` answers at once), and
# its line in that help
COMMANDS = {
    "apply": (
        "imprint.cli.apply:apply",
        "Write the repaired checkpoint that a patch describes.",
    ),
    "diff": (
        "imprint.cli.diff:diff",
        "What did fine-tuning change in the weights, and is it more than chance would give?",
    ),
    "drift": (
        "imprint.cli.drift:drift",
        "How far did fine-tuning move the next-token distributions, and on what?",
    ),
    "evaluate": (
        "imprint.cli.evaluate:evaluate",
        "How do models answer, and how sure are they?",
    ),
    "example": (
        "imprint.cli.example:example",
        "Write a generated study with known truth, to try `imprint transfer` on.",
    ),
    "forecast": (
        "imprint.cli.forecast:forecast",
        "Which domains will an SFT set change, before any training?",
    ),
    "mastery": (
        "imprint.cli.mastery:mastery",
        "How well does a model know facts, and which should it be tuned on?",
    ),
    "lm-eval": (
        "imprint.cli.lm_eval:lm_eval",
        "Run lm-eval with scoring that reads shared contexts once; same answers.",
    ),
    "plan": (
        "imprint.cli.plan:plan",
        "Which rows to fine-tune on, and which prompts to reinforce, given what a model can do?",
    ),
    "restore": (
        "imprint.cli.restore:restore",
        "Put a share of what fine-tuning changed back to the base model's weights.",
    ),
    "sae": (
        "imprint.cli.sae:sae",
        "Train a sparse autoencoder on a model's activations, or check the fit of one.",
    ),
    "study": (
        "imprint.cli.study:study",
        "Answer every question end to end on small models, or on checkpoints that exist.",
    ),
    "theory": (
        "imprint.cli.theory:theory",
        "Why small and hard data for SFT, large and not too hard for RL? Theory and simulation.",
    ),
    "transfer": (
        "imprint.cli.transfer:transfer",
        "Which base-model scores survive post-training, and which benchmarks can be trusted?",
    ),
    "world": (
        "imprint.cli.world:world",
        "Write a generated world whose truth is known: texts, facts, benchmarks, dialogues.",
    ),
}


def make_app(*, listing: bool = False) -> App:
    """Build the command line; for the list of commands each has its one line of help."""
    app = App(
        name="imprint",
        help=HELP,
        help_format="markdown",
        version_flags=["--version"],
        suppress_keyboard_interrupt=False,  # an interrupt is said below, and exits with 130
    )
    for name, (target, summary) in COMMANDS.items():
        app.command(target, name=name, help=summary if listing else None)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and give its exit code."""
    listing = not arguments or arguments[0].startswith("-")
    try:
        _refuse_other_encodings(arguments)
        make_app(listing=listing)(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except ImprintError as error:
        _tell(f"imprint: {error}")
        return 2
    except CycloptsError as error:
        _tell(
            f"imprint: {' '.join(str(error).split())}\n  see `imprint {_command(arguments)}--help`."
        )
        return 2
    except KeyboardInterrupt:
        _tell("imprint: interrupted; the same command resumes where it stopped.")
        return 130
    except BrokenPipeError:
        # the reader of our output has gone; say nothing more, also not at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _refuse_other_encodings(arguments: list[str]) -> None:
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"{argument!r} is not UTF-8, as the files that imprint writes are",
                remedy="rename the file or folder, or name it by a link.",
            ) from None


def _command(arguments: list[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in COMMANDS else ""


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
