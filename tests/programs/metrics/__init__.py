"""Metrics: the collector, the exporter, the alert rules, the dashboard, the table of the document."""
