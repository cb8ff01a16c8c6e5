"""The part of GitHub's and GitLab's interface that has the comments of one request, over HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

LISTED = {"github": "/repos/me/project/issues/7/comments", "gitlab": "/projects/12/merge_requests/7/notes"}
CHANGED = {"github": "/repos/me/project/issues/comments/", "gitlab": LISTED["gitlab"] + "/"}
METHOD = {"github": "PATCH", "gitlab": "PUT"}
HEADER = {"github": ("Authorization", "Bearer secret"), "gitlab": ("PRIVATE-TOKEN", "secret")}


class Host:
    """`comments`: bodies by number. `refused`: a status with which every writing is refused, 0 for none."""

    def __init__(self, kind: str):
        self.kind, self.comments, self.refused, self.address = kind, {}, 0, ""

    def variables(self) -> dict[str, str]:
        """Return what a job has in its environment."""
        if self.kind == "github":
            return {"GITHUB_API_URL": self.address, "GITHUB_REPOSITORY": "me/project"}
        return {"CI_API_V4_URL": self.address, "CI_PROJECT_ID": "12"}


@contextmanager
def serving(kind: str) -> Iterator[Host]:
    """Yield a host that listens."""
    host = Host(kind)

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status, content):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def do_GET(self):
            place = urlsplit(self.path)
            asked = {name: int(values[0]) for name, values in parse_qs(place.query).items()}
            size, page = asked.get("per_page", 30), asked.get("page", 1)
            rows = [{"id": number, "body": body} for number, body in host.comments.items()]
            found = place.path == LISTED[kind]
            self.answer(200 if found else 404, rows[(page - 1) * size : page * size] if found else {})

        def do_POST(self):
            self.write("POST", self.path == LISTED[kind], max(host.comments, default=0) + 1)

        def do_PATCH(self):
            self.change("PATCH")

        def do_PUT(self):
            self.change("PUT")

        def change(self, method):
            number = self.path.removeprefix(CHANGED[kind])
            known = number.isdigit() and int(number) in host.comments
            self.write(method, known and METHOD[kind] == method, int(number) if known else 0)

        def write(self, method, known, number):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
            name, value = HEADER[kind]
            if host.refused or self.headers[name] != value:
                return self.answer(host.refused or 401, {"message": "no"})
            if not known:
                return self.answer(404, {})
            host.comments[number] = body
            return self.answer(201 if method == "POST" else 200, {"id": number})

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
