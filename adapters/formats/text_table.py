"""A table in a text file, read as a stream: as fast as pyarrow parses, with memory for a few blocks whatever the file's size."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from adapters.formats.cycler_file import unreadable
from adapters.formats.text_head import TextHead
from orchestrator.domain.errors import FormatError

_BLOCK_BYTES = 1 << 21
_EMPTY = ["", "nan", "NaN", "NAN", "-nan", "NA", "N/A", "n/a", "null", "NULL", "None", "-"]
_BAD_VALUE = re.compile(r"column #(?P<column>\d+): Row #(?P<row>\d+): .*?invalid value '(?P<value>.*)'$", re.DOTALL)
_BAD_ROW = re.compile(r"Row #(?P<row>\d+): Expected (?P<expected>\d+) columns, got (?P<got>\d+)")


@dataclass(frozen=True)
class TextTable:
    """Where a table lies in a text file, and how its rows are written.

    Attributes:
        head: the file.
        first_row: the line of the first row, counted from 0.
        delimiter: between cells.
        decimal: the decimal point or comma.
        headers: one for each cell of a row; empty where the row has more cells than the header.
    """

    head: TextHead
    first_row: int
    delimiter: str
    decimal: str
    headers: tuple[str, ...]

    def pieces(self, numbers: list[int], texts: list[int]) -> Iterator[tuple[int, dict[int, Any]]]:
        """The rows, as (number of the first one, column number -> pyarrow array).

        Args:
            numbers: columns to read as float64; what is empty becomes null.
            texts: columns to read as text.

        Raises:
            FormatError: at the first row that has too many or too few cells, or text where a number belongs.
        """
        import pyarrow as pa

        done = 0
        try:
            stream = self.head.stream(self.head.offset(self.first_row))
            with stream:
                for piece in self._reader(stream, numbers, texts):
                    if piece.num_rows:
                        yield done, {index: piece.column(f"{index}") for index in (*numbers, *texts)}
                    done += piece.num_rows
        except (pa.ArrowException, OSError, UnicodeError, MemoryError) as error:
            raise self._located(error) from None

    def _reader(self, stream: Any, numbers: list[int], texts: list[int]) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.csv as pc

        encoding = "utf8" if self.head.encoding == "utf-8" else self.head.encoding
        names = [f"{index}" for index in range(len(self.headers))]
        types = {f"{i}": pa.float64() for i in numbers} | {f"{i}": pa.string() for i in texts}
        try:
            # One thread keeps the numbers of rows for messages, and is no slower: decoding is what the time goes to.
            yield from pc.open_csv(
                stream,
                read_options=pc.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names, encoding=encoding),
                parse_options=pc.ParseOptions(delimiter=self.delimiter),
                convert_options=pc.ConvertOptions(
                    column_types=types,
                    include_columns=[f"{index}" for index in (*numbers, *texts)],
                    null_values=_EMPTY,
                    strings_can_be_null=True,
                    decimal_point=self.decimal,
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV file" not in str(error):
                raise

    def _located(self, error: BaseException) -> FormatError:
        """What pyarrow found, in the words of the file: line, column, text."""
        said = str(error)
        if bad := _BAD_VALUE.search(said):
            name = self.headers[int(bad["column"])] or f"number {int(bad['column']) + 1}"
            return self.bad_cell(int(bad["row"]) - 1, name, f"has '{bad['value'][:40]}' where a number belongs.")
        if bad := _BAD_ROW.search(said):
            line, last = self.line(int(bad["row"]) - 1)
            problem = f"line {line} has {bad['got']} cells where the header has {bad['expected']}."
            cut = "It is the last line: the file seems to be cut off there. Export it again, or remove that line."
            return unreadable(self.head.path, problem, cut if last else "Export the file again, or mend that line.")
        if "straddling" in said:
            return unreadable(self.head.path, f"a line is longer than {_BLOCK_BYTES >> 20} MiB.", "Export it as a table of rows.")
        if self.head.compressed:
            return unreadable(self.head.path, "the gzip file is cut off or damaged.", "Copy it again, or compress it anew.")
        if "UTF8" in said or isinstance(error, UnicodeError):
            return unreadable(self.head.path, f"is not text in {self.head.encoding} throughout.", "Save it as UTF-8.")
        return unreadable(self.head.path, f"the table cannot be read on ({said.splitlines()[0][:200]}).", "Export it again.")

    def bad_cell(self, row: int, name: str, problem: str) -> FormatError:
        """The error of one cell, rows counted from 0 without empty lines."""
        line, _ = self.line(row)
        return unreadable(
            self.head.path, f"line {line}, column '{name}' {problem}", "Mend that line, or leave the column out with `columns`."
        )

    def line(self, row: int) -> tuple[int, bool]:
        """The line of the file, counted from 1, on which a row stands, and whether it is the last one."""
        import gzip

        opener = gzip.open if self.head.compressed else open
        found = 0
        with opener(self.head.path, "rt", encoding=self.head.encoding, errors="replace", newline="") as file:
            if self.head.mark:
                file.read(1)
            try:
                for number, text in enumerate(file, 1):
                    if number <= self.first_row or not text.strip("\r\n"):
                        continue
                    if found:
                        return found, False
                    row -= 1
                    found = number if row < 0 else 0
            except (OSError, EOFError, ValueError, zlib.error):
                return found, False
        return found, True
