#!/usr/bin/env python3
"""map.py - the map of the source: each file of src, with what its own first line says it is."""
import os
import re
import subprocess
import sys
from collections import defaultdict

os.chdir(os.path.join(os.path.dirname(__file__), ".."))
files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", "src/*.[ch]",
                        "src/*.cu", "src/*.cuh"],
                       check=True, capture_output=True, text=True).stdout.split()
folders = defaultdict(list)
for path in sorted(f for f in files if os.path.exists(f)):
    with open(path, encoding="utf-8") as f:
        first = re.match(r"// \S+ - (.*)", f.readline())
        second = f.readline()
    if not first:
        sys.exit(f"{path}: expected the first line '// {os.path.basename(path)} - what it is'")
    about = first.group(1)
    if not about.endswith((".", ":", ";")) and second.startswith("// "):  # it goes on
        about += " " + second[3:].split(". ")[0]
    folders[os.path.dirname(path)].append((os.path.basename(path), about.strip().rstrip(".:;")))

with open("docs/DESIGN.md", encoding="utf-8") as f:
    knows = dict(re.findall(r"^\| `([\w/]+)` \| [^|]* \| (.*) \|$", f.read(), re.M))

print("# The map\n\nMade by `make map` from each file's first line; do not edit. The layers are explained in [DESIGN.md](DESIGN.md).")
for folder, rows in folders.items():
    name = folder.removeprefix("src").strip("/")
    print(f"\n## {folder}{' - ' + knows[name] if name in knows else ''}\n\n| file | what it is |\n|---|---|")
    both = {}
    for file, about in rows:  # x.h and x.c are one row, with the header's words
        stem, kind = os.path.splitext(file)
        both.setdefault(stem, {})[kind] = about
    for stem, kinds in both.items():
        names = f"`{stem}{next(iter(kinds))}`" if len(kinds) == 1 else f"`{stem}.{{{','.join(k[1:] for k in sorted(kinds, reverse=True))}}}`"
        print(f"| {names} | {(kinds.get('.h') or kinds.get('.c') or next(iter(kinds.values()))).replace('|', ',')} |")
