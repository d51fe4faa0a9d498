#!/usr/bin/python3
"""A P4 network alone: two BMv2 switches, three hosts, one policy.

    sudo mininet/p4_network.py

Every flow's first packet asks the gateway; its rule forwards the rest. Then a switch restarts, empty, and the
network comes back by itself.
"""

import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import sandbox

if __name__ == "__main__":
    sandbox.enter()  # ahead of the imports: it is what says that Mininet is missing, if it is

from bmv2 import BMv2Switch, find_bmv2
from lab import Checks, ping
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.topo import Topo
from switchbridge import QuietHost, SwitchbridgeController

POLICY = """\
serial: 1
chain:
  - blocklist: {match: both, addresses: [10.0.0.66]}
  - forward: {mode: normal}
"""


class P4Topo(Topo):
    """h1, h2 -- s1 -- s2 -- h3"""

    def build(self, s1, s2):
        self.addSwitch("s1", **s1)
        self.addSwitch("s2", **s2)
        for number, switch in (1, "s1"), (2, "s1"), (3, "s2"):
            self.addLink(self.addHost("h%d" % number, ip="10.0.0.%d/24" % number, mac="02:00:00:00:00:%02x" % number), switch)
        self.addLink("s1", "s2")


def wait_for_answer(host, address, seconds=15):
    """Ping until there is an answer; return the seconds it took, or None."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if ping(host, address, count=1):
            return time.monotonic() - start
    return None


def lab(folder):
    checks = Checks()
    policy = os.path.join(folder, "policy.yaml")
    with open(policy, "w") as f:
        f.write(POLICY)
    gateway = SwitchbridgeController("gateway", port=0, policy=policy, log=os.path.join(folder, "gateway.log"), args=[
        "--p4", "device=1,addr=127.0.0.1:9559,miss=punt,ports=1-3", "--p4", "device=2,addr=127.0.0.1:9560,miss=digest,ports=1-2"])
    topo = P4Topo({"cls": BMv2Switch, "device": 1}, {"cls": BMv2Switch, "device": 2})
    net = Mininet(topo, host=QuietHost, controller=lambda _name: gateway)
    net.start()
    h1, h2, h3 = net.hosts
    print("\nTwo BMv2 switches, s1 with punt and s2 with digest:")
    took = wait_for_answer(h1, h2.IP())
    checks.check(took is not None, "h1 to h2, over one switch", "%.1f s until the first answer" % (took or -1))
    took = wait_for_answer(h1, h3.IP())
    checks.check(took is not None, "h1 to h3, over both", "%.1f s until the first answer" % (took or -1))
    answers = ping(h1, h3.IP())
    checks.check(len(answers) == 3, "and again", "%d of 3 answered, %s ms" % (len(answers), list(answers.values())))

    print("\nAn address of the blocklist:")
    h3.cmd("ip addr add 10.0.0.66/24 dev", h3.defaultIntf())
    checks.check(not ping(h1, "10.0.0.66"), "h1 to 10.0.0.66", "no answer")
    checks.check(len(ping(h1, h3.IP())) == 3, "h1 to h3, the same host", "answers")

    print("\ns1 restarts, empty:")
    net["s1"].restart()
    took = wait_for_answer(h1, h3.IP())
    checks.check(took is not None, "h1 to h3", "%.1f s until it answers again" % (took or -1))
    net.stop()
    gateway.end()
    return checks.report()


if __name__ == "__main__":
    setLogLevel("warning")
    if not find_bmv2():
        sys.exit("%s: simple_switch_grpc is neither in PATH nor named by SIMPLE_SWITCH_GRPC" % sys.argv[0])
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(lab(folder))
