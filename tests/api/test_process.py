"""The process: draining, restarts, refusing storage and database, settings, the shell commands."""
import base64, hashlib, hmac, http.server, json, os, pathlib, re, shutil, socket, signal, subprocess, tempfile, threading, time, unittest, urllib.request
from lib import OUT, ROOT, SHARED, SLOW, Case, Server, eventually, free_port, request, sqlite_only, wav

PROGRAM = OUT / "stemforge"


def can_mount():
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def link_local():
    """An address of this machine that means something on one interface alone, if it has one."""
    try:
        lines = [l.split() for l in pathlib.Path("/proc/net/if_inet6").read_text().splitlines()]
    except OSError:
        return []
    addresses = [f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(l[0]))}%{l[5]}" for l in lines if l[3] == "20"]
    return [(a, []) for a in addresses[:1]] + [(f"[{a}]", []) for a in addresses[:1]]


class BlobStore:
    """Just enough of Azure Blob Storage to come back after an outage; Azurite tests the rest."""

    def __init__(self, port):
        self.blobs = blobs = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, code, **headers):
                self.send_response(code)
                for k, v in headers.items():
                    self.send_header(k.replace("_", "-"), v)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_PUT(self):
                data = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Authorization"].startswith("SharedKey a:")
                blobs[self.path] = data
                self.answer(201, ETag='"1"', x_ms_request_id="1", Content_MD5=base64.b64encode(hashlib.md5(data).digest()).decode())

            def do_GET(self):
                self.answer(200, ETag='"1"', x_ms_request_id="1")

            do_HEAD = do_GET

            def log_message(self, *a):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Draining(Case):
    def test_a_running_job_ends_and_calls_back_within_the_grace_period(self):
        r = self.receive()
        s = self.serve(SHUTDOWN_GRACE_SECONDS=20)
        id = s.submit(callback_url=r.url, parameters={"prompt": "slow:4000"})
        waiting = s.submit()
        eventually("it runs", lambda: s.job(id)["status"] == "processing")
        s.process.send_signal(signal.SIGTERM)
        eventually("it says so", lambda: s.ask("GET", "/readyz").code == 503)
        self.assertEqual(s.ask("POST", "/generate", request()).code, 503)
        self.assertEqual(s.ask("GET", "/health").json["draining"], True)
        self.assertEqual(s.process.wait(20 * SLOW), 0)
        self.assertEqual(r.bodies()[0]["status"], "completed")
        s.start()
        s.wait_job(waiting)
        self.assertEqual(s.job(id)["status"], "completed")

    def test_a_job_that_does_not_fit_is_given_back_and_its_stems_are_kept(self):
        s = self.serve(SHUTDOWN_GRACE_SECONDS=0.3)
        id = s.submit(target_stems=["drums", "bass"], parameters={"prompt": "slow:1500"})
        eventually("a stem is there", lambda: len(s.job(id)["generated_stems"]) == 1)
        start = time.monotonic()
        self.assertEqual(s.terminate(), 0)
        self.assertLess(time.monotonic() - start, 3 * SLOW)
        self.assertIn(f"Gave request_id={id} back", s.log())
        before = s.log().count("Generating stem type: drums")
        s.start()
        s.wait_job(id)
        self.assertEqual(s.log().count("Generating stem type: drums"), before)
        self.assertEqual(s.job(id)["attempt"], 1)

    def test_a_stop_while_the_model_loads_is_quick(self):
        s = self.serve(ready=False, TONE_LOAD_MS=20000)
        eventually("it loads", lambda: "Loading MusicGen model" in s.log())
        start = time.monotonic()
        self.assertEqual(s.terminate(), 0)
        self.assertLess(time.monotonic() - start, 2 * SLOW)


    def test_sighup_drains_unless_it_is_ignored(self):
        s = self.serve()
        id = s.submit(parameters={"prompt": "slow:1500"})
        eventually("it runs", lambda: s.job(id)["status"] == "processing")
        s.process.send_signal(signal.SIGHUP)
        self.assertEqual(s.process.wait(20 * SLOW), 0)
        self.assertIn("Shutting down", s.log())
        s.start()
        self.assertEqual(s.job(id)["status"], "completed")
        s.terminate()
        s.flags, s.binary = [str(s.binary)], shutil.which("nohup")
        s.start()
        s.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        self.assertIsNone(s.process.poll())


class Faults(Case):
    def test_a_killed_server_goes_on_where_it_was(self):
        r = self.receive()
        s = self.serve()
        id = s.submit(target_stems=["drums", "bass", "piano"], callback_url=r.url,
                      parameters={"prompt": "slow:400", "random_seed": 5})
        eventually("a stem is there", lambda: len(s.job(id)["generated_stems"]) == 1)
        s.kill()
        s.start()
        s.wait_job(id)
        self.assertEqual(s.log().count("Generating stem type: drums"), 1)
        self.assertEqual(len(r.wait()), 1)
        self.assertEqual(s.job(id)["random_seed"], 5)

    @sqlite_only("damages the SQLite file")
    def test_a_damaged_database_is_not_ready_but_lives(self):
        s = self.serve()
        for id in [s.submit() for _ in range(20)]:
            s.wait_job(id)
        s.terminate()
        with open(s.folder / "jobs.db", "r+b") as f:  # a page of the tables
            f.seek(4096)
            f.write(os.urandom(4096))
        before = len(s.log())
        s.start(ready=False)
        eventually("it says so", lambda: all(w in s.log()[before:] for w in ("Listening on", "No job can be accepted", "initialized")))
        self.assertEqual(s.ask("GET", "/readyz").code, 503)
        self.assertEqual(s.ask("GET", "/livez").code, 200)
        self.assertEqual(s.ask("POST", "/generate", request()).code, 503)
        self.assertEqual(s.metric("stemforge_ready"), 0)

    @sqlite_only("the queue is not in the data folder")
    def test_a_data_folder_that_is_removed_takes_no_job(self):
        s = self.serve()
        away = s.folder.with_name(s.folder.name + "-away")
        s.wait_job(s.submit())
        s.folder.rename(away)
        self.assertEqual(s.ask("POST", "/generate", request()).code, 503)
        self.assertEqual(s.ask("GET", "/readyz").code, 503)
        away.rename(s.folder)
        eventually("it is ready again", lambda: s.ask("GET", "/readyz").code == 200)
        s.wait_job(s.submit())

    @sqlite_only("processes share the queue")
    def test_a_second_server_does_not_take_the_database(self):
        s = self.serve()
        other = Server(folder=s.folder, ready=False)
        other.log_path = s.folder / "log2"
        self.assertEqual(other.process.wait(10 * SLOW), 1)
        s.wait_job(s.submit())

    def test_a_taken_port_is_an_error(self):
        s = self.serve()
        code = subprocess.run([s.binary, "--port", str(s.port), "--data-dir", str(s.folder / "b")], env=s.env,
                              cwd=s.folder, capture_output=True, timeout=20 * SLOW)
        self.assertEqual(code.returncode, 1)
        self.assertIn(b"listen on", code.stderr)

    def test_storage_that_is_away_makes_jobs_wait(self):
        port = free_port()
        key = base64.b64encode(b"k" * 64).decode()
        s = self.serve(AZURE_STORAGE_CONNECTION_STRING=f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={key};"
                       f"BlobEndpoint=http://127.0.0.1:{port}/a")
        id = s.submit()
        eventually("health says so", lambda: s.ask("GET", "/health").json["services"]["storage"] == "disconnected")
        self.assertEqual(s.ask("GET", "/health").code, 200)
        time.sleep(1)
        self.assertEqual(s.job(id)["status"], "processing")
        store = BlobStore(port)
        self.addCleanup(store.close)
        j = s.wait_job(id, seconds=30)
        self.assertEqual(wav(store.blobs[f"/a/audio-files/audio-1/generated/{id}/guitar.wav"]), (2, 44100, 16, 22050))
        self.assertEqual(j["generated_stems"][0]["blob_url"],
                         f"http://127.0.0.1:{port}/a/audio-files/audio-1/generated/{id}/guitar.wav")
        eventually("health says so", lambda: s.ask("GET", "/health").json["services"]["storage"] == "connected")
        self.assertNotIn(key, s.log())

    @unittest.skipUnless(can_mount(), "needs a mount namespace")
    def test_a_full_disk_makes_jobs_wait_and_submissions_503(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="stemforge-full-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        script = folder / "in-a-small-disk"
        script.write_text(f'#!/bin/sh\nmkdir -p "$DATA_DIR/disk"\nmount -t tmpfs -o size=4m none "$DATA_DIR/disk" || exit 9\n'
                          f'DATA_DIR=$DATA_DIR/disk exec {OUT}/tests/tone_server\n')
        script.chmod(0o755)
        s = self.serve(binary="/usr/bin/unshare", flags=["-m", str(script)], folder=folder)
        disk = pathlib.Path(f"/proc/{s.process.pid}/root{folder}/disk")
        s.wait_job(s.submit())
        running = s.submit(parameters={"prompt": "slow:1500", "duration_seconds": 5})
        eventually("it runs", lambda: s.job(running)["status"] == "processing")
        with open(disk / "filler", "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass
        if not SHARED:  # else the queue is elsewhere, and takes jobs
            a = s.ask("POST", "/generate", request(parameters={"prompt": "x" * 4000}))
            for _ in range(20):  # the log may have some room left
                if a.code == 503:
                    break
                a = s.ask("POST", "/generate", request(parameters={"prompt": "x" * 4000}))
            self.assertEqual(a.code, 503)
            self.assertIn("Retry-After", a.headers)
        time.sleep(2)
        self.assertEqual(s.job(running)["status"], "processing")
        (disk / "filler").unlink()
        s.wait_job(running, seconds=30)
        s.wait_job(s.submit())

    def test_a_device_that_fails_ends_the_process_and_not_the_job(self):
        s = self.serve()
        id = s.submit(parameters={"prompt": "device"})
        self.assertEqual(s.process.wait(10 * SLOW), 1)
        s.start(ready=False)  # it takes the job up again, and fails again
        self.assertEqual(s.process.wait(10 * SLOW), 1)
        self.assertEqual(s.log().count(f"Gave request_id={id} back"), 2)

    def test_a_job_that_takes_too_long_fails(self):
        s = self.serve(JOB_TIMEOUT_SECONDS=1)
        id = s.submit(parameters={"prompt": "slow:5000"})
        j = s.wait_job(id, "failed")
        self.assertEqual(j["error"]["code"], "timeout")

    def test_a_job_that_always_takes_the_server_down_is_given_up(self):
        s = self.serve(JOB_MAX_ATTEMPTS=2, JOB_LEASE_SECONDS=1)
        id = s.submit(parameters={"prompt": "slow:60000"})
        for attempt in (1, 2):  # a shared queue still has the killed one's claim for a while
            eventually("it runs", lambda: (j := s.job(id))["status"] == "processing" and j["attempt"] == attempt)
            s.kill()
            s.start()
        j = s.wait_job(id, "failed")
        self.assertEqual(j["error"]["code"], "poison")


class Settings(Case):
    def run_it(self, *flags, **env):
        folder = env.pop("cwd", "/tmp")
        return subprocess.run([str(OUT / "tests" / "tone_server"), *flags], env={"PATH": "", **env}, cwd=folder,
                              capture_output=True, text=True, timeout=20 * SLOW)

    def test_what_is_wrong_is_named(self):
        for flags, env, want in [
            (["--port", "70000"], {}, "PORT: expected a whole number from 1 to 65535, found \"70000\""),
            ([], {"WORKERS": "1.5"}, "WORKERS"), ([], {"USE_GPU": "maybe"}, "USE_GPU: expected true or false"),
            (["--prot", "1"], {}, "unknown flag --prot"), (["x"], {}, "expected a flag"), (["--port"], {}, "expected a value"),
            ([], {"LOG_FORMAT": "xml"}, "LOG_FORMAT"), ([], {"API_KEYS_FILE": "/nonexistent"}, "API_KEYS_FILE"),
            ([], {"BLOB_CONTAINER_NAME": "UPPER", "AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"},
             "BLOB_CONTAINER_NAME 'UPPER': expected 3 to 63 lower-case letters"),
            ([], {"AZURE_STORAGE_CONNECTION_STRING": "hello"}, "AZURE_STORAGE_CONNECTION_STRING: connection string: a part without '='"),
            ([], {"BLOB_URL_SAS_HOURS": "5", "AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=https://a.example/?sig=x"},
             "BLOB_URL_SAS_HOURS needs an account key"),
            ([], {"CALLBACK_SECRET": "whsec_%%"}, "CALLBACK_SECRET: callback secret: whsec_ must be followed by base64"),
            ([], {"CALLBACK_SECRET_OLD": "whsec_%%"}, "CALLBACK_SECRET_OLD: "),
            ([], {"CALLBACK_ALLOWED_ORIGINS": "foo"}, "CALLBACK_ALLOWED_ORIGINS: allowed origin 'foo'"),
            ([], {"CALLBACK_CA_FILE": "/nonexistent"}, "CALLBACK_CA_FILE: cannot open /nonexistent"),
            ([], {"STORAGE_CA_FILE": "/dev/null"}, "STORAGE_CA_FILE: /dev/null is not a regular file but a device: name a file"),
            ([], {"STORAGE_CA_FILE": str(ROOT / "README.md")}, "STORAGE_CA_FILE: expected certificates in PEM, found none"),
            ([], {"MODEL": "/nonexistent"}, "MODEL: no model at /nonexistent"),
            ([], {"LISTEN_ADDR": "nohost.invalid"}, "LISTEN_ADDR: listen on nohost.invalid:8080: "),
            ([], {"LISTEN_ADDR": "192.0.2.1"}, "LISTEN_ADDR: listen on 192.0.2.1:8080: "),
            ([], {"USE_GPU": "true"}, "USE_GPU: true: expected NVIDIA's driver, found no libcuda.so.1: install the driver"),
            ([], {"USE_GPU": "true", "DEVICE": "cpu"}, "USE_GPU: true, but DEVICE is cpu"), ([], {"DEVICE": "tpu"}, "DEVICE: expected auto, cpu, cuda"),
            ([], {"DATA_DIR": "/proc/x"}, "DATA_DIR: expected a folder to write in"),
            ([], {"DATA_DIR": str(ROOT / "README.md")}, "DATA_DIR: expected a folder to write in"),
            ([], {"STORAGE_DIR": "/proc/y/z"}, "STORAGE_DIR: expected a folder to write in"),
            ([], {"DATABASE": str(ROOT / "README.md")}, "DATABASE: "), ([], {"DATABASE": "/nonexistent/a.db"}, "make this folder"),
            ([], {"PUBLIC_URL": "not a url"}, "PUBLIC_URL: expected a URL like https://"),
            ([], {"API_KEYS": ",".join(f"k{i}" for i in range(17))}, "API_KEYS: expected at most 16 keys, found 17"),
        ]:
            for more in (["--check-config"], []):  # and serve refuses what the check refuses
                r = self.run_it(*more, *flags, **env)
                self.assertEqual(r.returncode, 2, (flags, env, r.stderr))
                self.assertIn(want, r.stderr)

    def test_all_that_is_wrong_is_named_at_once(self):
        r = self.run_it("--check-config", "--port", "0", "--kazoo", WORKERS="x", API_KEYS=",", LISTEN_ADDR="nohost.invalid",
                        PUBLIC_URL="x y", LOG_LEVEL="loud", CALLBACK_SECRET="whsec_%", MODEL="/nonexistent")
        self.assertEqual(r.returncode, 2)
        faults = [l for l in r.stderr.splitlines() if "warning" not in l]
        for name in ("PORT", "--kazoo", "WORKERS", "API_KEYS", "LISTEN_ADDR", "PUBLIC_URL", "LOG_LEVEL", "CALLBACK_SECRET", "MODEL"):
            self.assertTrue(any(name in l for l in faults), (name, faults))
        self.assertIn("Failed to load any AI models. Cannot proceed without models.", r.stderr)

    def test_good_settings_are_shown_without_secrets_and_leave_nothing_behind(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        r = self.good("--queue-max", "7", DATA_DIR=str(folder / "a" / "b"), API_KEYS="first-key,second-key", WORKERS="3",
                      CALLBACK_SECRET="very-secret", AZURE_STORAGE_CONNECTION_STRING="UseDevelopmentStorage=true")
        for want in (r"WORKERS +3  \(environment\)", r"QUEUE_MAX +7  \(flag\)", r"PORT +8080\n", "API_KEYS +2 keys, not shown",
                     "CALLBACK_SECRET +set, not shown", f"DATABASE +{folder}/a/b/jobs.db"):
            self.assertRegex(r.stdout, want)
        for secret in ("first-key", "very-secret", "UseDevelopmentStorage"):
            self.assertNotIn(secret, r.stdout + r.stderr)
        self.assertEqual(list(folder.iterdir()), [])

    def test_a_model_that_does_not_open_is_a_fault_of_the_settings(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        (folder / "config.json").write_text("{")
        r = self.run_it("--check-config", MODEL=str(folder))
        self.assertEqual(r.returncode, 2)
        self.assertIn("MODEL: ", r.stderr)
        r = self.run_it(MODEL=str(folder), DATA_DIR=str(folder), PORT=str(free_port()))
        self.assertEqual(r.returncode, 2)
        self.assertIn("Failed to load any AI models. Cannot proceed without models.", r.stderr)

    def good(self, *flags, **env):
        model = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, model)
        (model / "config.json").write_text('{"model_type": "tone"}')
        r = self.run_it("--check-config", *flags, **{"MODEL": str(model), "DATA_DIR": str(model / "data"), **env})
        self.assertEqual(r.returncode, 0, r.stderr)
        return r

    def secret_file(self, data):
        f = tempfile.NamedTemporaryFile(delete=False)
        self.addCleanup(os.unlink, f.name)
        f.write(data)
        f.close()
        return f.name

    def test_what_is_given_and_empty_ends_start_up(self):
        names = ("AZURE_STORAGE_CONNECTION_STRING", "API_KEYS", "CALLBACK_SECRET", "CALLBACK_SECRET_OLD")
        for name in names:
            for value in ("", " ", ",", " , ;", '""', "'  '", "\n", "\t\n,\r\n", "\n\n", "\u00a0", "\u200b,\u3000"):
                for env in ({name: value}, {name + "_FILE": self.secret_file(value.encode())}):
                    r = self.run_it(**env)
                    self.assertEqual(r.returncode, 2, (env, value))
                    self.assertIn("found nothing", r.stderr)
            r = self.run_it(**{name + "_FILE": ""})
            self.assertEqual(r.returncode, 2)
            self.assertIn(f"{name}_FILE: expected a path, found nothing", r.stderr)
            r = self.run_it(**{name: "value", name + "_FILE": self.secret_file(b"value")})
            self.assertEqual(r.returncode, 2)
            self.assertIn(f"{name} and {name}_FILE are both set; expected one of them", r.stderr)
        for name in ("WORKERS", "LISTEN_ADDR", "CALLBACK_ALLOWED_ORIGINS", "MODEL", "USE_GPU"):
            self.assertEqual(self.run_it(**{name: " "}).returncode, 2, name)
        self.assertEqual(self.run_it("--api-keys=").returncode, 2)

    def test_keys_come_in_lines_and_quotes(self):
        mark = b"\xef\xbb\xbf"
        for text in ("k1,k2", "k1\nk2\n", '"k1","k2"', '"k1,k2"', "'k1'\r\n'k2'\r\n", " k1 , ,k2 ", mark.decode() + "k1\nk2"):
            for name in ("API_KEYS", "API_KEYS_FILE"):
                s = self.serve(**{name: self.secret_file(text.encode()) if name.endswith("FILE") else text})
                for key, code in (("k1", 200), ("k2", 200), ('"k1"', 401), ("k1,k2", 401), ("", 401)):
                    self.assertEqual(s.ask("GET", "/jobs", headers={"X-Api-Key": key}, check=False).code, code, (text, key))
                s.close()
        for text in ("k1 k2", "k1;k2", 'k1"', "'k1", "kéy", "a'b"):
            r = self.run_it(API_KEYS=text)
            self.assertEqual(r.returncode, 2, text)
            self.assertNotIn("k1", r.stderr)
        self.assertIn("byte 0", self.run_it(API_KEYS_FILE=self.secret_file("k1".encode("utf-16"))).stderr)

    def test_a_secret_in_quotes_signs_as_without(self):
        for text in ("plain-secret", '"plain-secret"', "'plain-secret'\n", " plain-secret \r\n"):
            r = self.receive()
            s = self.serve(CALLBACK_SECRET_FILE=self.secret_file(text.encode()))
            s.submit(callback_url=r.url)
            eventually("it calls back", lambda: r.got)
            headers, body, _ = r.got[0]
            mac = hmac.new(b"plain-secret", f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body, hashlib.sha256)
            self.assertEqual(headers["webhook-signature"], "v1," + base64.b64encode(mac.digest()).decode())
        for text in ('"plain', "plain'", "two\nlines", "\u201cplain\u201d", "\u2018plain\u2019", "plain\u201d", "`plain`", "plain\u00a0",
                     "\u200bplain"):
            self.assertEqual(self.run_it(CALLBACK_SECRET=text).returncode, 2, text)

    def test_a_misspelt_variable_is_told(self):
        for name, meant in (("API_KEY", "API_KEYS"), ("APIKEYS", "API_KEYS"), ("api_keys", "API_KEYS"), ("PROT", "PORT"),
                            ("LISTEN_ADDRESS", "LISTEN_ADDR"), ("JOB_TIMEOUT", "JOB_TIMEOUT_SECONDS"), ("WORKER", "WORKERS"),
                            ("CALLBACK_SECRET_FILES", "CALLBACK_SECRET_FILE"), ("API_KEY_FILE", "API_KEYS_FILE"),
                            ("STEMFORGE_API_KEYS", "API_KEYS"), ("AZURE_STORAGE_CONNECTIONSTRING", "AZURE_STORAGE_CONNECTION_STRING")):
            self.assertIn(f"{name} is no setting and is not read; did you mean {meant}?", self.good(**{name: "x"}).stderr)
        self.assertIn("PORT_FILE is not read", self.good(PORT_FILE="x").stderr)
        quiet = self.good(HOST="x", HOME="/", TERM="x", HTTP_PROXY="x", AZURE_CLIENT_ID="x", STEMFORGE_PORT="tcp://10.0.0.1:80",
                          STEMFORGE_SERVICE_HOST="10.0.0.1", HF_HOME="/x", DATABASE_URL="x", LANG="C").stderr
        self.assertNotIn("did you mean", quiet)
        s = self.serve(API_KEY="x")
        self.assertIn("API_KEY is no setting and is not read; did you mean API_KEYS?", s.log())

    def test_flags_win_over_the_environment(self):
        self.assertEqual(self.run_it("--check-config", "--port=1", PORT="99999999").returncode, 2)
        self.assertRegex(self.good("--workers=2", WORKERS="3").stdout, r"WORKERS +2  \(flag\)")

    def test_help_and_the_manual_show_every_setting(self):
        table = self.run_it("--settings").stdout
        manual = ROOT / "docs" / "OPERATIONS.md"
        self.assertIn(table, manual.read_text())
        self.assertIn("--callback-allowed-origins", self.run_it("--help").stdout)

    def test_logs_can_be_json(self):
        s = self.serve(LOG_FORMAT="json")
        s.wait_job(s.submit())
        for line in s.log().splitlines():
            self.assertLessEqual({"ts", "level", "module", "msg"}, set(json.loads(line)))

    def test_json_lines_say_what_they_are_about(self):
        r = self.receive(500)
        s = self.serve(LOG_FORMAT="json")
        id = s.submit(target_stems=["drums", "bass"], callback_url=r.url)
        s.wait_job(id)
        eventually("it calls back", lambda: len(r.got) == 2)
        bad = s.submit(parameters={"prompt": "fail"})
        s.wait_job(bad, "failed")
        s.raw(b"POST /nowhere/\xff\"\\ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        lines = eventually("all is logged", lambda: [json.loads(l) for l in s.log().splitlines()])

        def find(text, **fields):
            found = [l for l in lines if text in l["msg"] and all(l.get(k) == v for k, v in fields.items())]
            self.assertTrue(found, (text, fields))
            return found[0]
        find("Starting generation", job=id, attempt=1)
        find("Generating stem type: bass", job=id, stem="bass")
        self.assertGreaterEqual(find("audio for stem 'drums'", job=id, stem="drums").get("seconds", 0), 0)
        find("Uploaded generated audio", job=id, stem="bass")
        find("generation failed", job=bad, stem="guitar", level="error")
        find("callback", job=id, status=500, attempt=1)
        self.assertGreater(find("callback", job=id, status=200, attempt=2)["seconds"], 0)
        posted = find("POST /generate", method="POST", route="/generate", status=202)
        self.assertGreater(posted["seconds"], 0)
        self.assertIn("request=" + posted["request"], posted["msg"])

    def test_every_counter_is_there_from_the_start(self):
        s = self.serve()
        text = s.ask("GET", "/metrics").body.decode()
        source = (ROOT / "src" / "service" / "metrics.c").read_text()
        for name, kind in re.findall(r'\{P "(\w+)", (COUNTER|HISTOGRAM)S?', source):
            self.assertRegex(text, rf"\nstemforge_{name}(_count)?[{{ ]", name)
        for line in ('jobs_finished_total{status="failed",reason="poison"}', 'jobs_finished_total{status="failed",reason="model_error"}',
                     'jobs_rejected_total{reason="queue_full"}', 'stem_errors_total{stem="vocals"}', 'uploads_total{outcome="busy"}',
                     'callback_attempts_total{outcome="timeout"}', 'http_requests_total{route="/generate",method="POST",code="503"}',
                     "jobs_submitted_total", "leases_lost_total", "storage_failures_total"):
            self.assertEqual(s.metric("stemforge_" + line), 0, line)

    def test_files_are_not_for_everybody(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        os.chmod(folder, 0o755)
        old = os.umask(0o022)
        self.addCleanup(os.umask, old)
        (folder / "jobs.db").touch(0o644)  # as an earlier version left it
        s = self.serve(folder=folder)
        s.wait_job(s.submit())
        mine = [p for p in folder.rglob("*") if p.relative_to(folder).parts[0] in ("jobs.db", "jobs.db-wal", "jobs.db-shm", "files")]
        self.assertTrue(any(p.suffix == ".wav" for p in mine) and len(mine) > 4, mine)
        for p in mine:
            self.assertEqual(p.stat().st_mode & 0o007, 0, p)

    def test_a_public_address_without_a_public_url_is_told(self):
        def told(**env):
            s = self.serve(**env)
            return "PUBLIC_URL is unset" in s.log()
        self.assertTrue(told(LISTEN_ADDR="*"))
        self.assertFalse(told(LISTEN_ADDR="*", PUBLIC_URL="http://stems.example"))
        self.assertFalse(told(LISTEN_ADDR="localhost"))


@unittest.skipUnless(PROGRAM.exists() and b"jobs_main" in PROGRAM.read_bytes(), "stemforge has no jobs command yet")
class Shell(Case):
    def run_it(self, s, *words):
        return subprocess.run([str(PROGRAM), *words], env={"PATH": "", "PORT": str(s.port), "API_KEYS": "k"},
                              capture_output=True, text=True, timeout=20 * SLOW)

    def test_jobs_can_be_looked_at_and_steered(self):
        s = self.serve(API_KEYS="k")
        key = {"X-Api-Key": "k"}
        b = request()
        s.ask("POST", "/generate", b, key)
        id = b["generation_request_id"]
        eventually("done", lambda: s.ask("GET", f"/jobs/{id}", headers=key).json["status"] == "completed")
        r = self.run_it(s, "jobs")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn(id, r.stdout)
        self.assertEqual(json.loads(self.run_it(s, "jobs", "show", id).stdout)["status"], "completed")
        self.assertEqual(self.run_it(s, "jobs", "--status", "failed", "--json").stdout.split(), ['{', '"jobs":', '[],', '"next":', 'null', '}'])
        r = self.run_it(s, "jobs", "cancel", id)
        self.assertEqual((r.returncode, "409" in r.stderr), (1, True))
        self.assertEqual(self.run_it(s, "jobs", "delete", id).returncode, 0)
        self.assertEqual(self.run_it(s, "jobs", "show", id).returncode, 1)
        for words in (["nonsense"], ["show"], ["nonsense", id], ["--limit", "501"], ["list", id]):
            self.assertEqual(self.run_it(s, "jobs", *words).returncode, 2, words)
        self.assertIn("redeliver ID", self.run_it(s, "jobs", "--help").stdout)

    def test_health_asks_wherever_serve_listens(self):
        # *, :: and localhost are reached by either family; one address by its own.
        for listen, hosts in (*link_local(), ("*", ["127.0.0.1", "::1"]), ("::", ["127.0.0.1", "::1"]), ("[::]", ["127.0.0.1", "::1"]),
                              ("0.0.0.0", ["127.0.0.1"]), ("::1", ["::1"]), ("[::1]", ["::1"]), ("localhost", []),
                              ("127.0.0.1", ["127.0.0.1"]), ('"127.0.0.1"', ["127.0.0.1"])):
            if "::" in "".join(hosts) and not has_ipv6():
                continue
            s = Server(ready=False, LISTEN_ADDR=listen)
            try:
                def health():
                    return subprocess.run([str(PROGRAM), "health"], env={"PATH": "", "PORT": str(s.port), "LISTEN_ADDR": listen},
                                          capture_output=True, text=True, timeout=20 * SLOW)
                eventually(f"healthy at {listen}", lambda: health().returncode == 0)
                if "%" in listen:
                    continue
                page = re.search(r"the page is at (http://\S+)", s.log())[1]
                self.assertEqual(urllib.request.urlopen(page, timeout=5).status, 200)
                for host in hosts:
                    socket.create_connection((host, s.port), 5).close()
            finally:
                s.close()

    def test_health_is_an_exit_status(self):
        s = self.serve()
        r = self.run_it(s, "health")
        self.assertEqual((r.returncode, r.stdout), (0, "healthy\n"))
        self.assertEqual(self.run_it(s, "health", "--url", "http://127.0.0.1:1").returncode, 1)


if __name__ == "__main__":
    unittest.main()
