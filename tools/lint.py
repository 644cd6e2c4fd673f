#!/usr/bin/env python3
"""lint.py - the architecture and the habits that a script can check; silent when all is well.

  tools/lint.py            every rule
  tools/lint.py --figures  how many functions, how long, which exports nobody calls

The layer table is read from docs/DESIGN.md, so it stands in one place. Each rule is a function
below; what a rule lets pass stands beside it, with the reason.
"""
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict

FUNCTION_LINES = 60
FILE_LINES = 600
COLUMNS = 100

# Folders whose modules may include each other, and why that is better than a cut.
CIRCLES = {}

# Exports that tests alone call, by reason.
TEST_ONLY = {
    "the hook that fails an allocation": "mem_fail_after",
    "tests read back what was stored, sent, signed or counted":
        "blob_get blob_head blob_remove hook_sign metrics_get field_wire_name fields_find_wire",
    "files made in memory: fuzz targets and unit tests":
        "gguf_open_bytes st_open_bytes tok_open_bytes weights_from_st",
    "what a file has that the program does not ask for; the format's tests do":
        "gguf_get_blob gguf_get_bool gguf_get_num gguf_key_at gguf_key_count gguf_put_blob gguf_put_bool "
        "gguf_put_f32 gguf_put_i64 st_at st_count st_metadata st_name_at tok_find",
    "one row, one draw, one layout: the contract, in its shortest form":
        "bf16x8_pack quant_pack quant_row rng_f32 mg_position_row delay_columns",
    "tests make weights of F16, which files may hold": "f32_to_f16",
    "the whole in one call, which the program makes in pieces":
        "encodec_decode encodec_decoder_room loudness_of",
    "steps of other functions of math_body.h, whose errors are measured": "math_erf math_expm1",
}

faults = []


def fault(text):
    faults.append(text)


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *patterns],
                         check=True, capture_output=True, text=True).stdout
    return [f for f in out.splitlines() if os.path.exists(f)]


def text_of(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def code_of(text):
    """The text without comments and string contents; line numbers stay."""
    def blank(m):
        s = m.group(0)
        return s if s[0] == "'" else '""' if s[0] == '"' else "\n" * s.count("\n")
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text, flags=re.S)


def layers():
    """{folder: the folders it may include}, from the table of docs/DESIGN.md."""
    rows = re.findall(r"^\| `([\w/]+)` \| ([\w/ -]+) \|", text_of("docs/DESIGN.md"), re.M)
    table = {name: set(may.replace("-", "").split()) | {name} for name, may in rows}
    for name, may in table.items():
        if "everything" in may:  # "everything but model": the names behind it are left out
            table[name] = set(table) - (may - {name})
    return table


def layer(path, table):
    """The innermost folder of path that has a row: a folder without one counts as what it lies in."""
    folder = os.path.dirname(path)
    while folder and folder not in table:
        folder = os.path.dirname(folder)
    return folder


def check_layers(sources):
    table = layers()
    for path, text in sources.items():
        if path.count("/") == 1:  # the public headers belong to no layer; every layer may use them
            continue
        here = layer(path.removeprefix("src/"), table)
        if not here:
            fault(f"{path}: expected its folder in the table of docs/DESIGN.md")
            continue
        for n, line in enumerate(text.splitlines(), 1):
            m = re.match(r'\s*#include "([^"]+)"', line)
            if not m or "/" not in m.group(1) or m.group(1).startswith("gen/"):
                continue
            to = layer(m.group(1), table)
            if to not in table[here]:
                fault(f"{path}:{n}: {here} may not include {m.group(1)} (docs/DESIGN.md)")


def check_families(sources):
    """The engine's own files know no network: a family of models is a folder in src/engine."""
    for path, text in sources.items():
        if not re.fullmatch(r"src/engine/\w+\.[ch]", path) or path == "src/engine/families.c":
            continue
        for to in re.findall(r'^\s*#include "((?:model|engine/\w+)/[^"]+)"', text, re.M):
            if to != "model/weights.h":
                fault(f"{path}: expected no network in the engine's own files, found {to} (engine/family.h)")


def module(path, headers):
    """x.h, x.c and their parts x_*.{c,h} are one module."""
    name = os.path.splitext(path)[0]
    parts = os.path.basename(name).split("_")
    for n in range(1, len(parts) + 1):
        whole = os.path.join(os.path.dirname(name), "_".join(parts[:n]))
        if whole + ".h" in headers:
            return whole.removeprefix("src/")
    return name.removeprefix("src/")


def circles(sources):
    """Groups of modules that reach each other by includes."""
    arrows = defaultdict(set)
    for path, text in sources.items():
        for to in re.findall(r'^\s*#include "([^"]+)"', text, re.M):
            if "src/" + to in sources:
                arrows[module(path, sources)].add(module("src/" + to, sources))

    def reach(start):
        seen, todo = set(), [start]
        while todo:
            new = arrows.get(todo.pop(), set()) - seen
            seen |= new
            todo += new
        return seen
    far = {m: reach(m) for m in arrows}
    groups = {frozenset(n for n in far[m] if m in far.get(n, ())) for m in arrows}
    return {g for g in groups if len(g) > 1}


def check_circles(sources):
    for c in sorted(circles(sources), key=sorted):
        if not any(all(m.startswith(folder + "/") for m in c) for folder in CIRCLES):
            fault("these modules include each other: " + " ".join(sorted(c)))


BANNED = r"\b(strcpy|strcat|sprintf|strtok|atoi|atof|gets|scanf|rand|alloca|setenv|system)\s*\("
ALLOCATES = r"\b(malloc|calloc|realloc|free|strdup)\s*\("


def check_calls(sources):
    for path, text in sources.items():
        for n, line in enumerate(code_of(text).splitlines(), 1):
            if m := re.search(BANNED, line):
                fault(f"{path}:{n}: {m.group(1)} is banned (docs/STYLE.md)")
            if path.endswith(".c") and path != "src/base/mem.c" and (m := re.search(ALLOCATES, line)):
                fault(f"{path}:{n}: {m.group(1)}: expected the allocators of base/mem.h")


def functions(text):
    """(first line, lines, name) of each function, its signature on one line or wrapped."""
    start, head = 0, ""
    for n, line in enumerate(code_of(text).splitlines(), 1):
        if not head and re.match(r"[A-Za-z_]", line) and not re.match(r"(typedef|struct|enum|union) *\w* *\{", line):
            start, head = n, line
        elif head and not start < 0 and not head.endswith("{") and line.startswith((" ", "\t")):
            head += " " + line.strip()
        if head.endswith((";", "\\", ":", ",")) and not head.rstrip().endswith(",") or (head and line == ""):
            head = ""
        if line.startswith("}"):
            m = re.search(r"(\w+)\s*\([^=]*\)\s*\{$", head)
            if m:
                yield start, n - start + 1, m.group(1)
            head = ""


def check_sizes(sources, tests):
    for path, text in {**sources, **tests}.items():
        made = re.search("(made|written) by (tools|train)/", text[:400], re.I)
        lines = text.count("\n")
        if lines > FILE_LINES and not made:
            fault(f"{path}: {lines} lines, expected at most {FILE_LINES}: make it two modules")
        for n, line in enumerate(text.splitlines(), 1):
            if len(line) > COLUMNS and not made:
                fault(f"{path}:{n}: {len(line)} columns, expected at most {COLUMNS}")
        for n, size, name in functions(text):
            if size > FUNCTION_LINES:
                fault(f"{path}:{n}: {name} has {size} lines, expected at most {FUNCTION_LINES}")


def check_first_lines(sources):
    for path, text in sources.items():
        if not re.match(rf"// {re.escape(os.path.basename(path))} - \S", text):
            fault(f"{path}: expected the first line '// {os.path.basename(path)} - what it is'")


DECLARES = re.compile(r"^(?!static\b|typedef\b|return\b|#)[A-Za-z_][\w \t*]*?\b(\w+)\s*\([^;{}]*\)[^;{}()]*;", re.M)


def exports(sources):
    """{function: header} of what the headers of src declare."""
    return {name: path for path, text in sources.items() if path.endswith(".h")
            for name in DECLARES.findall(re.sub(r"^\s*#.*(\\\n.*)*", "", code_of(text), flags=re.M))}


def callers(sources, tests):
    """Exports that nobody calls, those that their own file alone calls, those that tests alone call.

    What its own file and a test call is none of these: a test may look inside. stemforge.h is the
    library's, and its users are elsewhere.
    """
    words = {p: Counter(re.findall(r"\w+", code_of(t))) for p, t in {**sources, **tests}.items()}
    home = {name: p for p, t in sources.items() for _, _, name in functions(t)}
    dead, own, tested = [], [], []
    for name, header in sorted(exports(sources).items()):
        body = home.get(name)
        users = {p for p in words if name in words[p]} - {header, body}
        # A header that merely declares the name again is no caller; one with code in it is.
        callers = {p for p in users if p in sources and (p.endswith(".c") or "{\n    " in sources[p])}
        if header.count("/") == 1 or callers:
            continue
        in_body = body and words[body][name] > (2 if body == header else 1)
        if users and not in_body:
            tested.append((name, header))
        elif not users:
            (own if in_body else dead).append((name, header))
    return dead, own, tested


def unused_macros(sources, tests):
    every = "\n".join(code_of(t) for t in {**sources, **tests}.values())
    count = Counter(re.findall(r"\w+", every))
    return sorted((name, path) for path, text in sources.items() if path.endswith(".h")
                  for name in re.findall(r"^#define (\w+)", code_of(text), re.M) if count[name] == 1)


def check_callers(sources, tests):
    dead, own, tested = callers(sources, tests)
    for name, header in dead:
        fault(f"{header}: {name} has no caller: delete it")
    for name, header in own:
        fault(f"{header}: only its own file calls {name}: make it static")
    known = set(" ".join(TEST_ONLY.values()).split())
    for name, header in tested:
        if name not in known:
            fault(f"{header}: only tests call {name}: delete it, or say why in TEST_ONLY of tools/lint.py")
    for name, header in unused_macros(sources, tests):
        fault(f"{header}: {name} is used nowhere")


def check_page():
    """The page's files say what they are, and put nothing from outside into markup or script."""
    markup = r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|eval\(|new Function)"
    for path in tracked("web/*.js"):
        lines = text_of(path).splitlines()
        name = os.path.basename(path)
        if not lines[0].startswith(f"// {name} - "):
            fault(f"{path}:1: expected '// {name} - what it is'")
        if len(lines) > FILE_LINES:
            fault(f"{path}: {len(lines)} lines, expected at most {FILE_LINES}")
        for n, line in enumerate(lines, 1):
            if re.search(markup, line):
                fault(f"{path}:{n}: expected text through el() of dom.js, found markup or script from a string")
    for path in tracked("web/*.html"):
        if re.search(r"<style|<script(?![^>]* src=)|\s(on\w+|style)=", text_of(path)):
            fault(f"{path}: expected files of their own, found an inline script, handler or style")


def check_links():
    for path in tracked("*.md"):
        for to in re.findall(r"\]\(([^)#\s]+)", text_of(path)):
            if "://" in to or to.startswith("mailto:"):
                continue
            if not os.path.exists(os.path.join(os.path.dirname(path), to)):
                fault(f"{path}: links to {to}, which is not there")


def check_format(files):
    if not shutil.which("clang-format"):
        return
    out = subprocess.run(["clang-format", "--dry-run", *files], capture_output=True, text=True).stderr
    for line in [s for s in out.splitlines() if "warning:" in s][:5]:
        fault("run make format: " + line)


def figures(sources, tests):
    sizes = sorted((size, f"{path}:{n} {name}") for path, t in sources.items()
                   for n, size, name in functions(t))
    longest = max((t.count("\n"), p) for p, t in sources.items() if not re.search("(made|written) by tools/", t[:400], re.I))
    dead, own, tested = callers(sources, tests)
    print(f"functions {len(sizes)}, median {sizes[len(sizes) // 2][0]} lines, longest {sizes[-1]}")
    print(f"longest file {longest}")
    print(f"exports {len(exports(sources))}; without a caller {len(dead)}, called by their own file "
          f"only {len(own)}, by tests only {len(tested)}")
    for kind, group in (("none", dead), ("own", own), ("tests", tested)):
        for name, header in group:
            print(f"  {kind:6}{header} {name}")
    print("macros without a use:", *[f"{p} {n}" for n, p in unused_macros(sources, tests)])
    print("circles:", *["{" + " ".join(sorted(c)) + "}" for c in circles(sources)])


def main():
    os.chdir(os.path.join(os.path.dirname(__file__), ".."))
    sources = {p: text_of(p) for p in tracked("src/*.c", "src/*.h", "src/*.cu", "src/*.cuh")}
    tests = {p: text_of(p) for p in tracked("tests/*.c", "tests/*.h", "tests/*.cpp", "examples/*.c")}
    if "--figures" in sys.argv:
        return figures(sources, tests)
    check_layers(sources)
    check_families(sources)
    check_circles(sources)
    check_calls(sources)
    check_sizes(sources, tests)
    check_first_lines(sources)
    check_callers(sources, tests)
    check_page()
    check_links()
    check_format([*sources, *tests])
    for f in faults:
        print("lint:", f)
    return 1 if faults else 0


sys.exit(main())
