"""Row M1: a password is shown nowhere, whatever an error makes of the address."""

import pytest

from layershap.tracking.privacy import hide_secrets


@pytest.mark.parametrize(
    "text",
    [
        "HTTPConnectionPool(host='h'): http://ann:s3cret@host:5000/api failed",
        "Failed to parse: http://ann:s3cret@host",
        "user ann with s3cret was refused",
        "auth=('ann', 's3cret')",
        "http://ann:s3%63ret@host and s3cret",
        "http://:s3cret@host/path?x=http://ann:s3cret@other",
    ],
)
def test_the_password_of_the_address(monkeypatch, text):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3cret@host:5000")
    shown = hide_secrets(text)
    assert "s3cret" not in shown
    assert "***" in shown


def test_a_quoted_password_is_hidden_in_both_spellings(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ann:p%40ss%2Fword@host/db")
    assert "p@ss/word" not in hide_secrets("refused: p@ss/word")
    assert "p%40ss" not in hide_secrets("refused: postgresql://ann:p%40ss%2Fword@host/db")


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"])
def test_secrets_of_the_environment(monkeypatch, name):
    monkeypatch.setenv(name, "t0ken")
    assert hide_secrets("Bearer t0ken") == "Bearer ***"


def test_other_text_stays(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert hide_secrets("a@b.example and http://host/x@y") == "a@b.example and http://host/x@y"
