"""A verified download that can go on where it stopped. Nothing unverified ever has the final name."""

from pathlib import Path

import requests

from layershap.progress import progress_bar
from layershap.workspace.errors import InputError
from layershap.workspace.files import file_digest

CHUNK = 1 << 16  # what a broken connection loses at most


def download(address: str, target: Path, md5: str, timeout: float = 30.0) -> Path:
    """Bring `address` to `target` and return it; a `target` that is there with the right checksum is kept.

    `timeout`: seconds without an answer or a byte after which it gives up. Raises InputError naming the address and,
    where they differ, both checksums.
    """
    if target.is_file() and file_digest(target, "md5") == md5:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    try:
        _receive(address, partial, timeout)
    except requests.RequestException as error:
        raise InputError(f"{address}: download failed ({error}); check the network and run again") from None
    found = file_digest(partial, "md5")
    if found != md5:
        partial.unlink()
        raise InputError(f"{address}: wrong content, checksum {found} instead of {md5}; run again or tell its owner")
    partial.replace(target)
    return target


def _receive(address: str, partial: Path, timeout: float) -> None:
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    with requests.get(address, stream=True, timeout=timeout, headers=headers) as answer:
        if start and answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # all of it is there; the checksum decides
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        length = int(answer.headers.get("Content-Length", 0))
        with (
            partial.open("ab" if resumed else "wb") as file,
            progress_bar(total=length or None, unit="B", unit_scale=True, desc=f"download {partial.stem}") as progress,
        ):
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                progress.update(len(chunk))
