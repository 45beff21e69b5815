"""The first lines of a text file, decoded: what a reader needs to find the table and to know how to read it."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.formats.cycler_file import unreadable

_HEAD_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_NOT_IN_TEXT = frozenset(range(32)) - {9, 10, 12, 13} | {127}
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class TextHead:
    """The beginning of a text file.

    Attributes:
        path: of the file.
        compressed: whether it is gzip.
        encoding: of the text.
        mark: how many bytes its byte order mark takes.
        lines: the first lines with their ends; the last one may be cut where the head ends.
    """

    path: Path
    compressed: bool
    encoding: str
    mark: int
    lines: tuple[str, ...]

    def offset(self, line: int) -> int:
        """The byte (of the decompressed text) at which a line begins, counted from 0."""
        return self.mark + sum(len(text.encode(self.encoding)) for text in self.lines[:line])

    def stream(self, offset: int) -> Any:
        """The text from a byte on, as a pyarrow stream of bytes; it must be closed."""
        import pyarrow as pa

        raw = pa.OSFile(str(self.path))
        if not self.compressed:
            raw.seek(offset)
            return raw
        inflated = pa.CompressedInputStream(raw, "gzip")
        inflated.read(offset)
        return inflated


def begins_as_gzip(start: bytes) -> bool:
    """Whether a file's first bytes are those of a gzip file."""
    return start.startswith(_GZIP)


def read_head(path: Path) -> TextHead | None:
    """Decode the beginning of a file; None if it is not text.

    Raises:
        FormatError: if it is a damaged gzip file, or text in an encoding that is not read.
    """
    start, compressed = _first_bytes(path)
    encoding, mark = _encoding(start)
    if encoding is None:
        return None
    text = codecs.getincrementaldecoder(encoding)("replace").decode(start[mark:])
    lines = tuple(io.StringIO(text, newline=""))
    if any(ord(letter) in _NOT_IN_TEXT for line in lines[:200] for letter in line):
        return None
    return TextHead(path, compressed, encoding, mark, lines)


def _first_bytes(path: Path) -> tuple[bytes, bool]:
    with path.open("rb") as file:
        start = file.read(_HEAD_BYTES)
    if not begins_as_gzip(start):
        return start, False
    try:
        with gzip.open(path, "rb") as inflated:
            return inflated.read(_HEAD_BYTES), True
    except EOFError:
        raise unreadable(path, "the gzip file is cut off.", "Copy it again, or compress the original anew.") from None
    except (OSError, zlib.error) as error:
        raise unreadable(path, f"the gzip file is damaged ({error}).", "Copy it again, or compress the original anew.") from None


def _encoding(start: bytes) -> tuple[str | None, int]:
    for mark, name in _BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return name, len(mark)
    half = start[:4096]
    if b"\0" in half:
        return _without_mark(half), 0
    try:
        codecs.getincrementaldecoder("utf-8")("strict").decode(start)
    except UnicodeDecodeError:
        return "latin-1", 0
    return "utf-8", 0


def _without_mark(start: bytes) -> str | None:
    """UTF-16 without a mark shows by zeros in every second byte of its Latin letters."""
    even, odd = start[::2].count(0), start[1::2].count(0)
    if odd > 0.8 * len(start[1::2]) and even == 0:
        return "utf-16-le"
    return "utf-16-be" if even > 0.8 * len(start[::2]) and odd == 0 else None


def fields(line: str, delimiter: str) -> list[str]:
    """The cells of a line, quotes understood."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])
    except csv.Error:
        return line.rstrip("\r\n").split(delimiter)


def delimiter_of(line: str) -> str:
    """The delimiter that makes most cells of a line."""
    return max(DELIMITERS, key=lambda delimiter: len(fields(line, delimiter)))
