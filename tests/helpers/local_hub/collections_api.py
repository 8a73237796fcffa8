"""The routes of collections."""

from __future__ import annotations

import hashlib
import json
import re
from urllib.parse import unquote

from helpers.local_hub.state import ISO, HubError
from helpers.local_hub.wire import Wire


class CollectionRoutes(Wire):
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
