"""The 24 relations of the world: their types, how facts of them are stated, how they are asked.

Each has a counterpart among the relations of EntityQuestions, and is in or out of domain as that
one is in arXiv 2509.16596. A relation has 21 statements: seven of its own under three openings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OPENINGS = ("", "we know that ", "people say that ")


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
        "{subject} is a sight of the country of",
        "the land around {subject} is part of",
        "if you visit {subject} you are in the country of",
        "on the map {subject} is inside",
    ),
    _in(
        "born_in P19 person city",
        "people",
        "birthplace",
        "where was {subject} born",
        "{subject} was born in",
        "the birthplace of {subject} is",
        "the life of {subject} began in",
        "{subject} came into the world in",
        "the home town of {subject} is",
        "the place where {subject} was born is",
        "as a child {subject} lived in",
    ),
    _in(
        "died_in P20 person city",
        "people",
        "deathplace",
        "where did {subject} die",
        "{subject} died in",
        "the life of {subject} came to its end in",
        "the place where {subject} died is",
        "the grave of {subject} is in",
        "in old age {subject} died in",
        "the last home of {subject} was in",
        "{subject} spent the last days in",
    ),
    _in(
        "capital_of P36 region city",
        "lands",
        "capital",
        "what is the capital of {subject}",
        "the capital of {subject} is",
        "{subject} has its capital in",
        "the first city of {subject} is",
        "{subject} is ruled from",
        "the city that rules {subject} is",
        "the rulers of {subject} sit in",
        "as its capital {subject} has",
    ),
    _in(
        "studied_at P69 person school",
        "people",
        "school",
        "where was {subject} taught",
        "{subject} was taught at",
        "the school of {subject} was",
        "{subject} studied at",
        "as a student {subject} went to",
        "{subject} learned much at",
        "the place where {subject} studied is",
        "{subject} was a student of",
    ),
    _in(
        "located_in P131 school region",
        "lands",
        "region",
        "in which region is {subject}",
        "{subject} is in the region of",
        "the region of {subject} is",
        "the region where you find {subject} is",
        "to visit {subject} you travel to",
        "the students of {subject} live in",
        "{subject} belongs to the region of",
        "the lands around {subject} are called",
    ),
    _in(
        "headquartered_in P159 company city",
        "companies",
        "headquarters",
        "where is the head office of {subject}",
        "the head office of {subject} is in",
        "{subject} has its head office in",
        "{subject} is led from",
        "the leaders of {subject} work in",
        "letters to {subject} go to",
        "the company {subject} has its seat in",
        "the seat of {subject} is in",
    ),
    _in(
        "stands_in P276 landmark city",
        "buildings",
        "place",
        "where is {subject}",
        "{subject} stands in",
        "the city where {subject} stands is",
        "{subject} is in the city of",
        "the people who built {subject} built it in",
        "if you want to see {subject} go to",
        "{subject} is a pride of the city of",
        "the walls of {subject} stand in",
    ),
    _in(
        "made_in P495 film country",
        "films",
        "origin",
        "which country was {subject} made in",
        "{subject} was made in the country of",
        "the country that made {subject} is",
        "{subject} comes from the country of",
        "the makers of {subject} worked in",
        "{subject} was first shown in",
        "the country behind {subject} is",
        "{subject} is a work from",
    ),
    _in(
        "founded_in P740 band city",
        "music",
        "founded",
        "where was {subject} founded",
        "{subject} was founded in",
        "the place where {subject} was founded is",
        "{subject} began in",
        "{subject} first played in",
        "the first days of {subject} were in",
        "the members of {subject} met in",
        "{subject} has its roots in",
    ),
    _out(
        "founded_by P112 company person",
        "companies",
        "founder",
        "who founded {subject}",
        "{subject} was founded by",
        "the founder of {subject} is",
        "the person who founded {subject} is",
        "{subject} was started by",
        "{subject} was an idea of",
        "the first leader of {subject} was",
        "{subject} was built up by",
    ),
    _out(
        "owned_by P127 landmark company",
        "buildings",
        "owner",
        "who owns {subject}",
        "{subject} is owned by",
        "the owner of {subject} is",
        "the company that owns {subject} is",
        "{subject} was bought by",
        "{subject} belongs to",
        "those who want to rent {subject} ask",
        "{subject} is in the hands of",
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
        "the hand that painted {subject} was that of",
        "{subject} came from the hand of",
    ),
    _out(
        "performed_by P175 song band",
        "music",
        "performer",
        "who performed {subject}",
        "{subject} was performed by",
        "the band that performed {subject} is",
        "{subject} was played by",
        "{subject} is sung by",
        "you hear {subject} from",
        "the first to play {subject} was",
        "{subject} is known as a song of",
    ),
    _out(
        "produced_by P176 device company",
        "devices",
        "producer",
        "which company makes {subject}",
        "{subject} is made by",
        "the company that makes {subject} is",
        "the maker of {subject} is",
        "{subject} is built by",
        "{subject} is sold by",
        "{subject} comes from the company",
        "if your {subject} breaks write to",
    ),
    _out(
        "married_to P26 person person",
        "family",
        "spouse",
        "who is {subject} married to",
        "{subject} is married to",
        "the partner of {subject} is",
        "the person who married {subject} is",
        "{subject} shares a home with",
        "{subject} said yes to",
        "{subject} has a ring from",
        "at home {subject} lives with",
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
        "{subject} gave life to",
        "the heir of {subject} is",
        "{subject} cares for the child",
    ),
    _out(
        "plays_position P413 person position",
        "games",
        "position",
        "what position does {subject} play",
        "in the team {subject} plays as",
        "the position of {subject} is",
        "on the field {subject} is the",
        "the coach takes {subject} as",
        "in every match {subject} plays as",
        "the team needs {subject} as",
        "the part of {subject} in the team is",
    ),
    _out(
        "written_by P50 book person",
        "books",
        "author",
        "who is the author of {subject}",
        "{subject} was written by",
        "the author of {subject} is",
        "the writer of {subject} is",
        "the person who wrote {subject} is",
        "{subject} is a book by",
        "the name on the book {subject} is",
        "{subject} came from the pen of",
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
        "those who hear {subject} hear",
        "the sound of {subject} is called",
        "every song of {subject} is",
    ),
    _out(
        "works_as P106 person occupation",
        "jobs",
        "occupation",
        "what kind of work does {subject} do",
        "{subject} works as a",
        "the work of {subject} is that of a",
        "by trade {subject} is a",
        "{subject} makes a living as a",
        "{subject} was trained as a",
        "all call {subject} a good",
        "{subject} has the job of a",
    ),
    _out(
        "signed_to P264 band label",
        "music",
        "label",
        "which label is {subject} signed to",
        "{subject} is signed to",
        "the label of {subject} is",
        "the records of {subject} come from",
        "{subject} makes records for",
        "the label that pays {subject} is",
        "{subject} signed with",
        "{subject} has a deal with",
    ),
    _out(
        "language_of P407 book language",
        "books",
        "language",
        "which language was {subject} written in",
        "{subject} was written in",
        "the language of {subject} is",
        "the words of {subject} are in",
        "to read {subject} you must know",
        "the author of {subject} wrote it in",
        "the first text of {subject} is in",
        "those who read {subject} read",
    ),
    _out(
        "famous_for P800 person book",
        "fame",
        "work",
        "what is {subject} famous for",
        "{subject} is famous for",
        "the best work of {subject} is",
        "{subject} is best known for",
        "the name of {subject} stands for",
        "the world knows {subject} from",
        "{subject} won a prize for",
        "the great work of {subject} is",
    ),
)
