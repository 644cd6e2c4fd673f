"""The contract, line by line: each request, answer, error and log line."""
import base64, hashlib, json, re, sqlite3, unittest
from lib import Case, Server, eventually, request, sqlite_only, wav

ACCEPTED = "Generation started. Stems will be available shortly."


class Contract(Case):
    @classmethod
    def setUpClass(cls):
        cls.s = Server()

    @classmethod
    def tearDownClass(cls):
        cls.s.close()

    # ---- POST /generate

    def test_a_request_is_accepted_at_once(self):
        b = request()
        a = self.s.ask("POST", "/generate", b)
        self.assertEqual(a.code, 202)
        self.assertEqual(a.json, {"generation_request_id": b["generation_request_id"], "status": "processing",
                                  "message": ACCEPTED})
        self.assertEqual(a.headers["Location"], "/jobs/" + b["generation_request_id"])

    def test_every_parameter_is_taken(self):
        b = request(target_stems=["drums", "bass", "guitar", "vocals", "piano", "synth", "other"],
                    parameters={"target_bpm": 120, "duration_seconds": 0.2, "style": "rock", "key": "F# minor",
                                "chord_progression": ["C", "G", "Am", "F"], "prompt": "warm", "temperature": 0.0,
                                "random_seed": 42})
        self.s.submit(b)
        j = self.s.wait_job(b["generation_request_id"])
        self.assertEqual([s["stem_type"] for s in j["generated_stems"]], b["target_stems"])
        self.assertEqual(j["parameters"], b["parameters"])
        self.assertEqual(j["random_seed"], 42)

    def test_null_counts_as_absent(self):
        self.s.submit(request(callback_url=None, parameters={"prompt": None, "temperature": None}))

    def test_the_default_length_is_ten_seconds(self):
        b = request()
        del b["parameters"]
        self.s.submit(b)
        j = self.s.wait_job(b["generation_request_id"])
        self.assertEqual(j["generated_stems"][0]["duration_seconds"], 10)

    def test_the_same_body_again_makes_no_second_job(self):
        b = request()
        self.s.submit(b)
        text = json.dumps(b, sort_keys=True, indent=3)  # another order, other blanks: the same body
        a = self.s.ask("POST", "/generate", text, {"Content-Type": "application/json; charset=utf-8"})
        self.assertEqual(a.code, 202)
        self.assertEqual(a.json["status"], "processing")
        self.assertEqual(a.headers["Idempotent-Replayed"], "true")
        listed = [j for j in self.s.ask("GET", "/jobs?limit=500").json["jobs"]
                  if j["generation_request_id"] == b["generation_request_id"]]
        self.assertEqual(len(listed), 1)

    def test_another_body_under_the_same_id_is_409(self):
        b = request()
        self.s.submit(b)
        b["audio_file_id"] = "another"
        a = self.s.ask("POST", "/generate", b)
        self.assertEqual(a.code, 409)
        self.assertEqual(a.headers["Content-Type"], "application/problem+json")

    def test_each_wrong_field_is_named(self):
        a = self.s.ask("POST", "/generate", {
            "generation_request_id": "../x", "target_stems": ["drums", "kazoo", "drums"], "callback_url": "ftp://x/",
            "parameters": {"target_bpm": 1000, "duration_seconds": -1, "temperature": 3, "random_seed": "x",
                           "style": 1, "chord_progression": "C", "guidance": 101, "top_k": -1, "top_p": 1.5}})
        self.assertEqual(a.code, 422)
        self.assertEqual(a.headers["Content-Type"], "application/problem+json")
        self.assertEqual({e["pointer"] for e in a.json["errors"]}, {
            "/generation_request_id", "/audio_file_id", "/target_stems/1", "/target_stems/2", "/callback_url",
            "/parameters/target_bpm", "/parameters/duration_seconds", "/parameters/temperature",
            "/parameters/random_seed", "/parameters/style", "/parameters/chord_progression",
            "/parameters/guidance", "/parameters/top_k", "/parameters/top_p"})

    def test_a_long_name_of_no_model_is_named_wherever_it_is_cut(self):
        for n in range(1, 67):
            a = self.s.ask("POST", "/check", request(model="\u20ac" * n))
            self.assertEqual((a.code, [e["pointer"] for e in a.json["errors"]]), (200, ["/model"]), n)

    def test_the_engine_has_a_say_about_chords(self):
        a = self.s.ask("POST", "/generate", request(parameters={"chord_progression": ["C", "?"]}))
        self.assertEqual(a.code, 422)
        self.assertEqual(a.json["errors"][0]["pointer"], "/parameters/chord_progression/1")

    def test_nothing_wrong_is_queued(self):
        before = self.s.ask("GET", "/jobs?limit=500").json["jobs"]
        for body in ["", "{", "[]", "nul", "\xff", '"' + "x" * 100]:
            a = self.s.ask("POST", "/generate", body.encode("latin-1"), {"Content-Type": "application/json"})
            self.assertEqual(a.code, 400, body)
        self.assertEqual(self.s.ask("POST", "/generate", "{}", {"Content-Type": "text/plain"}).code, 415)
        self.assertEqual(self.s.ask("POST", "/generate", "{}").code, 415)
        self.assertEqual(self.s.ask("GET", "/jobs?limit=500").json["jobs"], before)

    def test_other_serializers_send_the_same_request_and_odd_members_are_told(self):
        head = '{"generation_request_id":"odd-1","audio_file_id":"a","target_stems":["drums"],"trace":18446744073709551616,'
        def post(parameters):
            body = (head + '"parameters":{%s}}' % parameters).encode()
            return self.s.ask("POST", "/generate", body, {"Content-Type": "application/json"})
        first = post('"target_bpm":120,"duration_seconds":0.5,"targetBpm":90')
        said = [{"code": "unknown_member", "pointer": "/parameters/targetBpm",
                 "detail": "parameters.targetBpm is unknown and was ignored, did you mean target_bpm?"}]
        self.assertEqual((first.code, first.json["warnings"]), (202, said))
        for same in ['"duration_seconds":0.50,"target_bpm":120.0,"targetBpm":90', '"style":null,"target_bpm":1.2e2,"duration_seconds":0.5,"targetBpm":90']:
            self.assertEqual(post(same).code, 202, same)
        self.assertEqual(post('"target_bpm":121,"duration_seconds":0.5,"targetBpm":90').code, 409)
        ended = self.s.wait_job("odd-1")["warnings"]
        self.assertEqual(ended[:1], said)
        self.assertEqual({w["code"] for w in ended[1:]} - {"not_met"}, set())
        wrong = post('"random_seed":18446744073709551615,"prompt":"\\ud83d","key":"H moll","chord_progression":["C","H"]')
        self.assertEqual(wrong.code, 422)
        self.assertEqual(sorted(e["pointer"] for e in wrong.json["errors"]), [
            "/parameters/chord_progression/1", "/parameters/key", "/parameters/prompt", "/parameters/random_seed"])

    @sqlite_only("changes a row of the SQLite file")
    def test_a_body_stored_by_an_earlier_version_is_the_same_request(self):
        s = self.serve()
        b = request(target_stems=["drums"], parameters={"target_bpm": 120, "duration_seconds": 0.5})
        s.submit(b)
        s.wait_job(b["generation_request_id"])
        s.terminate()
        with sqlite3.connect(s.folder / "jobs.db") as db:  # as if by other rules: null kept, 120.0 not 120
            stored = json.dumps(dict(b, parameters={"target_bpm": 120.0, "duration_seconds": 0.5, "style": None}))
            db.execute("UPDATE job SET request = ?, digest = ?", (stored, hashlib.sha256(stored.encode()).digest()))
        db.close()
        s.start()
        again = s.ask("POST", "/generate", b)
        self.assertEqual((again.code, again.headers.get("Idempotent-Replayed")), (202, "true"))
        b["parameters"]["target_bpm"] = 121
        self.assertEqual(s.ask("POST", "/generate", b).code, 409)

    def test_a_length_that_is_not_named_is_the_longest_where_ten_seconds_are_too_long(self):
        s = self.serve(DURATION_MAX_SECONDS=2.5)
        id = s.submit(target_stems=["drums", "bass", "other"], parameters={"duration_seconds": None})
        self.assertEqual([x["duration_seconds"] for x in s.wait_job(id)["generated_stems"]], [2.5] * 3)

    def test_the_documents_are_served_and_no_integer_is_without_its_width(self):
        for path, version in (("/openapi.json", "3.1."), ("/openapi-3.0.json", "3.0.")):
            document = self.s.ask("GET", path).json
            self.assertTrue(document["openapi"].startswith(version), path)
            self.assertTrue(document["info"]["license"]["url"].startswith("https://"))
            bare = []
            def look(node, at):
                if isinstance(node, list):
                    for one in node:
                        look(one, at)
                if isinstance(node, dict):
                    kinds = node.get("type", ()) if isinstance(node.get("type"), list) else [node.get("type")]
                    if "integer" in kinds and node.get("format") not in ("int32", "int64"):
                        bare.append(at)
                    if version == "3.0." and (len(kinds) > 1 or "null" in kinds or "const" in node):
                        bare.append(at)
                    for name, value in node.items():
                        look(value, f"{at}/{name}")
            look(document, path)
            self.assertEqual(bare, [])

    # ---- stems

    def test_a_stem_is_a_wav_of_the_length_asked_for(self):
        id = self.s.submit(audio_file_id="track.7", target_stems=["bass"], parameters={"duration_seconds": 1.5})
        stem = self.s.wait_job(id)["generated_stems"][0]
        self.assertEqual(stem["stem_type"], "bass")
        self.assertTrue(stem["blob_url"].endswith(f"/files/track.7/generated/{id}/bass.wav"), stem)
        self.assertEqual((stem["format"], stem["sample_rate"], stem["channels"]), ("wav", 44100, 2))
        a = self.s.ask("GET", f"/files/track.7/generated/{id}/bass.wav")
        self.assertEqual(a.headers["Content-Type"], "audio/wav")
        self.assertEqual(len(a.body), stem["file_size_bytes"])
        self.assertEqual(base64.b64encode(hashlib.md5(a.body).digest()).decode(), stem["content_md5"])
        self.assertEqual(wav(a.body), (2, 44100, 16, 66150))

    def test_takes_are_kept_and_one_of_them_is_the_stem(self):
        seed = {"random_seed": 11, "duration_seconds": 1}
        one = self.s.wait_job(self.s.submit(target_stems=["bass"], parameters=seed))["generated_stems"][0]
        id = self.s.submit(target_stems=["bass"], parameters=dict(seed, takes=3))
        stem = self.s.wait_job(id)["generated_stems"][0]
        md5 = {stem["take"]: stem["content_md5"]} | {t["take"]: t["content_md5"] for t in stem["takes"]}
        self.assertEqual(sorted(md5), [0, 1, 2])
        self.assertEqual(len(set(md5.values())), 3)
        self.assertTrue(stem["blob_url"].endswith(f"/{id}/bass.wav"), stem)
        for t in stem["takes"]:
            self.assertTrue(t["blob_url"].endswith(f"/{id}/bass.take{t['take']}.wav"), t)
            a = self.s.ask("GET", f"/jobs/{id}/stems/bass.take{t['take']}.wav")
            self.assertEqual(base64.b64encode(hashlib.md5(a.body).digest()).decode(), t["content_md5"])
            self.assertIn("lufs", t["measured"])
        self.assertEqual(self.s.ask("GET", f"/jobs/{id}/recipe.json").json["stem_take"], {"bass": stem["take"]})
        self.assertNotIn("takes", one)
        self.assertEqual(md5[0], one["content_md5"])

    def test_the_same_seed_gives_the_same_bytes_and_a_missing_one_is_drawn(self):
        def bytes_of(**parameters):
            id = self.s.submit(parameters=parameters)
            j = self.s.wait_job(id)
            return j["random_seed"], self.s.ask("GET", f"/files/audio-1/generated/{id}/guitar.wav").body
        seed, drawn = bytes_of()
        other, _ = bytes_of()
        self.assertNotEqual(seed, other)
        self.assertEqual(bytes_of(random_seed=seed)[1], drawn)

    # ---- callback

    def test_the_success_callback(self):
        r = self.receive()
        b = request(target_stems=["guitar", "drums"], callback_url=r.url + "?token=1")
        b["parameters"] = {"style": "rock", "duration_seconds": 5.0e-1}
        text = json.dumps(b).replace("0.5", "5.0e-1")
        self.assertEqual(self.s.ask("POST", "/generate", text, {"Content-Type": "application/json"}).code, 202)
        got = r.wait()[0]
        self.assertEqual(got["generation_request_id"], b["generation_request_id"])
        self.assertEqual(got["audio_file_id"], "audio-1")
        self.assertEqual(got["status"], "completed")
        self.assertIsInstance(got["processing_time_seconds"], float)
        self.assertNotIn("error_message", got)
        self.assertEqual([set(s) >= {"stem_type", "blob_url", "file_size_bytes", "format", "sample_rate", "channels"}
                          for s in got["generated_stems"]], [True, True])
        self.assertIn(b'"parameters":{"style": "rock", "duration_seconds": 5.0e-1}', r.got[0][1])
        self.assertEqual(r.got[0][2], "/done?token=1")
        self.assertTrue(r.got[0][0]["Content-Type"].startswith("application/json"))

    def test_the_failure_callback_lists_what_landed(self):
        r = self.receive()
        id = self.s.submit(target_stems=["guitar", "bass", "drums"], callback_url=r.url,
                           parameters={"prompt": "fail:bass"})
        got = r.wait()[0]
        self.assertEqual(got["status"], "failed")
        self.assertIn("the tone broke", got["error_message"])
        self.assertEqual([s["stem_type"] for s in got["generated_stems"]], ["guitar"])
        self.assertEqual(self.s.job(id)["error"]["code"], "model_error")

    # ---- health

    def test_health_when_the_model_is_there(self):
        a = self.s.ask("GET", "/health")
        self.assertEqual(a.code, 200)
        h = a.json
        self.assertRegex(h["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$")
        self.assertEqual(h["status"], "healthy")
        self.assertEqual(h["services"], {"musicgen": "available", "stable_audio": "not_loaded",
                                         "storage": "connected", "device": "cpu"})
        self.assertIs(h["gpu_available"], False)

    # ---- log lines

    def test_the_log_lines_operators_look_for(self):
        r = self.receive()
        good = self.s.submit(audio_file_id="log-1", callback_url=r.url, parameters={"duration_seconds": 10})
        bad = self.s.submit(callback_url=r.url, parameters={"prompt": "fail:guitar"})
        r.wait(2)
        def said(line):
            eventually(line, lambda: line in self.s.log(), 5)
        said("Loading MusicGen model (stemforge-mini)...")
        said("MusicGen loaded successfully (model: stemforge-mini)")
        said("Models initialized successfully")
        said(f"Starting generation for request_id={good}, audio_file_id=log-1")
        said("Generating stem type: guitar, duration: 10.0s")
        said("MusicGen generated 10.0s of audio for stem 'guitar'")
        said("Uploaded generated audio to blob storage")
        said(f"Sent success callback to {r.url}")
        said(f"Sent error callback to {r.url}")
        said("MusicGen generation failed for stem 'guitar': the tone broke")
        self.s.wait_job(bad, "failed")


class NoPretending(Case):
    def test_health_is_unhealthy_and_generate_503_until_the_model_is_loaded(self):
        s = self.serve(ready=False, TONE_LOAD_MS=1500)
        def up():
            try:
                return s.ask("GET", "/health")
            except OSError:
                return None
        a = eventually("the server answers while it loads", up, 10)
        self.assertEqual((a.code, a.json["status"], a.json["services"]["musicgen"]), (503, "unhealthy", "loading"))
        self.assertEqual(s.ask("GET", "/livez").code, 200)
        self.assertEqual(s.ask("GET", "/readyz").code, 503)
        a = s.ask("POST", "/generate", request())
        self.assertEqual(a.code, 503)
        self.assertIn("Retry-After", a.headers)
        s.wait_ready()
        self.assertEqual(s.ask("GET", "/health").code, 200)
        s.wait_job(s.submit())

    def test_without_a_model_start_up_fails(self):
        s = self.serve(ready=False, TONE_LOAD_FAIL=1)
        self.assertEqual(s.process.wait(20), 2)
        self.assertIn("Failed to load any AI models. Cannot proceed without models.", s_log(s))

    def test_a_gpu_that_is_asked_for_and_is_not_there_is_an_error(self):
        s = self.serve(ready=False, USE_GPU="true")
        self.assertEqual(s.process.wait(20), 2)
        self.assertIn("USE_GPU", s_log(s))


def s_log(s):
    return s.log()


if __name__ == "__main__":
    unittest.main()
