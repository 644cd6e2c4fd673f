"""fault_proxy.py - an HTTP/1.1 proxy in front of a storage emulator that misbehaves on purpose.

As a module: FaultProxy(target_port, plan), where plan(n, method, path) names the fault of request n.
As a program: fault_proxy.py --target PORT [--port PORT] [--rate 0.3] [--faults 500,reset] [--seed 1]
prints its port and runs until it is killed.

Faults: pass; a status (500 503 504 409 429 408), answered without asking the target; hang; reset
(before the target hears of it); lost (the target does it, the answer is thrown away); cut (half the
answer, then a reset); slow (a second late).
"""
import argparse
import http.client
import random
import socket
import socketserver
import struct
import threading
import time

HANG_SECONDS = 60
CODES = {"500": "InternalError", "503": "ServerBusy", "504": "OperationTimedOut",
         "409": "ContainerBeingDeleted", "429": "ServerBusy", "408": "OperationTimedOut"}


class Cut(Exception):
    """The connection is to be reset."""


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            while self.one():
                pass
        except Cut:  # an RST at close; what was written before is read first
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass

    def one(self):
        line = self.rfile.readline(65536)
        if not line:
            return False
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers = http.client.parse_headers(self.rfile)
        body = self.rfile.read(int(headers.get("Content-Length") or 0))
        fault = self.server.next_fault(method, path)
        if fault == "reset":
            raise Cut()
        if fault == "hang":
            self.server.stopping.wait(HANG_SECONDS)
            return False
        if fault == "slow":
            time.sleep(1)
        if fault in CODES:
            extra = b"Retry-After: 0\r\n" if fault == "429" else b""
            self.wfile.write(b"HTTP/1.1 %s Fault\r\nx-ms-error-code: %s\r\n%sContent-Length: 0\r\n\r\n"
                             % (fault.encode(), CODES[fault].encode(), extra))
            return True
        answer = self.ask(method, path, headers, body)
        if fault == "lost":
            raise Cut()
        if fault == "cut":
            self.wfile.write(answer[:len(answer) // 2])
            self.wfile.flush()
            raise Cut()
        self.wfile.write(answer)
        return True

    def ask(self, method, path, headers, body):
        conn = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=30)
        conn.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            if name.lower() not in ("connection",):
                conn.putheader(name, value)
        conn.endheaders(body)
        reply = conn.getresponse()
        data = reply.read()
        out = [b"HTTP/1.1 %d %s\r\n" % (reply.status, reply.reason.encode())]
        for name, value in reply.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "keep-alive", "content-length"):
                out.append(("%s: %s\r\n" % (name, value)).encode("latin-1"))
        length = reply.getheader("Content-Length") if method == "HEAD" else str(len(data))
        out.append(("Content-Length: %s\r\n\r\n" % (length or 0)).encode())
        conn.close()
        return b"".join(out) + data


class FaultProxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, target, plan, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.target, self.plan = target, plan
        self.seen = []  # (method, path, fault)
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def next_fault(self, method, path):
        with self.lock:
            fault = self.plan(len(self.seen), method, path)
            self.seen.append((method, path, fault))
            return fault

    def stop(self):
        self.stopping.set()
        self.shutdown()
        self.server_close()


def random_plan(rate, faults, seed):
    rng = random.Random(seed)
    return lambda n, method, path: rng.choice(faults) if rng.random() < rate else "pass"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--target", type=int, required=True)
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--rate", type=float, default=0.3)
    p.add_argument("--faults", default="500,503,409,429,reset,lost,cut")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    proxy = FaultProxy(a.target, random_plan(a.rate, a.faults.split(","), a.seed), a.port)
    print(proxy.port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
