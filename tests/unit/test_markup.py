"""markup.py: one tag where the head begins, however a page is cut, whatever looks like a head."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wormkey.markup import HeadInserter

TAG = b"<script>ours</script>"
HERE = b"^"  # where the tag is expected

PLACED = [
    b"<!doctype html><html lang=en><head>^<title>x</title></head><body>y",
    b"<!DOCTYPE html>\r\n<HTML>\r\n<HEAD>^\r\n<TITLE>x</TITLE>",
    b'<html><head profile="a>b" title=\'<head>\' x=a"b data=/>^<meta charset=utf-8>',
    b"<html><head/>^<p>",
    b"<html><head\n>^<p>",
    b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/x.dtd">\n'
    b'<html xmlns="http://www.w3.org/1999/xhtml"><head>^<title>x</title></head>',
    # comments that mention heads, and all the ways in which one ends
    b"<!-- <head> --><html><!-- <html><head> --><head>^",
    b"<!--><head>^",
    b"<!---><head>^",
    b"<!----><head>^",
    b"<!--a--!><head>^",
    b"<!--a->b--><head>^",
    b"<!---!><head>--><head>^",
    b"<!--a<!--b--><head>^",
    b"<!--[if IE]><html class=ie><head><![endif]--><html><head>^",
    b"<!--[if !IE]><!--><html><!--<![endif]--><head>^",
    b"<![if !IE]><html><![endif]><head>^",
    # no head: before what makes one begin
    b"^<title>x</title>",
    b"<!doctype html>^<body>x",
    b"<!doctype html><html>^<body><script>'<head>'</script>",
    b"<!doctype html>^<header>x</header><head>",
    b"<!doctype html>^<script>if (a < b) '<html><head>'</script><head></head>",
    b"<html>^<noscript><head></noscript>",
    b"<html>^</head><head>",
    b"^Hello <head>",
    b"\n ^Hello",
    b"^< head><head>",
    b"^<",
    b"^<htm",
    b"^<html",
    b"^<head",
    b"^a<head>",
    b"<!doctype html>\n^",
    b"<html a=b></html>".replace(b"</", b"^</"),
    # attributes: a quote opens a value only where a value begins
    b'<html a="1" b><head>^',
    b'<html a"b><head>^"',
    b'<html a=b"c><head>^"',
    b'<html a= "x>y"><head>^',
    b"<html a = 'x>y' b='<head>'><head>^",
    b'<html a/="x><head>^"',
    b'<html ="x><head>^"',
    b'<html a=><head>^"',
    b'<html a="1"b=">"c><head>^',
    b"<html/a=b/><head>^",
    b'<html /="x><head>^"',
    b'<html a=><head "x>^y">',
    b'<html a><head =">^">',
    b'<html ==">"><head>^',
]
UNPLACED = [
    b"",
    b"<!-- never ends <head>",
    b"<!--",
    b"<!---",
    b"<!-",
    b"<!doctype html",
    b"<html><head lang='>",
    b"<html lang=",
    b"\xff\xfe<\x00h\x00e\x00a\x00d\x00>\x00",
    b"\xfe\xff\x00<\x00h\x00e\x00a\x00d\x00>",
    b"\xff\xfe",
    b"<\x00h\x00e\x00a\x00d\x00>\x00",
    b"\x00<\x00h",
]
CASES = [(case.replace(HERE, b""), case.replace(HERE, TAG)) for case in PLACED]
CASES += [(case, case) for case in UNPLACED]

PARTS = [
    *(b"<html>", b"<head>", b"<HEAD a='", b'<html b="', b"<!--", b"-->", b"--!>", b"<!doctype x>"),
    *(b"<", b">", b"-", b"!", b"'", b'"', b"=", b"/", b" ", b"\n", b"a", b"<?", b"</head>", b"\0"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"<script>", b"<header>", b"html", b"head", b"\x80"),
]
soups = st.lists(st.sampled_from(PARTS), max_size=12).map(b"".join)

_REST_OF_TAG = rb"""
    (?=[\t\n\f\r\ />])
    (?: [\t\n\f\r\ /]*+ [^\t\n\f\r\ />] [^\t\n\f\r\ />=]*+ [\t\n\f\r\ ]*+
        (?: = [\t\n\f\r\ ]*+ (?: "[^"]*+" | '[^']*+' | (?!["'>]) [^\t\n\f\r\ >]++ | (?=>) )
          | (?!=) )
    )*+
    [\t\n\f\r\ /]*+ >
"""
PROLOGUE = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:[\t\n\f\r\ ]|<!--(?:-?>|(?s:.)*?--!?>)|<(?:!(?!--)|\?)[^>]*+>|<html"
    + _REST_OF_TAG
    + rb")*+(?P<head><head"
    + _REST_OF_TAG
    + rb")?",
    re.IGNORECASE | re.VERBOSE,
)
UNENDED = re.compile(rb"<!--|<!|<\?|<(?:html|head)[\t\n\f\r />]", re.IGNORECASE)


def inserted(pieces: list[bytes]) -> bytes:
    """The page that leaves for one that arrives in these pieces."""
    inserter = HeadInserter(TAG)
    return b"".join([*map(inserter.push, pieces), inserter.end()])


def by_whole_page(page: bytes) -> bytes:
    """The same, by an expression that sees all of the page at once."""
    if not page or re.match(rb"\xff\xfe|\xfe\xff|\x00|<\x00", page):
        return page
    found = PROLOGUE.match(page)
    assert found
    end = found.end()
    if not found["head"] and UNENDED.match(page, end):
        return page
    return page[:end] + TAG + page[end:]


@pytest.mark.parametrize(("page", "expected"), CASES)
def test_the_tag_stands_where_the_head_begins(page: bytes, expected: bytes) -> None:
    """Whole, octet by octet, and cut in two anywhere, a page gets the tag at one place."""
    assert inserted([page]) == expected
    assert inserted([page[at : at + 1] for at in range(len(page))]) == expected
    for at in range(len(page) + 1):
        assert inserted([page[:at], b"", page[at:]]) == expected


@given(soups, st.lists(st.integers(0, 60), max_size=5))
@example(b"<head", [])
@example(b"<!---!>-->", [5])
def test_any_page_in_any_pieces_is_read_like_the_whole(page: bytes, cuts: list[int]) -> None:
    """The walk finds what a look at all of the page finds, and takes nothing from the page."""
    edges = [0, *sorted(cuts), len(page)]
    pieces = [page[start:end] for start, end in pairwise(edges)]
    out = inserted(pieces)
    assert out == by_whole_page(page)
    assert out.replace(TAG, b"", 1) == page


@given(soups)
def test_hardly_anything_is_held_back(page: bytes) -> None:
    """After each octet, all but the last five have gone on: a slow page is seen as it comes."""
    inserter = HeadInserter(TAG)
    sent = 0
    for at in range(len(page)):
        sent += len(inserter.push(page[at : at + 1]).replace(TAG, b""))
        assert at + 1 - sent <= 5


def test_what_follows_the_tag_is_not_copied() -> None:
    """Once the tag is in, a page costs nothing more."""
    inserter = HeadInserter(TAG)
    inserter.push(b"<head>")
    rest = bytes(1000)
    assert inserter.push(rest) is rest
