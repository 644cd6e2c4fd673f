"""What is ours beside the contract: looking at jobs, steering them, events, files, limits."""
import json, threading, time, unittest
from lib import SLOW, Case, Server, eventually, request


class Jobs(Case):
    @classmethod
    def setUpClass(cls):
        cls.s = Server()

    @classmethod
    def tearDownClass(cls):
        cls.s.close()

    def test_a_job_shows_progress_position_and_an_estimate(self):
        self.s.wait_job(self.s.submit())  # so that there is a rate
        first = self.s.submit(target_stems=["drums", "bass"], parameters={"prompt": "slow:600"})
        second = self.s.submit(parameters={"prompt": "slow:100"})
        j = eventually("progress", lambda: (j := self.s.job(first))["progress"] > 0.1 and j, 10)
        self.assertEqual(j["status"], "processing")
        self.assertEqual([s["stem_type"] for s in j["stems"]], ["drums", "bass"])
        self.assertGreaterEqual(j["estimated_seconds_left"], 0)
        waiting = self.s.job(second)
        if waiting["status"] == "queued":
            self.assertEqual(waiting["position"], 0)
        self.s.wait_job(first)
        j = self.s.wait_job(second)
        self.assertEqual(j["progress"], 1)
        self.assertGreater(j["processing_time_seconds"], 0.05)

    def test_jobs_are_listed_newest_first_by_pages_and_state(self):
        ids = [self.s.submit(parameters={"duration_seconds": 0.1}) for _ in range(5)]
        for id in ids:
            self.s.wait_job(id)
        page = self.s.ask("GET", "/jobs?limit=2").json
        self.assertEqual(len(page["jobs"]), 2)
        seen, after = [], None
        while True:
            page = self.s.ask("GET", "/jobs?limit=2&status=completed" + (f"&after={after}" if after else "")).json
            seen += [j["generation_request_id"] for j in page["jobs"]]
            after = page["next"]
            if after is None:
                break
        self.assertEqual([i for i in seen if i in ids], ids[::-1])
        for query in ["limit=0", "limit=501", "limit=x", "status=done", "after=-1", "limit="]:
            self.assertEqual(self.s.ask("GET", "/jobs?" + query).code, 400, query)

    def test_many_requests_in_one_call_are_answered_each_by_itself(self):
        good, other = request(), request(target_stems=["bass"], parameters={"prompt": "two"})
        self.s.submit(other)
        changed = {**other, "target_stems": ["drums"]}
        wrong = request(target_stems=["kazoo"])
        a = self.s.ask("POST", "/generate/batch", {"requests": [good, other, changed, wrong, 7, good]})
        self.assertEqual(a.code, 207)
        results = a.json["results"]
        self.assertEqual([r["status"] for r in results], [202, 202, 409, 422, 400, 202])
        self.assertEqual([r.get("replayed") for r in results], [False, True, None, None, None, True])
        self.assertEqual(results[0]["accepted"]["generation_request_id"], good["generation_request_id"])
        self.assertEqual(results[3]["problem"]["errors"][0]["pointer"], "/target_stems/0")
        self.assertNotIn("generation_request_id", results[4])
        for body in (good, other):
            self.s.wait_job(body["generation_request_id"])
        # A request of a batch is the same request alone, as it stands in the text.
        self.assertEqual(self.s.ask("POST", "/generate", good).headers["Idempotent-Replayed"], "true")

    def test_a_batch_that_is_none_is_refused_whole(self):
        for body, code in (({"requests": []}, 422), ({"requests": {}}, 422), ({}, 422), ({"requests": [{}] * 101}, 422), ([], 422)):
            self.assertEqual(self.s.ask("POST", "/generate/batch", body).code, code, body)
        headers = {"Content-Type": "application/json"}
        self.assertEqual(self.s.ask("POST", "/generate/batch", '{"requests": [', headers).code, 400)
        twice = json.dumps({"requests": [request()]})[:-1] + ', "requests": []}'
        self.assertEqual(self.s.ask("POST", "/generate/batch", twice, headers).code, 422)

    def test_high_priority_goes_first(self):
        running = self.s.submit(parameters={"prompt": "slow:2000"})
        self.s.wait_job(running, "processing")
        low, normal, high = (self.s.submit(priority=p, parameters={"prompt": "slow:300"}) for p in ("low", None, "high"))
        self.assertEqual([self.s.job(id)["position"] for id in (low, normal, high)], [2, 1, 0])
        self.assertEqual([self.s.job(id).get("priority") for id in (low, normal, high)], ["low", None, "high"])
        ended = [self.s.wait_job(id, seconds=30)["completed_at"] for id in (high, normal, low)]
        self.assertEqual(ended, sorted(ended))
        a = self.s.ask("POST", "/generate", request(priority="urgent"))
        self.assertEqual((a.code, a.json["errors"][0]["pointer"]), (422, "/priority"))

    def test_one_key_may_have_so_many_jobs_at_once(self):
        s = self.serve(API_KEYS="mine,yours", API_KEY_JOBS_MAX=2)
        def post(key, body):
            return s.ask("POST", "/generate", body, {"X-Api-Key": key})
        bodies = [request(parameters={"prompt": "slow:60000"}) for _ in range(3)]
        self.assertEqual([post("mine", b).code for b in bodies], [202, 202, 429])
        a = post("mine", bodies[2])
        self.assertEqual(a.json["type"], "urn:stemforge:problem:key-quota")
        self.assertGreaterEqual(int(a.headers["Retry-After"]), 1)
        self.assertEqual(post("mine", bodies[1]).code, 202)  # the same again is no other job
        self.assertEqual(post("yours", request()).code, 202)
        id = bodies[1]["generation_request_id"]
        self.assertEqual(s.ask("POST", f"/jobs/{id}/cancel", headers={"X-Api-Key": "yours"}).code, 200)
        self.assertEqual(post("mine", bodies[2]).code, 202)
        s.ask("POST", f"/jobs/{bodies[0]['generation_request_id']}/cancel", headers={"X-Api-Key": "mine"})

    def test_a_trace_goes_from_the_request_to_the_log_and_the_callback(self):
        s = self.serve(LOG_FORMAT="json")
        receiver = self.receive()
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        body = request(callback_url=receiver.url)
        a = s.ask("POST", "/generate", body, {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "Content-Type": "application/json"})
        self.assertEqual(a.code, 202)
        eventually("the callback", lambda: receiver.got, 20)
        version, id, parent, flags = receiver.got[0][0]["traceparent"].split("-")
        self.assertEqual((version, id, flags), ("00", trace, "01"))
        self.assertNotEqual(parent, "00f067aa0ba902b7")
        def modules():
            lines = [json.loads(l) for l in s.log().splitlines() if l.startswith("{")]
            return {l["module"] for l in lines if l.get("trace_id") == trace}
        eventually("its lines", lambda: modules() == {"http", "worker", "callback"}, 10)
        plain = request(callback_url=receiver.url)
        self.assertEqual(s.ask("POST", "/generate", plain, {"traceparent": "00-nonsense", "Content-Type": "application/json"}).code, 202)
        eventually("the second callback", lambda: len(receiver.got) == 2, 20)
        self.assertNotIn("traceparent", receiver.got[1][0])

    def test_what_is_not_there_is_404(self):
        for method, path in [("GET", "/jobs/none"), ("DELETE", "/jobs/none"), ("POST", "/jobs/none/cancel"),
                             ("POST", "/jobs/none/redeliver"), ("GET", "/jobs/none/events"), ("GET", "/nothing"),
                             ("GET", "/jobs/" + "x" * 200), ("GET", "/jobs/..")]:
            a = self.s.ask(method, path)
            self.assertEqual((a.code, a.headers["Content-Type"]), (404, "application/problem+json"), path)

    def test_a_wrong_method_is_405_and_says_what_is_allowed(self):
        a = self.s.ask("PUT", "/jobs/x", check=False)
        self.assertEqual((a.code, a.headers["Allow"]), (405, "GET, DELETE"))
        self.assertEqual(self.s.ask("GET", "/generate", check=False).headers["Allow"], "POST")

    def test_a_running_job_is_canceled_and_calls_back(self):
        r = self.receive()
        id = self.s.submit(target_stems=["drums", "bass"], callback_url=r.url, parameters={"prompt": "slow:3000"})
        eventually("it runs", lambda: self.s.job(id)["status"] == "processing")
        start = time.monotonic()
        self.assertEqual(self.s.ask("POST", f"/jobs/{id}/cancel").code, 202)
        self.s.wait_job(id, "canceled")
        self.assertLess(time.monotonic() - start, 2 * SLOW)
        got = r.wait()[0]
        self.assertEqual((got["status"], got["error"]["code"]), ("failed", "canceled"))
        self.assertEqual(self.s.ask("POST", f"/jobs/{id}/cancel").code, 200)  # again: it is

    def test_a_waiting_job_is_canceled_at_once_and_calls_back(self):
        r = self.receive()
        running = self.s.submit(parameters={"prompt": "slow:1500"})
        eventually("it runs", lambda: self.s.job(running)["status"] == "processing")
        id = self.s.submit(callback_url=r.url)
        a = self.s.ask("DELETE", f"/jobs/{id}")
        self.assertEqual((a.code, a.json["status"]), (200, "canceled"))
        self.assertEqual(r.wait()[0]["error"]["code"], "canceled")
        self.s.ask("POST", f"/jobs/{running}/cancel")
        self.s.wait_job(running, "canceled")

    def test_an_ended_job_cannot_be_canceled_but_removed(self):
        id = self.s.submit()
        self.s.wait_job(id)
        self.assertEqual(self.s.ask("POST", f"/jobs/{id}/cancel").code, 409)
        self.assertEqual(self.s.ask("DELETE", f"/jobs/{id}").code, 204)
        self.assertEqual(self.s.ask("GET", f"/jobs/{id}").code, 404)

    # ---- events

    def test_events_tell_a_job_from_its_state_to_its_end(self):
        id = self.s.submit(target_stems=["drums", "bass"], parameters={"prompt": "slow:700"})
        seen = list(self.s.events(id))
        names = [n for n, _ in seen]
        self.assertEqual(names[0], "status")
        self.assertEqual(names[-1], "completed")
        progress = [d["progress"] for n, d in seen if n == "progress"]
        self.assertGreater(len(progress), 3)
        self.assertEqual(progress, sorted(progress))
        self.assertEqual(len(seen[-1][1]["generated_stems"]), 2)
        again = list(self.s.events(id))  # afterwards: the end, at once
        self.assertEqual([n for n, _ in again], ["completed"])

    def test_events_of_a_job_with_large_parameters_are_whole_and_end(self):
        s = self.serve(HTTP_BODY_MAX=262144)
        for size, text in [(33_000, "x"), (70_000, "\u00e9"), (120_000, "\u0001"), (250_000, "y")]:
            note = text * (size // len(json.dumps(text)[1:-1]))
            id = s.submit(parameters={"note": note, "prompt": "slow:300"})
            seen = list(s.events(id))
            self.assertEqual([seen[0][0], seen[-1][0]], ["status", "completed"])
            for name, data in seen:
                if name != "progress":
                    self.assertEqual(data["parameters"]["note"], note)
            self.assertEqual(list(s.events(id))[0][1]["parameters"]["note"], note)

    def test_events_end_when_a_waiting_job_is_canceled(self):
        running = self.s.submit(parameters={"prompt": "slow:2000"})
        eventually("it runs", lambda: self.s.job(running)["status"] == "processing")
        id, seen = self.s.submit(), []
        t = threading.Thread(target=lambda: seen.extend(self.s.events(id)))
        t.start()
        time.sleep(0.2)
        self.s.ask("POST", f"/jobs/{id}/cancel")
        t.join(5)
        self.assertEqual([n for n, _ in seen], ["status", "canceled"])
        self.s.ask("POST", f"/jobs/{running}/cancel")
        self.s.wait_job(running, "canceled")

    def test_five_hundred_streams_are_open_at_once(self):
        id = self.s.submit(parameters={"prompt": "slow:4000"})
        streams = []
        for _ in range(500):
            c = self.s.connect()
            c.sendall(f"GET /jobs/{id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            streams.append(c)
        eventually("500 streams", lambda: self.s.metric("stemforge_event_streams") == 500, 10)
        start = time.monotonic()
        self.assertEqual(self.s.ask("GET", "/health").code, 200)
        self.assertLess(time.monotonic() - start, 0.5 * SLOW)
        self.s.wait_job(id)
        for c in streams:
            c.settimeout(10)
            text = b""
            while b"event: completed" not in text:
                piece = c.recv(65536)
                self.assertTrue(piece, text[-500:])
                text += piece
            c.close()
        eventually("all are gone", lambda: self.s.metric("stemforge_event_streams") == 0, 10)

    # ---- files

    def test_a_browser_can_seek_in_a_stem(self):
        id = self.s.submit()
        self.s.wait_job(id)
        path = f"/files/audio-1/generated/{id}/guitar.wav"
        whole = self.s.ask("GET", path)
        self.assertEqual(whole.headers["Accept-Ranges"], "bytes")
        part = self.s.ask("GET", path, headers={"Range": "bytes=100-199"})
        self.assertEqual((part.code, part.body), (206, whole.body[100:200]))
        self.assertEqual(part.headers["Content-Range"], f"bytes 100-199/{len(whole.body)}")
        self.assertEqual(self.s.ask("GET", path, headers={"Range": "bytes=-50"}).body, whole.body[-50:])
        self.assertEqual(self.s.ask("GET", path, headers={"Range": "bytes=9999999-"}).code, 416)
        self.assertEqual(self.s.ask("GET", path, headers={"If-None-Match": whole.headers["ETag"]}).code, 304)
        self.assertEqual(self.s.ask("HEAD", path).headers["Content-Length"], str(len(whole.body)))

    def test_no_path_leaves_the_files(self):
        secret = self.s.folder / "secret"
        secret.write_text("secret")
        for path in ["/files/../secret", "/files/..%2fsecret", "/files/%2e%2e/secret", "/files/a/../../secret",
                     "/files/./secret", "/files//etc/passwd", "/files/%00", "/files/a%5c..%5csecret", "/files/",
                     "/files/../jobs.db", "/files/" + "a/" * 600, "/files/a/generated/" + "x" * 300 + "/b.wav",
                     "/files/a/generated/b/", "/files/a/generated/b", "/files/.tmp/x", "/files/a/generated/b/c.wav/d"]:
            got = self.s.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            self.assertRegex(got, rb"^HTTP/1.1 4(00|04|14) ", path)
            self.assertNotIn(b"secret", got.partition(b"\r\n\r\n")[2])

    # ---- the rest

    def test_metrics_count_what_happened(self):
        before = self.s.metric("stemforge_jobs_submitted_total") or 0
        self.s.wait_job(self.s.submit())
        self.assertEqual(self.s.metric("stemforge_jobs_submitted_total"), before + 1)
        text = self.s.ask("GET", "/metrics").body.decode()
        for name in ["stemforge_jobs_waiting", "stemforge_job_total_seconds_bucket", "stemforge_real_time_factor",
                     "stemforge_model_steps_total", "process_resident_memory_bytes", "stemforge_uploads_total",
                     "stemforge_http_requests_total", "stemforge_build_info"]:
            self.assertIn("\n" + name, text)
        for line in text.splitlines():  # the text format
            self.assertRegex(line, r'^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? [-+0-9.e]+)$')

    def test_the_page_and_the_document_are_served(self):
        a = self.s.ask("GET", "/")
        self.assertIn(b"<title>stemforge</title>", a.body)
        self.assertIn("default-src 'none'", a.headers["Content-Security-Policy"])
        self.assertEqual(self.s.ask("GET", "/openapi.json").json["openapi"], "3.1.0")

    def test_a_request_id_is_kept_and_logged(self):
        a = self.s.ask("GET", "/jobs/none", headers={"X-Request-Id": "trace-77"})
        self.assertEqual(a.headers["X-Request-Id"], "trace-77")
        eventually("the log names it", lambda: "request=trace-77" in self.s.log(), 5)
        forged = self.s.ask("GET", "/jobs/none", headers={"X-Request-Id": "a b\tc"})
        self.assertNotEqual(forged.headers["X-Request-Id"], "a b\tc")


class Limits(Case):
    def test_a_full_queue_is_429_with_a_retry_after_that_tells_the_truth(self):
        s = self.serve(QUEUE_MAX=3)
        s.wait_job(s.submit(parameters={"prompt": "slow:1000", "duration_seconds": 1}))  # a second a job
        for _ in range(4):
            s.submit(parameters={"prompt": "slow:1000", "duration_seconds": 1})
            time.sleep(0.1)
        a = s.ask("POST", "/generate", request(parameters={"prompt": "slow:1000", "duration_seconds": 1}))
        self.assertEqual(a.code, 429)
        wait = int(a.headers["Retry-After"])
        self.assertIn(wait, (1, 2))
        time.sleep(wait)
        s.submit()

    def test_keys_are_asked_for_where_they_should_be(self):
        s = self.serve(API_KEYS="first, second")
        for path in ["/health", "/livez", "/readyz", "/metrics", "/", "/page/main.js", "/openapi.json"]:
            self.assertEqual(s.ask("GET", path).code, 200, path)
        for method, path in [("POST", "/generate"), ("GET", "/jobs"), ("GET", "/jobs/x"), ("GET", "/jobs/x/events"),
                             ("POST", "/check"), ("GET", "/jobs/x/stems/bass.wav"), ("GET", "/jobs/x/stems/bass.peaks"),
                             ("GET", "/jobs/x/recipe.json"), ("GET", "/jobs/x/click.wav"), ("GET", "/jobs/x/chords.mid"),
                             ("DELETE", "/jobs/x"), ("GET", "/files/a/generated/b/c.wav")]:
            for headers in [{}, {"X-Api-Key": "third"}, {"Authorization": "Bearer firs"}, {"X-Api-Key": ""},
                            {"Authorization": "Basic first"}]:
                a = s.ask(method, path, headers=headers)
                self.assertEqual((a.code, a.headers["WWW-Authenticate"]), (401, "Bearer"), (path, headers))
        for headers in [{"Authorization": "Bearer first"}, {"X-Api-Key": "second"}]:
            self.assertEqual(s.ask("GET", "/jobs", headers=headers).code, 200)
        self.assertNotIn("first", s.log())

    def test_several_workers_run_several_jobs(self):
        s = self.serve(WORKERS=4)
        start = time.monotonic()
        for id in [s.submit(parameters={"prompt": "slow:1000"}) for _ in range(4)]:
            s.wait_job(id)
        self.assertLess(time.monotonic() - start, 3 * SLOW)

    def test_old_jobs_are_forgotten(self):
        s = self.serve(JOB_RETENTION_DAYS=0.000005)  # half a second
        id = s.submit()
        s.wait_job(id)
        time.sleep(0.6)
        s.terminate()
        s.start()
        eventually("it is gone", lambda: s.ask("GET", f"/jobs/{id}").code == 404)


if __name__ == "__main__":
    unittest.main()
