"""A replay's report as one self-contained web page, and a fleet's as a table of links to such pages."""

from lowlat_seg_ros.evaluation.page.fleet_page import write_fleet_page
from lowlat_seg_ros.evaluation.page.report_page import write_page

__all__ = ["write_fleet_page", "write_page"]
