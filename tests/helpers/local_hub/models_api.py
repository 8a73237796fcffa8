"""The routes of one repo: info, listings, preupload, commit."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import parse_qs, unquote

from helpers.local_hub.state import ISO, LFS_GLOBS, HubError
from helpers.local_hub.wire import Wire


class ModelRoutes(Wire):
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
