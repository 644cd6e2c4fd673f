"""cut_proxy.py - a network that a test can cut: forwards TCP to one port, breaks or holds what goes through."""
import selectors, socket, struct, threading, time


class CutProxy:
    def __init__(self, target):
        self.target, self.lock, self.pairs = target, threading.Lock(), {}
        self.held_until = self.refused_until = 0.0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.selector, self.closing = selectors.DefaultSelector(), False
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)
        threading.Thread(target=self.run, daemon=True).start()

    def cut(self, refuse=0.0):
        """Breaks every connection by a reset; refuses new ones for some seconds."""
        self.refused_until = time.monotonic() + refuse
        with self.lock:
            for a in list(self.pairs):
                self.drop(a)

    def hold(self, seconds):
        """Nothing gets through for that long, and nobody is told."""
        self.held_until = time.monotonic() + seconds

    def close(self):
        self.closing = True
        self.cut()
        self.listener.close()

    def drop(self, a):
        for s in (a, self.pairs.pop(a, None)):
            if s is None:
                continue
            self.pairs.pop(s, None)
            try:
                self.selector.unregister(s)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except (KeyError, OSError, ValueError):
                pass
            s.close()

    def accept(self):
        a, _ = self.listener.accept()
        if time.monotonic() < self.refused_until:
            a.close()
            return
        try:
            b = socket.create_connection(("127.0.0.1", self.target), 2)
        except OSError:
            a.close()
            return
        for s in (a, b):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pairs[a], self.pairs[b] = b, a
        self.selector.register(a, selectors.EVENT_READ)
        self.selector.register(b, selectors.EVENT_READ)

    def forward(self, s):
        other = self.pairs.get(s)
        if other is None:
            return
        try:
            data = s.recv(65536)
            if data:
                other.sendall(data)
                return
        except OSError:
            pass
        self.drop(s)

    def run(self):
        while not self.closing:
            try:
                ready = self.selector.select(0.05)
            except OSError:
                return
            if time.monotonic() < self.held_until:
                time.sleep(0.02)
                continue
            with self.lock:
                for key, _ in ready:
                    try:
                        if key.fileobj is self.listener:
                            self.accept()
                        else:
                            self.forward(key.fileobj)
                    except OSError:
                        pass
