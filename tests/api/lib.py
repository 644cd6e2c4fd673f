"""What the api tests stand on: the real server as a child process, a callback receiver, a client
that checks every answer against /openapi.json. Python's standard library only."""
import base64, hashlib, hmac, http.client, http.server, json, os, pathlib, re, shutil, signal, socket
import subprocess, tempfile, threading, time, unittest, uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = pathlib.Path(os.environ.get("STEMFORGE_OUT", ROOT / "build"))
TONE = OUT / "tests" / "tone_server"
SLOW = float(os.environ.get("STEMFORGE_SLOW", "1"))  # sanitizers and valgrind: wait longer
SHARED = os.environ.get("STEMFORGE_TEST_QUEUE")  # a PostgreSQL server: the queue lies there
DOCUMENT = json.loads((ROOT / "web" / "openapi.json").read_text())


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def sqlite_only(why):
    return unittest.skipIf(SHARED, why)


def eventually(what, check, seconds=10.0, step=0.02):
    """Returns the first true value of check(), or fails after that many seconds."""
    end = time.monotonic() + seconds * SLOW
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not come true in {seconds} s: {what}")
        time.sleep(step)


# ---- JSON schema, as far as our document uses it

def resolve(schema):
    while "$ref" in schema:
        node = DOCUMENT
        for part in schema["$ref"][2:].split("/"):
            node = node[part]
        schema = node
    return schema


TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def is_type(value, name):
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def validate(value, schema, at="$"):
    schema = resolve(schema)
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(is_type(value, n) for n in names):
        raise AssertionError(f"{at}: expected {names}, found {value!r}")
    if "const" in schema and value != schema["const"]:
        raise AssertionError(f"{at}: expected {schema['const']!r}, found {value!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise AssertionError(f"{at}: expected one of {schema['enum']}, found {value!r}")
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        raise AssertionError(f"{at}: {value!r} does not match {schema['pattern']}")
    if is_type(value, "number"):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            raise AssertionError(f"{at}: {value} is out of range")
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                raise AssertionError(f"{at}: {name} is missing from {value}")
        for name, member in value.items():
            if name in schema.get("properties", {}):
                validate(member, schema["properties"][name], f"{at}.{name}")
    if isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            validate(item, schema["items"], f"{at}[{i}]")


def operation(method, path):
    path = path.split("?")[0]
    for pattern, item in DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", pattern), path):
            return item.get(method.lower())
    return None


class Answer:
    def __init__(self, code, headers, body):
        self.code, self.headers, self.body = code, headers, body

    @property
    def json(self):
        return json.loads(self.body)


def check_answer(method, path, a):
    """Every answer is one that the document promises."""
    op = operation("get" if method == "HEAD" else method, path)
    if op is None:
        assert a.code in (401, 404, 405), (method, path, a.code)
        return
    assert str(a.code) in op["responses"], f"{method} {path}: {a.code} is not in the document: {a.body[:300]}"
    content = op["responses"][str(a.code)].get("content")
    if not content or method == "HEAD":
        return
    kind = a.headers["Content-Type"].split(";")[0]
    assert kind in content, f"{method} {path}: {a.code} came as {kind}"
    if kind.endswith("json") and "schema" in content[kind]:
        validate(a.json, content[kind]["schema"], f"{method} {path} {a.code}")


# ---- the server

def heed_sighup():
    """A test run under nohup must not make its servers deaf to SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Server:
    """One `stemforge serve`, with its data in a folder of its own."""
    started = []

    @classmethod
    def kill_all(cls):
        for process in cls.started:
            if process.poll() is None:
                process.kill()

    def __init__(self, binary=TONE, folder=None, ready=True, flags=(), **env):
        self.binary, self.flags = binary, list(flags)
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="stemforge-api-"))
        self.port = free_port()
        self.env = {
            "PATH": os.environ.get("PATH", ""), "DATA_DIR": str(self.folder), "PORT": str(self.port),
            "LOG_LEVEL": "debug", "CALLBACK_FIRST_DELAY_SECONDS": "0.05", "CALLBACK_MAX_DELAY_SECONDS": "0.2",
            "CALLBACK_TIMEOUT_SECONDS": "2", "SHUTDOWN_GRACE_SECONDS": "5", "STORAGE_CHECK_SECONDS": "0.2",
            "QUEUE_MAX": "5000",
        }
        for name in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        # The same tests on PostgreSQL: a schema for each folder. A killed process's jobs come back with their leases.
        if SHARED and "QUEUE_URL_FILE" not in env:
            name = re.sub(r"[^a-z0-9]", "_", self.folder.name.lower())
            self.env.update(QUEUE_URL=f"{SHARED}?options=-csearch_path%3D{name}", JOB_LEASE_SECONDS="2")
        self.env.update({k: str(v) for k, v in env.items()})
        model = self.folder / "models" / "stemforge-mini"  # the default MODEL, from this folder on
        model.mkdir(parents=True, exist_ok=True)
        (model / "config.json").write_text('{"model_type": "tone"}')  # tests/tone
        self.log_path = self.folder / "log"
        self.start(ready)

    def start(self, ready=True):
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen([str(self.binary), *self.flags], env=self.env, stdout=log, stderr=log,
                                        cwd=self.folder, preexec_fn=heed_sighup)
        log.close()
        Server.started.append(self.process)
        if ready:
            self.wait_ready()

    def wait_ready(self):
        def up():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()[-3000:]}")
            try:
                return self.ask("GET", "/readyz").code == 200
            except OSError:
                return False
        eventually("the server is ready", up, 30)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds=20):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds * SLOW)

    def close(self):
        """Ends the server; it must end well, and its sanitizer must have nothing to say."""
        try:
            code = self.terminate()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        log = self.log()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert code == 0, f"the server ended with {code}:\n{log[-6000:]}"
        assert "ERROR: AddressSanitizer" not in log and "WARNING: ThreadSanitizer" not in log, log[-6000:]

    def connect(self, receive_buffer=None):
        """A connection. receive_buffer: bytes that the kernel holds for a reader that is slow; it may double them."""
        s = socket.socket()
        if receive_buffer:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)  # before the handshake says how much fits
        s.settimeout(10 * SLOW)
        s.connect(("127.0.0.1", self.port))
        return s

    def ask(self, method, path, body=None, headers=None, check=True):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30 * SLOW)
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        try:
            c.request(method, path, body, headers)
            r = c.getresponse()
            a = Answer(r.status, r.headers, r.read())
        finally:
            c.close()
        assert a.headers["X-Request-Id"], a.headers
        if check:
            check_answer(method, path, a)
        return a

    def raw(self, data, seconds=5):
        """Sends bytes as they are; returns what comes back until the server closes or is silent."""
        with self.connect() as s:
            s.sendall(data)
            s.settimeout(seconds * SLOW)
            got = b""
            try:
                while piece := s.recv(65536):
                    got += piece
            except (TimeoutError, ConnectionResetError):
                pass
            return got

    def submit(self, body=None, expect=202, **fields):
        body = body or request(**fields)
        a = self.ask("POST", "/generate", body)
        assert a.code == expect, (a.code, a.body)
        return body["generation_request_id"]

    def job(self, id):
        a = self.ask("GET", f"/jobs/{id}")
        assert a.code == 200, a.body
        return a.json

    def wait_job(self, id, *states, seconds=20):
        states = states or ("completed",)

        def there():
            j = self.job(id)
            if j["status"] in ("completed", "failed", "canceled") and j["status"] not in states:
                raise AssertionError(f"{id} is {j['status']}: {j.get('error_message')}")
            return j["status"] in states and j
        return eventually(f"{id} is {states}", there, seconds)

    def metric(self, line):
        text = self.ask("GET", "/metrics").body.decode()
        found = [l for l in text.splitlines() if l.startswith(line + " ")]
        return float(found[0].split()[-1]) if found else None

    def events(self, id, until=("completed", "failed", "canceled"), seconds=20):
        """Follows a job's event stream; yields (name, data)."""
        with self.connect() as s:
            s.settimeout(seconds * SLOW)
            s.sendall(f"GET /jobs/{id}/events HTTP/1.0\r\nHost: x\r\n\r\n".encode())
            f = s.makefile("r", encoding="utf-8", newline="\n")
            status = f.readline().split()[1]
            assert status == "200", status
            while f.readline().strip():
                pass
            event = {}
            for line in f:
                line = line.rstrip("\n")
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif event:
                    yield event["event"], json.loads(event["data"])
                    if event["event"] in until:
                        return
                    event = {}


def request(**fields):
    body = {"generation_request_id": str(uuid.uuid4()), "audio_file_id": "audio-1", "target_stems": ["guitar"],
            "parameters": {"duration_seconds": 0.5}}
    parameters = {**body["parameters"], **fields.pop("parameters", {})}
    body.update(fields)
    body["parameters"] = parameters
    return body


def wav(data):
    """(channels, rate, bits, frames) of a WAV file's bytes."""
    assert data[:4] == b"RIFF" and data[8:12] == b"WAVE", data[:16]
    at, found = 12, {}
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4:at + 8], "little")
        found[data[at:at + 4]] = data[at + 8:at + 8 + size]
        at += 8 + size + size % 2
    fmt, pcm = found[b"fmt "], found[b"data"]
    channels, rate = int.from_bytes(fmt[2:4], "little"), int.from_bytes(fmt[4:8], "little")
    bits = int.from_bytes(fmt[14:16], "little")
    return channels, rate, bits, len(pcm) // (channels * bits // 8)


# ---- the receiver of callbacks

class Receiver:
    """Answers callbacks with what `plan` says for each: a code, "hang", "reset" or a function. tls: an SSLContext."""

    def __init__(self, plan=(), port=0, tls=None):
        self.plan, self.got, self.lock = list(plan), [], threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if len(body) < int(self.headers["Content-Length"]):
                    return  # the sender was killed in the middle: nothing was delivered
                with receiver.lock:
                    receiver.got.append((dict(self.headers), body, self.path))
                    step = receiver.plan.pop(0) if receiver.plan else 200
                if step == "hang":
                    time.sleep(6)
                    return
                if step == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    self.connection.close()
                    return
                headers = {}
                if isinstance(step, tuple):
                    step, headers = step
                self.send_response(step)
                for k, v in headers.items():
                    self.send_header(k, v)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *a):
                pass

            def handle(self):
                try:
                    super().handle()
                except OSError:
                    pass

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *a):
                pass

        self.server = Listener(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/done"
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def bodies(self):
        """What came, each checked against the document."""
        with self.lock:
            got = [json.loads(b) for _, b, _ in self.got]
        for body in got:
            validate(body, {"$ref": "#/components/schemas/JobEnded"}, "callback")
        return got

    def wait(self, n=1, seconds=15):
        eventually(f"{n} callbacks", lambda: len(self.got) >= n, seconds)
        return self.bodies()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def signature(secret, id, timestamp, body):
    """The Standard Webhooks signature, made independently of the program."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode()


class Case(unittest.TestCase):
    """Closes what a test opened, also when it failed, and shows the log then."""
    maxDiff = None

    def serve(self, **options):
        s = Server(**options)
        self.addCleanup(self.close_server, s)
        return s

    def close_server(self, s):
        if s.process.poll() is not None:  # the test ended it
            shutil.rmtree(s.folder, ignore_errors=True)
            return
        s.close()

    def receive(self, *plan):
        r = Receiver(plan)
        self.addCleanup(r.close)
        return r
