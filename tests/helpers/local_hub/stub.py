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

import contextlib
import re
import socket
import threading
from http.server import ThreadingHTTPServer

from helpers.local_hub.routes import Routes
from helpers.local_hub.state import HubState


class HubStub(HubState):
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
            return type("H_" + kind, (Routes,), {"stub": stub, "kind": kind})

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
        drip=0.0,
        srv="hub",
    ):
        """What the next `times` matching requests get.

        status, headers, body: that answer. drop_after: the connection is cut after so many bytes of the body, or, for
        an upload, of the request. corrupt: a byte of the body is another. lost: the request is carried out, but its
        answer does not arrive. silence: nothing for so many seconds, then
        a cut. drip: so many seconds between two of eight pieces of a file's body.
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
                "drip": drip,
            }
        )
