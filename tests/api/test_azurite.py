"""Everything real: the service with the real engine on a small checkpoint, Azurite, a callback
receiver; the stem that the callback names is read back by the official SDK."""
import json, os, pathlib, subprocess, tempfile, time, unittest
from lib import OUT, ROOT, Case, eventually, request, wav
from test_real import MODEL, PROGRAM

HERE = pathlib.Path(__file__).resolve().parent


@unittest.skipUnless((HERE / "node_modules" / "azurite").exists(), "npm ci has not run")
class WithAzurite(Case):
    @classmethod
    def setUpClass(cls):
        from store import Azurite
        cls.azurite = Azurite()

    @classmethod
    def tearDownClass(cls):
        cls.azurite.close()

    def sdk_read(self, container, key):
        with tempfile.TemporaryDirectory() as d:
            p = subprocess.run(["node", str(HERE / "store_sdk.mjs"), "read", container, key, d + "/x"],
                               env={"PATH": os.environ["PATH"], "SDK_CONNECTION": self.azurite.connection()},
                               capture_output=True, text=True, timeout=60)
            self.assertEqual(p.returncode, 0, p.stderr)
            return json.loads(p.stdout), pathlib.Path(d + "/x").read_bytes()

    def real(self, **env):
        return self.serve(binary=PROGRAM, flags=["serve", "--model", str(MODEL)], **env)

    def body(self, url, seed=9, stems=("drums", "bass")):
        return request(audio_file_id="rec-7", target_stems=list(stems), callback_url=url, parameters={
            "duration_seconds": 1.0, "random_seed": seed, "style": "rock", "target_bpm": 120,
            "chord_progression": ["C", "G"]})

    def local_bytes(self, b):
        s = self.real()
        s.submit({k: v for k, v in b.items() if k != "callback_url"})
        s.wait_job(b["generation_request_id"], seconds=60)
        base = f"/files/rec-7/generated/{b['generation_request_id']}"
        return {n: s.ask("GET", f"{base}/{n}.wav").body for n in b["target_stems"]}

    def upload(self, container, key, data):
        with tempfile.TemporaryDirectory() as d:
            pathlib.Path(d + "/x").write_bytes(data)
            subprocess.run(["node", str(HERE / "store_sdk.mjs"), "write", container, key, d + "/x"], check=True, capture_output=True,
                           env={"PATH": os.environ["PATH"], "SDK_CONNECTION": self.azurite.connection()}, timeout=60)

    def recording(self):
        """Drums, bass and piano at 113 bpm, a mix of the shipped model's stems."""
        with tempfile.TemporaryDirectory() as d:
            subprocess.run([PROGRAM, "generate", "--stem", "drums", "--stem", "bass", "--stem", "piano", "--bpm", "113", "--chords", "Am F C G",
                            "--duration", "12", "--seed", "5", "--quiet", "--out", d], check=True, cwd=ROOT)
            subprocess.run([PROGRAM, "mix", *(f"{d}/{n}.wav" for n in ("drums", "bass", "piano")), "--out", d + "/mix.wav"], check=True,
                           capture_output=True)
            return pathlib.Path(d + "/mix.wav").read_bytes()

    def test_stems_follow_a_recording_of_the_container(self):
        self.upload("followed", "rec-7.wav", self.recording())
        self.upload("followed", "rec-8", b"<html>no recording</html>")
        s = self.real(AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(), BLOB_CONTAINER_NAME="followed")
        ended = {}
        for rec in ("rec-7", "rec-8", "rec-9"):
            b = request(audio_file_id=rec, target_stems=["bass"], parameters={
                "duration_seconds": 2.0, "random_seed": 3, "follow": ["tempo", "chords"]})
            s.submit(b)
            ended[rec] = s.wait_job(b["generation_request_id"], "completed", "failed", seconds=120)
        self.assertEqual(ended["rec-7"]["status"], "completed", ended["rec-7"])
        heard = ended["rec-7"]["generated_stems"][0]["heard"]
        self.assertAlmostEqual(heard["target_bpm"], 113, delta=1)
        self.assertEqual([name[0] for name in heard["chord_progression"][:4]], ["A", "F", "C", "G"])
        self.assertGreater(heard["tempo_sure"], 0.5)
        for rec, why in (("rec-8", "expected a WAV"), ("rec-9", "expected a recording named rec-9")):
            self.assertEqual((ended[rec]["status"], ended[rec]["error"]["code"]), ("failed", "recording"), ended[rec])
            self.assertIn(why, json.dumps(ended[rec]))

    def test_a_request_becomes_blobs_and_a_callback(self):
        r = self.receive()
        s = self.real(AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(), BLOB_CONTAINER_NAME="e2e-container")
        b = self.body(r.url)
        s.submit(b)
        got = r.wait(seconds=60)[0]
        want = self.local_bytes(b)
        self.assertEqual([g["stem_type"] for g in got["generated_stems"]], ["drums", "bass"])
        for stem in got["generated_stems"]:
            key = f"rec-7/generated/{b['generation_request_id']}/{stem['stem_type']}.wav"
            self.assertEqual(stem["blob_url"],
                             f"http://127.0.0.1:{self.azurite.port}/devstoreaccount1/e2e-container/{key}")
            info, data = self.sdk_read("e2e-container", key)
            self.assertEqual(data, want[stem["stem_type"]])
            self.assertEqual((info["type"], info["size"]), ("audio/wav", stem["file_size_bytes"]))
            self.assertEqual(info["md5"], stem["content_md5"])
            self.assertEqual(wav(data), (2, 44100, 16, 44100))
        self.assertEqual(s.ask("GET", "/health").json["services"]["storage"], "connected")

    def test_it_gets_through_an_azure_that_fails_in_every_way(self):
        from fault_proxy import FaultProxy, random_plan
        proxy = FaultProxy(self.azurite.port, random_plan(0.3, ["500", "503", "429", "reset", "lost", "cut"], 3))
        self.addCleanup(proxy.stop)
        r = self.receive()
        s = self.real(AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(proxy.port),
                      BLOB_CONTAINER_NAME="faulty-container", WORKERS=3)
        bodies = [self.body(r.url, seed) for seed in range(4)]
        for b in bodies:
            s.submit(b)
        got = r.wait(4, seconds=150)
        self.assertEqual({g["status"] for g in got}, {"completed"})
        self.assertGreater(sum(f != "pass" for _, _, f in proxy.seen), 1)  # how many were asked depends on time
        want = self.local_bytes(bodies[2])
        for name in bodies[2]["target_stems"]:
            _, data = self.sdk_read("faulty-container", f"rec-7/generated/{bodies[2]['generation_request_id']}/{name}.wav")
            self.assertEqual(data, want[name])

    def test_jobs_wait_while_azurite_is_stopped_and_survive_a_kill_then(self):
        r = self.receive()
        s = self.real(AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(), BLOB_CONTAINER_NAME="stopped-container")
        s.wait_job(s.submit(self.body(r.url)), seconds=60)
        self.azurite.stop()
        b = self.body(r.url, 21)
        s.submit(b)
        eventually("health says so", lambda: s.ask("GET", "/health").json["services"]["storage"] == "disconnected", 30)
        s.kill()
        s.start()
        time.sleep(1)
        self.assertIn(s.job(b["generation_request_id"])["status"], ("queued", "processing"))
        self.azurite.start()
        s.wait_job(b["generation_request_id"], seconds=90)
        want = self.local_bytes(b)
        for name in b["target_stems"]:
            _, data = self.sdk_read("stopped-container", f"rec-7/generated/{b['generation_request_id']}/{name}.wav")
            self.assertEqual(data, want[name])

    def test_a_link_can_carry_a_signature_for_reading(self):
        import urllib.request
        s = self.real(AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(), BLOB_CONTAINER_NAME="sas-container",
                      BLOB_URL_SAS_HOURS=1)
        b = self.body(None)
        s.submit(b)
        stem = s.wait_job(b["generation_request_id"], seconds=60)["generated_stems"][0]
        self.assertIn("sig=", stem["blob_url"])
        with urllib.request.urlopen(stem["blob_url"]) as f:
            self.assertEqual(len(f.read()), stem["file_size_bytes"])
        self.assertNotIn("sig=", s.log())


if __name__ == "__main__":
    unittest.main()
