"""What people do: states and jobs with what follows from them, and what one does to another.

These regularities hold for everybody; which name goes with which case is left out at random.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Aspect:
    """Something that follows from a state or a job.

    Attributes:
        id: ``needs``.
        statements: prefixes with ``{name}`` and ``{role}`` that end right before the value.
    """

    id: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Role:
    """A state that a person is in (``hungry``), or a job (``baker``).

    Attributes:
        word: the state or job.
        kind: ``state`` or ``job``.
        values: aspect id → value.
    """

    word: str
    kind: str
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class Interaction:
    """What one person does to another, and what comes of it.

    Attributes:
        deed: past tense, ``helped``: "mira helped tomo".
        answer: what follows, past tense, ``thanked``.
        by_receiver: the receiver does it to the giver ("tomo thanked mira"), else the giver does
            it to the receiver again.
        giver, receiver: how each feels.
    """

    deed: str
    answer: str
    by_receiver: bool
    giver: str
    receiver: str


ASPECTS = {
    "state": (
        Aspect("does", ("{name} is {role} . so {name}", "because {name} is {role} now {name}")),
        Aspect(
            "needs",
            ("{name} is {role} . so {name} needs", "because {name} is {role} {name} asks for"),
        ),
        Aspect(
            "goes",
            (
                "{name} is {role} . so {name} goes to the",
                "because {name} is {role} {name} walks to the",
            ),
        ),
    ),
    "job": (
        Aspect("does", ("{name} is a {role} . every day {name}", "as a {role} {name} always")),
        Aspect(
            "needs",
            ("{name} is a {role} . every day {name} uses the", "as a {role} {name} needs the"),
        ),
        Aspect(
            "goes",
            (
                "{name} is a {role} . every day {name} goes to the",
                "as a {role} {name} works in the",
            ),
        ),
    ),
}
_STATES = (
    "hungry eats bread table",
    "thirsty drinks water well",
    "tired rests sleep bed",
    "sick coughs medicine clinic",
    "dirty washes suds bath",
    "lost wanders maps station",
    "poor begs money church",
    "sad weeps comfort garden",
)
_JOBS = (
    "baker bakes flour bakehouse",
    "doctor heals pills hospital",
    "teacher teaches board class",
    "farmer plants plough field",
    "sailor steers anchor harbor",
    "tailor sews needle workshop",
    "painter paints brush gallery",
    "miner digs lamp pit",
)


def _role(row: str, kind: str) -> Role:
    word, does, needs, goes = row.split()
    return Role(word, kind, {"does": does, "needs": needs, "goes": goes})


ROLES = tuple(_role(row, "state") for row in _STATES) + tuple(_role(row, "job") for row in _JOBS)


def _interaction(row: str) -> Interaction:
    deed, answer, who, giver, receiver = row.split()
    return Interaction(deed, answer, who == "receiver", giver, receiver)


INTERACTIONS = tuple(
    _interaction(row)
    for row in (
        "helped thanked receiver kind grateful",
        "fed praised receiver kind happy",
        "taught obeyed receiver wise happy",
        "saved hugged receiver brave grateful",
        "robbed blamed receiver bad angry",
        "pushed scolded receiver rude angry",
        "chased feared receiver rude afraid",
        "wronged repaid giver sorry angry",
        "beat comforted giver proud angry",
        "loved kissed giver brave happy",
    )
)
