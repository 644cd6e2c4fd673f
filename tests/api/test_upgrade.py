"""What version 0.1.0 left: its database (upgrade/jobs-0.1.0.sql) and folder of stems are opened, gone on with and served."""
import hashlib, json, pathlib, shutil, sqlite3, struct, tempfile, time, unittest
from lib import Case, ROOT, eventually, request, sqlite_only, wav

SCHEMA = (ROOT / "tests" / "api" / "upgrade" / "jobs-0.1.0.sql").read_text()
AUDIO = b"RIFF" + struct.pack("<I", 44) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 2, 44100, 176400, 4, 16) + \
        b"data" + struct.pack("<I", 8) + bytes(range(8))


@sqlite_only("0.1.0 had its queue in an SQLite file")
class Upgrade(Case):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="stemforge-upgrade-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.db = sqlite3.connect(self.folder / "jobs.db")
        self.db.executescript(SCHEMA)

    def add(self, state, stems, done=(), url=None, ended=0):
        """A job as 0.1.0 had it; the stems in done lie in the folder."""
        body = request(target_stems=stems, parameters={"duration_seconds": 0.1, "random_seed": 5})
        id, text = body["generation_request_id"], json.dumps(body)
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
        now = int(time.time() * 1000)
        seq = self.db.execute(
            "INSERT INTO job(id, audio_file_id, digest, request, callback_url, seed, work, state, attempt, created_ms,"
            " started_ms, ended_ms) VALUES (?,?,?,?,?,5,?,?,?,?,?,?)",
            (id, body["audio_file_id"], hashlib.sha256(canonical.encode()).digest(), text, url, 100 * len(stems), state,
             state > 0, now, now if state else 0, ended and now)).lastrowid
        for pos, stem in enumerate(stems):
            key = f"{body['audio_file_id']}/generated/{id}/{stem}.wav"
            made = (1, 1, now, key, len(AUDIO), "md5", "etag", 44100, 2, 0.1) if stem in done else (0, 0, 0) + (None,) * 7
            self.db.execute("INSERT INTO stem VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", (seq, pos, stem, *made))
            if stem in done:
                path = self.folder / "files" / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(AUDIO)
        return seq, body

    def test_jobs_callbacks_and_stems_of_0_1_0_are_there(self):
        receiver = self.receive()
        owed, ended = self.add(2, ["bass"], ["bass"], receiver.url, ended=1)
        said = json.dumps({"generation_request_id": ended["generation_request_id"], "status": "completed"}).encode()
        self.db.execute("INSERT INTO hook(seq, webhook_id, body, state, queued_ms, due_ms) VALUES (?, 'msg_old', ?, 1, 1, 1)",
                        (owed, said))
        _, running = self.add(1, ["drums", "bass"], ["drums"])
        _, waiting = self.add(0, ["bass"])
        self.db.commit()
        self.db.close()
        s = self.serve(folder=self.folder)
        ids = [b["generation_request_id"] for b in (ended, running, waiting)]
        self.assertEqual({j["generation_request_id"] for j in s.ask("GET", "/jobs").json["jobs"]}, set(ids))
        old = s.job(ids[0])
        self.assertEqual((old["status"], old["generated_stems"][0]["file_size_bytes"]), ("completed", len(AUDIO)))
        self.assertEqual(s.ask("GET", f"/jobs/{ids[0]}/stems/bass.wav").body, AUDIO)
        eventually("the owed callback comes", lambda: receiver.got)
        headers, body, _ = receiver.got[0]
        self.assertEqual((headers["webhook-id"], body), ("msg_old", said))
        j = s.wait_job(ids[1])
        self.assertEqual([g["stem_type"] for g in j["generated_stems"]], ["drums", "bass"])
        self.assertEqual(s.ask("GET", f"/jobs/{ids[1]}/stems/drums.wav").body, AUDIO)  # not made again
        self.assertEqual(wav(s.ask("GET", f"/jobs/{ids[1]}/stems/bass.wav").body)[:2], (2, 44100))
        s.wait_job(ids[2])
        again = s.ask("POST", "/generate", waiting)
        self.assertEqual((again.code, again.headers["Idempotent-Replayed"]), (202, "true"))
        self.assertEqual(len(s.ask("GET", "/jobs").json["jobs"]), 3)
        eventually("its callback is done", lambda: s.job(ids[0])["callback"]["state"] == "delivered")


if __name__ == "__main__":
    unittest.main()
