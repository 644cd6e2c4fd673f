"""What the page asks of the service: stems from either store by one URL, their peaks, a request that is only
checked, the list with words, a job as a recipe, and the page's own files."""
import gzip, json, pathlib, struct, subprocess, tempfile, unittest, urllib.request
from lib import ROOT, Case, eventually, request
from test_real import MODEL, PROGRAM

HERE = pathlib.Path(__file__).resolve().parent


def samples(wav):
    """The 16-bit samples of both channels of a WAV of ours, interleaved."""
    at = 12
    while wav[at:at + 4] != b"data":
        at += 8 + int.from_bytes(wav[at + 4:at + 8], "little")
    size = int.from_bytes(wav[at + 4:at + 8], "little")
    return struct.unpack(f"<{size // 2}h", wav[at + 8:at + 8 + size])


class Local(Case):
    def setUp(self):
        self.s = self.serve()

    def made(self, **fields):
        id = self.s.submit(**fields)
        self.s.wait_job(id)
        return id

    def test_a_stem_has_one_url_with_ranges(self):
        id = self.made()
        path = f"/jobs/{id}/stems/guitar.wav"
        whole = self.s.ask("GET", path)
        self.assertEqual(whole.body, self.s.ask("GET", f"/files/audio-1/generated/{id}/guitar.wav").body)
        self.assertEqual(whole.headers["Content-Type"], "audio/wav")
        part = self.s.ask("GET", path, headers={"Range": "bytes=100-199"})
        self.assertEqual((part.code, part.body), (206, whole.body[100:200]))
        self.assertEqual(self.s.ask("GET", path, headers={"If-None-Match": whole.headers["ETag"]}).code, 304)

    def test_stems_that_are_not_there_are_404(self):
        id = self.made()
        for name in ["bass.wav", "guitar", "guitar.mp3", "guitar.2.wav", "guitarx.wav", ".wav", "guitar..wav", "..wav",
                     "guitar.wav/x", "bass.peaks", "guitar.2.peaks"]:
            self.assertEqual(self.s.ask("GET", f"/jobs/{id}/stems/{name}", check=False).code, 404, name)
        self.assertEqual(self.s.ask("GET", "/jobs/none/stems/guitar.wav").code, 404)
        held = self.s.submit(parameters={"prompt": "slow:5000"})
        self.assertEqual(self.s.ask("GET", f"/jobs/{held}/stems/guitar.wav").code, 404)
        self.s.ask("POST", f"/jobs/{held}/cancel")

    def test_a_click_and_midi_are_there_from_the_start(self):
        asked = {"duration_seconds": None, "target_bpm": 90, "bars": 2, "time_signature": "3/4",
                 "chord_progression": ["Am", "F"], "prompt": "slow:3000"}
        id = self.s.submit(parameters=asked)
        click, midi = (self.s.ask("GET", f"/jobs/{id}/{name}") for name in ["click.wav", "chords.mid"])
        self.assertEqual((click.code, click.headers["Content-Type"]), (200, "audio/wav"))
        self.assertEqual((midi.code, midi.headers["Content-Type"]), (200, "audio/midi"))
        x = samples(click.body)[::2]
        self.assertEqual(len(x), 6 * 29400)  # six beats of two thirds of a second
        for beat in range(6):
            self.assertTrue(x[beat * 29400] > 20000 and not any(x[beat * 29400 + 2000:(beat + 1) * 29400]), beat)
        self.assertTrue(midi.body.startswith(b"MThd") and b"\x02Am" in midi.body and b"\x01F" in midi.body)
        self.s.ask("POST", f"/jobs/{id}/cancel")
        for none in [{"target_bpm": None}, {"target_bpm": 90, "follow": ["tempo"]}]:
            id = self.s.submit(parameters=none)
            a = self.s.ask("GET", f"/jobs/{id}/click.wav", check=False)
            self.assertEqual((a.code, "expected a tempo" in a.json["detail"]), (404, True), none)
        self.assertEqual(self.s.ask("GET", "/jobs/none/chords.mid").code, 404)

    def test_what_was_asked_and_is_not_heard_is_a_warning(self):
        r = self.receive()
        id = self.made(target_stems=["drums", "bass"], callback_url=r.url, parameters={"duration_seconds": 4})
        job, recorded = self.s.ask("GET", f"/jobs/{id}").json, r.wait(1)
        said = [w for w in job["warnings"] if w["code"] == "not_met"]
        heard = {s["stem_type"]: s["measured"] for s in job["generated_stems"]}["drums"]
        self.assertGreater(heard["leak"], 0.25)  # the model of these tests makes a tone
        self.assertIn({"code": "not_met", "pointer": "/target_stems", "stem_type": "drums",
                       "detail": f"drums: asked drums alone, heard other stems in {100 * heard['leak']:.0f}% of its energy"}, said)
        self.assertEqual(r.bodies()[0]["warnings"], job["warnings"])

    def test_files_have_the_names_that_were_asked_for(self):
        asked = {"file_name": "{style}_{bpm}bpm_{key}_{stem}", "style": "Deep/House ✓", "target_bpm": 97.5,
                 "key": "F# minor", "takes": 2}
        id = self.made(parameters=asked, target_stems=["guitar", "bass"])
        job = self.s.ask("GET", f"/jobs/{id}").json
        urls = [s["blob_url"].split("/")[-1] for s in job["generated_stems"]]
        name = "Deep-House-----97.5bpm_Fsharpm_"
        self.assertEqual(urls, [name.replace("-----", "----_") + stem + ".wav" for stem in ["guitar", "bass"]])
        for s in job["generated_stems"]:
            path = f"/jobs/{id}/stems/{s['stem_type']}"
            self.assertEqual(self.s.ask("GET", path + ".wav").body,
                             urllib.request.urlopen(s["blob_url"]).read())
            other = s["takes"][0]
            self.assertEqual(self.s.ask("GET", f"{path}.take{other['take']}.wav").body,
                             urllib.request.urlopen(other["blob_url"]).read())
            self.assertEqual(self.s.ask("GET", path + ".peaks").code, 200)

    def test_hostile_names_are_refused_before_anything_is_made(self):
        for name, why in [("../{stem}", "dot"), ("a/../../{stem}", ".."), ("{stem}..", ".."), ("-{stem}", "begins"), ("stem", "{stem}"),
                          ("{stem}{bpm}", "bpm"), ("{mood}{stem}", "mood"), ("{stem", "}"), ("{stem}" + "x" * 100, "100"),
                          ("{stem}" + "x" * 300, "200"), ("{stem}.", "dot"), (7, "string")]:
            a = self.s.ask("POST", "/generate", request(parameters={"file_name": name}))
            self.assertEqual([a.code] + [e["pointer"] for e in a.json["errors"]], [422, "/parameters/file_name"], name)
            self.assertIn(why, a.json["errors"][0]["detail"], name)

    def test_peaks_are_the_extremes_of_each_span(self):
        id = self.made(parameters={"duration_seconds": 1.5})
        path = f"/jobs/{id}/stems/guitar"
        x, a = samples(self.s.ask("GET", path + ".wav").body), self.s.ask("GET", path + ".peaks")
        p = a.json
        span = 2 * p["samples_per_pixel"]
        self.assertEqual((p["frames"], p["sample_rate"]), (66150, 44100))
        self.assertEqual(p["length"], -(-66150 // p["samples_per_pixel"]))
        self.assertLessEqual(p["length"], 2000)
        want = [f(x[i:i + span]) >> 8 for i in range(0, len(x), span) for f in (min, max)]
        self.assertEqual(p["data"], want)
        self.assertEqual(self.s.ask("GET", path + ".peaks", headers={"If-None-Match": a.headers["ETag"]}).code, 304)

    def test_a_check_says_what_generate_would_and_stores_nothing(self):
        for change in [{}, {"parameters": {"target_bpm": 5}}, {"parameters": {"chord_progression": ["Am F", "Hm"]}},
                       {"target_stems": []}, {"parameters": {"bars": 4}}, {"parameters": {"tempo": 100}}]:
            body = request(**change)
            said = self.s.ask("POST", "/check", body)
            self.assertEqual(said.code, 200)
            self.assertEqual(self.s.ask("GET", f"/jobs/{body['generation_request_id']}").code, 404)
            real = self.s.ask("POST", "/generate", body)
            self.assertEqual(said.json["valid"], real.code == 202, change)
            self.assertEqual(said.json["errors"], real.json.get("errors", []))
            self.assertEqual(said.json["warnings"], real.json.get("warnings", []))
        good = request(parameters={"duration_seconds": None, "target_bpm": 120, "bars": 3,
                                   "chord_progression": ["Am | F", "C/E"]})
        said = self.s.ask("POST", "/check", good).json
        self.assertEqual((said["duration_seconds"], said["chord_progression"]), (6, ["Am", "F", "C/E"]))
        self.assertEqual(self.s.ask("POST", "/check", "{", {"Content-Type": "application/json"}).code, 400)
        self.assertEqual(self.s.ask("POST", "/check", "{}", {"Content-Type": "text/plain"}).code, 415)

    def test_the_list_finds_words_and_shows_what_was_asked(self):
        ids = [self.made(parameters={"style": style}, target_stems=["bass", stem])
               for style, stem in [("Rock", "drums"), ("jazz", "drums"), ("rock ballad", "piano")]]

        def found(query):
            return [j["generation_request_id"] for j in self.s.ask("GET", "/jobs?" + query).json["jobs"]]
        self.assertEqual(found("q=rock"), [ids[2], ids[0]])
        self.assertEqual(found("q=ROCK+drums"), [ids[0]])
        self.assertEqual(found("q=" + ids[1]), [ids[1]])
        self.assertEqual(found("q=polka"), [])
        first = self.s.ask("GET", "/jobs?q=rock&limit=1").json
        self.assertEqual(found(f"q=rock&limit=1&after={first['next']}"), [ids[0]])
        line = self.s.ask("GET", "/jobs?details=true&limit=1").json["jobs"][0]
        self.assertEqual((line["parameters"]["style"], line["target_stems"]), ("rock ballad", ["bass", "piano"]))
        self.assertEqual(line["random_seed"], self.s.job(ids[2])["random_seed"])
        self.assertNotIn("parameters", self.s.ask("GET", "/jobs").json["jobs"][0])
        for wrong in ["details=yes", "q=" + "x" * 201]:
            self.assertEqual(self.s.ask("GET", "/jobs?" + wrong).code, 400)

    def test_the_page_is_files_that_run_no_inline_script(self):
        page = self.s.ask("GET", "/")
        names = [part.split(b'"')[0].decode() for part in page.body.split(b'"page/')[1:]]
        self.assertIn("main.js", names)
        for name in ["index.html", *names]:
            a = self.s.ask("GET", "/page/" + name)
            self.assertEqual(a.code, 200, name)
            self.assertIn("script-src 'self'; style-src 'self';", a.headers["Content-Security-Policy"])
            self.assertEqual(self.s.ask("GET", "/page/" + name, headers={"If-None-Match": a.headers["ETag"]}).code, 304)
        self.assertEqual(self.s.ask("GET", "/page/none.js").code, 404)

    def test_what_never_changes_is_packed_for_who_can_unpack_it(self):
        for path in ["/", "/page/main.js", "/page/style.css", "/openapi.json", "/openapi-3.0.json"]:
            plain = self.s.ask("GET", path, check=False)
            self.assertIsNone(plain.headers["Content-Encoding"], path)
            for accepts in ["gzip", "br, gzip;q=0.5", "deflate,GZIP", "gzip ; q=1.000, identity;q=0.1"]:
                a = self.s.ask("GET", path, headers={"Accept-Encoding": accepts}, check=False)
                self.assertEqual((a.headers["Content-Encoding"], a.headers["Vary"]), ("gzip", "Accept-Encoding"), accepts)
                self.assertEqual(a.headers["Content-Type"], plain.headers["Content-Type"])
                self.assertEqual(gzip.decompress(a.body), plain.body, path)
                self.assertNotEqual(a.headers["ETag"], plain.headers["ETag"])
                again = {"Accept-Encoding": accepts, "If-None-Match": a.headers["ETag"]}
                self.assertEqual(self.s.ask("GET", path, headers=again).code, 304)
            for refuses in ["gzip;q=0", "gzip; q=0.0, br", "identity", "xgzip, gzipped", ""]:
                a = self.s.ask("GET", path, headers={"Accept-Encoding": refuses}, check=False)
                self.assertEqual((a.headers["Content-Encoding"], a.body), (None, plain.body), refuses)


class Recipe(Case):
    def test_a_jobs_recipe_makes_the_same_samples_with_the_command(self):
        s = self.serve(binary=PROGRAM, flags=["serve", "--model", str(MODEL)])
        id = s.submit(target_stems=["drums", "bass"], parameters={"target_bpm": 97, "chord_progression": ["Am F"],
                                                                  "duration_seconds": 0.7, "temperature": 0.9})
        s.wait_job(id, seconds=60)
        recipe = s.ask("GET", f"/jobs/{id}/recipe.json").json
        with tempfile.TemporaryDirectory() as d:
            (pathlib.Path(d) / "recipe.json").write_text(json.dumps(recipe))
            subprocess.run([str(PROGRAM), "generate", "--recipe", d + "/recipe.json", "--out", d + "/again", "--quiet"],
                           check=True, timeout=120)
            for stem in ["drums", "bass"]:
                self.assertEqual(samples((pathlib.Path(d) / "again" / f"{stem}.wav").read_bytes()),
                                 samples(s.ask("GET", f"/jobs/{id}/stems/{stem}.wav").body))


@unittest.skipUnless((HERE / "node_modules" / "azurite").exists(), "npm ci has not run")
class InAzure(Case):
    @classmethod
    def setUpClass(cls):
        from store import Azurite
        cls.azurite = Azurite()

    @classmethod
    def tearDownClass(cls):
        cls.azurite.close()

    def made(self, seconds=20, **env):
        s = self.serve(AZURE_STORAGE_CONNECTION_STRING=self.azurite.connection(), **env)
        id = s.submit(parameters={"duration_seconds": seconds, "random_seed": 3})
        s.wait_job(id)
        return s, id

    def local(self):
        s = self.serve()
        id = s.submit(parameters={"duration_seconds": 20, "random_seed": 3})
        s.wait_job(id)
        return s.ask("GET", f"/jobs/{id}/stems/guitar.wav").body, s.ask("GET", f"/jobs/{id}/stems/guitar.peaks").json

    def test_a_stem_in_azure_comes_through_the_service_with_ranges(self):
        s, id = self.made()
        whole, peaks = self.local()  # over 3 MB: several pieces
        path = f"/jobs/{id}/stems/guitar.wav"
        a = s.ask("GET", path)
        self.assertEqual((a.code, a.body, a.headers["Content-Length"]), (200, whole, str(len(whole))))
        for range, want in [("bytes=7-1500000", whole[7:1500001]), ("bytes=-9", whole[-9:]), ("bytes=3000000-", whole[3000000:])]:
            part = s.ask("GET", path, headers={"Range": range})
            self.assertEqual((part.code, part.body), (206, want), range)
        self.assertEqual(s.ask("GET", path, headers={"Range": f"bytes={len(whole)}-"}).code, 416)
        self.assertEqual(s.ask("GET", path, headers={"If-None-Match": a.headers["ETag"]}).code, 304)
        self.assertEqual(s.ask("HEAD", path).headers["Content-Length"], str(len(whole)))
        self.assertEqual(s.ask("GET", f"/jobs/{id}/stems/guitar.peaks").json, peaks)

    def test_or_by_a_link_that_is_signed_for_minutes(self):
        s, id = self.made(STEM_DELIVERY="redirect")
        a = s.ask("GET", f"/jobs/{id}/stems/guitar.wav")
        self.assertEqual((a.code, a.headers["Cache-Control"]), (302, "no-store"))
        self.assertEqual(urllib.request.urlopen(a.headers["Location"], timeout=30).read(), self.local()[0])
        self.assertIn(f"connect-src 'self' http://127.0.0.1:{self.azurite.port};",
                      s.ask("GET", "/").headers["Content-Security-Policy"])

    def test_slow_readers_do_not_hold_every_thread(self):
        s, id = self.made(seconds=120, HTTP_THREADS=4)
        # 21 MB for a reader with a buffer of 4 KB: the kernel cannot take the stem off the service's hands.
        slow = [s.connect(receive_buffer=4096) for _ in range(2)]
        for c in slow:
            self.addCleanup(c.close)
            c.sendall(f"GET /jobs/{id}/stems/guitar.wav HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for c in slow:  # each has its place before anybody else asks
            self.assertEqual(c.recv(12), b"HTTP/1.1 200")
        eventually("the readers are busy", lambda: s.ask("GET", f"/jobs/{id}/stems/guitar.wav").code == 503, 10)
        self.assertEqual(s.ask("GET", f"/jobs/{id}").code, 200)
        for c in slow:
            c.close()
        eventually("they have left", lambda: s.ask("GET", f"/jobs/{id}/stems/guitar.wav").code == 200, 10)
