"""One switch, Open vSwitch or BMv2, and hosts that send whatever a lab wants: what labs of a policy share."""

import ctypes
import os
import socket
import struct
import time

from bmv2 import BMv2Switch
from mininet.net import Mininet
from mininet.topo import Topo
from switchbridge import GovernedSwitch, QuietHost, SwitchbridgeController

LIBC = ctypes.CDLL(None, use_errno=True)

SECONDS = 1  # for a packet to arrive, which is asked about on its way


class _Topo(Topo):
    def build(self, switch, numbers):
        self.addSwitch("s1", **switch)
        for number in numbers:
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


def arrival(ms):
    """Return what OneSwitch.arrives found, in words."""
    return "arrives after %.1f ms" % ms if ms is not None else "does not arrive"


class OneSwitch:
    """One network with one policy. Host n has the address 10.0.0.n; the hosts are at ports 1, 2, ... in the order of numbers.

    policy: the text of its file
    args: further ones of `switchbridge run`
    """

    def __init__(self, folder, name, policy, numbers, bmv2, args=()):
        path = os.path.join(folder, name + ".yaml")
        with open(path, "w") as f:
            f.write(policy)
        switch, args = {"cls": GovernedSwitch}, list(args)
        if bmv2:
            switch = {"cls": BMv2Switch, "device": 1}
            args += ["--p4", "device=1,addr=127.0.0.1:9559,miss=punt,ports=1-%d" % len(numbers)]
        gateway = SwitchbridgeController("gateway", port=0, policy=path, args=args, log=os.path.join(folder, name + ".log"))
        self.net = Mininet(_Topo(switch, numbers), host=QuietHost, controller=lambda _name: gateway)
        self.gateway = gateway
        self.net.start()
        if not bmv2 and not self.net.waitConnected(timeout=15, delay=0.05):
            raise RuntimeError("the switch has no session:\n" + gateway.log_tail())

    def host(self, number):
        return self.net["h%d" % number]

    def send(self, number, frame):
        """Send a frame from a host, whatever it says."""
        in_host(self.host(number), lambda: _send("h%d-eth0" % number, frame))

    def listener(self, number, port):
        """Return a socket that gets the datagrams to a host's port."""
        return in_host(self.host(number), lambda: _listen(port))

    def arrives(self, sender, frame, receiver, port, text):
        """Send a frame until its text arrives, at most three times; return the milliseconds it took, or None.

        The first one is asked about, and a BMv2 may not be ready for it; those after it meet what was installed.
        """
        s = self.listener(receiver, port)
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
