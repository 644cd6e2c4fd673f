"""store.py - our blob store against real storage: Azurite from npm, read back by the official SDK.

Run by run-store.sh. STEMFORGE_OUT names the folder with tests/blob_tool.
"""
import base64
import hashlib
import http.server
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from fault_proxy import FaultProxy, random_plan

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.environ.get("STEMFORGE_OUT", os.path.join(HERE, "..", "..", "build"))
TOOL = os.path.join(OUT, "tests", "blob_tool")
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
ACCOUNT = "devstoreaccount1"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Azurite:
    """The emulator in a folder of its own. stop and start keep what it holds."""

    def __init__(self, *extra):
        self.dir = tempfile.mkdtemp(prefix="azurite-")
        self.port, self.extra = free_port(), list(extra)
        self.start()

    def start(self):
        script = os.path.join(HERE, "node_modules", "azurite", "dist", "src", "azurite.js")
        others = [str(free_port()) for _ in range(2)]
        self.process = subprocess.Popen(
            ["node", script, "--silent", "--location", self.dir, "--disableTelemetry",
             "--blobHost", "127.0.0.1", "--queueHost", "127.0.0.1", "--tableHost", "127.0.0.1",
             "--blobPort", str(self.port), "--queuePort", others[0], "--tablePort", others[1]]
            + self.extra, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)  # which flushes; kill -9 would lose blobs
        self.process.wait(30)

    def close(self):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def connection(self, port=None, key=KEY):
        return ("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;"
                "BlobEndpoint=http://127.0.0.1:%d/%s;" % (ACCOUNT, key, port or self.port, ACCOUNT))


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.azurite = Azurite()
        cls.dir = tempfile.mkdtemp(prefix="store-")

    @classmethod
    def tearDownClass(cls):
        cls.azurite.close()
        shutil.rmtree(cls.dir)

    def file(self, size, seed=1):
        path = os.path.join(self.dir, "in-%d-%d" % (size, seed))
        with open(path, "wb") as f:
            f.write(random.Random(seed).randbytes(size))
        return path

    def tool(self, *args, ok=True, **env):
        full = {"PATH": os.environ["PATH"], "AZURE_STORAGE_CONNECTION_STRING": self.azurite.connection(),
                "BLOB_DELAY_MS": "20", **env}
        full = {k: v for k, v in full.items() if v is not None}
        p = subprocess.run([TOOL, *args], env=full, capture_output=True, text=True, timeout=120)
        self.assertEqual(p.returncode == 0, ok, p.stdout + p.stderr)
        self.assertNotIn("Sanitizer", p.stderr)
        self.assertNotIn(KEY[:20], p.stdout + p.stderr)
        return json.loads(p.stdout) if ok and p.stdout else p.stderr

    def sdk(self, *args):
        p = subprocess.run(["node", os.path.join(HERE, "store_sdk.mjs"), *args], text=True,
                           env={"PATH": os.environ["PATH"], "SDK_CONNECTION": self.azurite.connection()},
                           capture_output=True, timeout=60)
        self.assertEqual(p.returncode, 0, p.stderr)
        return json.loads(p.stdout)

    def same(self, a, b):
        with open(a, "rb") as x, open(b, "rb") as y:
            self.assertEqual(x.read(), y.read())

    def read_back(self, key, path, container="audio-files"):
        """What the SDK reads is what we wrote, to the byte."""
        out = os.path.join(self.dir, "out")
        info = self.sdk("read", container, key, out)
        self.same(path, out)
        with open(path, "rb") as f:
            md5 = base64.b64encode(hashlib.md5(f.read()).digest()).decode()
        self.assertEqual((info["type"], info["md5"]), ("audio/wav", md5))
        return info


class Blobs(Case):
    def test_blobs_of_all_sizes_are_read_back_by_the_sdk(self):
        for i, size in enumerate((0, 1, 44, 100_000, 5_000_000)):
            path, key = self.file(size), "rec-1/generated/req_%d/drums.wav" % i
            said = self.tool("put", key, path)
            info = self.read_back(key, path)
            self.assertEqual((said["size"], info["size"], said["md5"]), (size, size, info["md5"]))
            self.assertEqual(self.tool("head", key)["size"], size)
            out = os.path.join(self.dir, "ours")
            self.tool("get", key, out)
            self.same(path, out)

    def test_large_blobs_go_up_in_blocks(self):
        path = self.file(3_000_017)
        self.tool("put", "blocks/x.wav", path, BLOB_WHOLE_MAX="1000000", BLOB_BLOCK_SIZE="262144")
        self.assertEqual(self.read_back("blocks/x.wav", path)["blocks"], 12)
        other = self.file(3_000_017, 2)  # over the old one
        self.tool("put", "blocks/x.wav", other, BLOB_WHOLE_MAX="1000000", BLOB_BLOCK_SIZE="1000000")
        self.assertEqual(self.read_back("blocks/x.wav", other)["blocks"], 4)

    def test_later_put_replaces_the_earlier(self):
        a, b = self.file(1000), self.file(500, 2)
        self.tool("put", "twice.wav", a)
        self.tool("put", "twice.wav", b)
        self.read_back("twice.wav", b)

    def test_container_is_made_when_missing_and_health_is_fine_without_it(self):
        self.tool("check", BLOB_CONTAINER_NAME="not-there")
        path = self.file(10)
        self.tool("put", "a.wav", path, BLOB_CONTAINER_NAME="made-by-us")
        self.read_back("a.wav", path, "made-by-us")

    def test_what_the_sdk_wrote_we_read_and_remove(self):
        path, out = self.file(70_000, 3), os.path.join(self.dir, "theirs")
        self.sdk("write", "audio-files", "theirs.wav", path)
        self.tool("get", "theirs.wav", out)
        self.same(path, out)
        self.tool("rm", "theirs.wav")
        self.tool("rm", "theirs.wav")
        self.assertIn("not_found", self.tool("head", "theirs.wav", ok=False).replace(" ", "_"))

    def test_wrong_key_is_refused_in_clear_words(self):
        wrong = base64.b64encode(b"x" * 64).decode()
        text = self.tool("put", "a.wav", self.file(10), ok=False,
                         AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(key=wrong))
        self.assertIn("403", text)
        self.assertIn("check the key", text)
        self.assertNotIn(wrong, text)
        self.tool("check", ok=False,
                  AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(key=wrong))

    def test_account_sas_is_enough(self):
        sas = self.sdk("sas")["sas"]
        conn = "BlobEndpoint=http://127.0.0.1:%d/%s;SharedAccessSignature=%s" % (
            self.azurite.port, ACCOUNT, sas)
        path = self.file(2_000_000, 4)
        self.tool("put", "sas/x.wav", path, AZURE_STORAGE_CONNECTION_STRING=conn,
                  BLOB_WHOLE_MAX="500000", BLOB_BLOCK_SIZE="500000", BLOB_CONTAINER_NAME="by-sas")
        self.read_back("sas/x.wav", path, "by-sas")
        url = self.tool("link", "sas/x.wav", "0", AZURE_STORAGE_CONNECTION_STRING=conn)["url"]
        self.assertNotIn("sig", url)  # the account's SAS is not for readers
        text = self.tool("put", "x.wav", path, ok=False,
                         AZURE_STORAGE_CONNECTION_STRING=conn[:-6] + "AAAAA%3D")
        self.assertNotIn("sig=", text)


def status_of(url, context=None):
    try:
        with urllib.request.urlopen(url, timeout=10, context=context) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, b""


class Links(Case):
    def test_signed_link_opens_its_blob_alone_for_its_time_alone(self):
        path = self.file(1234)
        for key in ("l/a.wav", "l/b.wav"):
            self.tool("put", key, path)
        plain = self.tool("link", "l/a.wav", "0")["url"]
        self.assertEqual(status_of(plain)[0], 403)  # the container is private
        url = self.tool("link", "l/a.wav", "0", BLOB_URL_SAS_HOURS="1")["url"]
        self.assertTrue(url.startswith(plain + "?"))
        with open(path, "rb") as f:
            self.assertEqual(status_of(url), (200, f.read()))
        self.assertEqual(status_of(url.replace("a.wav", "b.wav"))[0], 403)
        self.assertEqual(status_of(url.replace("sp=r", "sp=rw"))[0], 403)
        for offset in ("-4000", "+4000"):
            late = self.tool("link", "l/a.wav", offset, BLOB_URL_SAS_HOURS="1")["url"]
            self.assertEqual(status_of(late)[0], 403)


class Faults(Case):
    """A proxy that fails on purpose stands before the emulator; every put gets through."""

    def put_through(self, plan, size=300_000, key="f/x.wav", **env):
        proxy = FaultProxy(self.azurite.port, plan)
        try:
            path = self.file(size, 7)
            said = self.tool("put", key, path,
                             AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(proxy.port),
                             BLOB_STALL_MS="1000", **env)
            self.read_back(key, path)
            return said, proxy.seen
        finally:
            proxy.stop()

    def test_each_fault_four_times_in_a_row_is_overcome(self):
        self.tool("put", "warm.wav", self.file(1))  # the container
        for fault in ("500", "503", "504", "408", "409", "429", "reset", "lost", "cut"):
            with self.subTest(fault=fault):
                said, seen = self.put_through(lambda n, m, p: fault if n < 4 else "pass")
                self.assertGreaterEqual(said["retries"], 3)
                self.assertGreaterEqual(len(seen), 5)

    def test_hanging_request_is_given_up_and_sent_again(self):
        self.tool("put", "warm.wav", self.file(1))
        said, _ = self.put_through(lambda n, m, p: "hang" if n == 0 else "pass")
        self.assertEqual(said["retries"], 1)

    def test_block_upload_survives_a_storm(self):
        for seed in range(3):
            plan = random_plan(0.25, ["500", "503", "409", "429", "reset", "lost", "cut"], seed)
            self.put_through(plan, 2_000_000, "storm/%d.wav" % seed, BLOB_WHOLE_MAX="100000",
                             BLOB_BLOCK_SIZE="250000")

    def test_reading_survives_cut_bodies(self):
        path, out = self.file(800_000, 9), os.path.join(self.dir, "cut")
        self.tool("put", "cut.wav", path)
        proxy = FaultProxy(self.azurite.port, lambda n, m, p: "cut" if n < 2 else "pass")
        try:
            self.tool("get", "cut.wav", out,
                      AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(proxy.port))
        finally:
            proxy.stop()
        self.same(path, out)

    def test_outage_that_does_not_end_says_try_later(self):
        proxy = FaultProxy(self.azurite.port, lambda n, m, p: "503")
        try:
            text = self.tool("put", "never.wav", self.file(10), ok=False,
                             AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(proxy.port))
            self.assertTrue(text.startswith("busy:"), text)
            self.assertEqual(len(proxy.seen), 6)
        finally:
            proxy.stop()

    def test_put_waits_for_storage_that_is_away_for_a_while(self):
        path = self.file(50_000, 5)
        self.tool("put", "warm.wav", path)
        self.azurite.stop()
        threading.Timer(1.0, self.azurite.start).start()
        self.tool("put", "away.wav", path, BLOB_DELAY_MS="2000")
        while self.azurite.process.poll() is not None:
            time.sleep(0.1)
        self.read_back("away.wav", path)


def jwt():
    """A token as Azurite's --oauth basic wants it; it does not check the signature."""
    part = lambda x: base64.urlsafe_b64encode(json.dumps(x).encode()).rstrip(b"=").decode()
    now = int(time.time())
    return "%s.%s.c2ln" % (part({"alg": "RS256", "typ": "JWT"}), part({
        "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000001/",
        "aud": "https://storage.azure.com", "iat": now - 60, "nbf": now - 60, "exp": now + 3600,
        "oid": "00000000-0000-0000-0000-000000000002",
        "tid": "00000000-0000-0000-0000-000000000001", "sub": "s", "ver": "1.0"}))


class Authority(http.server.BaseHTTPRequestHandler):
    """Takes the place of login.microsoftonline.com and of the metadata service."""
    asked = []

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        Authority.asked.append((self.command, self.path, self.rfile.read(length).decode()))
        body = json.dumps({"access_token": jwt(), "expires_in": 3600}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *args):
        pass


class Identity(unittest.TestCase):
    """Tokens instead of keys, over HTTPS, whose certificate is checked."""
    file, same, tool = Case.file, Case.same, Case.tool

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="store-")
        cls.cert, key = os.path.join(cls.dir, "c.pem"), os.path.join(cls.dir, "k.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", key, "-out", cls.cert], check=True, capture_output=True)
        cls.azurite = Azurite("--oauth", "basic", "--cert", cls.cert, "--key", key)
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Authority)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.token_file = os.path.join(cls.dir, "token")
        with open(cls.token_file, "w") as f:
            f.write("federated\n")

    @classmethod
    def tearDownClass(cls):
        cls.azurite.close()
        cls.server.shutdown()
        cls.server.server_close()
        shutil.rmtree(cls.dir)

    def env(self, **more):
        url = "http://127.0.0.1:%d" % self.server.server_address[1]
        return {"AZURE_STORAGE_CONNECTION_STRING": None, "AZURE_STORAGE_ACCOUNT": ACCOUNT,
                "AZURE_STORAGE_BLOB_ENDPOINT": "https://127.0.0.1:%d/%s" % (self.azurite.port, ACCOUNT),
                "AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_AUTHORITY_HOST": url,
                "AZURE_POD_IDENTITY_AUTHORITY_HOST": url, "BLOB_CA_FILE": self.cert,
                "AZURE_FEDERATED_TOKEN_FILE": self.token_file, **more}

    def round(self, **more):
        path, out = self.file(10_000), os.path.join(self.dir, "out")
        self.tool("put", "id/x.wav", path, **self.env(**more))
        self.tool("get", "id/x.wav", out, **self.env(**more))
        self.same(path, out)
        self.tool("check", **self.env(**more))

    def test_workload_identity_stores_and_reads(self):
        Authority.asked.clear()
        self.round()
        method, path, body = Authority.asked[0]
        self.assertEqual((method, path), ("POST", "/t/oauth2/v2.0/token"))
        self.assertIn("client_assertion=federated&", body)

    def test_managed_identity_stores_and_reads(self):
        Authority.asked.clear()
        self.round(AZURE_FEDERATED_TOKEN_FILE=None)
        self.assertEqual(Authority.asked[0][0], "GET")

    def test_link_is_signed_with_a_delegation_key(self):
        import ssl
        path = self.file(4321)
        self.tool("put", "id/l.wav", path, **self.env())
        url = self.tool("link", "id/l.wav", "0", **self.env(BLOB_URL_SAS_HOURS="24"))["url"]
        self.assertIn("skoid=", url)
        context = ssl.create_default_context(cafile=self.cert)
        with open(path, "rb") as f:
            self.assertEqual(status_of(url, context), (200, f.read()))
        self.assertEqual(status_of(url.replace("l.wav", "x.wav"), context)[0], 403)

    def test_certificate_that_is_not_trusted_is_refused(self):
        text = self.tool("put", "id/x.wav", self.file(10), ok=False, **self.env(BLOB_CA_FILE=None))
        self.assertIn("certificate", text.lower())


if __name__ == "__main__":
    unittest.main()
