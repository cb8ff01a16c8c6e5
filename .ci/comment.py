"""Put a Markdown file under the pull request (GitHub) or merge request (GitLab) that the job belongs to.

`comment.py FILE`. The comment that an earlier job wrote is replaced: the file's first line, a remark that nobody sees,
is how it is known. Without the right to write (a fork's token) it says so and ends with 0: the report is in the job's
summary and among its files.
"""

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

PAGE = 100  # comments at a time
SECONDS = 30


def places(variables: dict[str, str]) -> tuple[str, str, str, dict[str, str]]:
    """Return where the comments are listed and made, where one is changed, by which method, and the headers.

    `variables`: what GitHub's and GitLab's jobs have in their environment, and the TOKEN and NUMBER of the request.
    """
    if api := variables.get("GITHUB_API_URL"):
        issues = f"{api}/repos/{variables['GITHUB_REPOSITORY']}/issues"
        headers = {"Authorization": f"Bearer {variables['TOKEN']}", "Accept": "application/vnd.github+json"}
        return f"{issues}/{variables['NUMBER']}/comments", f"{issues}/comments", "PATCH", headers
    request = f"{variables['CI_API_V4_URL']}/projects/{variables['CI_PROJECT_ID']}/merge_requests/{variables['NUMBER']}"
    return f"{request}/notes", f"{request}/notes", "PUT", {"PRIVATE-TOKEN": variables["TOKEN"]}


def call(method: str, address: str, headers: dict[str, str], content: Any = None) -> Any:
    """Return what the server answers, read as JSON."""
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(
        address, data, {**headers, "Content-Type": "application/json", "User-Agent": "layershap"}, method=method
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


def main() -> None:
    """Write the comment."""
    body = Path(sys.argv[1]).read_text(encoding="utf-8")
    mark = body.partition("\n")[0]
    if not os.environ.get("TOKEN"):
        print("no comment: there is no TOKEN")
        return
    listed, changed, method, headers = places(dict(os.environ))
    try:
        page = 1
        while comments := call("GET", f"{listed}?per_page={PAGE}&page={page}", headers):
            for comment in comments:
                if comment["body"].startswith(mark):
                    call(method, f"{changed}/{comment['id']}", headers, {"body": body})
                    print("the comment is changed")
                    return
            page += 1
        call("POST", listed, headers, {"body": body})
        print("the comment is written")
    except OSError as error:  # HTTP statuses too
        print(f"no comment: {error}")


if __name__ == "__main__":
    main()
