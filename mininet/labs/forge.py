#!/usr/bin/python3
"""A host that forges: a sensor's events, a server's answers, another's ARP, with and without a source guard.

    sudo mininet/labs/forge.py
    sudo mininet/labs/forge.py bmv2

The policy lets the sensor h1 tell the camera h2, and lets the server h3 answer anybody. h4 may do nothing. What h4 sends with the
others' addresses passes all the same, until a source guard knows who is where.
"""

import ctypes
import os
import socket
import struct
import sys
import tempfile
import time

MININET = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, MININET)

import sandbox

if __name__ == "__main__":
    sandbox.enter()  # ahead of the imports: it is what says that Mininet is missing, if it is

from bmv2 import BMv2Switch, find_bmv2
from lab import Checks
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.topo import Topo
from switchbridge import GovernedSwitch, QuietHost, SwitchbridgeController

RULES = """\
  - header:
      rules:
        - {name: arp,     match: {eth_type: arp}, action: allow}
        - {name: events,  match: {ip_src: 10.0.0.1, ip_dst: 10.0.0.2, udp_dst: 5683}, action: allow}
        - {name: answers, match: {ip_src: 10.0.0.3, udp_src: 53}, action: allow}
"""

GUARD = """\
  - sourceguard:
      bindings:
        - {port: 1, mac: "02:00:00:00:00:01", addresses: [10.0.0.1]}
        - {port: 2, mac: "02:00:00:00:00:02", addresses: [10.0.0.2]}
        - {port: 3, mac: "02:00:00:00:00:03", addresses: [10.0.0.3]}
        - {port: 4, mac: "02:00:00:00:00:04", addresses: [10.0.0.4]}
"""

LIBC = ctypes.CDLL(None, use_errno=True)

SECONDS = 1  # for a packet to arrive, which is asked about on its way


class OneSwitch(Topo):
    def build(self, switch):
        self.addSwitch("s1", **switch)
        for number in range(1, 5):
            self.addLink(self.addHost("h%d" % number, ip="10.0.0.%d/24" % number, mac="02:00:00:00:00:%02x" % number), "s1")


def mac(number):
    return bytes([2, 0, 0, 0, 0, number])


def address(number):
    return bytes([10, 0, 0, number])


def checksum(b):
    total = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def datagram(eth_src, src, dst, sport, dport, text):
    """Return a frame of UDP over IPv4, without UDP's checksum."""
    udp = struct.pack("!HHHH", sport, dport, 8 + len(text), 0) + text
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + address(src) + address(dst)
    return mac(dst) + mac(eth_src) + b"\x08\x00" + ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + udp


def arp_reply(eth_src, sha, spa, to):
    """Return a frame in which spa says that it is at sha."""
    return (mac(to) + mac(eth_src) + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) +
            mac(sha) + address(spa) + mac(to) + address(to))


class Network:
    """One network with one policy."""

    def __init__(self, folder, name, policy, bmv2):
        path = os.path.join(folder, name + ".yaml")
        with open(path, "w") as f:
            f.write("serial: 1\nchain:\n" + policy)
        switch, args = {"cls": GovernedSwitch}, []
        if bmv2:
            switch = {"cls": BMv2Switch, "device": 1}
            args = ["--p4", "device=1,addr=127.0.0.1:9559,miss=punt,ports=1-4"]
        gateway = SwitchbridgeController("gateway", port=0, policy=path, args=args, log=os.path.join(folder, name + ".log"))
        self.net = Mininet(OneSwitch(switch), host=QuietHost, controller=lambda _name: gateway)
        self.gateway = gateway
        self.net.start()
        if not bmv2 and not self.net.waitConnected(timeout=15, delay=0.05):
            raise RuntimeError("the switch has no session:\n" + gateway.log_tail())
        self.hosts = self.net.hosts

    def send(self, number, frame):
        """Send a frame from a host, whatever it says."""
        in_host(self.hosts[number - 1], lambda: _send("h%d-eth0" % number, frame))

    def arrives(self, sender, frame, receiver, port, text):
        """Send a frame until its text arrives, at most three times; return the milliseconds it took, or None.

        The first one is asked about, and a BMv2 may not be ready for it; those after it meet what was installed.
        """
        s = in_host(self.hosts[receiver - 1], lambda: _listen(port))
        try:
            start = time.monotonic()
            for _ in range(3):
                self.send(sender, frame)
                s.settimeout(SECONDS)
                try:
                    while True:
                        if s.recv(2048) == text:
                            return 1000 * (time.monotonic() - start)
                except socket.timeout:
                    pass
            return None
        finally:
            s.close()

    def neighbour(self, number, of):
        """Return where a host believes that another's address is."""
        out = self.hosts[number - 1].cmd("ip neigh show 10.0.0.%d" % of).split()
        return out[out.index("lladdr") + 1] if "lladdr" in out else "unknown"

    def stop(self):
        self.net.stop()
        self.gateway.end()


def in_host(host, do):
    """Call a function in a host's network namespace."""
    with open("/proc/self/ns/net") as here, open("/proc/%d/ns/net" % host.pid) as there:
        _setns(there)
        try:
            return do()
        finally:
            _setns(here)


def _setns(namespace):
    CLONE_NEWNET = 0x40000000
    if LIBC.setns(namespace.fileno(), CLONE_NEWNET):  # os.setns is Python 3.12's
        raise OSError(ctypes.get_errno(), "setns")


def _listen(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    return s


def _send(intf, frame):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((intf, 0))
        s.send(frame)


def lab(folder, bmv2):
    checks = Checks()

    def took(ms):
        return "arrives after %.1f ms" % ms if ms is not None else "does not arrive"

    for name, guard, passes in ("without", "", True), ("with", GUARD, False):
        print("\n%s a source guard:" % name.capitalize())
        net = Network(folder, name, guard + RULES, bmv2)

        def arrives(what, expected, *args):
            ms = net.arrives(*args)
            checks.check((ms is not None) == expected, what, took(ms))

        # The honest ones first, so that their rules are in the switch when the forger comes.
        event, answer = b"event", b"answer"
        arrives("the sensor's event", True, 1, datagram(1, 1, 2, 40000, 5683, event), 2, 5683, event)
        arrives("the server's answer", True, 3, datagram(3, 3, 1, 53, 40053, answer), 1, 40053, answer)
        forged, lie = b"forged event", b"forged answer"
        arrives("an event with its IP address", passes, 4, datagram(4, 1, 2, 40000, 5683, forged), 2, 5683, forged)
        arrives("an answer with the server's", passes, 4, datagram(4, 3, 1, 53, 40053, lie), 1, 40053, lie)

        # Else a host believes no second word about an address for a second.
        net.hosts[0].cmd("echo 0 > /proc/sys/net/ipv4/neigh/h1-eth0/locktime")
        for what, sender, frame, expected in (
                ("the server's own ARP", 3, arp_reply(3, 3, 3, to=1), 3),
                ("h4 says it is the server", 4, arp_reply(4, 4, 3, to=1), 4 if passes else 3),
                ("h4 says so in its name", 4, arp_reply(3, 4, 3, to=1), 4 if passes else 3)):
            before = 9 if sender == 3 else 3
            net.hosts[0].cmd("ip neigh replace 10.0.0.3 lladdr 02:00:00:00:00:%02x dev h1-eth0 nud stale" % before)
            deadline = time.monotonic() + SECONDS
            while net.neighbour(1, 3) == "02:00:00:00:00:%02x" % before and time.monotonic() < deadline:
                net.send(sender, frame)  # again, since a word that comes in the same tick as the last one doesn't count
                time.sleep(0.1)
            believed = net.neighbour(1, 3)
            checks.check(believed == "02:00:00:00:00:%02x" % expected, what, "h1 looks for it at " + believed)

        arrives("an event with both addresses", passes, 4, datagram(1, 1, 2, 40000, 5683, forged), 2, 5683, forged)
        # Where that passed, the switch looks for the sensor behind h4 now. It still may speak.
        arrives("the sensor's event again", True, 1, datagram(1, 1, 2, 40000, 5683, event), 2, 5683, event)
        net.stop()
    return checks.report()


if __name__ == "__main__":
    setLogLevel("error")
    Mininet.inited = True  # else it raises limits of the machine, which the lab has no need of
    if "bmv2" in sys.argv[1:] and not find_bmv2():
        sys.exit("%s: simple_switch_grpc is neither in PATH nor named by SIMPLE_SWITCH_GRPC" % sys.argv[0])
    with tempfile.TemporaryDirectory(prefix="switchbridge-lab-") as folder:
        sys.exit(lab(folder, "bmv2" in sys.argv[1:]))
