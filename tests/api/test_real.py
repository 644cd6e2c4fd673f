"""The product itself: `stemforge serve` with the real engine and a small checkpoint of random weights."""
import json, os, pathlib, re, shutil, subprocess, tempfile, threading, time, unittest
from lib import OUT, ROOT, Case, Server, eventually, request, wav

PROGRAM = OUT / "stemforge"
MODEL = ROOT / "tests" / "parity" / "mono" / "model"
if not MODEL.exists():
    MODEL = ROOT / "tests" / "parity" / "melody" / "model"
SHIPPED = ROOT / "models" / "stemforge-mini"


class StableAudio(Case):
    """The same service with a model of the other family."""
    @classmethod
    def setUpClass(cls):
        model = ROOT / "tests" / "parity" / "sa-f32" / "model"
        cls.s = Server(binary=PROGRAM, flags=["serve", "--model", str(model)])

    @classmethod
    def tearDownClass(cls):
        cls.s.close()

    def test_a_job_is_made_and_health_says_by_which_family(self):
        services = self.s.ask("GET", "/health").json["services"]
        self.assertEqual((services["musicgen"], services["stable_audio"]), ("not_loaded", "available"))
        b = request(target_stems=["drums"], parameters={
            "duration_seconds": 1, "random_seed": 4, "steps": 4, "negative_prompt": "voices"})
        self.s.submit(b)
        self.s.wait_job(b["generation_request_id"], seconds=60)
        base = f"/files/{b['audio_file_id']}/generated/{b['generation_request_id']}"
        self.assertEqual(wav(self.s.ask("GET", base + "/drums.wav").body), (2, 44100, 16, 44100))
        log = self.s.log_path.read_text()
        self.assertIn("Stable Audio generated 1.0s of audio for stem 'drums'", log)


class TwoModels(Case):
    """One worker with a model of each family."""
    @classmethod
    def setUpClass(cls):
        cls.s = Server(binary=PROGRAM, flags=["serve", "--model", str(MODEL)],
                       STABLE_AUDIO_MODEL=str(ROOT / "tests" / "parity" / "sa-f32" / "model"))

    @classmethod
    def tearDownClass(cls):
        cls.s.close()

    def body(self, model, **more):
        return request(target_stems=["drums"], model=model, parameters={"duration_seconds": 1, "random_seed": 4, **more})

    def stem(self, b):
        self.s.wait_job(b["generation_request_id"], seconds=60)
        return self.s.ask("GET", f"/files/{b['audio_file_id']}/generated/{b['generation_request_id']}/drums.wav").body

    def test_each_job_is_made_by_the_model_it_names_and_neither_holds_the_other_up(self):
        long = self.body("stable_audio", steps=500)
        long["target_stems"] = ["drums", "bass", "guitar", "vocals", "piano", "synth", "other"]
        self.s.submit(long)
        eventually("it runs", lambda: self.s.job(long["generation_request_id"])["status"] == "processing")
        default, named = self.body(None), self.body(MODEL.name)
        for b in (default, named):
            self.s.submit(b)
        self.assertEqual(self.stem(default), self.stem(named))
        self.assertEqual(self.s.job(long["generation_request_id"])["status"], "processing")  # not first to its end
        other = self.body("musicgen", duration_seconds=20)
        self.s.submit(other)
        self.s.ask("POST", f"/jobs/{long['generation_request_id']}/cancel")
        self.s.wait_job(long["generation_request_id"], "canceled", seconds=60)
        alone, beside = self.body("stable_audio", steps=6), self.body("stable_audio", steps=6)
        self.s.submit(beside)
        made = self.stem(beside)
        self.s.wait_job(other["generation_request_id"], seconds=120)
        self.s.submit(alone)
        self.assertEqual(self.stem(alone), made)
        recipes = [self.s.ask("GET", f"/jobs/{b['generation_request_id']}/recipe.json").json for b in (default, alone)]
        self.assertTrue(recipes[0]["model"].endswith("mono/model"), recipes[0])
        self.assertTrue(recipes[1]["model"].endswith("sa-f32/model"), recipes[1])
        made_by = {b["generation_request_id"]: name for b, name in
                   ((default, "musicgen"), (named, "musicgen"), (alone, "stable_audio"))}  # a name's key, and what none means
        self.assertEqual({id: self.s.job(id)["model"] for id in made_by}, made_by)
        lines = {j["generation_request_id"]: j["model"] for j in self.s.ask("GET", "/jobs?limit=100").json["jobs"]}
        self.assertEqual({id: lines[id] for id in made_by}, made_by)
        log = self.s.log_path.read_text()
        for line in ("MusicGen generated 1.0s", "Stable Audio generated 1.0s", "Stable Audio loaded successfully"):
            self.assertIn(line, log)

    def test_health_and_metrics_tell_of_both(self):
        h = self.s.ask("GET", "/health").json
        self.assertEqual((h["services"]["musicgen"], h["services"]["stable_audio"]), ("available", "available"))
        self.assertEqual([m["model"] for m in h["models"]], ["musicgen", "stable_audio"])
        text = self.s.ask("GET", "/metrics").body.decode()
        for key in ("musicgen", "stable_audio"):
            self.assertIn(f'stemforge_model_loaded{{model="{key}"}} 1', text)

    def test_a_model_that_is_not_there_is_refused_with_those_that_are(self):
        a = self.s.ask("POST", "/generate", self.body("mystery"))
        self.assertEqual((a.code, a.json["errors"][0]["pointer"]), (422, "/model"))
        self.assertIn("expected musicgen (model) or stable_audio (model)", a.json["errors"][0]["detail"])
        self.assertIn('"mystery"', a.json["errors"][0]["detail"])
        for wrong in (7, "", "x" * 201):
            a = self.s.ask("POST", "/generate", self.body(wrong))
            self.assertEqual((a.code, a.json["errors"][0]["pointer"]), (422, "/model"), wrong)


class Real(Case):
    @classmethod
    def setUpClass(cls):
        cls.s = Server(binary=PROGRAM, flags=["serve", "--model", str(MODEL)], WORKERS=3)

    @classmethod
    def tearDownClass(cls):
        cls.s.close()

    def stems(self, b):
        self.s.submit(b)
        j = self.s.wait_job(b["generation_request_id"], seconds=60)
        base = f"/files/{b['audio_file_id']}/generated/{b['generation_request_id']}"
        return {s: self.s.ask("GET", f"{base}/{s}.wav").body for s in b["target_stems"]}, j

    def body(self, seed, stems=("drums", "bass"), seconds=1.0):
        return request(target_stems=list(stems), parameters={
            "duration_seconds": seconds, "random_seed": seed, "style": "rock", "target_bpm": 120, "key": "A minor",
            "chord_progression": ["C", "G", "Am", "F"]})

    def test_a_stem_is_as_the_contract_says(self):
        files, j = self.stems(self.body(1, seconds=1.5))
        for name, data in files.items():
            self.assertEqual(wav(data), (2, 44100, 16, 66150), name)
            pcm = data[-66150 * 4:]
            samples = [int.from_bytes(pcm[i:i + 2], "little", signed=True) for i in range(0, len(pcm), 2)]
            peak = max(map(abs, samples))
            self.assertAlmostEqual(peak / 32768, 0.8, delta=0.01, msg=name)
            self.assertEqual((samples[0], samples[1]), (0, 0), "the fade begins at silence")
            tenth = max(map(abs, samples[:2 * 441]))  # 10 ms into a fade of 100 ms
            self.assertLess(tenth, 0.2 * 32768)

    def test_a_loop_in_bars_is_exact_and_says_so(self):
        b = request(target_stems=["drums", "bass"], parameters={
            "duration_seconds": None, "bars": 2, "target_bpm": 97.3, "loop": True, "key": "F# minor", "random_seed": 4})
        files, j = self.stems(b)
        frames = round(2 * 240 * 44100 / 97.3)
        for name, data in files.items():
            self.assertEqual(wav(data), (2, 44100, 16, frames), name)
            acid = data.index(b"acid") + 8
            self.assertEqual(int.from_bytes(data[acid + 12:acid + 16], "little"), 8, "beats")
            smpl = data.index(b"smpl") + 8
            self.assertEqual(int.from_bytes(data[smpl + 48:smpl + 52], "little"), frames - 1, "the loop's last frame")
        for stem in j["generated_stems"]:
            self.assertAlmostEqual(stem["duration_seconds"], frames / 44100, places=9)
        self.assertEqual(self.stems(dict(b, generation_request_id=b["generation_request_id"] + "-2"))[0], files)

    def test_bytes_depend_on_the_seed_alone_not_on_what_else_runs(self):
        alone, _ = self.stems(self.body(7))
        crowd = [self.body(7)] + [self.body(100 + i, ["guitar", "piano", "synth"], 0.5 + i) for i in range(3)]
        got, threads = {}, []
        for b in crowd:
            t = threading.Thread(target=lambda b=b: got.update({b["generation_request_id"]: self.stems(b)[0]}))
            t.start()
            threads.append(t)
        for t in threads:
            t.join(120)
        self.assertEqual(got[crowd[0]["generation_request_id"]], alone)
        self.assertNotEqual(self.stems(self.body(8))[0], alone)

    def test_a_stem_added_to_a_request_changes_no_other(self):
        one, _ = self.stems(self.body(3, ["bass"]))
        three, _ = self.stems(self.body(3, ["drums", "bass", "piano"]))
        self.assertEqual(one["bass"], three["bass"])

    def test_a_job_ends_the_same_after_a_kill(self):
        whole, _ = self.stems(self.body(11, ["drums", "bass", "guitar"], 4))
        s = self.serve(binary=PROGRAM, flags=["serve", "--model", str(MODEL)])
        b = self.body(11, ["drums", "bass", "guitar"], 4)
        s.submit(b)
        eventually("it runs", lambda: s.job(b["generation_request_id"])["status"] != "queued")
        s.kill()
        s.start()
        s.wait_job(b["generation_request_id"], seconds=60)
        base = f"/files/{b['audio_file_id']}/generated/{b['generation_request_id']}"
        for name, data in whole.items():
            self.assertEqual(s.ask("GET", f"{base}/{name}.wav").body, data, name)

    def test_how_codes_are_drawn_is_the_requests_to_say(self):
        plain, _ = self.stems(self.body(11, ["drums"], 0.5))
        b = self.body(11, ["drums"], 0.5)
        b["parameters"].update(guidance=1.5, top_k=9, top_p=0.9)
        made, _ = self.stems(b)
        self.assertNotEqual(made["drums"], plain["drums"])
        with tempfile.TemporaryDirectory() as folder:
            recipe = pathlib.Path(folder) / "asked.json"
            recipe.write_bytes(self.s.ask("GET", f"/jobs/{b['generation_request_id']}/recipe.json").body)
            subprocess.run([PROGRAM, "generate", "--recipe", recipe, "--out", folder + "/out", "--quiet"], cwd=ROOT, check=True)
            said = json.loads(recipe.read_text())
            self.assertEqual((said["guidance"], said["top_k"], said["top_p"]), (1.5, 9, 0.9))
            self.assertEqual((pathlib.Path(folder) / "out" / "drums.wav").read_bytes(), made["drums"])

    def test_the_engine_judges_chords(self):
        a = self.s.ask("POST", "/generate", request(parameters={"chord_progression": ["C", "H7x"]}))
        self.assertEqual(a.code, 422)
        self.assertEqual(a.json["errors"][0]["pointer"], "/parameters/chord_progression/1")

    def test_what_the_model_assumes_and_does_not_use_is_in_all_answers(self):
        r = self.receive()
        s = self.serve(binary=PROGRAM, flags=["serve", "--model", str(SHIPPED)])
        b = request(target_stems=["bass"], callback_url=r.url, parameters={
            "duration_seconds": 0.2, "chord_progression": ["C/G", "Am11"], "style": "rock", "targetBpm": 120,
            "prompt": "a gentle melody of very long notes, a gentle melody with a soft attack and a long, long tail"})
        a = s.ask("POST", "/generate", b)
        self.assertEqual(a.code, 202)
        said = a.json["warnings"]
        self.assertEqual([(w["code"], w["pointer"]) for w in said], [
            ("unknown_member", "/parameters/targetBpm"), ("assumed", "/parameters/target_bpm"),
            ("not_used", "/parameters/chord_progression"), ("text_cut", "/parameters/prompt")])
        for w, part in zip(said[1:], ["120 bpm", "Am11", "64 tokens"]):
            self.assertIn(part, w["detail"])
        self.assertNotIn("C/G", str(said))  # a bass is told which note is lowest
        r.wait(1)
        self.assertEqual(r.bodies()[0]["warnings"][:len(said)], said)
        s.kill()
        s.start()  # the job has them, whatever is loaded
        self.assertEqual(s.job(b["generation_request_id"])["warnings"], r.bodies()[0]["warnings"])
        self.assertEqual(s.ask("POST", "/generate", b).json["warnings"], said)
        plain = request(target_stems=["bass"], parameters={
            "duration_seconds": 0.2, "chord_progression": ["C", "Am7"], "target_bpm": 90})
        self.assertNotIn("warnings", s.ask("POST", "/generate", plain).json)

    def test_more_tokens_than_the_engine_takes_are_refused_by_field(self):
        a = self.s.ask("POST", "/generate", request(parameters={"prompt": "q " * 2000}))
        self.assertEqual(a.code, 422)
        self.assertEqual([e["pointer"] for e in a.json["errors"]], ["/parameters/prompt"])
        self.assertIn("1000 tokens", a.json["errors"][0]["detail"])

    def test_the_batch_is_shared_and_measured(self):
        self.stems(self.body(5, ["drums", "bass", "guitar", "piano"]))
        self.assertGreater(self.s.metric('stemforge_batch_occupancy{model="musicgen"}'), 1)
        self.assertGreater(self.s.metric('stemforge_model_steps_total{model="musicgen"}'), 10)

    def test_a_model_in_a_hub_cache_has_its_repositorys_name(self):
        with tempfile.TemporaryDirectory() as cache:
            snapshot = pathlib.Path(cache) / "models--org--tiny-gen" / "snapshots" / ("0123456789" * 4)
            shutil.copytree(MODEL, snapshot)
            s = self.serve(binary=PROGRAM, flags=["serve", "--model", str(snapshot)])
            eventually("it is loaded", lambda: s.ask("GET", "/health").json.get("model"))
            self.assertEqual(s.ask("GET", "/health").json["model"], "tiny-gen")
            self.assertIn('model="tiny-gen"', s.ask("GET", "/metrics").body.decode())
            self.assertIn("Loading MusicGen model (tiny-gen)...", s.log())
            self.assertIn("MusicGen loaded successfully (model: tiny-gen)", s.log())

    def test_a_model_file_that_changes_in_place_makes_no_stem(self):
        weights = (MODEL / "model.safetensors").read_bytes()

        def cut(f):
            os.truncate(f, len(weights) // 3)

        def overwrite(f):
            with open(f, "r+b") as out:
                out.seek(len(weights) // 2)
                out.write(b"\0" * (len(weights) // 2))

        for change in (cut, overwrite):
            with tempfile.TemporaryDirectory() as folder:
                model = pathlib.Path(folder) / "model"
                shutil.copytree(MODEL, model)
                s = self.serve(binary=PROGRAM, flags=["serve", "--model", str(model)])
                time.sleep(0.05)
                change(model / "model.safetensors")
                id = s.submit()
                self.assertEqual(s.process.wait(30), 1, change)
                self.assertRegex(s.log(), r"generation failed for stem 'guitar': .*model.safetensors was changed while it was in use")
                self.assertIn(f"Gave request_id={id} back", s.log())
                (model / "model.safetensors").write_bytes(weights)
                s.start()
                s.wait_job(id)
                # One that is renamed over the old one harms nobody.
                (model / "new").write_bytes(b"other")
                os.replace(model / "new", model / "model.safetensors")
                s.wait_job(s.submit())

    def test_a_model_that_is_not_there_ends_start_up(self):
        s = self.serve(binary=PROGRAM, flags=["serve", "--model", "/nonexistent/model-x"], ready=False)
        self.assertEqual(s.process.wait(20), 2)
        self.assertIn("MODEL: no model at /nonexistent/model-x", s.log())
        self.assertIn("Failed to load any AI models. Cannot proceed without models.", s.log())


if __name__ == "__main__":
    unittest.main()
