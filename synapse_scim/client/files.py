"""Reads people from files, one after the other: SCIM JSON lines, a SCIM list response, or a table."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import ijson

from synapse_scim.client.attributes import InvalidPerson
from synapse_scim.client.tables import read_rows
from synapse_scim.client.trouble import Trouble
from synapse_scim.protocol import payload

Format = Literal["jsonl", "list", "csv"]
FORMATS: tuple[Format, ...] = ("jsonl", "list", "csv")

LARGEST_PERSON = 16 * 1024 * 1024
"""How many bytes of a file may be about one person: as much of it is held in memory."""

_HEAD = 4096
_DEEPEST = 2 * payload.MAX_DEPTH
_DEPTHS = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}
_ZIP = b"PK\x03\x04"
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


@attrs.frozen(kw_only=True)
class Person:
    """What a file says of a person, before anybody has checked it.

    Attributes:
        place: Where it stands: `line 3`, or `entry 3` of a list.
        said: The JSON, or what is wrong.
    """

    place: str
    said: Any | InvalidPerson


def is_usable_encoding(name: str) -> bool:
    """Tell whether files in an encoding can be read line by line."""
    try:
        return "\n".encode(name) == b"\n"
    except LookupError:
        return False


def read_people(path: Path, encoding: str, file_format: Format | None = None) -> Iterator[Person]:
    """Yield the people of a file, of which no more than one is held in memory.

    Args:
        path: The file.
        encoding: How its text is encoded.
        file_format: What it is; by default its beginning tells.

    Raises:
        Trouble: It cannot be read, or is nothing that is known here.
    """
    try:
        with io.BufferedReader(path.open("rb", buffering=0)) as file:
            yield from _people(_Text(file, encoding), file_format)
    except OSError as error:
        raise Trouble(f"{path} cannot be read: {error.strerror}") from None


class _Text:
    """A file as lines of text.

    Attributes:
        head: How it begins.
        file: Its bytes, from behind the byte order mark on.
        encoding: How the text is encoded.
        entries: How many entries of a list were found in it.
    """

    def __init__(self, file: io.BufferedReader[Any], encoding: str) -> None:
        self.file = file
        self.encoding = encoding
        self.entries = 0
        self._read_since = 0
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self.head = file.peek(_HEAD)[:_HEAD]
        if self.head.startswith(_WIDE):
            raise Trouble("The file is in UTF-16 or UTF-32. Save it in UTF-8")
        if self.head.startswith(_ZIP):
            raise Trouble("The file is a workbook of Excel or LibreOffice, or a ZIP archive. Save it as CSV in UTF-8")
        if self.head.startswith(codecs.BOM_UTF8):
            file.read(len(codecs.BOM_UTF8))
            self.head = self.head[len(codecs.BOM_UTF8) :]
        self.head = self.head.lstrip()

    def lines(self) -> Iterator[str]:
        """Yield the lines."""
        number = 0
        while line := self.file.readline(LARGEST_PERSON):
            number += 1
            if len(line) == LARGEST_PERSON:
                raise Trouble(f"Line {number} is longer than 16 MiB: this is no file with a person on each line")
            try:
                yield line.decode(self.encoding)
            except UnicodeDecodeError as error:
                raise Trouble(
                    f"Line {number} is not in {self.encoding} (byte {error.start + 1} of the line). If the file comes"
                    " from a program that writes another encoding, name it: --encoding latin-1"
                ) from None

    def read(self, size: int) -> bytes:
        """Return the next bytes, in UTF-8: this is what a reader of JSON asks for.

        Raises:
            Trouble: It asks for too many without having found a person.
        """
        if self._read_since > LARGEST_PERSON:
            raise Trouble(
                f"More than 16 MiB follow entry {self.entries}, and nobody is in them: this is no list of people"
            )
        self._read_since += size
        return self._decoder.decode(self.file.read(size)).encode()

    def next_entry(self) -> str:
        """Note that another entry of a list was found, and return its place."""
        self.entries += 1
        self._read_since = 0
        return f"entry {self.entries}"


def _people(text: _Text, file_format: Format | None) -> Iterator[Person]:
    if not text.head:
        raise Trouble("The file is empty")
    match file_format or _guessed(text.head):
        case "csv":
            for number, row in read_rows(text.lines()):
                yield Person(place=f"line {number}", said=row)
        case "jsonl":
            for number, line in enumerate(text.lines(), start=1):
                if line.strip():
                    yield Person(place=f"line {number}", said=_json(line.rstrip()))
        case _:
            yield from _listed(text)


def _guessed(head: bytes) -> Format:
    if head.startswith(b"["):
        return "list"
    if not head.startswith(b"{"):
        return "csv"
    return "list" if b"ListResponse" in head or b'"Resources"' in head else "jsonl"


def _json(line: str) -> Any | InvalidPerson:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        return InvalidPerson(f"it is no JSON: {error.msg} (column {error.colno})")
    except (RecursionError, ValueError):
        return InvalidPerson("it is no JSON that can be read: nested too deep, or with a number too large")


def _listed(text: _Text) -> Iterator[Person]:
    try:
        events = ijson.parse(_shallow(text))
        members = ijson.items(events, "item" if text.head.startswith(b"[") else "Resources.item")
        for member in members:
            yield Person(place=text.next_entry(), said=member)
    except (ijson.JSONError, UnicodeDecodeError):
        raise Trouble(
            f"The list breaks off, or is no JSON in {text.encoding}, somewhere behind entry {text.entries}. If it is in"
            " another encoding, name it: --encoding latin-1"
        ) from None


def _shallow(text: _Text) -> Iterator[tuple[str, Any]]:
    """Yield the events of a JSON document; what comes after this keeps the way to each, which grows with the depth."""
    depth = 0
    for event, value in ijson.basic_parse(text, use_float=True):
        depth += _DEPTHS.get(event, 0)
        if depth > _DEEPEST:
            raise Trouble(f"What follows entry {text.entries} is nested too deep: this is no list of people")
        yield event, value
