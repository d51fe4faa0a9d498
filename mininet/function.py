"""The controller as a function over HTTPS, for labs."""

import atexit
import os
import secrets
import socket
import subprocess
import time

from switchbridge import end_with_parent, find_switchbridge, free_port


class Function:
    """A `switchbridge function serve` of a lab's own, with its development CA and its token.

    policy: the policy file, which the function reads again when it changes
    folder: where its token, its CA and its log are
    port: 0, the default, picks a free one
    """

    def __init__(self, policy, folder, name="function", port=0):
        self.policy, self.folder, self.name = policy, folder, name
        self.port = port or free_port()
        self.url = "https://127.0.0.1:%d" % self.port
        self.ca = os.path.join(folder, "development-ca.pem")
        self.token_file = os.path.join(folder, "token")
        self.log = os.path.join(folder, name + ".log")
        self.process = None
        if not os.path.exists(self.token_file):
            with open(self.token_file, "w", opener=_private) as f:
                f.write(secrets.token_urlsafe(32) + "\n")
        atexit.register(self.stop)
        self.start()

    def start(self, seconds=15):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [find_switchbridge(), "function", "serve", "--listen", "127.0.0.1:%d" % self.port,
                 "--policy", self.policy, "--token-file", self.token_file, "--dev-ca", self.folder],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, preexec_fn=end_with_parent)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        with open(self.log) as log:
            raise RuntimeError("the function does not serve:\n" + log.read())

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def gateway_args(self):
        """Return what `switchbridge run` wants to know beside the URL."""
        return ["--function-ca", self.ca, "--function-token-file", self.token_file]


def _private(path, flags):
    return os.open(path, flags, 0o600)
