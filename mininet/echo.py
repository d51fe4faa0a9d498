"""A TCP echo for a lab's hosts: `echo.py serve PORT`, `echo.py connect ADDRESS PORT TIMEOUT`.

connect exchanges a line and prints the milliseconds that all took, or what went wrong.
"""

import socket
import socketserver
import sys
import time

LINE = b"hello"


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(self.request.recv(len(LINE)))


def serve(port):
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer(("", int(port)), Echo).serve_forever()


def connect(address, port, timeout):
    start = time.monotonic()
    try:
        with socket.create_connection((address, int(port)), timeout=float(timeout)) as s:
            s.sendall(LINE)
            if s.recv(len(LINE)) != LINE:
                print("another line came back")
                return
    except OSError as e:
        print(e)
    else:
        print("%.1f" % ((time.monotonic() - start) * 1000))


if __name__ == "__main__":
    {"serve": serve, "connect": connect}[sys.argv[1]](*sys.argv[2:])
