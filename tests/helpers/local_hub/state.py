"""What the local Hub holds: accounts, repos with their commits, blobs, collections; and how its API shows them."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from urllib.parse import unquote

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


class HubState:
    """Repos are dicts; an entry of a tree has the git oid, the size, the sha256 of its blob, and its LFS pointer."""

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

    # ------------------------------------------------------------------ state helpers
    def blob_path(self, sha):
        return self.root / "blobs" / sha

    def user(self, h):
        auth = h.headers.get("Authorization", "")
        if not auth:
            return None
        # "Basic ...", of an address with user and password, is known by the whole header
        u = self.tokens.get(auth.removeprefix("Bearer "))
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
