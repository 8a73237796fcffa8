"""The routes of the local Hub and of its storage."""

from __future__ import annotations

import hashlib
import json
import re
from urllib.parse import quote, unquote, urlsplit

from helpers.local_hub.collections_api import CollectionRoutes
from helpers.local_hub.models_api import ModelRoutes
from helpers.local_hub.state import ISO, HubError


class Routes(ModelRoutes, CollectionRoutes):
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
