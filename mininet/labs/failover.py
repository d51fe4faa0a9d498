#!/usr/bin/python3
"""What happens when functions die: a gateway with two of them, and then with one, and with none.

    sudo mininet/labs/failover.py

While one function answers, nobody notices that the other is gone. While none does, conversations that have
their rules go on, and new ones are dropped, since fail mode is secure. When a function comes back, new
conversations work again by themselves.
"""

import os
import sys
import time

MININET = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, MININET)

import sandbox

if __name__ == "__main__":
    sandbox.enter()  # ahead of the imports: it is what says that Mininet is missing, if it is

from function import Function
from lab import Checks, ping, rules, serve_tcp, start, tcp
from mininet.net import Mininet
from mininet.topo import SingleSwitchTopo
from switchbridge import GovernedSwitch, QuietHost, SwitchbridgeController

POLICY = "chain:\n  - forward: {mode: normal}\n"


def lab(folder):
    checks = Checks()
    policy = os.path.join(folder, "policy.yaml")
    with open(policy, "w") as f:
        f.write(POLICY)
    first, second = Function(policy, folder, "first"), Function(policy, folder, "second")
    config = os.path.join(folder, "gateway.yaml")
    with open(config, "w") as f:
        f.write("function: {timeout: 1s, try_timeout: 400ms}\n")
    gateway = SwitchbridgeController("gateway", port=0, config=config, function=[first.url, second.url],
                                     args=first.gateway_args(), log=os.path.join(folder, "gateway.log"))
    net = Mininet(SingleSwitchTopo(2), host=QuietHost, switch=GovernedSwitch, controller=lambda _name: gateway)
    net.start()
    if not net.waitConnected(timeout=15, delay=0.05):
        raise RuntimeError("the switch has no session:\n" + gateway.log_tail())
    h1, h2 = net.hosts
    serve_tcp(h2, 80)

    def new_conversation(works):
        # Every TCP connection has a source port of its own, and so a rule of its own to ask for.
        took = tcp(h1, h2.IP(), 80, timeout=2.5)
        passed = isinstance(took, float)
        checks.check(passed == works, "a new conversation", "%.1f ms" % took if passed else "blocked: %s" % took)

    def old_conversation():
        before = forwarded()
        answers = ping(h1, h2.IP())
        # Their rules count them: it was the switch that let them pass, not a function that came back.
        checks.check(len(answers) == 3 and forwarded() >= before + 6, "the ping that has its rules",
                     "%d of 3 answered" % len(answers))

    def forwarded():
        return sum(r.packets for r in rules(*net.switches) if "icmp" in r.fields and not r.drops)

    print("\nTwo functions answer:")
    ping(h1, h2.IP())
    new_conversation(works=True)
    old_conversation()

    print("\nThe first one dies:")
    first.stop()
    new_conversation(works=True)
    old_conversation()

    print("\nThe second one dies too:")
    second.stop()
    time.sleep(6)  # answers that were given can be used again for five seconds
    new_conversation(works=False)
    old_conversation()

    print("\nThe first one is back:")
    first.start()
    back = time.monotonic()
    while not isinstance(tcp(h1, h2.IP(), 80, timeout=1), float) and time.monotonic() < back + 20:
        pass
    checks.check(time.monotonic() < back + 20, "conversations work again",
                 "%.1f s after its start" % (time.monotonic() - back))
    new_conversation(works=True)

    net.stop()
    first.stop()
    return checks.report()


if __name__ == "__main__":
    start(lab)
