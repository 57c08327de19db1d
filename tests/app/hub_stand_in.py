"""A stand-in for the hub of Hugging Face on this machine: what the library huggingface_hub asks of it, and its moods.

Large files are LFS as on the hub: their addresses lead to another host, here another port.
"""

import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGE = 7  # files in an answer
LARGE = 200  # bytes from which a file is LFS


@dataclass
class Repository:
    """A repository at one commit, and another at each branch or tag.

    Args:
        kind: `datasets` or `models`.
        files: content by path.
        commit: 40 hexadecimal digits.

    """

    kind: str
    files: dict[str, bytes]
    commit: str = "a" * 40
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def resolves(self, revision: str) -> bool:
        return revision in ("main", self.commit, *self.branches)


@dataclass
class Hub:
    """What the stand-in holds, what was asked of it, and how it misbehaves.

    Args:
        repositories: by OWNER/NAME.
        token: that opens private and gated ones.
        damaged: how often a file comes with other bytes.
        cut: how often a transfer of a file ends in the middle.
        held: paths whose transfer stops in the middle until `go`.
        status: answer to all questions, instead of what was asked for.

    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    token: str = "let-me-in"
    damaged: dict[str, int] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    status: int = 0
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, path of a file, Range
    go: threading.Event = field(default_factory=threading.Event)
    holding: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    store: str = ""

    def fetched(self) -> list[str]:
        """Files whose content was asked for."""
        return [path for method, path, _ in self.asked if method == "GET"]


def digest(content: bytes) -> str:
    """Of an LFS file SHA-256, of another the name of its blob in git."""
    if len(content) >= LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers as the hub does."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path, _, query = self.path.partition("?")
        parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
        if self.hub.status:
            self.reply(self.hub.status)
        elif parts[0] == "store":
            self.send_file(parts[1], "/".join(parts[2:]))
        elif parts[0] == "api" and parts[1] in ("datasets", "models"):
            self.answer_question(parts[1], "/".join(parts[2:4]), parts[4:], dict(urllib.parse.parse_qsl(query)))
        elif "resolve" in parts:
            kind, start = ("datasets", 1) if parts[0] == "datasets" else ("models", 0)
            self.resolve(kind, "/".join(parts[start : start + 2]), parts[start + 3], "/".join(parts[start + 4 :]))
        else:
            self.reply(404)

    def opened(self, kind: str, name: str, revision: str, content: bool = False) -> Repository | None:
        """A repository, if it is there and open to whoever asks; otherwise the answer is given."""
        found = self.hub.repositories.get(name)
        known = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if found is None or found.kind != kind or (found.private and not known):
            self.reply(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif found.gated and content and not known:
            self.reply(401, {"X-Error-Code": "GatedRepo"})
        elif not found.resolves(revision):
            self.reply(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return found
        return None

    def answer_question(self, kind: str, name: str, rest: list[str], query: dict[str, str]) -> None:
        """Facts of a repository, or a page of its files."""
        revision = rest[1] if len(rest) > 1 else "main"
        found = self.opened(kind, name, revision)
        if found is None:
            return
        if not rest or rest[0] == "revision":
            self.reply(200, {}, {"id": name, "sha": found.branches.get(revision, found.commit), "siblings": []})
            return
        folders = {path.rpartition("/")[0] for path in found.files if "/" in path}
        entries: list[dict[str, Any]] = [{"type": "directory", "path": path, "oid": "1" * 40} for path in folders]
        for path, content in found.files.items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": digest(b"a pointer")}
            if len(content) >= LARGE:
                entry["lfs"] = {"oid": digest(content), "size": len(content), "pointerSize": 130}
            else:
                entry["oid"] = digest(content)
            entries.append(entry)
        first = int(query.get("cursor", 0))
        page = f"{self.hub.url}{self.path.partition('?')[0]}?recursive=True&cursor={first + PAGE}"
        more = {"Link": f'<{page}>; rel="next"'} if first + PAGE < len(entries) else {}
        self.reply(200, more, entries[first : first + PAGE])

    def resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        """A small file, or where a large one lies."""
        found = self.opened(kind, name, revision, content=True)
        if found is None:
            return
        if path not in found.files:
            self.reply(404, {"X-Error-Code": "EntryNotFound"})
            return
        content = found.files[path]
        facts = {"X-Repo-Commit": found.commit, "ETag": f'"{digest(content)}"'}
        if len(content) >= LARGE:
            linked = {"X-Linked-Etag": f'"{digest(content)}"', "X-Linked-Size": str(len(content))}
            where = f"{self.hub.store}/store/{urllib.parse.quote(name, safe='')}/{urllib.parse.quote(path)}"
            self.reply(302, {**facts, **linked, "Location": where})
        else:
            self.send_file(name, path, facts)

    def send_file(self, name: str, path: str, facts: dict[str, str] | None = None) -> None:
        """The content of a file, from where it is asked for."""
        content = self.hub.repositories[name].files[path]
        asked = self.headers.get("Range") or ""
        self.hub.asked.append((self.command, path, asked))
        if self.command == "GET" and self.hub.damaged.get(path, 0) > 0:
            self.hub.damaged[path] -= 1
            content = bytes([content[0] ^ 1]) + content[1:]
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        rest = content[start:]
        self.send_response(206 if asked else 200)
        for key, value in (facts or {}).items():
            self.send_header(key, value)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if path in self.hub.held:
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            self.hub.holding.set()
            self.hub.go.wait(60)
            self.close_connection = True
            return
        if self.hub.cut.get(path, 0) > 0:
            self.hub.cut[path] -= 1
            self.wfile.write(rest[: len(rest) // 2])
            self.close_connection = True
            return
        self.wfile.write(rest)

    def reply(self, status: int, headers: dict[str, str] | None = None, content: Any = None) -> None:
        """An answer in JSON."""
        body = json.dumps({} if content is None else content).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """A hub that answers within the block."""
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    for server in servers:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    hub.url, hub.store = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        hub.go.set()
        for server in servers:
            server.shutdown()
            server.server_close()
