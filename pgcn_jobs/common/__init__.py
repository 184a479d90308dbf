"""Helpers without state: failure classes, concurrent calls, redaction, terminal text, time."""
