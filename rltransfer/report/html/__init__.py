"""Renders a report as one HTML page that needs nothing else: no network, no fonts, no library.

Its charts are drawn here, as SVG that stretches with the page and text that does not, so that they are there without
scripts, on a phone and on paper; the script adds what needs a pointer. Plotly was weighed against this: its script
alone is 4.7 MB in every report, it draws nothing until it has run, and not at all on paper as the screen is not.
"""

from rltransfer.report.html.page import render, render_without_charts

__all__ = ["render", "render_without_charts"]
