"""The guard rails: what hostile and broken clients get, and that the rest go on being served."""
import json, re, socket, threading, time, unittest
from lib import SLOW, Case, Server, eventually, request

HEAD = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Guard(Case):
    @classmethod
    def setUpClass(cls):
        cls.s = Server(HTTP_HEAD_SECONDS=1.5, HTTP_BODY_SECONDS=1.5, HTTP_IDLE_SECONDS=4)

    @classmethod
    def tearDownClass(cls):
        assert cls.s.ask("GET", "/health").code == 200
        cls.s.close()

    def code(self, data):
        got = self.s.raw(data)
        return int(got.split()[1]) if got.startswith(b"HTTP/1.1 ") else None

    # ---- smuggling shapes: refused, and the connection closed so that nothing after it is read

    def test_shapes_that_smuggle_requests_are_refused(self):
        hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
        for shape in [
            HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
            HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + hidden,
            HEAD + b"Content-Length: 4\r\nContent-Length: 0\r\n\r\n{}  " + hidden,
            HEAD + b"Content-Length: 4, 4\r\n\r\n{}  " + hidden,
            HEAD + b"Content-Length: +4\r\n\r\n{}  " + hidden,
            HEAD + b"Content-Length: 0x4\r\n\r\n{}  " + hidden,
            HEAD + b"Content-Length: -1\r\n\r\n" + hidden,
            HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n" + hidden,
            HEAD + b"Content-Length : 4\r\n\r\n{}  " + hidden,
            HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
            HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + hidden,
            HEAD + b"Transfer-Encoding: identity\r\n\r\n" + hidden,
            HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + hidden,
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n" + hidden,
        ]:
            got = self.s.raw(shape, 1)
            codes = set(re.findall(rb"HTTP/1\.1 (\d+)", got))
            self.assertLessEqual(codes, {b"400", b"413"}, (shape, got))
        self.assertNotIn("/hidden", self.s.log())

    def test_what_is_not_http_is_refused(self):
        for data in [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200, b"hello\r\n\r\n",
                     b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"\r\n" * 50, b"\0" * 1000,
                     b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"]:
            got = self.s.raw(data, 2)
            self.assertNotRegex(got, rb"^HTTP/1.1 (2|500)", data)

    # ---- size

    def test_large_heads_and_bodies_are_refused(self):
        self.assertEqual(self.code(HEAD + b"Content-Length: 70000\r\n\r\n" + b" " * 70000), 413)
        self.assertEqual(self.code(HEAD + b"Expect: 100-continue\r\nContent-Length: 70000\r\n\r\n"), 413)
        self.assertEqual(self.code(HEAD + b"Content-Length: 99999999999\r\n\r\n"), 413)
        self.assertEqual(self.code(HEAD + b"X: " + b"y" * 60000 + b"\r\n\r\n"), 431)
        self.assertEqual(self.code(b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), 414)
        many = b"".join(b"X-%d: y\r\n" % i for i in range(100))
        self.assertEqual(self.code(HEAD + many + b"Content-Length: 2\r\n\r\n{}"), 400)
        chunks = b"1000\r\n" + b" " * 4096 + b"\r\n"
        self.assertEqual(self.code(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks * 20 +
                                   b"0\r\n\r\n"), 413)

    def test_deep_and_huge_json_is_refused(self):
        def post(text):
            return self.s.ask("POST", "/generate", text, {"Content-Type": "application/json"}).code
        self.assertEqual(post("[" * 30000 + "]" * 30000), 400)
        self.assertEqual(post('{"a":' * 5000 + "1" + "}" * 5000), 400)
        b = request()
        b["parameters"]["random_seed"] = 0
        # What no number can hold is a fault of its field, not of the whole body.
        self.assertEqual(post(json.dumps(b).replace('"random_seed": 0', '"random_seed": ' + "9" * 400)), 422)
        self.assertEqual(post(json.dumps(b).replace('"random_seed": 0', '"target_bpm": 1e999')), 422)
        self.assertEqual(self.s.ask("POST", "/generate", request(parameters={"prompt": "ä" * 4097})).code, 422)
        self.assertEqual(self.s.ask("POST", "/generate", request(parameters={"prompt": "ä" * 4096})).code, 202)
        self.assertEqual(self.s.ask("POST", "/generate", request(target_stems=["drums"] * 1000)).code, 422)

    def test_wrong_encodings_are_refused(self):
        text = json.dumps(request())
        for raw in [text.encode("utf-16"), text.encode("utf-32"), b"\xef\xbb\xbf" + b"\xff\xfe", b'{"a":"\xc0\xaf"}',
                    b'{"a":"\xed\xa0\x80"}', text.encode() + b"\0"]:
            a = self.s.ask("POST", "/generate", raw, {"Content-Type": "application/json"})
            self.assertEqual(a.code, 400, raw[:40])
        a = self.s.ask("POST", "/generate", text, {"Content-Type": "application/json", "Content-Encoding": "gzip"})
        self.assertEqual(a.code, 415)

    # ---- time

    def test_slow_clients_are_cut_off_and_hold_up_nobody(self):
        drips = [self.s.connect() for _ in range(50)]
        body = self.s.connect()
        body.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
        end = time.monotonic() + 4 * SLOW
        alive = True
        while alive and time.monotonic() < end:
            for c in drips + [body]:
                try:
                    c.send(b"G")
                except OSError:
                    pass
            start = time.monotonic()
            self.assertEqual(self.s.ask("GET", "/health").code, 200)
            self.assertLess(time.monotonic() - start, 1 * SLOW)
            time.sleep(0.1)
            alive = any(not closed(c) for c in drips + [body])
        self.assertFalse(alive, "a dripping client is still connected")
        for c in drips + [body]:
            c.close()

    def test_an_idle_connection_is_closed(self):
        with self.s.connect() as c:
            c.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertTrue(c.recv(4096))
            c.settimeout(8 * SLOW)
            self.assertEqual(c.recv(4096), b"")

    # ---- number

    def test_one_client_cannot_take_all_connections(self):
        s = self.serve(HTTP_CLIENT_CONNECTIONS_MAX=10)
        held = []
        for _ in range(30):
            c = s.connect()
            c.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            held.append(c)
        time.sleep(0.3)
        served = 0
        for c in held:
            c.settimeout(0.5)
            try:
                served += c.recv(100).startswith(b"HTTP/1.1 200")
            except OSError:
                pass
            c.close()
        self.assertEqual(served, 10)

        def served_again():
            try:
                return s.ask("GET", "/health").code == 200
            except OSError:
                return False
        eventually("it is served again", served_again)

    def test_ids_cannot_leave_their_folder(self):
        for id in ["..", "../x", "a/b", "a\\b", ".a", "a.", "a..b", "%2e%2e", "a b", "", "x" * 129, "\u00e4", "a\n"]:
            for field in ["generation_request_id", "audio_file_id"]:
                a = self.s.ask("POST", "/generate", request(**{field: id}))
                self.assertEqual((a.code, a.json["errors"][0]["pointer"]), (422, "/" + field), id)

    def test_no_secret_is_logged(self):
        s = self.serve(API_KEYS="key-of-the-api", CALLBACK_SECRET="whsec_" + "c2VjcmV0" * 6)
        r = self.receive()
        s.ask("GET", "/jobs", headers={"Authorization": "Bearer key-of-the-api"})
        s.ask("GET", "/jobs?sig=hunter2", headers={"Authorization": "Bearer wrong-guess"})
        s.ask("POST", "/generate", request(callback_url=r.url + "?sig=hunter2", parameters={"prompt": "my words"}),
              headers={"X-Api-Key": "key-of-the-api"})
        r.wait()
        eventually("it is logged", lambda: "Sent success callback" in s.log())
        for secret in ["key-of-the-api", "wrong-guess", "c2VjcmV0", "hunter2", "my words"]:
            self.assertNotIn(secret, s.log())


def closed(c):
    c.setblocking(False)
    try:
        return c.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        try:
            c.setblocking(True)
        except OSError:
            pass


class Ssrf(Case):
    def test_addresses_that_are_never_called(self):
        s = self.serve()
        for url in ["http://169.254.169.254/latest/meta-data", "http://[fe80::1]/", "http://0.0.0.0/",
                    "http://224.0.0.1/", "http://[::ffff:169.254.169.254]/", "http://168.63.129.16/",
                    "http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/",
                    "file:///etc/passwd", "gopher://127.0.0.1/", "http://user:pw@127.0.0.1/", "http://", "//x/", "x",
                    "http://127.0.0.1/#f", "http://a b/", "http://127.0.0.1:99999/", "http://" + "a" * 3000 + "/"]:
            a = s.ask("POST", "/generate", request(callback_url=url))
            self.assertEqual(a.code, 422, url)
            self.assertEqual(a.json["errors"][0]["pointer"], "/callback_url", url)

    def test_private_addresses_can_be_refused_in_every_spelling(self):
        s = self.serve(CALLBACK_ALLOW_PRIVATE="false")
        r = self.receive()
        blocked = 0
        for host in ["127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "[::1]",
                     "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1",
                     "[fd00::1]"]:
            b = request(callback_url=f"http://{host}:{r.port}/", parameters={"duration_seconds": 0.1})
            a = s.ask("POST", "/generate", b)
            if a.code == 202:  # a name: judged when it is resolved
                j = eventually(host, lambda: (j := s.job(b["generation_request_id"]))["callback"]["state"] == "dead" and j)
                self.assertNotEqual(j["callback"]["last_error"], "")
            else:
                self.assertEqual((a.code, a.json["errors"][0]["pointer"]), (422, "/callback_url"), host)
            blocked += 1
        self.assertEqual(r.got, [])
        self.assertEqual(blocked, 14)

    def test_only_listed_origins_are_called(self):
        r, other = self.receive(), self.receive()
        s = self.serve(CALLBACK_ALLOWED_ORIGINS=f"http://127.0.0.1:{r.port}", CALLBACK_ALLOW_PRIVATE="false")
        s.submit(callback_url=r.url)
        r.wait()
        a = s.ask("POST", "/generate", request(callback_url=other.url))
        self.assertEqual(a.code, 422)
        a = s.ask("POST", "/generate", request(callback_url=r.url.replace("127.0.0.1", "localhost")))
        self.assertEqual(a.code, 422)

    def test_redirects_are_not_followed(self):
        target = self.receive()
        r = self.receive((302, {"Location": target.url}), (307, {"Location": target.url}))
        s = self.serve()
        s.submit(callback_url=r.url)
        r.wait(3)
        self.assertEqual(target.got, [])


if __name__ == "__main__":
    unittest.main()
