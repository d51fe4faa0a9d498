#!/usr/bin/python3
"""A P4 switch and an Open vSwitch side by side, governed by one function over HTTPS.

    sudo mininet/p4_and_ovs.py

h1 and h2 are at a BMv2, h3 and h4 at an Open vSwitch, and the two are linked. One `switchbridge function
serve` decides for both; the gateway speaks P4Runtime to one and OpenFlow to the other. What is blocked is
blocked on both sides, and what is allowed passes both.
"""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import sandbox

if __name__ == "__main__":
    sandbox.enter()  # ahead of the imports: it is what says that Mininet is missing, if it is

from bmv2 import BMv2Switch, find_bmv2
from function import Function
from lab import Checks, ping, rules
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.topo import Topo
from p4_network import POLICY, wait_for_answer
from switchbridge import GovernedSwitch, QuietHost, SwitchbridgeController

PICTURE = """
    h1 10.0.0.1 ──┐                      ┌── h3 10.0.0.3
                  s1 (BMv2) ─── s2 (OVS)
    h2 10.0.0.2 ──┘                      └── h4 10.0.0.4, 10.0.0.66
"""


class SideBySide(Topo):
    def build(self):
        self.addSwitch("s1", cls=BMv2Switch, device=1)
        self.addSwitch("s2", cls=GovernedSwitch)
        for number, switch in (1, "s1"), (2, "s1"), (3, "s2"), (4, "s2"):
            self.addLink(self.addHost("h%d" % number, ip="10.0.0.%d/24" % number, mac="02:00:00:00:00:%02x" % number), switch)
        self.addLink("s1", "s2")


def lab(folder):
    print(PICTURE)
    checks = Checks()
    policy = os.path.join(folder, "policy.yaml")
    with open(policy, "w") as f:
        f.write(POLICY)
    function = Function(policy, folder)
    gateway = SwitchbridgeController("gateway", port=0, function=function.url, log=os.path.join(folder, "gateway.log"),
                                     args=list(function.gateway_args()) + ["--p4", "device=1,addr=127.0.0.1:9559,miss=punt,ports=1-3"])
    net = Mininet(SideBySide(), host=QuietHost, controller=lambda _name: gateway)
    net.start()
    h1, h2, h3, h4 = net.hosts

    print("What the function allows:")
    for a, b, way in (h1, h2, "over BMv2"), (h3, h4, "over Open vSwitch"), (h1, h3, "over both"), (h4, h2, "over both"):
        took = wait_for_answer(a, b.IP())
        checks.check(took is not None, "%s to %s, %s" % (a, b, way), "%.1f s until the first answer" % (took or -1))
    answers = ping(h1, h3.IP())
    checks.check(len(answers) == 3, "h1 to h3 again", "%d of 3 answered, %s ms" % (len(answers), list(answers.values())))

    print("\nWhat it blocks, on either side:")
    h4.cmd("ip addr add 10.0.0.66/24 dev", h4.defaultIntf())
    checks.check(not ping(h1, "10.0.0.66"), "h1 (BMv2) to 10.0.0.66", "no answer")
    checks.check(not ping(h3, "10.0.0.66"), "h3 (OVS) to 10.0.0.66", "no answer")
    checks.check(len(ping(h1, h4.IP())) == 3, "h1 to h4, the same host", "answers")
    drops = [r for r in rules(net["s2"]) if r.drops]
    checks.check(bool(drops), "Open vSwitch has a rule that drops", ", ".join(map(str, drops)) or "none")

    net.stop()
    gateway.end()
    function.stop()
    return checks.report()


if __name__ == "__main__":
    setLogLevel("warning")
    if not find_bmv2():
        print("simple_switch_grpc is neither in PATH nor named by SIMPLE_SWITCH_GRPC: there is no P4 switch to show.")
        sys.exit(0)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(lab(folder))
