"""Redaction of text before it is stored."""

from pathlib import Path

import pytest

from pgcn_jobs.common.redact import redact


def test_secrets_and_homes_are_taken_out(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret-123")
    monkeypatch.setenv("SOME_TOKEN", "abc")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/alice"))
    text = redact("File /home/alice/photos/x.py: planted-secret-123 at s3://user:pass@host/bucket abc")
    assert text == "File ~/photos/x.py: *** at s3://***@host/bucket abc"


def test_short_values_are_left_alone(monkeypatch):
    """Replacing every "1" of a text because a token is "1" would destroy the text."""
    monkeypatch.setenv("SOME_TOKEN", "1")
    assert redact("11 of 21") == "11 of 21"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("http://user:pa/ss@host/a.png is", "http://***@host/a.png is"),
        ("https://token@host/a.png", "https://***@host/a.png"),
        ("URL('https://host/a.png?X-Amz-Signature=abc&x=1')", "URL('https://host/a.png?***')"),
        ("http://host:8000/me@home.png and s3://bucket/me@home.png", None),
        ("s3://bucket/a b.png? No.", None),
    ],
)
def test_urls_keep_their_place_and_lose_what_opens_it(text, kept):
    assert redact(text) == (kept or text)
