"""Fuzzing the parsers that strangers' octets meet: docs/fuzzing.md."""
