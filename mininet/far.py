"""A function that is far away, for labs."""

import queue
import socket
import threading
import time

from switchbridge import free_port


class Far:
    """A port of the loopback from which everything goes to another one, half a round trip later in each direction.

    What passes is not looked at: the certificate that a client sees is the function's own.
    """

    def __init__(self, port, rtt):
        self.target, self.delay = port, rtt / 2
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.url = "https://127.0.0.1:%d" % self.port
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(near,), daemon=True).start()

    def _relay(self, near):
        time.sleep(2 * self.delay)  # SYN and SYN-ACK
        try:
            far = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            near.close()
            return
        for s in near, far:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in (near, far), (far, near):
            way = queue.Queue()
            threading.Thread(target=self._read, args=(source, way), daemon=True).start()
            threading.Thread(target=self._write, args=(sink, way), daemon=True).start()

    def _read(self, source, way):
        data = b"-"
        while data:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            way.put((time.monotonic() + self.delay, data))

    @staticmethod
    def _write(sink, way):
        data = b"-"
        while data:
            due, data = way.get()
            time.sleep(max(0, due - time.monotonic()))
            try:
                sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)
            except OSError:
                return
