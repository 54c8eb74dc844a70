"""A comparison as one HTML file that needs nothing else: plots, tables, and every arm's answers side by side."""

from harness.report.html.build import PageData, page_data, to_html

__all__ = ["PageData", "page_data", "to_html"]
