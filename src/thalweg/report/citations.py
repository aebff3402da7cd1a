r"""BibTeX as people read it: names, year, title, where, and a link."""

from __future__ import annotations

import re
import unicodedata
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass

from thalweg.core.errors import InputError

_MANY_AUTHORS = 6
_COMBINING = {
    '"': "\u0308",
    "'": "\u0301",
    "`": "\u0300",
    "^": "\u0302",
    "~": "\u0303",
    "=": "\u0304",
    ".": "\u0307",
    "c": "\u0327",
    "v": "\u030c",
    "H": "\u030b",
    "u": "\u0306",
    "k": "\u0328",
    "r": "\u030a",
}
_LETTERS = {
    "ss": "ß",
    "o": "ø",
    "O": "Ø",
    "l": "ł",
    "L": "Ł",
    "ae": "æ",
    "AE": "Æ",
    "aa": "å",
    "AA": "Å",
    "i": "\u0131",
}
_ACCENT = re.compile(r"\\(?:([\"'`^~=.])\s*\{?\\?([A-Za-z])\}?|([cvHukr])(?:\{\\?([A-Za-z])\}|\s+([A-Za-z])))")
_LETTER = re.compile(r"\\(ss|ae|AE|aa|AA|o|O|l|L|i)(?![A-Za-z])\s*")


@dataclass(frozen=True)
class Reference:
    """One BibTeX entry: its text as given, and what a reader wants to see of it."""

    key: str
    bibtex: str
    authors: str
    year: str
    title: str
    where: str
    url: str


def references(bibtex: Sequence[str]) -> list[Reference]:
    """Read BibTeX entries, each key once, in the order of their first appearance.

    **Raises:** `InputError` if an entry cannot be read.
    """
    found: dict[str, Reference] = {}
    for text in bibtex:
        starts = [m.start() for m in re.finditer(r"^\s*@", text, re.MULTILINE)]
        if not starts:
            raise InputError(f"BibTeX: no entry (@article{{...}}) in {text.strip()[:40]!r}.")
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            reference = _reference(text[start:end].strip())
            found.setdefault(reference.key, reference)
    return list(found.values())


def _reference(entry: str) -> Reference:
    head = re.match(r"@(\w+)\s*\{\s*([^,\s]+)\s*,", entry)
    if head is None or not entry.endswith("}"):
        raise InputError(f"BibTeX: {entry[:40]!r} is not of the form @kind{{key, name = {{value}}, ...}}.")
    fields = {name: _plain(value) for name, value in _fields(entry[head.end() : -1], head[2]).items()}
    container = fields.get("journal") or fields.get("booktitle") or fields.get("publisher") or fields.get("note", "")
    volume, pages = fields.get("volume", ""), fields.get("pages", "")
    where = ", ".join(part for part in (f"{container} {volume}".strip(), pages) if part)
    url = fields.get("url", "")
    if "doi" in fields:
        url = "https://doi.org/" + urllib.parse.quote(fields["doi"], safe="/():;.-_")
    elif fields.get("eprint") and "arxiv" in fields.get("archiveprefix", "").lower():
        url, where = f"https://arxiv.org/abs/{fields['eprint']}", where or f"arXiv:{fields['eprint']}"
    return Reference(
        key=head[2],
        bibtex=entry,
        authors=_authors(fields.get("author", "")),
        year=fields.get("year", ""),
        title=fields.get("title", head[2]),
        where=where,
        url=url if url.startswith(("https://", "http://")) else "",
    )


def _fields(body: str, key: str) -> dict[str, str]:
    fields, position = {}, 0
    opening = re.compile(r"[\s,]*([\w-]+)\s*=\s*")
    while match := opening.match(body, position):
        value, position = _value(body, match.end(), key)
        fields[match[1].lower()] = value
    if body[position:].strip(" ,\n\t\r"):
        raise InputError(f"BibTeX entry {key}: cannot read {body[position:].strip()[:40]!r}.")
    return fields


def _value(body: str, start: int, key: str) -> tuple[str, int]:
    bare = re.compile(r"[\w.-]+").match(body, start)
    if bare:
        return bare[0], bare.end()
    quote, depth = body[start : start + 1], 0
    for i in range(start, len(body)):
        depth += (body[i] == "{") - (body[i] == "}")
        closed = body[i] == '"' and i > start and body[i - 1] != "\\" if quote == '"' else body[i] == "}"
        if closed and depth == 0:
            return body[start + 1 : i], i + 1
    raise InputError(f"BibTeX entry {key}: a value beginning {body[start : start + 30]!r} never ends.")


def _plain(tex: str) -> str:
    def accent(m: re.Match[str]) -> str:
        return unicodedata.normalize("NFC", (m[2] or m[4] or m[5]) + _COMBINING[m[1] or m[3]])

    text = _LETTER.sub(lambda m: _LETTERS[m[1]], _ACCENT.sub(accent, tex))
    text = text.replace("---", "\u2014").replace("--", "\u2013").replace("~", " ")
    text = re.sub(r"\\([&%$#_])", r"\1", re.sub(r"[{}]|(?<!\\)\$", "", text))
    return " ".join(text.split())


def _authors(names: str) -> str:
    people = []
    for name in re.split(r"\s+and\s+", names) if names else []:
        last, comma, first = name.partition(",")
        people.append(f"{first.strip()} {last.strip()}" if comma else name.strip())
    if len(people) > _MANY_AUTHORS:
        return f"{people[0]} et al."
    return " and ".join(filter(None, [", ".join(people[:-1]), *people[-1:]]))
