"""Captions: the line the engine writes, and lines a person might."""

import control

SYNONYMS = {
    "drums": ["drums", "drums", "drum kit", "drum loop", "beat", "percussion"],
    "bass": ["bass", "bass", "bass line", "bass guitar"],
    "guitar": ["guitar", "guitar", "guitar part"],
    "piano": ["piano", "piano", "keys", "keyboard"],
    "synth": ["synth", "synth", "synthesizer", "electronic keys"],
    "vocals": ["vocals", "vocals", "choir", "voices", "singing"],
    "other": ["other", "other", "strings", "brass", "melody instrument"],
}
WORDS = {"sparse": ["sparse", "minimal", "simple"], "busy": ["busy", "dense"], "dark": ["dark", "warm", "mellow"],
         "bright": ["bright", "crisp"], "dry": ["dry", "tight", "punchy"], "roomy": ["roomy", "spacious", "reverb"], "": []}


def key_name(song):
    return control.NAMES[song.root] + (" minor" if song.minor else " major")


def words(rng, song):
    out = []
    for trait in (song.density, song.tone, song.room):
        if trait and rng.random() < 0.6:
            out.append(str(rng.choice(WORDS[trait])))
    if song.stem == "drums" and song.style in ("house", "techno") and rng.random() < 0.3:
        out.append("four on the floor")
    if (song.stem != "drums" or song.preset[2] == "drum machine") and rng.random() < 0.4:
        out.append(song.preset[2])
    if hasattr(song, "groove") and rng.random() < 0.5:  # parts.Piece: who plays the same number plays together
        out.append(f"groove {song.groove}")
    return out


def canonical(rng, song):
    parts = [song.stem, song.style, f"{song.bpm:g} bpm"]
    if song.stem != "drums":
        parts.append(key_name(song))
    for i in (3, 2, 1):
        if i < len(parts) and rng.random() < (0.15, 0.1, 0.3)[i - 1]:
            del parts[i]
    return ", ".join(parts + words(rng, song))


def free(rng, song):
    stem = str(rng.choice(SYNONYMS[song.stem]))
    extra = words(rng, song)
    adjective = " ".join(extra[:1])
    tempo = str(rng.choice([f"{song.bpm:g} bpm", f"at {song.bpm:g} bpm", f"tempo {song.bpm:g}", ""]))
    key = str(rng.choice([key_name(song), f"in {key_name(song)}", ""])) if song.stem != "drums" else ""
    form = rng.integers(3)
    if form == 0:
        line = f"{adjective} {song.style} {stem} {tempo} {key}"
    elif form == 1:
        line = f"{stem}, {song.style}, {tempo}, {', '.join(extra)}"
    else:
        line = f"a {adjective} {stem} in {song.style} style, {key}"
    return " ".join(line.replace(", ,", ",").strip(" ,").split())


def caption(rng, song):
    return canonical(rng, song) if rng.random() < 0.7 else free(rng, song)
