"""The shell of a report: one HTML file with its style, its script, plotly and the figures' data inside.

plotly.js is 4.6 MB; embedded as gzip in base64 it is 1.9 MB, and the browser unpacks it (`DecompressionStream`). A content
security policy in the page forbids every request, so a report stays the same wherever it is opened.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"


def page(title: str, body: str, figures: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        title: shown by the browser; plain text.
        body: HTML between `<body>` tags, already escaped.
        figures: plotly figures by name, each drawn into the element `plot-<name>`.
        settings: plain values for the page's script.

    Returns:
        One HTML document that needs no network. Without figures plotly is left out.
    """
    packed = f'<script type="text/plain" id="plotly-gzip">{_plotly_gzip()}</script>' if figures else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_asset('report.css')}</style>\n</head>\n<body>\n{body}\n"
        f"{_json('figures', figures)}\n{_json('settings', settings)}\n{packed}\n"
        f"<script>\n{_asset('report.js')}</script>\n</body>\n</html>\n"
    )


def _json(name: str, content: Mapping[str, Any]) -> str:
    """Data as a script element; `<` is written so that no text in it can end the element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    safe = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f'<script type="application/json" id="{name}">{safe}</script>'


@cache
def _asset(name: str) -> str:
    return (files("orchestrator.decision") / "assets" / name).read_text(encoding="utf-8")


@cache
def _plotly_gzip() -> str:
    library = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(library, compresslevel=9, mtime=0)).decode("ascii")
