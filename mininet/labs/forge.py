#!/usr/bin/python3
"""A host that forges: a sensor's events, a server's answers, another's ARP, with and without a source guard.

    sudo mininet/labs/forge.py
    sudo mininet/labs/forge.py bmv2

The policy lets the sensor h1 tell the camera h2, and lets the server h3 answer anybody. h4 may do nothing. What h4 sends with the
others' addresses passes all the same, until a source guard knows who is where.
"""

import os
import struct
import sys
import time

MININET = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, MININET)

import sandbox

if __name__ == "__main__":
    sandbox.enter()  # ahead of the imports: it is what says that Mininet is missing, if it is

from bmv2 import find_bmv2
from lab import Checks, start
from mininet.net import Mininet
from one_switch import SECONDS, OneSwitch, address, arrival, datagram, mac

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


def arp_reply(eth_src, sha, spa, to):
    """Return a frame in which spa says that it is at sha."""
    return (mac(to) + mac(eth_src) + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) +
            mac(sha) + address(spa) + mac(to) + address(to))


def neighbour(host, of):
    """Return where a host believes that another's address is."""
    out = host.cmd("ip neigh show 10.0.0.%d" % of).split()
    return out[out.index("lladdr") + 1] if "lladdr" in out else "unknown"


def lab(folder, bmv2):
    checks = Checks()

    for name, guard, passes in ("without", "", True), ("with", GUARD, False):
        print("\n%s a source guard:" % name.capitalize())
        net = OneSwitch(folder, name, "serial: 1\nchain:\n" + guard + RULES, (1, 2, 3, 4), bmv2)

        def arrives(what, expected, *args):
            ms = net.arrives(*args)
            checks.check((ms is not None) == expected, what, arrival(ms))

        # The honest ones first, so that their rules are in the switch when the forger comes.
        event, answer = b"event", b"answer"
        arrives("the sensor's event", True, 1, datagram(1, 1, 2, 40000, 5683, event), 2, 5683, event)
        arrives("the server's answer", True, 3, datagram(3, 3, 1, 53, 40053, answer), 1, 40053, answer)
        forged, lie = b"forged event", b"forged answer"
        arrives("an event with its IP address", passes, 4, datagram(4, 1, 2, 40000, 5683, forged), 2, 5683, forged)
        arrives("an answer with the server's", passes, 4, datagram(4, 3, 1, 53, 40053, lie), 1, 40053, lie)

        # Else a host believes no second word about an address for a second.
        net.host(1).cmd("echo 0 > /proc/sys/net/ipv4/neigh/h1-eth0/locktime")
        for what, sender, frame, expected in (
                ("the server's own ARP", 3, arp_reply(3, 3, 3, to=1), 3),
                ("h4 says it is the server", 4, arp_reply(4, 4, 3, to=1), 4 if passes else 3),
                ("h4 says so in its name", 4, arp_reply(3, 4, 3, to=1), 4 if passes else 3)):
            before = 9 if sender == 3 else 3
            net.host(1).cmd("ip neigh replace 10.0.0.3 lladdr 02:00:00:00:00:%02x dev h1-eth0 nud stale" % before)
            deadline = time.monotonic() + SECONDS
            while neighbour(net.host(1), 3) == "02:00:00:00:00:%02x" % before and time.monotonic() < deadline:
                net.send(sender, frame)  # again, since a word that comes in the same tick as the last one doesn't count
                time.sleep(0.1)
            believed = neighbour(net.host(1), 3)
            checks.check(believed == "02:00:00:00:00:%02x" % expected, what, "h1 looks for it at " + believed)

        arrives("an event with both addresses", passes, 4, datagram(1, 1, 2, 40000, 5683, forged), 2, 5683, forged)
        # Where that passed, the switch looks for the sensor behind h4 now. It still may speak.
        arrives("the sensor's event again", True, 1, datagram(1, 1, 2, 40000, 5683, event), 2, 5683, event)
        net.stop()
    return checks.report()


if __name__ == "__main__":
    if "bmv2" in sys.argv[1:] and not find_bmv2():
        sys.exit("%s: simple_switch_grpc is neither in PATH nor named by SIMPLE_SWITCH_GRPC" % sys.argv[0])
    start(lab, "bmv2" in sys.argv[1:])
