"""A server that behaves as the model hub does, for one folder: python3 tests/cli/hub.py FOLDER

It prints its URL, then serves ORG/NAME for every name. Weights are redirected to a second port, whose
first answer for each file breaks off in the middle; a token shown there is answered with 400. With
HUB_SPOIL=1 the last byte of the weights is wrong. Needs the standard library alone.
"""
import hashlib
import http.server
import json
import os
import sys
import threading

FOLDER = sys.argv[1]
COMMIT = hashlib.sha1(b"commit").hexdigest()
begun = set()


def read(name):
    with open(os.path.join(FOLDER, os.path.basename(name)), "rb") as f:
        return f.read()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, code, headers, body=b""):
        self.send_response(code)
        for k, v in headers.items():
            self.send_header(k, v)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()


class Hub(Handler):
    def do_GET(self):
        if self.path.startswith("/api/models/"):
            files = [{"rfilename": f} for f in sorted(os.listdir(FOLDER))]
            return self.answer(200, {}, json.dumps({"sha": COMMIT, "siblings": files}).encode())
        body = read(self.path)
        headers = {"X-Repo-Commit": COMMIT}
        if not self.path.endswith(".safetensors"):
            headers["ETag"] = '"%s"' % hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            return self.answer(200, headers, body)
        headers["X-Linked-Etag"] = '"%s"' % hashlib.sha256(body).hexdigest()
        headers["X-Linked-Size"] = str(len(body))
        headers["Location"] = "http://127.0.0.1:%d%s" % (cdn.server_port, self.path)
        self.answer(302, headers)


class Cdn(Handler):
    def do_GET(self):
        if self.headers["Authorization"]:
            return self.answer(400, {}, b"a token came here")
        body = read(self.path)
        if os.environ.get("HUB_SPOIL"):
            body = body[:-1] + bytes([body[-1] ^ 1])
        span = self.headers["Range"]
        start = int(span[6:].split("-")[0]) if span else 0
        headers = {"Content-Length": str(len(body) - start)}
        if start:
            headers["Content-Range"] = "bytes %d-%d/%d" % (start, len(body) - 1, len(body))
        end = len(body)
        if self.path not in begun:
            begun.add(self.path)
            end = start + (end - start) // 2
            self.close_connection = True
        self.answer(206 if start else 200, headers, body[start:end])


hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
cdn = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cdn)
threading.Thread(target=cdn.serve_forever, daemon=True).start()
print("http://127.0.0.1:%d" % hub.server_port, flush=True)
hub.serve_forever()
