#!/usr/bin/env python3
"""pages.py PROGRAM FOLDER - manual pages and completion name the options that --help names: all of them, and no other.

FOLDER is what `make pages` made. The page of the settings, stemforge.env(5), names each variable whose flag `serve --help` has.
"""
import os
import re
import subprocess
import sys

PROGRAM, FOLDER = sys.argv[1:]
EVERYWHERE = {"--help"}  # --help does not list itself; its pages do
faults = []


def printed(*args):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, check=True).stdout


def page(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as f:
        return f.read()


def compare(what, expected, found):
    for missing in sorted(expected - found):
        faults.append(f"{what}: expected {missing}, which --help has; not found")
    for extra in sorted(found - expected):
        faults.append(f"{what}: found {extra}, which --help does not have")


def options_of_page(text):
    """What stands in bold behind .TP, once roff's dashes are plain."""
    heads = re.findall(r"^\.TP\n\.(?:B|BI|BR) (.*)$", text.replace("\\-", "-"), re.M)
    return {o for head in heads for o in re.findall(r"--[a-z0-9-]+", head)} - EVERYWHERE


def options_of_completion(shell, command):
    """The options that a shell's file offers for a command."""
    text = page(f"stemforge.{shell}")
    if shell == "fish":
        words = re.findall(rf"^complete -c stemforge -n '__fish_seen_subcommand_from {command}'.* -l ([a-z0-9-]+)", text, re.M)
        return {"--" + w for w in words} - EVERYWHERE
    begin = re.search(rf"^ *{command}\)", text, re.M)
    part = text[begin.end():text.index(";;", begin.end())]
    if shell == "bash":
        return set(re.search(r"flags='([^']*)'", part)[1].split()) - EVERYWHERE
    return set(re.findall(r"^ *'\*?(--[a-z0-9-]+)=?\[", part, re.M))


commands = re.findall(r"^  ([a-z]+) ", printed("--help").split("commands:\n")[1], re.M)
if not commands:
    faults.append("--help names no command")
for c in commands:
    options = set(re.findall(r"^  (--[a-z0-9-]+)", printed(c, "--help"), re.M))
    compare(f"stemforge-{c}.1", options, options_of_page(page(f"stemforge-{c}.1")))
    for sh in ("bash", "zsh", "fish"):
        compare(f"completion of {c} in {sh}", options, options_of_completion(sh, c))
    if f"stemforge-{c} " not in page("stemforge.1").replace("\\-", "-"):
        faults.append(f"stemforge.1: expected a reference to stemforge-{c}")
flags = set(re.findall(r"^  (--[a-z0-9-]+)", printed("serve", "--help"), re.M)) - {"--check-config", "--settings"}
names = set(re.findall(r"^\.TP\n\.B ([A-Z][A-Z0-9_]+)$", page("stemforge.env.5"), re.M))
compare("stemforge.env.5", flags, {"--" + n.lower().replace("_", "-") for n in names})
for f in faults:
    print(f)
sys.exit(bool(faults))
