"""A report of one table of runs: a page, charts and figures."""

from harness.report.data import ReportData, board_data, report_data
from harness.report.page import page_bytes, write_page

__all__ = ["ReportData", "board_data", "page_bytes", "report_data", "write_page"]
