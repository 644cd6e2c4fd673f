"""Callbacks: at least once, one delivery id, signed, the same bytes every time, across restarts."""
import json, pathlib, shutil, ssl, subprocess, tempfile, time, unittest
from lib import SLOW, Case, Receiver, eventually, free_port, request, signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Callbacks(Case):
    def test_they_are_signed_as_standard_webhooks_say(self):
        r = self.receive(500)
        s = self.serve(CALLBACK_SECRET=SECRET)
        s.submit(callback_url=r.url)
        r.wait(2)
        ids = set()
        for headers, body, _ in r.got:
            h = {k.lower(): v for k, v in headers.items()}
            ids.add(h["webhook-id"])
            self.assertLess(abs(time.time() - int(h["webhook-timestamp"])), 60)
            self.assertEqual(h["webhook-signature"], signature(SECRET, h["webhook-id"], h["webhook-timestamp"], body))
        self.assertEqual(len(ids), 1)
        self.assertEqual(r.got[0][1], r.got[1][1])

    def test_two_secrets_sign_while_one_replaces_the_other(self):
        r = self.receive()
        old = "whsec_" + "b2xkIHNlY3JldCBvbGQgc2VjcmV0IG9sZA=="
        s = self.serve(CALLBACK_SECRET=SECRET, CALLBACK_SECRET_OLD=old)
        s.submit(callback_url=r.url)
        r.wait()
        h = {k.lower(): v for k, v in r.got[0][0].items()}
        want = {signature(k, h["webhook-id"], h["webhook-timestamp"], r.got[0][1]) for k in (SECRET, old)}
        self.assertEqual(set(h["webhook-signature"].split()), want)

    def test_they_are_retried_through_refusals_resets_hangs_and_errors(self):
        r = self.receive(500, "reset", 404, 302, "hang", 503, (429, {"Retry-After": "1"}))
        s = self.serve(CALLBACK_TIMEOUT_SECONDS=1)
        # Six failures in a row open the breaker of the origin (a probe each 30 s): stay below it here.
        del r.plan[4:]
        id = s.submit(callback_url=r.url)
        j = eventually("delivered", lambda: (j := s.job(id))["callback"]["state"] == "delivered" and j, 20)
        self.assertEqual(j["callback"]["attempts"], 5)
        self.assertEqual(len({h["webhook-id"] for h, _, _ in r.got}), 1)
        self.assertEqual(len({b for _, b, _ in r.got}), 1)
        # The job says it first, then it is counted.
        eventually("it is counted", lambda: s.metric('stemforge_callback_attempts_total{outcome="2xx"}') == 1)

    def test_a_receiver_that_hangs_does_not_hold_the_others(self):
        dead, good = self.receive("hang"), self.receive()
        s = self.serve(CALLBACK_TIMEOUT_SECONDS=3)
        s.submit(callback_url=dead.url)
        eventually("it hangs", lambda: len(dead.got) == 1)
        start = time.monotonic()
        s.submit(callback_url=good.url)
        good.wait()
        self.assertLess(time.monotonic() - start, 2 * SLOW)

    def test_a_file_of_certificates_that_is_away_for_a_moment_costs_nothing(self):
        dir = pathlib.Path(tempfile.mkdtemp(prefix="callback-"))
        self.addCleanup(shutil.rmtree, dir)
        cert, key, roots = dir / "c.pem", dir / "k.pem", dir / "roots.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], check=True, capture_output=True)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
        r = Receiver(tls=tls)
        self.addCleanup(r.close)
        shutil.copy(cert, roots)
        s = self.serve(CALLBACK_CA_FILE=str(roots), CALLBACK_FIRST_DELAY_SECONDS=1)
        s.submit(callback_url=r.url)
        r.wait()
        roots.unlink()
        id = s.submit(callback_url=r.url)
        away = eventually("it was tried", lambda: (c := s.job(id)["callback"]).get("last_error") and c)
        self.assertEqual((away["state"], away["attempts"]), ("pending", 0), away)
        self.assertIn(str(roots), away["last_error"])
        shutil.copy(cert, roots)
        back = eventually("delivered", lambda: (c := s.job(id)["callback"])["state"] == "delivered" and c, 20)
        self.assertEqual((back["attempts"], len(r.got)), (1, 2))

    def test_a_receiver_that_is_not_there_gets_it_when_it_is(self):
        port = free_port()
        s = self.serve(CALLBACK_MAX_DELAY_SECONDS=0.5)
        id = s.submit(callback_url=f"http://127.0.0.1:{port}/done")
        eventually("an attempt failed", lambda: s.job(id)["callback"]["attempts"] >= 1)
        r = Receiver(port=port)
        self.addCleanup(r.close)
        self.assertEqual(r.wait()[0]["generation_request_id"], id)

    def test_attempts_end_and_what_is_dead_can_be_sent_again(self):
        r = self.receive(500, 500, 500)
        s = self.serve(CALLBACK_MAX_ATTEMPTS=3)
        id = s.submit(callback_url=r.url)
        j = eventually("dead", lambda: (j := s.job(id))["callback"]["state"] == "dead" and j)
        self.assertEqual((j["status"], j["callback"]["attempts"], j["callback"]["last_status"]), ("completed", 3, 500))
        eventually("the log says so", lambda: "Gave up the success callback" in s.log())
        self.assertEqual(s.ask("POST", f"/jobs/{id}/redeliver").code, 202)
        eventually("delivered", lambda: s.job(id)["callback"]["state"] == "delivered")
        self.assertEqual(len({h["webhook-id"] for h, _, _ in r.got}), 1)
        self.assertEqual(len({b for _, b, _ in r.got}), 1)

    def test_410_ends_it(self):
        r = self.receive(410)
        s = self.serve()
        id = s.submit(callback_url=r.url)
        eventually("dead", lambda: s.job(id)["callback"]["state"] == "dead")
        self.assertEqual(len(r.got), 1)

    def test_what_cannot_be_sent_again_is_409(self):
        s = self.serve()
        id = s.submit(parameters={"prompt": "slow:1500"}, callback_url="http://127.0.0.1:1/")
        self.assertEqual(s.ask("POST", f"/jobs/{id}/redeliver").code, 409)
        s.ask("POST", f"/jobs/{id}/cancel")
        plain = s.submit()
        s.wait_job(plain)
        self.assertEqual(s.ask("POST", f"/jobs/{plain}/redeliver").code, 409)

    def test_progress_is_told_when_asked_for(self):
        r = self.receive(503)  # one attempt each: the first is not repeated
        s = self.serve(CALLBACK_SECRET=SECRET, CALLBACK_PROGRESS_SECONDS=0.2)
        body = request(callback_url=r.url, target_stems=["drums", "bass"], parameters={"prompt": "slow:3000"})
        id = body["generation_request_id"]
        self.assertEqual(s.ask("POST", "/generate", body, {
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "Content-Type": "application/json"}).code, 202)
        eventually("the end is told", lambda: any(json.loads(b)["status"] == "completed" for _, b, _ in list(r.got)), 30)
        told = [({k.lower(): v for k, v in h.items()}, b, json.loads(b)) for h, b, _ in list(r.got)]
        before = [t for t in told if t[2]["status"] == "processing"]
        self.assertGreater(len(before), 1)
        for h, body, j in told:
            self.assertEqual(h["webhook-signature"], signature(SECRET, h["webhook-id"], h["webhook-timestamp"], body))
            self.assertEqual(h["traceparent"].split("-")[1], "4bf92f3577b34da6a3ce929d0e0e4736")
            self.assertEqual(j["generation_request_id"], id)
        self.assertEqual(len({h["webhook-id"] for h, _, _ in told}), len(told))
        for _, _, j in before:
            self.assertEqual([x["stem_type"] for x in j["stems"]], ["drums", "bass"])
            self.assertTrue(0 <= j["progress"] <= 1)
        last = [j["progress"] for _, _, j in before]
        self.assertEqual(last, sorted(last))
        # The service counts the attempt when it has read the answer, which is after the receiver has the body.
        eventually("the attempt is counted", lambda: s.job(id)["callback"]["attempts"] == 1)

    def test_a_request_may_ask_for_progress_and_refuse_it(self):
        r = self.receive()
        s = self.serve()
        s.wait_job(s.submit(callback_url=r.url, callback_progress_seconds=1, parameters={"prompt": "slow:2500"}))
        self.assertEqual([b["status"] for b in [json.loads(b) for _, b, _ in list(r.got)]][:2], ["processing", "processing"])
        quiet, told = self.receive(), self.serve(CALLBACK_PROGRESS_SECONDS=0.2)
        told.submit(callback_url=quiet.url, callback_progress_seconds=0, parameters={"prompt": "slow:1000"})
        self.assertEqual([b["status"] for b in quiet.wait()], ["completed"])

    def test_progress_that_is_asked_for_wrongly_is_told(self):
        s = self.serve()
        url = {"callback_url": "http://127.0.0.1:1/"}
        for fields, text in [({**url, "callback_progress_seconds": 0.5}, "expected 0 or 1 to 86400, found 0.5"),
                             ({**url, "callback_progress_seconds": 86401}, "expected 0 or 1 to 86400"),
                             ({**url, "callback_progress_seconds": "1"}, "expected a number"),
                             ({"callback_progress_seconds": 5}, "expected a callback_url beside it")]:
            a = s.ask("POST", "/generate", request(**fields))
            self.assertEqual(a.code, 422, fields)
            self.assertIn(text, a.json["errors"][0]["detail"])
            self.assertEqual(a.json["errors"][0]["pointer"], "/callback_progress_seconds")

    def test_progress_that_hangs_does_not_hold_up_the_end(self):
        r = self.receive("hang")
        s = self.serve(CALLBACK_PROGRESS_SECONDS=0.2, CALLBACK_TIMEOUT_SECONDS=60)
        s.submit(callback_url=r.url, parameters={"prompt": "slow:600"})
        eventually("the end is told while it hangs", lambda: [json.loads(b)["status"] for _, b, _ in list(r.got)] ==
                   ["processing", "completed"], 5)

    def test_they_survive_a_kill(self):
        port = free_port()
        s = self.serve()
        id = s.submit(callback_url=f"http://127.0.0.1:{port}/done")
        s.wait_job(id)
        s.kill()
        r = Receiver(port=port)
        self.addCleanup(r.close)
        s.start()
        self.assertEqual(r.wait()[0]["generation_request_id"], id)


if __name__ == "__main__":
    unittest.main()
