#!/usr/bin/python3
"""Two gateways for one network, of which the one that leads is killed, hangs, and hands over, while hosts talk.

    sudo mininet/labs/pair.py
    sudo mininet/labs/pair.py bmv2 # of P4

The rules that are in the switch work on whatever the gateways do: iperf and ping notice nothing. New conversations wait
until the other gateway leads, which takes some 0.3 s. A handover costs them nothing.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time

MININET = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, MININET)

import sandbox

if __name__ == "__main__":
    sandbox.enter()  # ahead of the imports: it is what says that Mininet is missing, if it is

from bmv2 import BMv2Switch, find_bmv2
from lab import Checks, PING_REPLY, ping, serve_tcp, start, tcp
from mininet.net import Mininet
from mininet.topo import SingleSwitchTopo
from switchbridge import GovernedSwitch, QuietHost, SwitchbridgeController, find_switchbridge, free_port

POLICY = """\
serial: 1
chain:
  - header:
      rules:
        - {name: no-81, priority: 200, match: {ip_proto: tcp, tcp_dst: 81}, action: deny}
  - forward: {mode: normal}
"""

HANG = 2  # seconds


class Pair:
    """Two gateways with each other's address.

    p4: what they are to know of a P4 switch; None: the switch is an Open vSwitch
    """

    def __init__(self, folder, p4=None):
        self.p4 = p4
        self.token = os.path.join(folder, "admin-token")
        policy = os.path.join(folder, "policy.yaml")
        for path, text in (self.token, secrets.token_urlsafe(32) + "\n"), (policy, POLICY):
            with open(path, "w") as f:
                f.write(text)
        os.chmod(self.token, 0o600)
        subprocess.run([find_switchbridge(), "pair", "certs", "--dir", folder, "127.0.0.1", "127.0.0.1"],
                       check=True, stdout=subprocess.DEVNULL)
        links = ["127.0.0.1:%d" % free_port() for _ in range(2)]
        self.gateways = []
        for i in range(2):
            config = os.path.join(folder, "gateway-%d.yaml" % i)
            with open(config, "w") as f:
                json.dump({  # which is YAML, too
                    "policy": policy, "function": {"urls": ["native"]}, "admin": {"token_file": self.token},
                    "pair": {"listen": links[i], "peer": links[1 - i], "member": i, "prefer": i == 0,
                             "cert": os.path.join(folder, "gateway-%d.pem" % i),
                             "key": os.path.join(folder, "gateway-%d.key" % i),
                             "ca": os.path.join(folder, "development-ca.pem")}}, f)
            self.gateways.append(SwitchbridgeController("gateway%d" % i, port=0, config=config, args=["--p4", p4] if p4 else [],
                                                        log=os.path.join(folder, "gateway-%d.log" % i)))

    def leader(self, seconds=10):
        """Wait until one gateway leads and the other one stands by, both with the switch and each other, and return the number of the first."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                states = [json.loads(g.admin("/api/v1/status"))["pair"] for g in self.gateways]
                there = all(s["answers"] for s in states)
                if self.p4:  # a switch of P4 has no connection from the one that stands by
                    there = there and sorted(g.p4_states()[0] for g in self.gateways) == ["serving", "standby"]
                else:
                    there = there and all(g.connected_dpids() for g in self.gateways)
            except (OSError, ValueError):
                there = False
            if there and states[0]["leads"] != states[1]["leads"]:
                return 0 if states[0]["leads"] else 1
            time.sleep(0.05)
        raise RuntimeError("the gateways don't agree who leads:\n" + "".join(g.log_tail() for g in self.gateways))

    def handover(self, leader):
        subprocess.run([find_switchbridge(), "pair", "handover", "--admin", "127.0.0.1:%d" % self.gateways[leader].adminPort,
                        "--admin-token-file", self.token], check=True, stdout=subprocess.DEVNULL)


def lab(folder, bmv2):
    checks = Checks()
    pair = Pair(folder, "device=1,addr=127.0.0.1:9559,miss=punt,ports=1-2" if bmv2 else None)
    net = Mininet(SingleSwitchTopo(2), host=QuietHost, switch=BMv2Switch if bmv2 else GovernedSwitch, controller=pair.gateways)
    net.start()
    if not bmv2 and not net.waitConnected(timeout=15, delay=0.05):
        raise RuntimeError("the switch has no session:\n" + pair.gateways[0].log_tail())
    h1, h2 = net.hosts
    leads = pair.leader()
    serve_tcp(h2, 80, 81)
    ping(h1, h2.IP())

    iperf_server = h2.popen(["iperf", "-s"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    iperf = h1.popen(["iperf", "-c", h2.IP(), "-t", "60", "-i", "1", "-f", "k", "-b", "2m" if bmv2 else "20m"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    pings = h1.popen(["ping", "-n", "-i", "0.1", h2.IP()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    time.sleep(2)

    def new_conversations(what):
        """Begin conversations until one works, and check that it took no longer than promised."""
        began = time.monotonic()
        while not isinstance(tcp(h1, h2.IP(), 80, timeout=0.3), float) and time.monotonic() < began + 10:
            pass
        took = time.monotonic() - began
        checks.check(took < 1.5, what, "%.2f s after it" % took)
        denied = tcp(h1, h2.IP(), 81, timeout=0.3)
        checks.check(not isinstance(denied, float), "what is denied", "blocked: %s" % denied)

    print("\nGateway %d leads, and is killed:" % leads)
    pair.gateways[leads].process.kill()
    pair.gateways[leads].process.wait()
    new_conversations("a new conversation works")
    pair.gateways[leads].run()
    now = pair.leader()
    checks.check(now != leads, "it comes back", "and stands by; gateway %d leads" % now)

    print("\nGateway %d hangs for %d s:" % (now, HANG))
    pair.gateways[now].process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    new_conversations("a new conversation works")
    time.sleep(max(0, began + HANG - time.monotonic()))
    pair.gateways[now].process.send_signal(signal.SIGCONT)
    leads = pair.leader()
    checks.check(leads != now, "it goes on", "and stands by; gateway %d leads" % leads)

    print("\nGateway %d hands over:" % leads)
    pair.handover(leads)
    took = tcp(h1, h2.IP(), 80)
    checks.check(isinstance(took, float), "a new conversation", "%.1f ms" % took if isinstance(took, float) else took)
    now = pair.leader()
    checks.check(now != leads, "who leads", "gateway %d" % now)

    print("\nAll the time:")
    iperf.terminate()
    pings.send_signal(signal.SIGINT)
    rates = [float(rate) for rate in re.findall(r"sec .* ([\d.]+) Kbits/sec", iperf.communicate()[0].decode())]
    checks.check(len(rates) > 5 and min(rates) > 0, "iperf", "%d seconds, the slowest with %.0f kbit/s" % (len(rates), min(rates, default=0)))
    answered = [int(seq) for seq, _ in PING_REPLY.findall(pings.communicate()[0].decode())]
    lost = max(answered, default=0) - len(set(answered))
    checks.check(len(answered) > 30 and lost == 0 and len(answered) == len(set(answered)), "ping", "%d answered, %d lost, none twice" % (len(answered), lost))

    iperf_server.kill()
    net.stop()
    return checks.report()


if __name__ == "__main__":
    if "bmv2" in sys.argv[1:] and not find_bmv2():
        sys.exit("%s: simple_switch_grpc is neither in PATH nor named by SIMPLE_SWITCH_GRPC" % sys.argv[0])
    start(lab, "bmv2" in sys.argv[1:])
