"""Switchbridge for Mininet.

    sudo mn --custom mininet/switchbridge.py --controller switchbridge --topo linear,3

starts a gateway, waits until it is ready, gives Mininet's switches to it and ends it with the network.
Parameters follow the controller's name:

    --controller switchbridge,policy=configs/policies/blocklist.yaml
    --controller switchbridge,port=0,function=https://controller.example/

`mn` with this file also gets, under the names that it uses by default:

  * hosts whose checksum offload and IPv6 autoconfiguration are off,
  * switches that are governed (fail mode secure, no in-band rules), that forward in userspace where the
    kernel has no Open vSwitch, and that never take the place of a bridge which the machine has already.

The program is found by the variable SWITCHBRIDGE, then in PATH, then as ./bin/switchbridge.
`mn` executes this file with exec: there is no __file__ here, and every name below becomes one of mn's.
"""

import atexit
import ctypes
import difflib
import inspect
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from mininet.log import error, info
from mininet.node import Controller, Host, OVSSwitch
from mininet.util import errRun

READY_SECONDS = 15


def find_switchbridge():
    """Return the path of the switchbridge program, or None."""
    named = os.environ.get("SWITCHBRIDGE")
    if named:
        return named
    return shutil.which("switchbridge") or shutil.which("./bin/switchbridge")


def free_port():
    """Return a TCP port of the loopback that nothing listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_free(port):
    """Return whether nothing listens on a TCP port of the loopback."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def give_up(reason):
    """End Mininet before it has made anything.

    Not an exception: `mn` answers those by deleting every bridge of the machine.
    """
    error("*** switchbridge: %s\n" % reason)
    sys.exit(1)


def end_with_parent():
    """Have the kernel end the calling process when Mininet goes, however it goes."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def quiet_ipv6(intf):
    """Stop an interface's router solicitations and neighbour discovery: they would ask the controller too."""
    path = "/proc/sys/net/ipv6/conf/%s/disable_ipv6" % intf
    if os.path.exists(path):
        with open(path, "w") as f:
            f.write("1")


def parameters(cls):
    """Return the names of the parameters that a Mininet class and those that it derives from take."""
    names = set()
    for c in cls.__mro__:
        for function in vars(c).get("__init__"), vars(c).get("config"):
            if function:
                names.update(n for n, p in inspect.signature(function).parameters.items() if p.kind != p.VAR_KEYWORD)
    return names - {"self", "name", "command", "cargs", "cdir", "verbose", "_params"}


class SwitchbridgeController(Controller):
    """A gateway of its own for the network.

    port: where it takes OpenFlow sessions (6653); 0 picks a free port
    admin: its admin port (3000 above port, so 9653, or a free one where that is taken); 0 picks a free one
    policy, config, function: as in `switchbridge run --help`; function may be a list
    args: further arguments for `switchbridge run`, a list, or a string without quotes
    log: file for its log (/tmp/<name>.log)
    """

    def __init__(self, name, port=6653, admin=None, policy=None, config=None, function=None, args=(),
                 log=None, **params):
        known = parameters(SwitchbridgeController)
        for unknown in sorted(set(params) - known):
            # Mininet would let it pass, and a misspelt policy would leave the network open.
            give_up("--controller switchbridge: no parameter %s; there are %s" % (unknown, ", ".join(sorted(known))))
        for key, value in ("port", port), ("admin", 0 if admin is None else admin):
            if not isinstance(value, int) or not 0 <= value <= 65535:
                give_up("--controller switchbridge: %s=%s: want a port's number; parameters are written KEY=VALUE" % (key, value))
        program = find_switchbridge()
        if not program:
            give_up("no program: run `make build`, or name it in the variable SWITCHBRIDGE")
        if admin is None and 0 < port <= 65535 - 3000 and is_free(port + 3000):
            admin = port + 3000
        self.adminPort = admin or free_port()
        self.log = log or "/tmp/%s.log" % name
        open(self.log, "w").close()
        self.process = None
        super().__init__(name, command=program, port=port or free_port(), **params)

        argv = [program, "run",
                "--openflow", "%s:%d" % (self.ip, self.port),
                "--admin", "127.0.0.1:%d" % self.adminPort]
        functions = [function] if isinstance(function, str) else function or []
        for flag, values in ("policy", [policy]), ("config", [config]), ("function", functions):
            for value in filter(None, values):
                argv += ["--" + flag, value]
        argv += args.split() if isinstance(args, str) else list(args)

        self.argv = argv
        atexit.register(self.end)
        # Already here, not in start: Mininet makes its controllers first, and a gateway that won't run, for
        # an error in its policy say, is best noticed before there is a network to take down.
        self.run()

    def run(self):
        """Run the gateway, which may have ended meanwhile, and wait until it is ready."""
        with open(self.log, "a") as log_file:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log_file,
                                            stderr=subprocess.STDOUT, preexec_fn=end_with_parent)
        self.wait_ready()

    def checkListening(self):
        """Give up if somebody else has the port. (Mininet's own check wants telnet.)"""
        with socket.socket() as s:
            # The port of a gateway that has just ended may be taken again, one that is in use may not.
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((self.ip, self.port))
            except OSError as e:
                give_up("%s:%d: %s; port=0 takes a free one" % (self.ip, self.port, e.strerror))

    def admin(self, path, timeout=2):
        """Return the text that the admin interface has at the path."""
        url = "http://127.0.0.1:%d%s" % (self.adminPort, path)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=timeout) as response:
            return response.read().decode()

    def wait_ready(self):
        deadline = time.monotonic() + READY_SECONDS
        while True:
            if self.process.poll() is not None:
                give_up("the gateway ended with status %d:\n%s" % (self.process.returncode, self.log_tail()))
            try:
                self.admin("/readyz")
                return
            except urllib.error.HTTPError as e:
                reason = e.read().decode(errors="replace").strip()
            except OSError as e:
                reason = str(e)
            if time.monotonic() > deadline:
                self.end()
                give_up("the gateway is not ready after %d s: %s\n%s" % (READY_SECONDS, reason, self.log_tail()))
            time.sleep(0.02)

    def log_tail(self, lines=10):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:]) + "(%s)" % self.log

    def connected_dpids(self):
        """Return the datapath identifiers, 16 hex digits each, of the switches with a session."""
        reply = json.loads(self.admin("/api/v1/switches"))
        switches = reply.get("switches", []) if isinstance(reply, dict) else reply
        return {s["dpid"] for s in switches}

    def p4_states(self):
        """Return the states of the gateway's P4 switches: "serving" where it governs one."""
        return [s["State"] for s in json.loads(self.admin("/api/v1/p4"))]

    def wait_p4(self, seconds=20):
        """Wait until the gateway governs all its P4 switches."""
        deadline = time.monotonic() + seconds
        while set(self.p4_states()) != {"serving"}:
            if time.monotonic() > deadline:
                raise RuntimeError("P4 switches are not served: %s\n%s" % (self.p4_states(), self.log_tail()))
            time.sleep(0.02)

    def start(self):
        info("(openflow %s:%d, page and metrics http://127.0.0.1:%d/, log %s) " % (self.ip, self.port, self.adminPort, self.log))

    def end(self):
        """End the gateway: it drains when asked to, and has ten seconds for that."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def stop(self, *args, **kwargs):
        self.end()
        atexit.unregister(self.end)
        super(Controller, self).stop(*args, **kwargs)  # Controller's would look for a job of its shell

    @classmethod
    def isAvailable(cls):
        return find_switchbridge()


class GovernedSwitch(OVSSwitch):
    """An Open vSwitch bridge that does as its controller says, and nothing else.

    datapath: "user" or "kernel"; by default the kernel's where it is loaded, else userspace
    Fail mode secure and no in-band rules are OVSSwitch's own defaults. Its other parameters apply.
    """

    def __init__(self, name, datapath=None, **params):
        known = parameters(GovernedSwitch)
        for unknown in sorted(set(params) - known):
            # A topology may have attributes of its own for its switches; what looks like one of ours is a slip.
            meant = difflib.get_close_matches(unknown.lower(), {k.lower(): k for k in known}, 1, 0.75)
            if meant:
                give_up("switch %s: no parameter %s; there are %s" % (name, unknown, ", ".join(sorted(known))))
        if datapath is None:
            datapath = "kernel" if os.path.isdir("/sys/module/openvswitch") else "user"
        # OVSSwitch deletes a bridge of this name when it starts.
        _out, err, status = errRun("ovs-vsctl", "--timeout=5", "br-exists", name)
        if status not in (0, 2):  # ovs-vsctl(8): 2 is that there is no such bridge
            give_up("Open vSwitch does not answer: start it (sudo service openvswitch-switch start), or use one that ends with"
                    " the network (sudo mininet/sandbox.py mn ...)\n%s" % err.strip())
        if status == 0:
            give_up("the machine has a bridge %s already: choose other names for the switches" % name)
        self.gateways = []
        super().__init__(name, datapath=datapath, **params)

    def start(self, controllers):
        self.gateways = [c for c in controllers if isinstance(c, SwitchbridgeController)]
        for intf in self.intfList():
            quiet_ipv6(str(intf))  # on a link between switches, our end's packets come in at the other
        super().start(controllers)

    def connected(self):
        # ovsdb's is_connected is up to five seconds late; the gateway knows at once.
        if self.gateways:
            return any(self.dpid in gateway.connected_dpids() for gateway in self.gateways)
        return super().connected()


class QuietHost(Host):
    """A host that works over a userspace switch and sends nothing that it wasn't asked to."""

    def config(self, **params):
        result = super().config(**params)
        # Else router solicitations and neighbour discovery ask the controller too.
        for scope in "all", "default":
            self.cmd("echo 1 >/proc/sys/net/ipv6/conf/%s/disable_ipv6" % scope)
        for intf in self.intfList():
            # Over veth the kernel leaves checksums to a card that isn't there, and a userspace switch
            # passes them on as they are: ping works, TCP doesn't.
            complaint = self.cmd("ethtool -K %s tx off >/dev/null || echo failed" % intf)
            if complaint.strip():
                error("*** %s: ethtool -K %s tx off: %s" % (self, intf, complaint))
        return result


# What `mn --custom` adds to its tables. The default names are meant: without them a plain
# `mn --custom mininet/switchbridge.py --controller switchbridge` would not forward TCP in userspace.
controllers = {"switchbridge": SwitchbridgeController}
switches = {"default": GovernedSwitch, "ovs": GovernedSwitch, "governed": GovernedSwitch}
hosts = {"proc": QuietHost, "quiet": QuietHost}
