"""openapi30.py <web/openapi.json >web/openapi-3.0.json - the API document for tools that read OpenAPI 3.0 alone.

Everything is said by the document of 3.1; this is its other spelling: null is `nullable`, a constant is an enum of one, a
list of examples is one example, bytes are a binary string, and the webhooks are callbacks of POST /generate.
"""
import json
import sys


def schema(s):
    if isinstance(s.get("type"), list):
        kinds = [t for t in s["type"] if t != "null"]
        if len(kinds) != 1:
            sys.exit(f"openapi30.py: expected one type besides null, found {s['type']}")
        if len(kinds) < len(s["type"]):
            s["nullable"] = True
        s["type"] = kinds[0]
    if "const" in s:
        value = s.pop("const")
        if not isinstance(value, str):
            sys.exit(f"openapi30.py: expected a constant that is a string, found {value!r}")
        s.update(type="string", enum=[value])
    if "examples" in s:
        s["example"] = s.pop("examples")[0]


def walk(node, inside=None):
    """inside: the member of its parent that node is."""
    if isinstance(node, list):
        for one in node:
            walk(one)
    if not isinstance(node, dict):
        return
    names = inside in ("properties", "schemas", "example", "value", "examples")  # members, not words of OpenAPI
    if not names and ({"type", "const", "enum"} & node.keys()):
        schema(node)
    if inside == "content":
        for kind, body in node.items():
            if kind.startswith("audio/"):
                body["schema"] = {"type": "string", "format": "binary"}
    for name, value in node.items():
        if name not in ("example", "value", "default", "enum", "required") or names:
            walk(value, None if names else name)


def main():
    document = json.load(sys.stdin)
    document["openapi"] = "3.0.3"
    document["info"]["description"] = document["info"].pop("summary") + "\n\n" + document["info"]["description"]
    told = document.pop("webhooks")
    walk(document)
    walk(told)
    document["paths"]["/generate"]["post"]["callbacks"] = {
        name: {"{$request.body#/callback_url}": one} for name, one in told.items()}
    json.dump(document, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
