"""What git knows: revisions, DVC's experiments (which are commits under refs/exps), and their dates."""

from dataclasses import dataclass

from layershap.workspace.errors import InputError
from layershap.workspace.git_command import git


@dataclass(frozen=True)
class Commit:
    """`digest`: 40 hexadecimal digits. `date`: of the commit, ISO 8601. `subject`: its message's first line."""

    digest: str
    date: str
    subject: str


def commit(revision: str) -> Commit | None:
    """Return the commit that git calls `revision`; None where it knows none, or this is no git repository."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    if not found:
        return None
    digest, date, subject = _git("show", "--no-patch", "--format=%H%n%cI%n%s", found).split("\n")[:3]
    return Commit(digest, date, subject)


def experiment(name: str) -> Commit | None:
    """Return the commit of the DVC experiment of this name; None without. Raises InputError for several."""
    found = sorted({digest for known, digest in _experiments() if known == name})
    if len(found) > 1:
        listed = ", ".join(digest[:10] for digest in found)
        raise InputError(f"several experiments are called {name!r}: give one's commit ({listed})")
    return commit(found[0]) if found else None


def names() -> list[str]:
    """Return the names of all branches, tags and experiments."""
    heads = _git("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags", "refs/remotes")
    return sorted({*heads.split(), *(name for name, _ in _experiments())})


def changed() -> bool:
    """Return whether tracked files differ from the commit."""
    return bool(_git("status", "--porcelain", "--untracked-files=no").strip())


def _experiments() -> list[tuple[str, str]]:
    """Return name and commit of each experiment: refs/exps/<2 digits>/<38 digits>/<name>."""
    lines = _git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    pairs = [(line.partition(" ")[2].split("/"), line.partition(" ")[0]) for line in lines]
    return [(parts[4], digest) for parts, digest in pairs if len(parts) == 5 and len(parts[3]) == 38]


def _git(*arguments: str) -> str:
    return git(*arguments, seconds=60)
