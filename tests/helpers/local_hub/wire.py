"""HTTP as the local Hub speaks it: bodies, ranges, pages, the request log, and the faults that tests order."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from helpers.local_hub.state import HubError, HubState


class Wire(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive; every answer must carry Content-Length
    disable_nagle_algorithm = True  # headers and body are two writes: each answer would wait 40 ms for an ACK
    stub: HubState
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
        sent, piece = 0, -(-n // 8) if fault.get("drip") else 1 << 18
        if self.command != "HEAD":
            with open(path, "rb") as f:
                f.seek(start)
                while sent < n:
                    b = f.read(min(piece, n - sent, (drop_after - sent) if drop_after else 1 << 30))
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
                    self.stub.stopped.wait(fault.get("drip", 0))
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
