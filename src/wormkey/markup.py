"""Where a page's head begins: one tag goes in there while the page streams by.

Walks what may stand before a document's head as the HTML standard's tokenizer does (§13.2.5), and
nothing after it, so that no script, template or text of the page is ever looked at. Knows no HTTP
and no content codings. Holds at most five octets back, whatever arrives.

A tag put in there costs nothing that a page relies on: the doctype still comes first, and a
``meta charset`` moves by less than browsers look beyond the standard's 1,024 octets.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from attrs import define

_BLANK: Final = rb"\t\n\f\r "
_BLANKS: Final = re.compile(rb"[" + _BLANK + rb"]*+")
_OPENINGS: Final = (b"<!--", b"<html", b"<head")
_NAME: Final = re.compile(rb"<(html|head)(?=[" + _BLANK + rb"/>])", re.IGNORECASE)
_LOOK_BYTES: Final = 6  # "<html" and what ends the name
_ABRUPT: Final = re.compile(rb"-?>")  # "<!-->" and "<!--->" are whole comments
_COMMENT_END: Final = re.compile(rb"--!?>")
_COMMENT_TAIL_BYTES: Final = 3  # of the longest end, what may have come already
_UTF8_MARK: Final = b"\xef\xbb\xbf"
# UTF-16, by its mark or by an unmarked "<": a browser reads it in spite of any declared charset.
_ALIEN: Final = re.compile(rb"\xff\xfe|\xfe\xff|\x00|<\x00")


class _At(enum.Enum):
    START = enum.auto()
    BEFORE_HEAD = enum.auto()
    COMMENT_START = enum.auto()
    COMMENT = enum.auto()
    DECLARATION = enum.auto()  # a doctype, "<?xml …>" or "<![if …]>": each ends at its first ">"
    HTML_TAG = enum.auto()
    HEAD_TAG = enum.auto()
    PLACE = enum.auto()
    NO_PLACE = enum.auto()


class _Attribute(enum.Enum):
    """Where in a tag the tokenizer is: a quote opens a value only where a value begins."""

    BEFORE_NAME = enum.auto()
    NAME = enum.auto()
    BEFORE_VALUE = enum.auto()
    DOUBLE_QUOTED = enum.auto()
    SINGLE_QUOTED = enum.auto()
    UNQUOTED = enum.auto()


# For each place in a tag: what is passed over, where certain octets lead, and where any other; but
# a ">" that stops the passing ends the tag.
_ATTRIBUTES: Final[
    dict[_Attribute, tuple[re.Pattern[bytes], dict[bytes, _Attribute], _Attribute]]
] = {
    _Attribute.BEFORE_NAME: (re.compile(rb"[" + _BLANK + rb"/]*+"), {}, _Attribute.NAME),
    _Attribute.NAME: (
        re.compile(rb"[^=/>]*+"),
        {b"=": _Attribute.BEFORE_VALUE},
        _Attribute.BEFORE_NAME,
    ),
    _Attribute.BEFORE_VALUE: (
        _BLANKS,
        {b'"': _Attribute.DOUBLE_QUOTED, b"'": _Attribute.SINGLE_QUOTED},
        _Attribute.UNQUOTED,
    ),
    _Attribute.DOUBLE_QUOTED: (re.compile(rb'[^"]*+'), {}, _Attribute.BEFORE_NAME),
    _Attribute.SINGLE_QUOTED: (re.compile(rb"[^']*+"), {}, _Attribute.BEFORE_NAME),
    _Attribute.UNQUOTED: (re.compile(rb"[^" + _BLANK + rb">]*+"), {}, _Attribute.BEFORE_NAME),
}


@define(eq=False)
class HeadInserter:
    """Puts ``tag`` right after ``<head …>``, or before whatever makes a browser begin a head.

    A page in UTF-16, and one that ends inside a comment or a tag, passes as it is.
    """

    _tag: bytes
    _at: _At = _At.START
    _attribute: _Attribute = _Attribute.BEFORE_NAME
    _held: bytes = b""
    _ended: bool = False

    def push(self, data: bytes) -> bytes:
        """Return what may go on of the page so far: ``data`` itself, once the tag is in."""
        if self._decided():
            return data
        data, self._held = self._held + data, b""
        at = 0
        while at < len(data) and not self._decided():
            step = self._step(data, at)
            if step < 0:
                self._held = data[at:]
                return data[:at]
            at = step
        if self._at is _At.PLACE:
            return b"".join((data[:at], self._tag, data[at:]))
        return data

    def end(self) -> bytes:
        """Return what was held back, and the tag where a page had neither head nor content."""
        self._ended = True
        rest = self.push(b"")
        if self._at is _At.BEFORE_HEAD:
            self._at = _At.PLACE
            rest += self._tag
        return rest

    def _decided(self) -> bool:
        return self._at in (_At.PLACE, _At.NO_PLACE)

    def _step(self, data: bytes, at: int) -> int:
        """Read one thing at ``at``; return where it ends, -1 when more octets must tell."""
        match self._at:
            case _At.START:
                return self._read_start(data)
            case _At.BEFORE_HEAD:
                return self._read_opening(data, at)
            case _At.COMMENT_START:
                if data[at:] == b"-" and not self._ended:
                    return -1
                abrupt = _ABRUPT.match(data, at)
                self._at = _At.BEFORE_HEAD if abrupt else _At.COMMENT
                return abrupt.end() if abrupt else at
            case _At.COMMENT:
                return self._read_comment(data, at)
            case _At.DECLARATION:
                end = data.find(b">", at)
                if end < 0:
                    return len(data)
                self._at = _At.BEFORE_HEAD
                return end + 1
            case _:
                return self._read_tag(data, at)

    def _read_start(self, data: bytes) -> int:
        if len(data) < len(_UTF8_MARK) and not self._ended:
            return -1
        alien = _ALIEN.match(data)
        self._at = _At.NO_PLACE if alien else _At.BEFORE_HEAD
        return len(_UTF8_MARK) if data.startswith(_UTF8_MARK) else 0

    def _read_opening(self, data: bytes, at: int) -> int:
        """Tell a comment, a declaration, <html …> and <head …> from what is the head's content."""
        past = _past(_BLANKS, data, at)
        if past > at:
            return past
        opening = data[at : at + _LOOK_BYTES].lower()
        if opening.startswith(b"<!--"):
            self._at = _At.COMMENT_START
            return at + len(b"<!--")
        named = _NAME.match(data, at)
        if named:
            self._at = _At.HEAD_TAG if named[1].lower() == b"head" else _At.HTML_TAG
            self._attribute = _Attribute.BEFORE_NAME
            return named.end()
        if not self._ended and any(each.startswith(opening) for each in _OPENINGS):
            return -1
        if opening.startswith((b"<!", b"<?")):
            self._at = _At.DECLARATION
            return at + len(b"<!")
        self._at = _At.PLACE
        return at

    def _read_comment(self, data: bytes, at: int) -> int:
        end = _COMMENT_END.search(data, at)
        if end:
            self._at = _At.BEFORE_HEAD
            return end.end()
        tail_at = len(data) if self._ended else max(at, len(data) - _COMMENT_TAIL_BYTES)
        return tail_at if tail_at > at else -1

    def _read_tag(self, data: bytes, at: int) -> int:
        boring, leads, otherwise = _ATTRIBUTES[self._attribute]
        at = _past(boring, data, at)
        if at < len(data):
            octet = data[at : at + 1]
            if octet == b">":
                self._at = _At.PLACE if self._at is _At.HEAD_TAG else _At.BEFORE_HEAD
            else:
                self._attribute = leads.get(octet, otherwise)
            at += 1
        return at


def _past(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Return where a pattern that matches nothing, too, has ended."""
    found = pattern.match(data, at)
    return found.end() if found else at
