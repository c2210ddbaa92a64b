"""The parts of the report: read, judge, clean, count, draw, write."""
