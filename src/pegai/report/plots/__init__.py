"""The plots of the report, one file a family; each takes JSON-ready data and gives inline SVG."""
