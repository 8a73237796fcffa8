"""A local stand-in for the Hugging Face Hub, on 127.0.0.1, standard library only.

It does what the real huggingface_hub client (1.3x and 2.x, plain LFS path) and llama.cpp's -hf downloader need: whoami,
create repo, info and tree, resolve with ranges and ETags, preupload, LFS batch and upload, commit, collections. Two
servers: the hub, and its storage ("cdn") under another host name (localhost), so that both client generations treat it
as off the Hub: no authorization there, redirects not followed on HEAD.

    with HubStub(folder) as stub:
        stub.endpoint                 for HF_ENDPOINT
        stub.log                      a record of each request: n, srv, method, path, status, range, auth, sent, got
        stub.fault("GET", "/resolve/", 500, times=2)     see `fault`
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS_GLOBS = (".gguf", ".safetensors", ".bin", ".pt", ".onnx", ".zip", ".gz")
ISO = "2026-01-01T00:00:00.000Z"


def git_blob_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def lfs_pointer(sha: str, size: int) -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (sha.encode(), size)


class HubError(Exception):
    def __init__(self, status, code=None, message=None, body=None, headers=None):
        self.status, self.code, self.message = status, code, message
        self.body = body if body is not None else {"error": message or f"HTTP {status}"}
        self.headers = headers or {}


class HubStub:
    def __init__(self, root, tokens=None, page_size=1000, multipart_over=None, resolve_cache=True):
        self.root = Path(root)
        (self.root / "blobs").mkdir(parents=True, exist_ok=True)
        # token -> {"name", "orgs": [...], "role": "write"|"read"}
        self.tokens = tokens or {
            "hf_" + "w" * 34: {"name": "alice", "orgs": ["acme"], "role": "write"},
            "hf_" + "r" * 34: {"name": "alice", "orgs": ["acme"], "role": "read"},
        }
        self.repos = {}  # id -> {"commits":[{"oid","tree":{path:entry},"title"}], "private", "gated"}
        self.collections = {}  # slug -> dict
        self.page_size, self.multipart_over = page_size, multipart_over
        self.resolve_cache = (
            resolve_cache  # small files: 307 to a *relative* /api/resolve-cache/ url, like the real Hub
        )
        self.parts = {}
        self.log, self.faults = [], []
        self.lock = threading.RLock()
        self.serial = 0
        self.ranges = True  # whether a Range header is heeded
        self.stopped = threading.Event()

    # ------------------------------------------------------------------ lifecycle
    def start(self):
        stub = self

        class Srv(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def get_request(self):
                sock, addr = super().get_request()
                self.__dict__.setdefault("live", set()).add(sock)
                return sock, addr

            def handle_error(self, request, addr):  # client hung up: not worth a traceback
                pass

        def mk(kind):
            return type("H_" + kind, (Handler,), {"stub": stub, "kind": kind})

        self.hub = Srv(("127.0.0.1", 0), mk("hub"))
        self.cdn = Srv(("127.0.0.1", 0), mk("cdn"))
        self.endpoint = f"http://127.0.0.1:{self.hub.server_port}"
        # Different *host name* on purpose: 1.x compares host names only, 2.x compares (scheme, host, port).
        self.cdn_base = f"http://localhost:{self.cdn.server_port}"
        for s in (self.hub, self.cdn):
            threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        self.stopped.set()
        for s in (self.hub, self.cdn):
            s.shutdown()
            s.server_close()
            for sock in s.__dict__.get("live", ()):  # keep-alive handler threads would go on answering
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    __enter__ = start

    def __exit__(self, *a):
        self.stop()

    def fault(
        self,
        method,
        path_re,
        status=None,
        *,
        times=1,
        headers=None,
        body=None,
        drop_after=None,
        corrupt=False,
        lost=False,
        silence=0.0,
        srv="hub",
    ):
        """What the next `times` matching requests get.

        status, headers, body: that answer. drop_after: the connection is cut after so many bytes of the body, or, for
        an upload, of the request. corrupt: a byte of the body is another. lost: the request is carried out, but its
        answer does not arrive. silence: nothing for so many seconds, then
        a cut.
        """
        self.faults.append(
            {
                "method": method,
                "re": re.compile(path_re),
                "status": status,
                "times": times,
                "srv": srv,
                "headers": headers or {},
                "body": body,
                "drop_after": drop_after,
                "corrupt": corrupt,
                "lost": lost,
                "silence": silence,
            }
        )

    # ------------------------------------------------------------------ state helpers
    def blob_path(self, sha):
        return self.root / "blobs" / sha

    def user(self, h):
        auth = h.headers.get("Authorization", "")
        if not auth:
            return None
        u = self.tokens.get(auth[7:]) if auth.startswith("Bearer ") else None
        if u is None:
            raise HubError(401, None, "Invalid credentials in Authorization header")
        return u

    def need_write(self, h, namespace):
        u = self.user(h)
        if u is None:
            raise HubError(401, None, "Unauthorized")
        if namespace not in [u["name"], *u["orgs"]] or u["role"] != "write":
            raise HubError(
                403,
                None,
                "Forbidden: you must use a write token to access this resource",
                {"error": f"You don't have the rights to create a model under the namespace {namespace!r}"},
            )
        return u

    def repo(self, h, rid, content=False):
        r, u = self.repos.get(rid), self.user(h)
        inside = u is not None and rid.split("/")[0] in [u["name"], *u["orgs"]]
        if r is None or (r["private"] and not inside):
            # the real Hub: 401 + RepoNotFound when anonymous, 404 + RepoNotFound when signed in
            raise HubError(
                401 if u is None else 404,
                "RepoNotFound",
                "Invalid username or password." if u is None else "Repository not found",
            )
        if content and r["gated"] and not inside:
            raise HubError(
                401 if u is None else 403,
                "GatedRepo",
                f"Access to model {rid} is restricted and you are not in the authorized list.",
            )
        return r

    def commit(self, r, rev):
        rev = unquote(rev)
        if rev in ("main", "refs/heads/main", "HEAD"):
            return r["commits"][-1]
        for c in r["commits"]:
            if c["oid"] == rev:
                return c
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {rev}")

    def new_commit(self, r, tree, title):
        self.serial += 1
        seed = json.dumps([self.serial, title, sorted((p, e["oid"]) for p, e in tree.items())])
        oid = hashlib.sha1(seed.encode()).hexdigest()
        r["commits"].append({"oid": oid, "tree": tree, "title": title})
        return oid

    def add_file(self, rid, path, data: bytes, lfs=None):
        """Seed a file straight into a repo (test set-up)."""
        r = self.repos[rid]
        tree = dict(r["commits"][-1]["tree"])
        tree[path] = self.entry(data, path.endswith(LFS_GLOBS) if lfs is None else lfs)
        return self.new_commit(r, tree, f"add {path}")

    def entry(self, data, lfs):
        sha = hashlib.sha256(data).hexdigest()
        self.blob_path(sha).write_bytes(data)
        return (
            self.lfs_entry(sha, len(data))
            if lfs
            else {"oid": git_blob_sha1(data), "size": len(data), "sha": sha, "lfs": None}
        )

    @staticmethod
    def lfs_entry(sha, size):
        ptr = lfs_pointer(sha, size)
        return {
            "oid": git_blob_sha1(ptr),
            "size": size,
            "sha": sha,
            "lfs": {"oid": sha, "size": size, "pointerSize": len(ptr)},
        }

    def make_repo(self, rid, private=False, gated=False):
        self.repos[rid] = {"commits": [], "private": private, "gated": gated}
        attrs = "".join(f"*{g} filter=lfs diff=lfs merge=lfs -text\n" for g in LFS_GLOBS).encode()
        self.new_commit(self.repos[rid], {".gitattributes": self.entry(attrs, False)}, "initial commit")
        return self.repos[rid]

    # ------------------------------------------------------------------ API handlers
    def model_info(self, rid, r, c, blobs=False, expand=()):
        sib = []
        for p, e in sorted(c["tree"].items()):
            s = {"rfilename": p}
            if blobs:
                s |= {"size": e["size"], "blobId": e["oid"]}
                if e["lfs"]:
                    s["lfs"] = {"sha256": e["sha"], "size": e["size"], "pointerSize": e["lfs"]["pointerSize"]}
            sib.append(s)
        full = {
            "_id": "0" * 24,
            "id": rid,
            "modelId": rid,
            "author": rid.split("/")[0],
            "sha": c["oid"],
            "private": r["private"],
            "gated": r["gated"],
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "lastModified": ISO,
            "createdAt": ISO,
            "siblings": sib,
        }
        return {k: v for k, v in full.items() if k in ("_id", "id", *expand)} if expand else full

    def models_json(self, owner, search):
        """The public repos of an owner whose name contains `search`, with what the Hub reads from a config.json."""
        rows = []
        for rid, r in sorted(self.repos.items()):
            if r["private"] or (owner and rid.split("/")[0] != owner) or search.lower() not in rid.lower():
                continue
            row = {"_id": "0" * 24, "id": rid}
            if entry := r["commits"][-1]["tree"].get("config.json"):
                config = json.loads(self.blob_path(entry["sha"]).read_bytes())
                row["config"] = {key: config[key] for key in ("architectures", "model_type") if key in config}
            rows.append(row)
        return rows

    def tree_json(self, c, prefix, recursive):
        prefix = prefix.strip("/")
        if prefix and prefix not in c["tree"] and not any(p.startswith(prefix + "/") for p in c["tree"]):
            raise HubError(404, "EntryNotFound", f'{prefix} does not exist on "main"')
        out, dirs = [], set()
        for p, e in sorted(c["tree"].items()):
            rel = p[len(prefix) + 1 :] if prefix else p
            if prefix and not p.startswith(prefix + "/"):
                continue
            parts = rel.split("/")
            for i in range(1, len(parts)):
                d = "/".join(([prefix] if prefix else []) + parts[:i])
                if d not in dirs and (recursive or i == 1):
                    dirs.add(d)
                    out.append({"type": "directory", "oid": hashlib.sha1(d.encode()).hexdigest(), "size": 0, "path": d})
            if len(parts) == 1 or recursive:
                out.append(self.file_json(p, e))
        return out

    @staticmethod
    def file_json(p, e):
        j = {"type": "file", "oid": e["oid"], "size": e["size"], "path": p}
        if e["lfs"]:
            j["lfs"] = e["lfs"]
        return j

    def coll_json(self, c):
        return {
            k: c[k]
            for k in (
                "slug",
                "title",
                "owner",
                "items",
                "lastUpdated",
                "position",
                "private",
                "theme",
                "upvotes",
                "isUpvotedByUser",
                "description",
                "gating",
            )
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive; every answer must carry Content-Length
    disable_nagle_algorithm = True  # headers and body are two writes: each answer would wait 40 ms for an ACK
    stub: HubStub
    kind = "hub"

    def log_message(self, *a):
        pass

    # ---- plumbing
    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":  # http.server does not decode it
            out = bytearray()
            while True:
                n = int(self.rfile.readline().split(b";")[0], 16)
                out += self.rfile.read(n)
                self.rfile.readline()
                if n == 0:
                    return bytes(out)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def send(self, status, data=b"", headers=None, ctype="application/json; charset=utf-8"):
        if self.active and self.active["lost"]:
            return self.cut()
        if not isinstance(data, (bytes, bytearray)):
            data = json.dumps(data).encode()
        self.record["status"], self.record["sent"] = (
            status,
            0 if self.command == "HEAD" else len(data),
        )  # before the client can look
        hs = {
            "Content-Type": ctype,
            "Content-Length": str(len(data)),
            "X-Request-Id": f"stub-{len(self.stub.log)}",
            **(headers or {}),
        }
        self.send_response(status)
        for k, v in hs.items():
            self.send_header(k, v)
        self.end_headers()
        if self.command == "HEAD":
            return None
        drop_after = self.active and self.active["drop_after"]
        self.wfile.write(data[:drop_after] if drop_after else data)
        return self.cut() if drop_after else None

    def send_page(self, items, query):
        at, size, hs = int(self.q.get("cursor", ["0"])[0]), self.stub.page_size, {}
        if at + size < len(items):
            base = f"{self.stub.endpoint}{urlsplit(self.path).path}?{re.sub('&cursor=[0-9]+', '', query)}"
            hs["Link"] = f'<{base}&cursor={at + size}>; rel="next"'
        return self.send(200, items[at : at + size], hs)

    def send_file(self, path, etag, extra=None):
        fault = self.active or {}
        drop_after, corrupt = fault.get("drop_after"), fault.get("corrupt")
        size = os.path.getsize(path)
        start, end, status = 0, size - 1, 200
        m = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "").strip())
        if m and (m[1] or m[2]) and self.stub.ranges:
            start, end = (max(size - int(m[2]), 0), size - 1) if not m[1] else (int(m[1]), int(m[2] or size - 1))
            if start >= size:
                return self.send(416, b"", {"Content-Range": f"bytes */{size}"}, "text/plain")
            end, status = min(end, size - 1), 206
        n = end - start + 1
        hs = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(n),
            "Accept-Ranges": "bytes",
            "ETag": f'"{etag}"',
            **(extra or {}),
        }
        if status == 206:
            hs["Content-Range"] = f"bytes {start}-{end}/{size}"
        self.record["status"], self.record["sent"] = status, 0 if self.command == "HEAD" else n
        self.send_response(status)
        for k, v in hs.items():
            self.send_header(k, v)
        self.end_headers()
        sent = 0
        if self.command != "HEAD":
            with open(path, "rb") as f:
                f.seek(start)
                while sent < n:
                    b = f.read(min(1 << 18, n - sent, (drop_after - sent) if drop_after else 1 << 30))
                    if not b:
                        self.close_connection = True  # simulated cut
                        break
                    if corrupt and not sent:
                        b = bytes([b[0] ^ 1]) + b[1:]
                    try:
                        self.wfile.write(b)
                    except (BrokenPipeError, ConnectionResetError):
                        self.close_connection = True
                        break
                    sent += len(b)
        self.record["sent"] = sent
        return None

    def handle_any(self):
        st = self.stub
        u = urlsplit(self.path)
        self.q = parse_qs(u.query)
        path = u.path
        self.record = {
            "n": len(st.log),
            "srv": self.kind,
            "method": self.command,
            "path": self.path,
            "range": self.headers.get("Range"),
            "auth": bool(self.headers.get("Authorization")),
            "status": None,
            "sent": 0,
            "got": 0,
            "ae": self.headers.get("Accept-Encoding"),
            "te": self.headers.get("Transfer-Encoding"),
            "ct": self.headers.get("Content-Type"),
            "expect": self.headers.get("Expect"),
            "ua": self.headers.get("User-Agent"),
        }
        st.log.append(self.record)
        self.active = next(
            (
                f
                for f in st.faults
                if f["times"] > 0
                and f["srv"] == self.kind
                and f["method"] in (self.command, "*")
                and f["re"].search(self.path)
            ),
            None,
        )
        uploads = self.command in ("POST", "PUT", "PATCH", "DELETE")
        if self.active:
            self.active["times"] -= 1
            if self.active["silence"]:
                st.stopped.wait(self.active["silence"])
                return self.cut()
            if self.active["drop_after"] and uploads:
                self.record["got"] = len(self.rfile.read(self.active["drop_after"]))
                return self.cut()
        data = self.body() if uploads else b""
        self.record["got"] = len(data)
        if data and len(data) < 20000 and self.kind == "hub":
            self.record["body"] = data.decode("utf8", "replace")
        if self.active and self.active["status"]:
            body = self.active["body"] or {"error": f"injected {self.active['status']}"}
            return self.send(self.active["status"], body, self.active["headers"])
        try:
            self.route_cdn(path, data) if self.kind == "cdn" else self.route(path, data)
        except HubError as e:
            hs = dict(e.headers)
            if e.code:
                hs["X-Error-Code"] = e.code
            if e.message:
                hs["X-Error-Message"] = e.message
            self.send(e.status, e.body, hs)
        return None

    def cut(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    # ---- LFS storage ("S3/CDN")
    def route_cdn(self, path, data):
        st = self.stub
        if m := re.fullmatch(r"/lfs/([0-9a-f]{64})", path):
            if self.command == "PUT":
                if hashlib.sha256(data).hexdigest() != m[1]:
                    return self.send(400, {"error": "sha256 mismatch"})
                st.blob_path(m[1]).write_bytes(data)
                return self.send(200, b"", {"ETag": f'"{hashlib.md5(data).hexdigest()}"'})
            if st.blob_path(m[1]).exists():
                return self.send_file(st.blob_path(m[1]), m[1])
        if (m := re.fullmatch(r"/part/([0-9a-f]{64})/(\d+)", path)) and self.command == "PUT":
            st.parts[m[1], int(m[2])] = data
            return self.send(200, b"", {"ETag": f'"{hashlib.md5(data).hexdigest()}"'})
        raise HubError(404, None, "no such object")

    # ---- the Hub
    def route(self, path, data):
        st, cmd = self.stub, self.command
        rd = cmd in ("GET", "HEAD")

        # -- identity
        if path == "/api/whoami-v2" and rd:
            u = st.user(self)
            if u is None:
                raise HubError(401, None, "Invalid username or password.")
            return self.send(
                200,
                {
                    "type": "user",
                    "id": "1" * 24,
                    "name": u["name"],
                    "fullname": u["name"].title(),
                    "email": f"{u['name']}@example.invalid",
                    "emailVerified": True,
                    "canPay": False,
                    "isPro": False,
                    "periodEnd": None,
                    "orgs": [
                        {"type": "org", "id": "2" * 24, "name": o, "fullname": o, "roleInOrg": "admin"}
                        for o in u["orgs"]
                    ],
                    "auth": {
                        "type": "access_token",
                        "accessToken": {"displayName": "t", "role": u["role"], "createdAt": ISO},
                    },
                },
            )
        # -- repos
        if path == "/api/repos/create" and cmd == "POST":
            j = json.loads(data)
            u = st.user(self)
            ns = j.get("organization") or (u or {}).get("name")
            rid = f"{ns}/{j['name']}"
            st.need_write(self, ns)
            with st.lock:
                if rid in st.repos:  # the 409 body must carry "url": create_repo(exist_ok=True) reads it
                    raise HubError(
                        409,
                        None,
                        "You already created this model repo",
                        {"error": "You already created this model repo", "url": f"{st.endpoint}/{rid}"},
                    )
                st.make_repo(rid, private=j.get("visibility") == "private" or bool(j.get("private")))
            return self.send(200, {"url": f"{st.endpoint}/{rid}", "name": rid, "id": "3" * 24})
        if path == "/api/repos/delete" and cmd == "DELETE":
            j = json.loads(data)
            rid = f"{j.get('organization') or st.user(self)['name']}/{j['name']}"
            st.repo(self, rid)
            st.need_write(self, rid.split("/")[0])
            del st.repos[rid]
            return self.send(200, b"OK", ctype="text/plain")
        if path == "/api/validate-yaml" and cmd == "POST":
            content = json.loads(data)["content"]
            m = re.match(r"^---\r?\n(.*?)\r?\n---", content, re.S)
            if not m:
                return self.send(
                    200, {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
                )
            bad = [line for line in m[1].splitlines() if "\t" in line]
            if bad:
                return self.send(400, {"errors": [{"message": "YAML: tab in " + bad[0]}], "warnings": []})
            return self.send(200, {"errors": [], "warnings": []})

        # -- LFS batch / verify / multipart completion
        if (m := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path)) and cmd == "POST":
            r = st.repo(self, m[1])
            st.need_write(self, m[1].split("/")[0])
            j, objs = json.loads(data), []
            for o in j["objects"]:
                e = {"oid": o["oid"], "size": o["size"]}
                if not st.blob_path(o["oid"]).exists():
                    up = {"href": f"{st.cdn_base}/lfs/{o['oid']}"}
                    if st.multipart_over and o["size"] > st.multipart_over:
                        n = -(-o["size"] // st.multipart_over)
                        up = {
                            "href": f"{st.endpoint}/api/complete_multipart?oid={o['oid']}&n={n}",
                            "header": {
                                "chunk_size": str(st.multipart_over),
                                **{str(i): f"{st.cdn_base}/part/{o['oid']}/{i}" for i in range(1, n + 1)},
                            },
                        }
                    e["authenticated"] = True
                    e["actions"] = {
                        "upload": up,
                        "verify": {"href": f"{st.endpoint}/{m[1]}.git/info/lfs/objects/verify", "header": {}},
                    }
                objs.append(e)
            return self.send(
                200,
                {"transfer": "multipart" if st.multipart_over else "basic", "objects": objs},
                ctype="application/vnd.git-lfs+json",
            )
        if (m := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/verify", path)) and cmd == "POST":
            j = json.loads(data)
            p = st.blob_path(j["oid"])
            if not p.exists() or p.stat().st_size != j["size"]:
                raise HubError(404, None, "object missing or wrong size")
            return self.send(200, {})
        if path == "/api/complete_multipart" and cmd == "POST":
            j = json.loads(data)
            blob = b"".join(st.parts.pop((j["oid"], p["partNumber"])) for p in j["parts"])
            if hashlib.sha256(blob).hexdigest() != j["oid"]:
                raise HubError(400, None, "sha256 mismatch")
            st.blob_path(j["oid"]).write_bytes(blob)
            return self.send(200, {"success": True})

        # -- model API
        if path == "/api/models" and cmd == "GET":
            items = st.models_json(self.q.get("author", [None])[0], self.q.get("search", [""])[0])
            return self.send_page(items, urlsplit(self.path).query)
        if m := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(.*))?", path):
            return self.route_model(m[1], m[2] or "", data)
        # -- collections
        if path.startswith("/api/collections"):
            return self.route_coll(path[len("/api/collections") :].strip("/"), data)
        # -- file content
        if (m := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)) and rd:
            r = st.repo(self, m[1], content=True)
            c = st.commit(r, m[2])
            e = c["tree"].get(unquote(m[3]))
            if e is None:  # X-Repo-Commit here lets the client record `.no_exist/<commit>/<path>`
                raise HubError(404, "EntryNotFound", "Entry not found", headers={"X-Repo-Commit": c["oid"]})
            hs = {"X-Repo-Commit": c["oid"], "Accept-Ranges": "bytes"}
            if e["lfs"]:
                loc = f"{st.cdn_base}/lfs/{e['sha']}?name={quote(m[3])}"
                hs |= {
                    "Location": loc,
                    "X-Linked-Size": str(e["size"]),
                    "X-Linked-Etag": f'"{e["sha"]}"',
                    "Vary": "Origin",
                }
                return self.send(302, f"Found. Redirecting to {loc}".encode(), hs, "text/plain; charset=utf-8")
            if st.resolve_cache:
                hs |= {
                    "Location": f"/api/resolve-cache/models/{m[1]}/{c['oid']}/{m[3]}?etag=%22{e['oid']}%22",
                    "X-Linked-Size": str(e["size"]),
                    "X-Linked-Etag": f'"{e["oid"]}"',
                }
                return self.send(307, b"Temporary Redirect", hs, "text/plain; charset=utf-8")
            return self.send_file(st.blob_path(e["sha"]), e["oid"], hs)
        if (m := re.fullmatch(r"/api/resolve-cache/models/([^/]+/[^/]+)/([0-9a-f]{40})/(.+)", path)) and rd:
            c = st.commit(st.repo(self, m[1], content=True), m[2])
            e = c["tree"][unquote(m[3])]
            return self.send_file(st.blob_path(e["sha"]), e["oid"], {"X-Repo-Commit": c["oid"]})
        raise HubError(404, None, "Sorry, we can't find the page you are looking for.")

    def route_model(self, rid, rest, data):
        st, cmd = self.stub, self.command

        def q(key):
            return self.q.get(key, [""])[0].lower() in ("true", "1")  # httpx sends True as "true"

        r = st.repo(self, rid)  # gated repos: info and listings stay readable, only file content is refused
        if cmd == "GET" and (rest == "" or rest.startswith("revision/")):
            c = st.commit(r, rest[9:] or "main")
            return self.send(200, st.model_info(rid, r, c, q("blobs"), self.q.get("expand", ())))
        if cmd == "GET" and rest == "refs":
            return self.send(
                200,
                {
                    "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": r["commits"][-1]["oid"]}],
                    "converts": [],
                    "tags": [],
                    "pullRequests": [],
                },
            )
        if cmd == "GET" and rest.startswith("commits/"):
            return self.send(
                200,
                [
                    {"id": c["oid"], "title": c["title"], "message": "", "date": ISO, "authors": []}
                    for c in reversed(r["commits"])
                ],
            )
        if cmd == "GET" and (m := re.fullmatch(r"tree/([^/]+)(?:/(.+))?", rest)):
            items = st.tree_json(st.commit(r, m[1]), unquote(m[2] or ""), q("recursive"))
            return self.send_page(items, f"recursive={self.q.get('recursive', ['false'])[0]}")
        if cmd == "POST" and (m := re.fullmatch(r"paths-info/([^/]+)", rest)):
            c = st.commit(r, m[1])
            form = json.loads(data) if "json" in (self.headers.get("Content-Type") or "") else parse_qs(data.decode())
            return self.send(200, [st.file_json(p, c["tree"][p]) for p in form["paths"] if p in c["tree"]])
        if cmd == "POST" and (m := re.fullmatch(r"preupload/([^/]+)", rest)):
            st.need_write(self, rid.split("/")[0])
            c, out = st.commit(r, m[1]), []
            for f in json.loads(data)["files"]:
                sample = base64.b64decode(f["sample"])
                lfs = f["path"].endswith(LFS_GLOBS) or f["size"] > 10 << 20 or b"\0" in sample
                j = {"path": f["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
                if f["path"] in c["tree"]:  # LFS: sha256; regular: git blob sha1 -> client drops unchanged files
                    e = c["tree"][f["path"]]
                    j["oid"] = e["sha"] if e["lfs"] else e["oid"]
                out.append(j)
            return self.send(200, {"files": out, "commitOid": c["oid"]})
        if cmd == "POST" and (m := re.fullmatch(r"commit/([^/]+)", rest)):
            st.need_write(self, rid.split("/")[0])
            with st.lock:
                head = st.commit(r, m[1])
                tree, title = dict(head["tree"]), ""
                for line in data.splitlines():
                    op = json.loads(line)
                    k, v = op["key"], op["value"]
                    if k == "header":
                        title = v["summary"]
                        if v.get("parentCommit") and not head["oid"].startswith(v["parentCommit"]):
                            raise HubError(412, None, "A commit has happened since. Please refresh and try again.")
                    elif k == "file":
                        tree[v["path"]] = st.entry(base64.b64decode(v["content"]), False)
                    elif k == "lfsFile":
                        if not st.blob_path(v["oid"]).exists():
                            raise HubError(400, None, "LFS pointer pointed to a file that does not exist")
                        tree[v["path"]] = st.lfs_entry(v["oid"], v.get("size") or st.blob_path(v["oid"]).stat().st_size)
                    elif k == "deletedFile":
                        if tree.pop(v["path"], None) is None:
                            raise HubError(404, "EntryNotFound", "A file with this name doesn't exist")
                    elif k == "deletedFolder":
                        for p in [p for p in tree if p.startswith(v["path"].rstrip("/") + "/")]:
                            del tree[p]
                oid = st.new_commit(r, tree, title)
            return self.send(
                200,
                {"success": True, "commitOid": oid, "commitUrl": f"{st.endpoint}/{rid}/commit/{oid}", "hookOutput": ""},
            )
        raise HubError(404, None, f"stub has no {cmd} {rest}")

    def route_coll(self, rest, data):
        st, cmd = self.stub, self.command
        parts = [unquote(p) for p in rest.split("/")] if rest else []
        if cmd == "GET" and not parts:
            own = self.q.get("owner", [None])[0]
            rows = [
                {**st.coll_json(c), "items": c["items"][:4]}
                for c in st.collections.values()
                if own in (None, c["owner"]["name"])
            ]
            for r in rows:
                del r["position"]  # list_collections() passes its own position
            return self.send(200, rows)
        if cmd == "POST" and not parts:
            j = json.loads(data)
            st.need_write(self, j["namespace"])
            if len(j["title"]) > 60 or len(j.get("description") or "") > 150:
                raise HubError(400, None, "title/description too long")
            for c in st.collections.values():
                if c["title"] == j["title"] and c["owner"]["name"] == j["namespace"]:
                    raise HubError(
                        409,
                        None,
                        "Collection already exists",  # body must carry "slug"
                        {"error": "This collection already exists", "slug": c["slug"]},
                    )
            kebab = re.sub(r"[^a-z0-9]+", "-", j["title"].lower()).strip("-")
            serial = hashlib.sha1(f"{j['title']}{len(st.collections)}".encode()).hexdigest()[:24]
            slug = f"{j['namespace']}/{kebab}-{serial}"
            st.collections[slug] = {
                "slug": slug,
                "title": j["title"],
                "description": j.get("description"),
                "owner": {"type": "user", "name": j["namespace"], "_id": "1" * 24},
                "items": [],
                "lastUpdated": ISO,
                "position": 0,
                "private": j["private"],
                "theme": "blue",
                "upvotes": 0,
                "isUpvotedByUser": False,
                "gating": False,
            }
            return self.send(200, st.coll_json(st.collections[slug]))
        slug = "/".join(parts[:2])
        c = st.collections.get(slug)
        if c is None:
            raise HubError(404, None, "Collection not found")
        if cmd == "GET":
            return self.send(200, st.coll_json(c))
        st.need_write(self, c["owner"]["name"])
        if cmd == "POST" and parts[2:] == ["items"]:
            j = json.loads(data)
            it = j["item"]
            if it["type"] == "model" and it["id"] not in st.repos:
                raise HubError(404, "RepoNotFound", "Repository not found")
            if any(x["id"] == it["id"] and x["type"] == it["type"] for x in c["items"]):
                raise HubError(409, None, "This item is already in the collection")
            x = {
                "_id": hashlib.sha1(it["id"].encode()).hexdigest()[:24],
                "id": it["id"],
                "type": it["type"],
                "position": len(c["items"]),
                "author": it["id"].split("/")[0],
                "private": False,
            }
            if "note" in j:
                x["note"] = {"text": j["note"], "html": j["note"]}
            c["items"].append(x)
            return self.send(200, st.coll_json(c))
        if cmd == "DELETE" and parts[2:3] == ["items"]:
            before = len(c["items"])
            c["items"] = [x for x in c["items"] if x["_id"] != parts[3]]
            if len(c["items"]) == before:
                raise HubError(404, None, "Item not found")
            return self.send(200, b"OK", ctype="text/plain")
        if cmd == "PATCH" and parts[2:3] == ["items"]:
            j = json.loads(data)
            for x in c["items"]:
                if x["_id"] == parts[3] and "note" in j:
                    x["note"] = {"text": j["note"], "html": j["note"]}
            return self.send(200, {"success": True})
        if cmd == "PATCH":
            c.update({k: v for k, v in json.loads(data).items() if k in c})
            return self.send(200, {"success": True, "data": st.coll_json(c)})
        raise HubError(404, None, "no such route")
