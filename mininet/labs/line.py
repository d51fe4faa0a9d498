#!/usr/bin/python3
"""One question for a conversation: a line of switches with a function that is 15.8 ms away.

    sudo mininet/labs/line.py        # four switches
    sudo mininet/labs/line.py 8
    sudo mininet/labs/line.py 4 bmv2 # of P4

Each switch on the way asks about a conversation's first packet, and about its first answer. The function says for which other
packets its answer holds, so it is called once, and the gateway answers the other switches. Without that a conversation over four
switches waits for eight calls in turn.
"""

import os
import sys

MININET = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, MININET)

import sandbox

if __name__ == "__main__":
    sandbox.enter()  # ahead of the imports: it is what says that Mininet is missing, if it is

from bmv2 import BMv2Switch, find_bmv2
from far import Far
from function import Function
from lab import Checks, decisions, ping, serve_tcp, start, tcp
from mininet.net import Mininet
from mininet.topo import LinearTopo
from switchbridge import GovernedSwitch, QuietHost, SwitchbridgeController

RTT = 0.0158

POLICY = """\
serial: 1
chain:
  - header:
      rules:
        - {name: arp, match: {eth_type: arp}, action: allow}
        - {name: ping, match: {ip_proto: icmp}, action: allow, replies: allow}
        - {name: web, match: {ip_proto: tcp, tcp_dst: 80}, action: allow, replies: allow}
"""


def lab(folder, length, bmv2):
    checks = Checks()
    policy = os.path.join(folder, "policy.yaml")
    with open(policy, "w") as f:
        f.write(POLICY)
    function = Function(policy, folder)
    far = Far(function.port, RTT)
    log = os.path.join(folder, "gateway.log")
    config = os.path.join(folder, "gateway.yaml")
    with open(config, "w") as f:
        f.write("log: {format: json, decisions_rate: 0}\n")
    args = list(function.gateway_args())
    for n in range(1, length + 1) if bmv2 else ():
        args += ["--p4", "device=%d,addr=127.0.0.1:%d,miss=punt,ports=1-%d" % (n, 9558 + n, 2 if n in (1, length) else 3)]
    gateway = SwitchbridgeController("gateway", port=0, config=config, function=far.url, args=args, log=log)
    # One host at each switch.
    net = Mininet(LinearTopo(length), host=QuietHost, switch=BMv2Switch if bmv2 else GovernedSwitch, controller=lambda _name: gateway)
    net.start()
    if bmv2:
        gateway.wait_p4()
    elif not net.waitConnected(timeout=15, delay=0.05):
        raise RuntimeError("the switches have no session:\n" + gateway.log_tail())
    first, last = net.hosts[0], net.hosts[-1]
    serve_tcp(last, 80, 81)
    serve_tcp(first, 80)
    seen = set()

    def asked(what, most):
        """Check how many of the packets since the last time the function was called about."""
        new = {k: r for k, r in decisions(log).items() if k not in seen and r["event"].endswith("packet_in.v1")}
        seen.update(new)
        own = [r for r in new.values() if "reused_from" not in r]
        numbers = {r["decision"] for r in own}
        named = all(r["reused_from"] in numbers for r in new.values() if "reused_from" in r)
        checks.check(len(own) <= most and named and len(new) > len(own), what, "%d packets, %d calls" % (len(new), len(own)))

    print("\n%d switches, the function %.1f ms away, %d packets to decide on the way there and back:" % (length, 1000 * RTT, 2 * length))
    times = ping(first, last.IP(), count=1)
    checks.check(1 in times, "the first ping, with ARP", "%.1f ms" % times.get(1, 0))
    asked("  calls: ARP in both directions, ping", 3)

    best = None
    for _ in range(3):
        took = tcp(first, last.IP(), 80)
        if isinstance(took, float) and (best is None or took < best):
            best = took
    bound = length * 1000 * RTT
    checks.check(best is not None and best < bound, "a TCP connection",
                 "%.1f ms; asking each time took %.0f at least" % (best or 0, 2 * bound))
    asked("  calls: for three connections", 3)

    print("\nWhat is asked once is allowed to nobody else:")
    took = tcp(first, last.IP(), 81)
    checks.check(not isinstance(took, float), "another port", "blocked: %s" % took)
    took = tcp(last, first.IP(), 80)
    checks.check(isinstance(took, float), "a connection the other way", "%.1f ms" % took if isinstance(took, float) else took)
    took = tcp(last, first.IP(), 22)
    checks.check(not isinstance(took, float), "SSH the other way", "blocked: %s" % took)

    net.stop()
    far.stop()
    function.stop()
    return checks.report()


def main():
    args = sys.argv[1:]
    bmv2 = "bmv2" in args
    if bmv2:
        args.remove("bmv2")
        if not find_bmv2():
            sys.exit("%s: simple_switch_grpc is neither in PATH nor named by SIMPLE_SWITCH_GRPC" % sys.argv[0])
    length = args[0] if args else "4"
    if not length.isdecimal() or not 2 <= int(length) <= 16:
        sys.exit("%s: %s: want the number of switches, 2 to 16" % (sys.argv[0], length))
    start(lab, int(length), bmv2)


if __name__ == "__main__":
    main()
