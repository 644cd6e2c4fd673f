#!/usr/bin/env python3
"""music.py BIN - what a musician relies on, measured in finished files by a reader of its own: exact lengths, loops, first beats.

One line for each failure; the last line counts. The shipped model plays: a random one has no beat to be heard.
"""
import array
import json
import math
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
from fractions import Fraction

BIN = sys.argv[1]
RATE = 44100
TINY, MINI = "tests/parity/mono/model", "models/stemforge-mini"
failures, passed = [], 0


def check(ok, text):
    global passed
    if ok:
        passed += 1
    else:
        failures.append(text)
        print("FAIL", text)


def generate(out, model, stems, *flags):
    named = [word for stem in stems for word in ("--stem", stem)]
    subprocess.run([BIN, "generate", "--model", model, *named, "--quiet", "--overwrite", "--out", str(out), *map(str, flags)], check=True)
    return [out / f"{stem}.wav" for stem in stems]


def chunks(path):
    """The chunks of a WAV file by name."""
    image = path.read_bytes()
    assert image[:4] == b"RIFF" and image[8:12] == b"WAVE" and struct.unpack_from("<I", image, 4)[0] == len(image) - 8, path
    found, at = {}, 12
    while at < len(image):
        name, size = struct.unpack_from("<4sI", image, at)
        found[name.decode()] = image[at + 8 : at + 8 + size]
        assert at + 8 + size <= len(image), path
        at += 8 + size + size % 2
    return found


def left(path):
    """The left channel of 16 bits."""
    return array.array("h", chunks(path)["data"])[::2]


def power(x, at, before, after):
    """Mean power around a frame of a file that repeats."""
    n = len(x)
    return sum(x[i % n] ** 2 for i in range(at - before, at + after)) / (before + after)


def decibels(a, b):
    return 10 * math.log10(max(a, 1e-9) / max(b, 1e-9))


def exact_lengths(tmp):
    for bars, bpm in ((1, "97.3"), (2, "178.25"), (1, "61.7"), (3, "333.3"), (1, "113")):
        want = math.floor(Fraction(bars * 240 * RATE) / Fraction(bpm) + Fraction(1, 2))
        for how in ([], ["--loop"]):
            (path,) = generate(tmp / "length", TINY, ["drums"], "--bars", bars, "--bpm", bpm, "--seed", 1, *how)
            check(len(left(path)) == want, f"{bars} bars at {bpm} bpm {how}: {len(left(path))} frames, expected {want}")


def first_beats(tmp):
    """The fade of the command line leaves the first beat what it is without one."""
    song = ["--bpm", 120, "--bars", 2, "--chords", "Am F", "--seed", 3]
    faded = generate(tmp / "faded", MINI, ["drums", "bass"], *song)
    plain = generate(tmp / "plain", MINI, ["drums", "bass"], *song, "--fade-in", 0)
    for a, b in zip(faded, plain):
        lost = decibels(power(left(a), 0, 0, 2646), power(left(b), 0, 0, 2646))
        check(abs(lost) < 1, f"{a.name}: the first 60 ms change by {lost:.1f} dB by the fade, expected less than 1")


def seams(tmp):
    levels = []
    for seed in (1, 2, 3):
        flags = ["--bpm", 90 + 17 * seed, "--bars", 4, "--loop", "--chords", "Am F C", "--seed", seed]
        for path in generate(tmp / f"loop{seed}", MINI, ["drums", "bass"], *flags):
            x = left(path)
            bar = len(x) / 4
            other = sum(power(x, round(k * bar), RATE // 20, RATE // 20) for k in (1, 2, 3)) / 3
            levels.append(decibels(power(x, 0, RATE // 20, RATE // 20), other))
            bend = [abs(x[(i + 1) % len(x)] - 2 * x[i] + x[i - 1]) for i in range(len(x))]
            most = sorted(bend)[int(0.999 * len(x))]
            check(max(bend[-2], bend[-1], bend[0], bend[1]) <= most, f"{path}: a click at the seam")
    mean = sum(levels) / len(levels)
    check(abs(mean) < 1, f"100 ms around seams are {mean:.1f} dB against other bar lines, expected less than 1: {levels}")


def long_pieces(tmp):
    """A bass is as loud after 80 s as it was: windows that heard the last seconds alone let it fade by 6 dB."""
    song = ["--bpm", 90, "--style", "jazz", "--key", "C major", "--chords", "Dm7 G7 Cmaj7 A7", "--duration", 90, "--seed", 3]
    (path,) = generate(tmp / "long", MINI, ["bass"], *song)
    x = left(path)
    lost = decibels(power(x, 80 * RATE, 0, 10 * RATE), power(x, 0, 0, 10 * RATE))
    check(abs(lost) < 2, f"long pieces: the last 10 of 90 s are {lost:.1f} dB against the first, expected less than 2")


def sections(tmp):
    """A stem is silent where it does not play, to the sample, and heard where it does; an ending leaves a silent rest."""
    song = ["--bpm", 120, "--key", "A minor", "--chords", "Am F", "--seed", 3, "--ending"]
    parts = ["--section", "1;; drums", "--section", "2; C G", "--section", "1;; bass", "--section", "1"]
    drums, bass = map(left, generate(tmp / "parts", MINI, ["drums", "bass"], *song, *parts))
    bar = 2 * RATE
    check(len(drums) == len(bass) == 5 * bar, f"sections: {len(drums)} frames, expected {5 * bar}")
    for name, x, rest in (("bass", bass, (0, bar - 441)), ("drums", drums, (3 * bar - 441, 4 * bar - 441)), ("bass", bass, (4 * bar + RATE, 5 * bar))):
        check(not any(x[rest[0] : rest[1]]), f"sections: {name} sounds in its rest {rest}")
    for name, x, at in (("drums", drums, 0), ("drums", drums, bar), ("bass", bass, bar), ("bass", bass, 3 * bar), ("drums", drums, 4 * bar)):
        check(power(x, at + bar // 8, 0, bar // 8) > 1000, f"sections: {name} is silent in the bar at {at}")
    again = tmp / "parts-again"
    subprocess.run([BIN, "generate", "--recipe", str(tmp / "parts" / "recipe.json"), "--out", str(again), "--quiet"], check=True)
    check((again / "bass.wav").read_bytes() == (tmp / "parts" / "bass.wav").read_bytes(), "sections: the recipe makes other bytes")


def densities(tmp):
    """The words of a section's density change what follows, not what came before; and the answer says how far to trust them."""
    song, made = ["--bpm", 240, "--seed", 3], {}
    for second in ("", "sparse", "dense"):
        out = tmp / f"density-{second}"
        named = ["--section", "2;;;dense", "--section", f"2;;;{second}"]
        ran = subprocess.run([BIN, "generate", "--model", MINI, "--stem", "piano", *map(str, song), *named, "--out", str(out), "--json"],
                             capture_output=True, text=True)
        check(ran.returncode == 0, f"density {second}: {ran.stderr}")
        recipe = json.loads((out / "recipe.json").read_text())
        check(recipe["sections"][1] == f"2;;;{second}", f"density {second}: the recipe says {recipe['sections']}")
        check(any(w["field"] == "sections" and "density" in w["detail"] for w in recipe["warnings"]), f"density {second}: {recipe['warnings']}")
        made[second] = left(out / "piano.wav")
    (again,) = generate(tmp / "density-again", MINI, ["piano"], "--recipe", tmp / "density-sparse" / "recipe.json")
    check(left(again) == made["sparse"], "density: the recipe makes other samples")
    (other,) = generate(tmp / "density-other", MINI, ["piano"], *song, "--section", "2;;;sparse", "--section", "2;;;sparse")
    check(left(other)[: RATE] != made["sparse"][: RATE], "density: the first section's word is not heard")
    # Each is brought to the same peak, so samples are compared up to a factor.
    a, b, n = made["sparse"], made["dense"], 4 * RATE * 60 // 240 * 2
    cosine = lambda x, y: sum(p * q for p, q in zip(x, y)) / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y))
    check(cosine(a[: n - 8000], b[: n - 8000]) > 0.999, "density: a later word changes what came before")
    check(cosine(a[n + 8000 :], b[n + 8000 :]) < 0.99, "density: the word changes nothing")


def judged_alike(tmp):
    """What is heard in stems, and so which take is the best, is the same on every instruction set of this machine."""
    song, recipes = ["--bpm", 113, "--chords", "Am F", "--bars", 2, "--seed", 5, "--takes", 2], {}
    for isa in ("scalar", "avx2", "avx512", "neon"):
        out = tmp / isa
        ran = subprocess.run([BIN, "generate", "--model", MINI, "--stem", "piano", "--quiet", *map(str, song), "--isa", isa, "--out", str(out)],
                             capture_output=True, text=True)
        if ran.returncode and isa != "scalar" and isa in ran.stderr:
            continue  # not on this machine
        check(ran.returncode == 0, f"{isa}: {ran.stderr}")
        heard = subprocess.run([BIN, "analyse", "piano.wav", "--json"], capture_output=True, cwd=out, check=True).stdout
        recipes[isa] = ((out / "recipe.json").read_bytes(), heard)
    check(b'"measured"' in recipes["scalar"][0], "judged: the recipe says nothing of what was heard")
    check(len(set(recipes.values())) == 1, f"judged: {list(recipes)} differ")


def facts_in_wav(tmp):
    """acid, cue and smpl, read as other programs read them."""
    song = ["--bpm", "97.3", "--bars", 3, "--key", "F# minor", "--seed", 1]
    for loop in (False, True):
        drums, bass = generate(tmp / "facts", TINY, ["drums", "bass"], *song, *(["--loop"] if loop else []))
        for path in (drums, bass):
            found, frames = chunks(path), len(left(path))
            check(list(found)[-1] == "data", f"{path.name}: the samples are not at the end")
            flags, root, _, _, beats, unit, meter, tempo = struct.unpack("<IHHfIHHf", found["acid"])
            want = (0x04, 60) if path == drums else (0x06, 66)  # stretched; its root is F#
            check((flags, root) == want, f"{path.name}: acid flags and root {flags}, {root}, expected {want}")
            check((beats, meter, unit) == (12, 4, 4) and abs(tempo - 97.3) < 1e-5, f"acid: {beats} beats, {meter}/{unit}, {tempo} bpm")
            (n,) = struct.unpack_from("<I", found["cue "], 0)
            at = [struct.unpack_from("<II4sIII", found["cue "], 4 + 24 * i)[5] for i in range(n)]
            want = [math.floor(Fraction(i * 240 * RATE) / Fraction("97.3") + Fraction(1, 2)) for i in range(3)]
            check(at == want, f"{path.name}: bar lines at {at}, expected {want}")
            check(("smpl" in found) == loop, f"{path.name}: smpl in a loop alone")
            if loop:
                period, unity = struct.unpack_from("<2I", found["smpl"], 8)
                loops, _, _, kind, start, end, _, times = struct.unpack_from("<8I", found["smpl"], 28)
                check((period, loops, kind, start, end, times) == (22675, 1, 0, 0, frames - 1, 0), f"{path.name}: smpl loops to {end} of {frames}")
                check(unity == (60 if path == drums else 66), f"{path.name}: smpl root {unity}")
    (path,) = generate(tmp / "heard", MINI, ["piano"], "--bpm", 113, "--chords", "Am F", "--bars", 2, "--seed", 5)
    m, text = json.loads((tmp / "heard" / "recipe.json").read_text())["measured"]["piano"], chunks(path)["LIST"].decode(errors="replace")
    for want in (f"heard {m['bpm']:.2f} bpm from", " ".join(m["chords"]) + ",", f"{m['type']} ", f"{m['lufs']:.1f} LUFS"):
        check(want in text, f"the file says {text}, expected {want}")
    (path,) = generate(tmp / "none", TINY, ["drums"], "--duration", 1, "--seed", 1)
    check(not {"acid", "cue ", "smpl"} & set(chunks(path)), "no tempo was asked for, and the file says one")


def temperatures(tmp):
    """What a model says of a type of stem multiplies the request's temperature, for that stem alone."""
    own = tmp / "model"
    shutil.copytree(TINY, own)
    settings = own / "generation_config.json"
    document = json.loads(settings.read_text()) if settings.exists() else {}
    settings.write_text(json.dumps(document | {"temperature_by_stem": {"bass": 0.5}}))
    song, stems = ["--duration", 0.5, "--seed", 1], ["drums", "bass"]
    drums, bass = generate(tmp / "own", own, stems, *song, "--temperature", 1.2)
    used = json.loads((tmp / "own" / "recipe.json").read_text())["stem_temperature"]
    check(used == {"drums": 1.2, "bass": 0.6}, f"the recipe says {used}")
    for temperature, path, other in ((1.2, drums, bass), (0.6, bass, drums)):
        generate(tmp / "plain", TINY, stems, *song, "--temperature", temperature)
        same = [chunks(p)["data"] == chunks(tmp / "plain" / p.name)["data"] for p in (path, other)]
        check(same == [True, False], f"{path.name} is not what temperature {temperature} makes: {same}")
    for wrong in ({"bass": 3}, {"bass": "warm"}, 1):
        settings.write_text(json.dumps(document | {"temperature_by_stem": wrong}))
        ran = subprocess.run([BIN, "info", str(own)], capture_output=True, text=True)
        check(ran.returncode == 1 and "temperature_by_stem" in ran.stderr, f"{wrong}: {ran.stderr}")


def events(track):
    """(tick, status, data) of a MIDI track."""
    at, tick, found = 0, 0, []

    def number():
        nonlocal at
        value = 0
        while True:
            at += 1
            value = value << 7 | track[at - 1] & 0x7F
            if track[at - 1] < 0x80:
                return value

    while at < len(track):
        tick += number()
        status = track[at]
        at += 1
        if status == 0xFF:
            kind, at = track[at], at + 1
            size = number()
            found.append((tick, (0xFF, kind), track[at : at + size]))
            at += size
        else:
            found.append((tick, status, track[at : at + 2]))
            at += 2
    return found


def continuations(tmp):
    """The front of a continued stem is the file itself; what follows is about as loud, and comes at the join without a jump."""
    for end, cut in (("0", 0), ("0.1", 0.13)):
        fronts = generate(tmp / "front", MINI, ["piano" if cut else "bass"], "--bpm", 103, "--chords", "Am F C G", "--duration", 9, "--seed", 5,
                          "--fade-in", 0.003, "--fade-out", end)
        for front in fronts:
            stem = front.stem
            ran = subprocess.run([BIN, "generate", "--model", MINI, "--stem", stem, "--bpm", "103", "--chords", "Am F C G", "--seed", "6",
                                  "--continue", str(front), "--more", "5", "--overwrite", "--out", str(tmp / "on")], capture_output=True, text=True)
            check(ran.returncode == 0, f"continue {stem}: {ran.stderr}")
            before, after = chunks(front)["data"], chunks(tmp / "on" / f"{stem}.wav")["data"]
            check(("fade out" in ran.stderr) == (cut > 0), f"continue {stem}, fade {end}: {ran.stderr}")
            kept = len(after) - 5 * RATE * 4
            check(0 <= len(before) - kept <= (cut + 0.13) * RATE * 4, f"continue {stem}: {kept} of {len(before)} bytes are kept")
            check(before[:kept] == after[:kept], f"continue {stem}, fade {end}: the front is not what it was")
            x, at = left(tmp / "on" / f"{stem}.wav"), kept // 4
            level = decibels(power(x, at, 0, 4 * RATE), power(x, at, 4 * RATE, 0))
            check(abs(level) < 4, f"continue {stem}, fade {end}: {level:+.1f} dB behind the join")
            steps = [abs(b - a) for a, b in zip(x, x[1:])]
            check(max(steps[at - 3 : at + 3]) <= max(steps[: at - 3] + steps[at + 3 :]), f"continue {stem}: a jump at the join")


def followed(tmp):
    """Stems that follow a recording: its length, its tempo, its chords, and the same again from the recipe."""
    parts = generate(tmp / "song", MINI, ["drums", "bass", "piano"], "--bpm", 113, "--chords", "Am F C G", "--duration", 12, "--seed", 5)
    mix = tmp / "song.wav"
    subprocess.run([BIN, "mix", *map(str, parts), "--out", str(mix)], check=True, capture_output=True)
    out = tmp / "followed"
    ran = subprocess.run([BIN, "generate", "--model", MINI, "--stem", "bass", "--follow", str(mix), "--seed", "1", "--json", "--overwrite",
                          "--out", str(out)], capture_output=True, text=True)
    check(ran.returncode == 0, f"follow: {ran.stderr}")
    heard = json.loads(ran.stdout)["stems"][0]["heard"]
    check(abs(heard["target_bpm"] - 113) < 1, f"follow: heard {heard}")
    check([name[0] for name in heard["chord_progression"][:4]] == ["A", "F", "C", "G"], f"follow: heard {heard}")
    check(len(left(out / "bass.wav")) == len(left(mix)), "follow: another length than the recording's")
    (again,) = generate(tmp / "again", MINI, ["bass"], "--recipe", out / "recipe.json")
    check(again.read_bytes() == (out / "bass.wav").read_bytes(), "follow: the recipe makes other bytes")


def grids(tmp):
    out = tmp / "grid"
    (stem,) = generate(out, TINY, ["bass"], "--bpm", "97.3", "--bars", 3, "--chords", "Am D/F# N", "--seed", 1)
    click, song = out / "click.wav", out / "song.mid"
    subprocess.run([BIN, "grid", str(out / "recipe.json"), "--click", str(click), "--midi", str(song)], check=True)
    x = left(click)
    check(len(x) == len(left(stem)), f"a click of {len(x)} frames beside a stem of {len(left(stem))}")
    beats = [math.floor(Fraction(k * 60 * RATE) / Fraction("97.3") + Fraction(1, 2)) for k in range(12)]
    top = max(x)
    check([i for i, v in enumerate(x) if v == top] == beats, "the clicks are not on the beats")
    check(all(not any(x[b - 1000 : b]) for b in beats[1:]), "something sounds before a click")

    image = song.read_bytes()
    kind, tracks, division = struct.unpack(">HHH", image[8:14])
    check((image[:8], kind, tracks, division) == (b"MThd\0\0\0\6", 1, 3, 480), f"the head is {image[:14]}")
    at, found = 14, []
    while at < len(image):
        name, size = struct.unpack_from(">4sI", image, at)
        check(name == b"MTrk", f"{name} is no track")
        found.append(events(image[at + 8 : at + 8 + size]))
        at += 8 + size
    head, chords, blocks = found
    check((0, (0xFF, 0x51), (round(60e6 / 97.3)).to_bytes(3, "big")) in head, f"the tempo is not there: {head}")
    check((0, (0xFF, 0x58), bytes([4, 2, 24, 8])) in head, f"the meter is not there: {head}")
    check(all(track[-1] == (5760, (0xFF, 0x2F), b"") for track in found), "a track ends elsewhere than the last bar")
    names = [(tick, data) for tick, status, data in chords if status == (0xFF, 0x01)]
    check(names == [(0, b"Am"), (1920, b"D/F#"), (3840, b"N")], f"the chords are {names}")
    on = [(tick, data[0]) for tick, status, data in chords if status == 0x90]
    check(on == [(0, n) for n in (45, 69, 72, 76)] + [(1920, n) for n in (42, 62, 66, 69)], f"the notes are {on}")
    off = [(tick, data[0]) for tick, status, data in chords if status == 0x80]
    check(off == [(tick + 1920, note) for tick, note in on], f"the notes end at {off}")
    hits = [(tick, data[0]) for tick, status, data in blocks if status == 0x99]
    check(hits == [(480 * k, 77 if k % 4 else 76) for k in range(12)], f"the beats are {hits}")

    generate(out, TINY, ["bass"], "--duration", 0.3, "--seed", 1)
    ran = subprocess.run([BIN, "grid", str(out / "recipe.json"), "--midi", str(song)], capture_output=True, text=True)
    check(ran.returncode == 1 and "expected a tempo (bpm)" in ran.stderr, f"no tempo: {ran.stderr}")


def comments(block):
    (vendor,) = struct.unpack_from("<I", block, 0)
    at, found = 8 + vendor, []
    for _ in range(struct.unpack_from("<I", block, 4 + vendor)[0]):
        (n,) = struct.unpack_from("<I", block, at)
        found.append(block[at + 4 : at + 4 + n].decode())
        at += 4 + n
    return found


def facts_in_comments(tmp):
    for bpm in ("97", "178.25", "20"):
        for kind in ("flac", "ogg"):
            out = tmp / "comments"
            generate(out, TINY, ["bass"], "--bpm", bpm, "--key", "Bb", "--duration", 0.5, "--format", kind)
            image = (out / f"bass.{kind}").read_bytes()
            if kind == "ogg":
                block = image[image.index(b"\x03vorbis") + 7 :]  # one page: they are short
            else:
                at = 4
                while image[at] & 0x7F != 4:
                    at += 4 + int.from_bytes(image[at + 1 : at + 4], "big")
                block = image[at + 4 :]
            for want in (f"BPM={bpm}", "KEY=Bb major"):
                check(want in comments(block), f"{kind}: {want} is not in {comments(block)}")
            check(not [c for c in comments(block) if c.upper().startswith(("DATE", "GENRE"))], f"{kind}: a stand-in was left")
            read = subprocess.run([BIN, "analyse", str(out / f"bass.{kind}")], capture_output=True)
            check(read.returncode == 0, f"{kind}: {read.stderr}")


with tempfile.TemporaryDirectory() as folder:
    for test in (exact_lengths, facts_in_wav, sections, densities, judged_alike, long_pieces, facts_in_comments, continuations, followed, grids, temperatures, first_beats, seams):
        test(pathlib.Path(folder))
print(f"{passed} passed, {len(failures)} failed")
sys.exit(bool(failures))
