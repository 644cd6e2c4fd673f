"""What only a running service says, for run.sh: the members of a callback and the names in /metrics on stdout;
the digests of the stems it serves are added to the file given. Usage: service.py PROGRAM SOUND_LIST"""
import hashlib, json, pathlib, re, sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "api"))
from lib import ROOT, Receiver, Server, eventually, request

# Values that differ from run to run: only their names and types are kept.
VARIABLE = ("processing_time_seconds", "timestamp", "blob_url")


def members(value, at=""):
    """Each leaf of a document as `path value`."""
    if isinstance(value, dict):
        for name in value:
            yield from members(value[name], f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from members(item, f"{at}[{i}]")
    elif at.split(".")[-1] in VARIABLE:
        yield f"{at} ({type(value).__name__})"
    else:
        yield f"{at} {json.dumps(value)}"


def metrics(text):
    """Each metric as `name kind {labels}`, in the order of the page."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    for name, kind in kinds.items():
        labels = sorted({label for line in re.findall(rf"^{name}(?:_bucket)?{{(.*)}}", text, re.M)
                         for label in re.findall(r'(\w+)="', line)})
        yield f"{name} {kind} {{{','.join(labels)}}}"


def main():
    receiver = Receiver()
    server = Server(binary=pathlib.Path(sys.argv[1]).resolve(),
                    flags=["serve", "--model", str(ROOT / "tests/parity/mono/model")])
    body = request(generation_request_id="request-1", audio_file_id="audio-1", target_stems=["drums", "bass"],
                   parameters={"duration_seconds": 0.5, "random_seed": 5, "target_bpm": 120,
                               "chord_progression": ["Am", "F"]}, callback_url=receiver.url)
    server.submit(body)
    server.wait_job("request-1", seconds=60)
    with open(sys.argv[2], "a") as out:
        for stem in body["target_stems"]:
            data = server.ask("GET", f"/files/audio-1/generated/request-1/{stem}.wav").body
            print(hashlib.sha256(data).hexdigest(), "served", stem, file=out)
    for line in members(receiver.wait(1)[0]):
        print("callback", line)
    eventually("the callback is counted", lambda: b"callback_attempts_total{" in server.ask("GET", "/metrics").body)
    for line in metrics(server.ask("GET", "/metrics").body.decode()):
        print("metric", line)
    server.close()
    receiver.close()


main()
