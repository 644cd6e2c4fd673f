#!/usr/bin/env python3
"""completion.py FOLDER - types into real shells, presses Tab, and looks at what the shell makes of it.

FOLDER has stemforge.bash, stemforge.zsh and stemforge.fish. bash and zsh run on a pseudo-terminal; fish is asked
by `complete -C`, which is what its Tab calls.
"""
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time

FOLDER = os.path.abspath(sys.argv[1])
# what is typed, and what must be there after Tab
TYPED = [
    ("stemforge gen", "stemforge generate"),
    ("stemforge generate --sty", "stemforge generate --style"),
    ("stemforge generate --stem dr", "stemforge generate --stem drums"),
    ("stemforge generate --format wavf", "stemforge generate --format wavf32"),
    ("stemforge convert --type bf", "stemforge convert --type bf16"),
    ("stemforge serve --callback-all", "stemforge serve --callback-allow"),
    ("stemforge serve --stem-delivery red", "stemforge serve --stem-delivery redirect"),
    ("stemforge jobs red", "stemforge jobs redeliver"),
    ("stemforge plot --out a-fol", "stemforge plot --out a-folder/"),
    ("stemforge mix a-fi", "stemforge mix a-file.wav"),
]
START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"source {FOLDER}/stemforge.bash"),
    "zsh": (["zsh", "-f", "-i"], f"autoload -Uz compinit; compinit -u -D; source {FOLDER}/stemforge.zsh"),
}
PROMPT = "READY>"
PATIENCE = float(os.environ.get("PATIENCE", 20))  # seconds for a shell to answer
faults = []


class Shell:
    def __init__(self, name, folder):
        argv, setup = START[name]
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.environ.update(TERM="vt100", HOME=folder, LC_ALL="C", COLUMNS="200", INPUTRC="/dev/null")
            os.execvp(argv[0], argv)
        # Split, so that the echo of the command is no prompt.
        self.write(f"{setup}; PS1='REA''DY>' PROMPT_EOL_MARK=\n")
        self.until(lambda s: PROMPT in s)

    def write(self, text):
        os.write(self.fd, text.encode())

    def until(self, found):
        seen, end = "", time.monotonic() + PATIENCE
        while not found(seen) and time.monotonic() < end:
            if select.select([self.fd], [], [], 0.1)[0]:
                seen += os.read(self.fd, 65536).decode(errors="replace")
        return seen

    def complete(self, typed, want):
        """The line after Tab, as the terminal shows it."""
        self.write(typed + "\t")
        seen = self.until(lambda s: want in clean(s))
        self.write("\x15\n")  # the line away
        self.until(lambda s: PROMPT in s)
        return clean(seen)


def clean(text):
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\x07\x00]", "", text)
    while re.search(r"[^\x08]\x08", text):
        text = re.sub(r"[^\x08]\x08", "", text, count=1)
    return text.replace("\r", "")


def fish(typed, want, folder):
    command = f"source {FOLDER}/stemforge.fish; complete -C '{typed}'"
    out = subprocess.run(["fish", "--no-config", "-c", command], cwd=folder, capture_output=True, text=True,
                         env={**os.environ, "HOME": folder})
    found = [line.split("\t")[0] for line in out.stdout.splitlines()]
    begin = typed.rsplit(" ", 1)[0] + " "
    return out.stderr or (want if any((begin + f).startswith(want) for f in found) else f"{found}")


with tempfile.TemporaryDirectory() as folder:
    os.mkdir(os.path.join(folder, "a-folder"))
    open(os.path.join(folder, "a-file.wav"), "w", encoding="utf-8").close()
    for name in START:
        shell = Shell(name, folder)
        for typed, want in TYPED:
            got = shell.complete(typed, want)
            if want not in got:
                faults.append(f"{name}: {typed} and Tab: expected {want}, found {got[-200:]!r}")
        os.close(shell.fd)
    for typed, want in TYPED:
        got = fish(typed, want, folder)
        if want not in got:
            faults.append(f"fish: {typed}: expected {want}, found {got}")
for f in faults:
    print(f)
sys.exit(bool(faults))
