"""CSV files as spreadsheets read and save them: their encodings, and cells that look like formulas or numbers."""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from decimal import Context, Decimal
from typing import Any

from lightning_al.values.encodable import encodable

SEPARATORS = ",;\t"
"""What may stand between two cells."""

FORMULA = ("=", "+", "-", "@")

_NUMBER = re.compile(r"[+-]?\d{1,40}([.,]\d{0,40})?([eE][+-]?\d{1,4})?", re.ASCII)


def harmless(value: Any) -> Any:
    r"""Return a value, with an apostrophe before a text that a spreadsheet would take for a formula.

    What no file can hold of a text is written out.

    >>> harmless("=1+1"), harmless("cat"), harmless(-3), harmless("a\ud800")
    ("'=1+1", 'cat', -3, 'a\\ud800')
    """
    if not isinstance(value, str):
        return value
    return encodable(f"'{value}" if value.startswith(FORMULA) else value)


def as_written(cell: str) -> str:
    """Return the text of a cell without the apostrophe that `harmless` puts before a text.

    >>> as_written("'=1+1"), as_written("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith(tuple(f"'{sign}" for sign in FORMULA)) else cell


def as_number(text: str) -> Decimal | None:
    """Return the number that a cell shows, with a point or a comma, or None for other text.

    >>> as_number(" 7.0 "), as_number("3,5"), as_number("1e2"), as_number("cat")
    (Decimal('7.0'), Decimal('3.5'), Decimal('1E+2'), None)
    """
    text = text.strip()
    return Decimal(text.replace(",", ".")) if _NUMBER.fullmatch(text) else None


def shows_number(cell: str, text: str) -> bool:
    """Return whether a spreadsheet may show a text as a cell: as the same number, perhaps with fewer digits.

    >>> shows_number("7", "007"), shows_number("1.23E+11", "123456789012"), shows_number("8", "007")
    (True, True, False)
    """
    shown, number = as_number(cell), as_number(text)
    if shown is None or number is None:
        return False
    digits = len(shown.as_tuple().digits)
    return shown == number or ("e" in cell.lower() and digits > 1 and shown == Context(prec=digits).plus(number))


def decoded(content: bytes) -> str:
    r"""Return the text of a file. A character that is cut off at the end is left out.

    >>> decoded("é".encode()), decoded("é".encode("cp1252")), decoded("aé".encode("utf-8-sig")[:-1])
    ('é', 'é', 'a')
    """
    if content.startswith(codecs.BOM_UTF8):
        return _decoded(content[3:], "utf-8", errors="replace")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _decoded(content, "utf-16", errors="replace")
    if 0 in content[:2]:  # ASCII in UTF-16 without a mark
        return _decoded(content, "utf-16-be" if content[0] == 0 else "utf-16-le", errors="replace")
    for encoding in ("utf-8", "cp1252"):
        with suppress(UnicodeDecodeError):
            text = _decoded(content, encoding)
            if not text.isascii() or len(text) == len(content):  # else a lone last letter of Windows-1252 was left out
                return text
    return content.decode("latin-1")


def _decoded(content: bytes, encoding: str, errors: str = "strict") -> str:
    return codecs.getincrementaldecoder(encoding)(errors).decode(content)


def encoding_for(text: str) -> str:
    """Return the encoding in which a spreadsheet shows a text as it is: Excel reads UTF-8 only if a mark says so.

    >>> encoding_for("cat"), encoding_for("Käfer")
    ('utf-8', 'utf-8-sig')
    """
    return "utf-8" if text.isascii() else "utf-8-sig"
