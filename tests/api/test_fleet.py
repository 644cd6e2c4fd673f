"""Many machines: processes of every role on one queue in PostgreSQL, with stems in one folder."""
import os, shutil, subprocess, tempfile, threading, unittest
from lib import Case, Server, eventually, request, wav
from postgres import Postgres

STEMS = ["drums", "bass", "guitar"]


def setUpModule():
    global postgres
    postgres = Postgres(fsync=False)


def tearDownModule():
    postgres.close()


class Fleet(Case):
    count = 0

    def setUp(self):
        Fleet.count += 1
        self.stems = tempfile.mkdtemp(prefix="stemforge-stems-")
        self.addCleanup(shutil.rmtree, self.stems, ignore_errors=True)
        self.schema = f"fleet{os.getpid()}_{Fleet.count}"

    def start(self, role, ready=True, **env):
        options = {"QUEUE_URL": postgres.url(options=f"-csearch_path%3D{self.schema}"), "ROLE": role,
                   "STORAGE_DIR": self.stems, "JOB_LEASE_SECONDS": 2, **env}
        return self.serve(ready=ready, **options)

    def api(self, **env):
        """An API replica, once a worker was heard of."""
        return self.start("api", **env)

    def stem(self, body, name):
        with open(f"{self.stems}/audio-1/generated/{body['generation_request_id']}/{name}.wav", "rb") as f:
            return f.read()

    def rows(self, text):
        return postgres.sql(f"SET search_path = {self.schema}; {text}")[1:]

    def test_one_replica_takes_a_job_a_worker_runs_it_and_every_replica_tells_of_it(self):
        worker = self.start("worker")
        a, b = self.api(), self.api()
        receiver = self.receive()
        body = request(target_stems=STEMS, callback_url=receiver.url, parameters={"prompt": "slow:400"})
        id = a.submit(body)
        told = []
        for name, data in b.events(id):
            told.append(name)
            last = data
        self.assertEqual(told[-1], "completed")
        self.assertIn("progress", told)
        self.assertEqual(len(last["generated_stems"]), 3)
        self.assertEqual(b.job(id)["status"], "completed")
        self.assertEqual(a.ask("POST", "/generate", body).headers["Idempotent-Replayed"], "true")
        self.assertEqual(b.ask("POST", "/generate", body).headers["Idempotent-Replayed"], "true")
        body["target_stems"] = ["bass"]
        self.assertEqual(b.ask("POST", "/generate", body).code, 409)
        receiver.wait(1)
        self.assertEqual(len(receiver.got), 1)
        self.assertEqual(wav(self.stem(body, "drums"))[:2], (2, 44100))
        self.assertEqual(b.ask("GET", f"/files/audio-1/generated/{id}/drums.wav").body, self.stem(body, "drums"))
        for path in ("/generate", "/jobs", f"/jobs/{id}", "/"):
            self.assertEqual(worker.ask("GET", path, check=False).code, 404, path)
        for path in ("/livez", "/readyz", "/metrics", "/health"):
            self.assertEqual(worker.ask("GET", path).code, 200, path)

    def test_a_cancellation_reaches_the_worker_that_runs_the_job(self):
        self.start("worker", JOB_LEASE_SECONDS=600)
        a = self.api()
        id = a.submit(parameters={"prompt": "slow:60000"})
        a.wait_job(id, "processing")
        self.assertEqual(a.ask("POST", f"/jobs/{id}/cancel").code, 202)
        a.wait_job(id, "canceled", seconds=5)

    def test_health_tells_of_the_workers_and_jobs_wait_while_there_is_none(self):
        a = self.start("api", ready=False)
        eventually("it answers", lambda: "Listening on" in a.log(), 10)
        h = a.ask("GET", "/health")
        self.assertEqual((h.code, h.json["services"]["musicgen"]), (503, "not_loaded"))
        self.assertEqual(a.ask("POST", "/generate", request()).code, 503)
        worker = self.start("worker", WORKERS=3)
        h = eventually("a worker is heard of", lambda: (h := a.ask("GET", "/health")).code == 200 and h, 10)
        self.assertEqual(h.json["workers"], {"live": 1, "slots": 3, "busy": 0})
        self.assertEqual(h.json["model"], "stemforge-mini")
        self.assertEqual(a.metric("stemforge_fleet_slots"), 3)
        worker.terminate()
        h = eventually("it is missed", lambda: (h := a.ask("GET", "/health")).code == 503 and h, 10)
        self.assertEqual(h.json["workers"]["live"], 0)
        id = a.submit()  # the model is known: the job waits for somebody to start a worker
        self.assertEqual(a.ask("GET", "/readyz").code, 200)
        self.start("worker")
        a.wait_job(id)

    def test_what_the_chart_asks_scales_workers(self):
        with open(os.path.join(os.path.dirname(__file__), "../../packaging/kubernetes/queue.sql")) as f:
            question = f.read().rsplit("-}}", 1)[1].replace("{{ $s }}", self.schema)
        def wanted():
            return int(postgres.sql(question)[0][0])
        a = self.start("api", ready=False)
        eventually("it answers", lambda: "Listening on" in a.log(), 10)
        self.assertEqual(wanted(), 1)  # nobody knows the model: one worker must come
        worker = self.start("worker")
        eventually("a worker is heard of", lambda: wanted() == 0, 10)
        eventually("ready", lambda: a.ask("GET", "/readyz").code == 200, 10)
        running = a.submit(parameters={"prompt": "slow:60000"})
        a.wait_job(running, "processing")
        waiting = a.submit()
        self.assertEqual(wanted(), 2)
        self.assertEqual(a.ask("POST", f"/jobs/{running}/cancel").code, 202)
        a.wait_job(waiting)
        self.assertEqual(wanted(), 0)
        worker.terminate()
        a.submit()
        self.assertEqual(wanted(), 1)

    def test_a_worker_that_is_told_to_go_gives_its_jobs_back_at_once(self):
        first = self.start("worker", JOB_LEASE_SECONDS=600, SHUTDOWN_GRACE_SECONDS=0)
        a = self.api()
        id = a.submit(parameters={"prompt": "slow:3000"})
        a.wait_job(id, "processing")
        second = self.start("worker", JOB_LEASE_SECONDS=600)
        self.assertEqual(first.terminate(), 0)
        a.wait_job(id)  # no lease has run out
        self.assertIn("Gave request_id=" + id, first.log())
        self.assertIn("Starting generation for request_id=" + id, second.log())

    def test_a_replica_without_a_model_judges_as_the_worker_does(self):
        self.start("worker", MODEL_WEIGHTS="q8")
        a, alone = self.api(MODEL="of/another-name"), self.serve()
        body = request(parameters={"prompt": "refuse", "duration_seconds": 1})
        for path in ("/generate", "/check"):
            here, there = (s.ask("POST", path, body) for s in (a, alone))
            self.assertEqual((here.code, {**here.json, "instance": ""}), (there.code, {**there.json, "instance": ""}), path)
        self.assertEqual((here.json["errors"][0]["pointer"], here.json["valid"]), ("/parameters/prompt", False))
        body = request(parameters={"prompt": "hum", "duration_seconds": 0.1})
        accepted = a.ask("POST", "/generate", body)
        self.assertEqual(accepted.json["warnings"], alone.ask("POST", "/check", body).json["warnings"])
        self.assertEqual([w["code"] for w in accepted.json["warnings"]], ["not_used"])
        id = body["generation_request_id"]
        said = [w for w in a.wait_job(id)["warnings"] if "stem_type" not in w]  # of the request, not of what was heard
        self.assertEqual(said, accepted.json["warnings"])
        recipe = a.ask("GET", f"/jobs/{id}/recipe.json")
        self.assertEqual(recipe.code, 200)
        self.assertEqual((recipe.json["model_name"], recipe.json["weights"]), ("stemforge-mini", "q8"))
        self.assertNotEqual(recipe.json["model"], "of/another-name")

    def test_a_replica_knows_the_model_while_no_worker_lives(self):
        self.start("worker").terminate()
        a = self.api()
        eventually("it is ready", lambda: a.ask("GET", "/readyz").code == 200, 10)
        self.assertEqual(a.ask("POST", "/generate", request(parameters={"prompt": "refuse"})).code, 422)
        self.assertEqual(a.ask("GET", "/health").code, 503)

    def test_papers_that_do_not_open_are_said(self):
        worker = self.start("worker")
        eventually("papers are left", lambda: self.rows("SELECT 1 FROM papers"), 10)
        self.rows("UPDATE papers SET body = 'nothing'")
        a = self.api()
        said = a.ask("POST", "/generate", request(parameters={"prompt": "refuse"}))
        self.assertEqual((said.code, [w["code"] for w in said.json["warnings"]]), (202, ["not_checked"]))
        self.assertIn("Requests are not judged", a.log())
        self.assertEqual(a.ask("GET", "/readyz").code, 200)
        worker.kill()

    def test_two_replicas_that_get_one_id_at_once_make_one_job(self):
        self.start("worker")
        replicas = [self.api(), self.api()]
        for _ in range(10):
            body, codes = request(), []
            threads = [threading.Thread(target=lambda r=r: codes.append(r.ask("POST", "/generate", body)))
                       for r in replicas * 4]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual([a.code for a in codes], [202] * 8)
            self.assertEqual(len([a for a in codes if not a.headers["Idempotent-Replayed"]]), 1)
        self.assertEqual(self.rows("SELECT count(*) FROM job"), [["10"]])

    def test_a_restart_of_the_database_is_lived_through(self):
        self.start("worker", WORKERS=2)
        a = self.api()
        ids = [a.submit(parameters={"prompt": "slow:300"}) for _ in range(6)]
        postgres.restart()
        for id in ids:
            def ended():
                try:
                    return a.job(id)["status"] == "completed"
                except AssertionError:  # 503 while it is away
                    return False
            eventually(f"{id} is completed", ended, 30)
        eventually("jobs are taken again", lambda: a.ask("POST", "/generate", request()).code == 202, 15)
        queued, done = self.rows("SELECT sum(jobs[0]), sum(jobs[2]) FROM session")[0]
        self.assertEqual(int(queued) + int(done) >= 6, True, (queued, done))

    def test_the_database_is_asked_for_its_certificate(self):
        def certificate(name):
            files = [f"{self.stems}/{name}.crt", f"{self.stems}/{name}.key"]
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2",
                            "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
            return files
        good, other = certificate("good"), certificate("other")
        server = Postgres(fsync=False, ssl=good)
        self.addCleanup(server.close)
        url = server.url().replace("127.0.0.1", "localhost")
        secret = os.path.join(self.stems, "url")
        with open(secret, "w", encoding="utf-8") as f:
            f.write(f"{url}?sslmode=verify-full&sslrootcert={good[0]}\n")
        s = self.serve(ready=False, QUEUE_URL_FILE=secret, ROLE="api", STORAGE_DIR=self.stems)
        eventually("it answers", lambda: "Listening on" in s.log(), 20)
        self.assertEqual(server.sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                                    " WHERE application_name = 'stemforge'"), [["t"]])
        s = self.serve(ready=False, QUEUE_URL=f"{url}?sslmode=verify-full&sslrootcert={other[0]}", ROLE="api",
                       STORAGE_DIR=self.stems)
        eventually("it refuses", lambda: "certificate verify failed" in s.log(), 20)
        s.kill()

    def test_a_replica_is_ready_when_its_connections_are_open(self):
        self.start("worker", QUEUE_CONNECTIONS=1)
        self.api(QUEUE_CONNECTIONS=5)
        self.assertEqual(self.rows("SELECT count(*) FROM session WHERE id <> '-'"), [["6"]])
        self.assertEqual(self.rows("SELECT count(*) FROM job"), [["0"]])

    def test_a_process_that_ends_in_good_order_leaves_no_session_and_its_counts_stay(self):
        worker, a = self.start("worker"), self.api()
        for _ in range(3):
            a.wait_job(a.submit())
        self.assertEqual(worker.terminate(), 0)
        self.assertEqual(a.terminate(), 0)
        self.assertEqual(self.rows("SELECT id, jobs[0], jobs[1], jobs[2] FROM session"), [["-", "0", "0", "3"]])

    def test_no_statement_is_compiled_or_looks_at_every_waiting_job_where_nobody_has_analysed_the_tables(self):
        server = Postgres(fsync=False, settings=["autovacuum = off", "session_preload_libraries = 'auto_explain'",
                                                 "auto_explain.log_min_duration = 0", "auto_explain.log_analyze = on"])
        self.addCleanup(server.close)
        s = self.serve(ready=False, QUEUE_URL=server.url(), ROLE="api", STORAGE_DIR=self.stems, QUEUE_MAX=100000)
        eventually("it answers", lambda: "Listening on" in s.log(), 20)
        server.sql("INSERT INTO stemforge.job(id, audio_file_id, digest, request, seed, work, created_ms)"
                   " SELECT 'fill-' || k, 'a', '', '{}', 1, 1000, 1 FROM generate_series(1, 3000) k")
        self.serve(QUEUE_URL=server.url(), ROLE="worker", STORAGE_DIR=self.stems)
        s.wait_ready()
        s.submit()
        eventually("jobs have ended", lambda: int(server.sql(
            "SELECT count(*) FROM stemforge.job WHERE state > 1")[0][0]) > 50, 60)
        self.assertGreater(s.metric("stemforge_jobs_waiting"), 0)
        with open(f"{server.top}/log", encoding="utf-8") as f:
            plans = [p for p in f.read().split("Query Text: ") if "stemforge.job" not in p]  # not this test's
        self.assertTrue(any("using job_waiting" in p for p in plans))
        for p in plans:
            for what in ("JIT:", "Bitmap Heap Scan on job", "Seq Scan on job"):
                self.assertNotIn(what, p)

    def test_what_processes_share_must_be_seen_by_all(self):
        def faults(**env):
            env = {"PATH": os.environ["PATH"], **{k: str(v) for k, v in env.items()}}
            p = subprocess.run([str(Server.started[0].args[0]), "--check-config"], env=env, capture_output=True,
                               text=True, cwd=self.stems, check=False)
            return p.returncode, p.stderr
        self.start("worker")
        url = postgres.url()
        for env, text in [({"ROLE": "api"}, "ROLE: api needs a queue that processes share"),
                          ({"ROLE": "boss"}, 'ROLE: expected all, api or worker, found "boss"'),
                          ({"ROLE": "api", "QUEUE_URL": url}, "STORAGE_DIR: with ROLE=api"),
                          ({"QUEUE_URL": "mysql://x"}, "QUEUE_URL: expected postgres://")]:
            code, said = faults(**env)
            self.assertEqual(code, 2, said)
            self.assertIn(text, said)
        code, said = faults(ROLE="api", QUEUE_URL=url, STORAGE_DIR=self.stems)
        self.assertEqual(code, 0, said)
        self.assertIn("must see this very folder", said)


if __name__ == "__main__":
    unittest.main()
