"""git as this package calls it."""

import subprocess


def git(*arguments: str, seconds: float) -> str:
    """Return what a git command prints; nothing where it fails, or takes longer than so many seconds."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
