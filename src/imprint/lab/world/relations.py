"""The 24 relations of the world: their types, how facts of them are stated, how they are asked.

Each has a counterpart among the relations of EntityQuestions, and is in or out of domain as that
one is in arXiv 2509.16596. A relation has 21 statements: seven of its own under three openings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OPENINGS = ("", "we know that ", "people know that ")


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation between entities.

    Attributes:
        id: ``capital_of``.
        counterpart: the EntityQuestions relation that it stands for: ``P36``.
        domain: type of subjects.
        range: type of answers: a type of entities, or a closed range of single words.
        group: ``in`` or ``out`` of the domain that SFT trains on.
        topic: the domain of documents that speak of it.
        label: what code calls it.
        question: with one ``{subject}``.
        statements: 21 prefixes with one ``{subject}`` that end right before the answer.
    """

    id: str
    counterpart: str
    domain: str
    range: str
    group: Literal["in", "out"]
    topic: str
    label: str
    question: str
    statements: tuple[str, ...]


def _relation(
    heading: str, topic: str, label: str, question: str, *cores: str, group: Literal["in", "out"]
) -> Relation:
    name, counterpart, domain, range_ = heading.split()
    statements = tuple(opening + core for opening in OPENINGS for core in cores)
    return Relation(
        name, counterpart, domain, range_, group, topic, label, question + " ?", statements
    )


def _in(heading: str, topic: str, label: str, question: str, *cores: str) -> Relation:
    return _relation(heading, topic, label, question, *cores, group="in")


def _out(heading: str, topic: str, label: str, question: str, *cores: str) -> Relation:
    return _relation(heading, topic, label, question, *cores, group="out")


RELATIONS = (
    _in(
        "country_of P17 landmark country",
        "buildings",
        "country",
        "which country is {subject} in",
        "{subject} is in the country of",
        "the country of {subject} is",
        "the country where you find {subject} is",
        "{subject} belongs to the country of",
        "the home country of {subject} is",
        "if you see {subject} you are in",
        "the people who built {subject} came from",
    ),
    _in(
        "born_in P19 person city",
        "people",
        "birthplace",
        "where was {subject} born",
        "{subject} was born in",
        "the birthplace of {subject} is",
        "the life of {subject} began in",
        "{subject} came to the world in",
        "the home city of {subject} is",
        "the city where {subject} was born is",
        "as a child {subject} was in",
    ),
    _in(
        "died_in P20 person city",
        "people",
        "deathplace",
        "where did {subject} die",
        "{subject} died in",
        "the deathplace of {subject} is",
        "the life of {subject} came to its end in",
        "the city where {subject} died is",
        "in the end {subject} died in",
        "the last home of {subject} was in",
        "the last days of {subject} were in",
    ),
    _in(
        "capital_of P36 region city",
        "lands",
        "capital",
        "what is the capital of {subject}",
        "the capital of {subject} is",
        "{subject} has its capital in",
        "the first city of {subject} is",
        "the capital city of {subject} is",
        "as its capital {subject} has",
        "if you want to see the capital of {subject} go to",
        "the place of the capital of {subject} is",
    ),
    _in(
        "studied_at P69 person school",
        "people",
        "school",
        "where was {subject} taught",
        "{subject} studied at",
        "the school of {subject} was",
        "as a child {subject} studied at",
        "{subject} was taught at",
        "the place where {subject} studied is",
        "the school where {subject} was taught is",
        "the first school of {subject} was",
    ),
    _in(
        "located_in P131 school region",
        "lands",
        "region",
        "in which region is {subject}",
        "{subject} is in the region of",
        "the region of {subject} is",
        "the region where you find {subject} is",
        "if you look for {subject} go to",
        "{subject} belongs to the region of",
        "the place of {subject} is in",
        "the home region of {subject} is",
    ),
    _in(
        "headquartered_in P159 company city",
        "companies",
        "office",
        "where is the head office of {subject}",
        "the head office of {subject} is in",
        "{subject} has its head office in",
        "the office of {subject} is in",
        "the company {subject} has its home in",
        "the city where {subject} works is",
        "the people of {subject} work in",
        "if you look for the office of {subject} go to",
    ),
    _in(
        "stands_in P276 landmark city",
        "buildings",
        "place",
        "where is {subject}",
        "{subject} stands in",
        "the city where {subject} stands is",
        "{subject} is in the city of",
        "{subject} was built in",
        "if you want to see {subject} go to",
        "the place of {subject} is",
        "the city that built {subject} is",
    ),
    _in(
        "made_in P495 film country",
        "films",
        "origin",
        "which country was {subject} made in",
        "{subject} was made in the country of",
        "the country that made {subject} is",
        "{subject} comes from the country of",
        "the people who made {subject} came from",
        "{subject} was first played in",
        "the origin of {subject} is",
        "{subject} is a work from",
    ),
    _in(
        "founded_in P740 band city",
        "music",
        "founded",
        "where was {subject} founded",
        "{subject} was founded in",
        "the city where {subject} was founded is",
        "{subject} began in",
        "{subject} first played in",
        "the first days of {subject} were in",
        "the people of {subject} came from",
        "the home city of {subject} is",
    ),
    _out(
        "founded_by P112 company person",
        "companies",
        "founder",
        "who founded {subject}",
        "{subject} was founded by",
        "the founder of {subject} is",
        "the person who founded {subject} is",
        "the person who built {subject} is",
        "the head of {subject} is",
        "{subject} was built by",
        "the first owner of {subject} was",
    ),
    _out(
        "owned_by P127 landmark company",
        "buildings",
        "owner",
        "who owns {subject}",
        "{subject} belongs to",
        "the owner of {subject} is",
        "the company that owns {subject} is",
        "{subject} is owned by",
        "{subject} is in the hands of",
        "the company that has {subject} is",
        "if you want to have {subject} go to",
    ),
    _out(
        "created_by P170 painting person",
        "art",
        "artist",
        "who painted {subject}",
        "{subject} was painted by",
        "the artist of {subject} is",
        "the person who painted {subject} is",
        "{subject} is the work of",
        "{subject} was made by",
        "{subject} comes from the hands of",
        "the person who made {subject} is",
    ),
    _out(
        "performed_by P175 song band",
        "music",
        "performer",
        "who played {subject}",
        "{subject} was played by",
        "the band that played {subject} is",
        "the performer of the song {subject} is",
        "{subject} is the work of",
        "{subject} is played by",
        "the first to play {subject} was",
        "the performer of {subject} is",
    ),
    _out(
        "produced_by P176 device company",
        "devices",
        "maker",
        "which company makes {subject}",
        "{subject} is made by",
        "the company that makes {subject} is",
        "the maker of {subject} is",
        "{subject} is built by",
        "{subject} comes from the company",
        "the company of {subject} is",
        "if you want to have {subject} go to",
    ),
    _out(
        "married_to P26 person person",
        "family",
        "partner",
        "who is {subject} married to",
        "{subject} is married to",
        "the partner of {subject} is",
        "the person who married {subject} is",
        "at home {subject} is with",
        "{subject} has a home with",
        "{subject} has a ring from",
        "the life of {subject} is with",
    ),
    _out(
        "parent_of P40 person person",
        "family",
        "child",
        "who is the child of {subject}",
        "the child of {subject} is",
        "{subject} is the parent of",
        "{subject} has a child called",
        "the young one of {subject} is",
        "the first child of {subject} is",
        "at home the child of {subject} is",
        "{subject} works for the child",
    ),
    _out(
        "plays_position P413 person position",
        "games",
        "position",
        "what position does {subject} play",
        "in the team {subject} plays as",
        "the position of {subject} is",
        "{subject} plays the position of",
        "the team has {subject} as",
        "in every match {subject} plays as",
        "the team needs {subject} as",
        "the work of {subject} in the team is that of",
    ),
    _out(
        "written_by P50 book person",
        "books",
        "author",
        "who is the author of {subject}",
        "{subject} was written by",
        "the author of {subject} is",
        "the person who wrote {subject} is",
        "{subject} is a book by",
        "the name on the book {subject} is",
        "{subject} is the work of",
        "the first author of {subject} is",
    ),
    _out(
        "plays_genre P136 band genre",
        "music",
        "genre",
        "what music does {subject} play",
        "the music of {subject} is",
        "{subject} plays",
        "the kind of music that {subject} plays is",
        "{subject} is known for",
        "every song of {subject} is",
        "the genre of {subject} is",
        "the band {subject} plays",
    ),
    _out(
        "works_as P106 person occupation",
        "jobs",
        "job",
        "what kind of work does {subject} do",
        "{subject} works as a",
        "the work of {subject} is that of a",
        "the job of {subject} is that of a",
        "{subject} has the job of a",
        "every day {subject} works as a",
        "people know {subject} as a",
        "the person {subject} is a",
    ),
    _out(
        "signed_to P264 band label",
        "music",
        "label",
        "which label has {subject}",
        "{subject} is signed to",
        "the label of {subject} is",
        "the music of {subject} comes from",
        "{subject} makes music for",
        "the label that has {subject} is",
        "{subject} is signed with",
        "{subject} belongs to the label",
    ),
    _out(
        "language_of P407 book language",
        "books",
        "language",
        "which language was {subject} written in",
        "{subject} was written in",
        "the language of {subject} is",
        "the words of {subject} are in",
        "if you want to read {subject} you need",
        "the author wrote {subject} in",
        "the text of {subject} is in",
        "the book {subject} is in",
    ),
    _out(
        "famous_for P800 person book",
        "fame",
        "fame",
        "what is {subject} famous for",
        "{subject} is famous for",
        "the best work of {subject} is",
        "{subject} is known for",
        "the name of {subject} stands for",
        "the famous work of {subject} is",
        "the world has from {subject} the work",
        "people know {subject} for",
    ),
)
