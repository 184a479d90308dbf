"""What is taken out of text before it is kept."""

from pathlib import Path

from jobs.privacy import scrub


def test_secrets_and_homes_are_taken_out(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret-123")
    monkeypatch.setenv("SOME_TOKEN", "abc")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/alice"))
    text = scrub("File /home/alice/photos/x.py: planted-secret-123 at s3://user:pass@host/bucket abc")
    assert text == "File ~/photos/x.py: *** at s3://***@host/bucket abc"


def test_short_values_are_left_alone(monkeypatch):
    """Replacing every "1" of a text because a token is "1" would destroy the text."""
    monkeypatch.setenv("SOME_TOKEN", "1")
    assert scrub("11 of 21") == "11 of 21"
