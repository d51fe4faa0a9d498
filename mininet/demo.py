#!/usr/bin/python3
"""The demo: three hosts on two switches, governed by a function over HTTPS.

A `switchbridge function serve` decides, a `switchbridge run` asks it for an Open vSwitch of the demo's own,
and hosts find out what they may do. Then the policy changes, and the rules in the switches follow. Every
"blocked" stands beside an "allowed" on the same hosts, and is believed only with the count of its drop
rule. The exit status is 0 if all was as it should be.
"""

import difflib
import os
import shutil
import signal
import sys
import tempfile
import time

import sandbox

if __name__ == "__main__":
    sandbox.enter()  # ahead of the imports: it is what says that Mininet is missing, if it is

from function import Function
from lab import Checks, decisions, ping, rules, serve_tcp, tcp
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.topo import Topo
from switchbridge import GovernedSwitch, QuietHost, SwitchbridgeController

HERE = os.path.dirname(os.path.abspath(__file__))

PICTURE = """
    h1 10.0.0.1 ──┐                             the gateway asks
                  s1 ─── s2 ── h3 10.0.0.3      %-28s
    h2 10.0.0.2 ──┘               10.0.0.66     about each packet that has no rule
"""


class Demo:
    def __init__(self, folder):
        self.checks = Checks()
        self.folder = folder
        self.policy = os.path.join(folder, "policy.yaml")
        self.use_policy("demo.yaml")
        self.function = Function(self.policy, folder)

        config = os.path.join(folder, "gateway.yaml")
        with open(config, "w") as f:
            f.write("function: {policy_check: 1s}\nlog: {format: json}\n")
        self.gateway = SwitchbridgeController(
            "gateway", port=0, config=config, function=self.function.url, args=self.function.gateway_args(),
            log=os.path.join(folder, "gateway.log"))

        topo = Topo()
        for name in "s1", "s2":
            topo.addSwitch(name)
        for number, switch in (1, "s1"), (2, "s1"), (3, "s2"):
            topo.addLink(topo.addHost("h%d" % number, mac="02:00:00:00:00:%02x" % number), switch)
        topo.addLink("s1", "s2")
        self.net = Mininet(topo, host=QuietHost, switch=GovernedSwitch, controller=lambda _name: self.gateway)
        self.net.start()
        if not self.net.waitConnected(timeout=15, delay=0.05):
            raise RuntimeError("the switches have no session:\n" + self.gateway.log_tail())
        self.h1, self.h2, self.h3 = self.net.hosts
        self.switches = self.net.switches
        self.h3.cmd("ip addr add 10.0.0.66/8 dev h3-eth0")
        serve_tcp(self.h3, 80, 8080)

    def use_policy(self, name):
        # By renaming: the function must never read half a file.
        shutil.copyfile(os.path.join(HERE, "policies", name), self.policy + ".new")
        os.replace(self.policy + ".new", self.policy)

    # What is expected of the network.

    def answers(self, host, address):
        times = ping(host, address)
        first, later = times.get(1), [ms for seq, ms in times.items() if seq > 1]
        self.checks.check(len(times) == 3, "%s ping %s" % (host, address),
                          "answered: %.1f ms with the function asked, then %.2f ms" % (first, min(later))
                          if first and later else "%d of 3 pings were answered" % len(times))

    def silent(self, host, address):
        self.blocked("%s ping %s" % (host, address), lambda: ping(host, address), src=host.IP(), dst=address)

    def connects(self, host, address, port):
        took = tcp(host, address, port)
        self.checks.check(isinstance(took, float), "%s tcp %s:%d" % (host, address, port),
                          "connected: %.1f ms, with the function asked on the way" % took
                          if isinstance(took, float) else took)

    def refused(self, host, address, port):
        self.blocked("%s tcp %s:%d" % (host, address, port),
                     lambda: isinstance(tcp(host, address, port), float), src=host.IP(), dst=address, port=port)

    def blocked(self, what, attempt, **traffic):
        """Nothing passes, and the drop rule for it counts what it dropped."""
        def dropped():
            return sum(r.packets for r in rules(self.net["s1"]) if r.drops and r.is_for(**traffic))

        before = dropped()
        passed = attempt()
        counted = dropped() - before
        if passed:
            result = "it passed"
        elif counted:
            result = "blocked: its rule in s1 counted %d" % counted
        else:
            result = "nothing passed, but no rule in s1 counted it"
        self.checks.check(not passed and counted > 0, what, result)

    # The acts.

    def show(self):
        why = decisions(self.gateway.log)
        print("    %-3s %-46s %-8s %7s  %-26s %s" % ("", "what", "", "packets", "why", "decided in"))
        for rule in rules(*self.switches):
            if "arp" in rule.fields and not rule.drops:
                continue  # two for each pair of hosts that talk
            record = why.get((rule.switch.dpid, rule.decision), {})
            took = "%.1f ms" % (record["decide_seconds"] * 1e3) if "decide_seconds" in record else ""
            print("    %-3s %-46s %-8s %7d  %-26s %s" % (rule.switch, rule, "drop" if rule.drops else "forward",
                                                        rule.packets, record.get("reason", ""), took))

    def before(self):
        print(PICTURE % self.function.url)
        print("The policy:\n")
        with open(self.policy) as f:
            print("".join("    " + line for line in f))
        print("Hosts try their luck:")
        self.answers(self.h1, "10.0.0.3")
        self.silent(self.h1, "10.0.0.66")
        self.answers(self.h2, "10.0.0.3")
        self.connects(self.h1, "10.0.0.3", 80)
        self.refused(self.h1, "10.0.0.3", 8080)
        print("\nThe rules that this left in the switches, but those that let ARP through:")
        self.show()

    @staticmethod
    def changes(rule):
        """Whether demo-changed.yaml decides otherwise about what the rule is for."""
        f = rule.fields
        if rule.drops:
            return "10.0.0.66" in (f.get("nw_dst"), f.get("arp_tpa")) or f.get("tp_dst") == "8080"
        return "10.0.0.2" in (f.get("nw_src"), f.get("arp_spa")) or (f.get("nw_dst"), f.get("tp_dst")) == ("10.0.0.3", "80")

    def change(self):
        with open(self.policy) as f:
            old_text = f.readlines()
        outdated = {(r.switch, r.cookie) for r in rules(*self.switches) if self.changes(r)}
        running = self.h2.popen(["ping", "-n", "-i", "0.1", "10.0.0.3"], text=True)
        time.sleep(1)

        print("\nThe policy file changes, while h2 keeps pinging h3:\n")
        self.use_policy("demo-changed.yaml")
        changed = time.monotonic()
        with open(self.policy) as f:
            for line in difflib.unified_diff(old_text, f.readlines(), n=0):
                if not line.startswith(("---", "+++", "@@")):
                    print("    " + line, end="")
        print()
        left = outdated
        while left and time.monotonic() < changed + 15:
            time.sleep(0.02)
            left = outdated & {(r.switch, r.cookie) for r in rules(*self.switches)}
        took = time.monotonic() - changed
        self.checks.check(bool(outdated) and not left, "rules follow",
                          "%d rules that the new policy changes went %.1f s after the file was saved" % (len(outdated), took)
                          if not left else "%d of %d rules that the new policy changes stayed" % (len(left), len(outdated)))
        time.sleep(0.6)
        running.send_signal(signal.SIGINT)
        out = running.communicate()[0]
        sent, answered = out.count("time="), 0
        summary = [line for line in out.splitlines() if "packets transmitted" in line]
        if summary:
            sent, answered = int(summary[0].split()[0]), int(summary[0].split()[3])
        self.checks.check(answered >= 5 and sent - answered >= 3, "h2's running ping",
                          "%d answers, then silence: %d more were sent" % (answered, sent - answered))

    def after(self):
        print("\nThe same hosts again:")
        self.silent(self.h2, "10.0.0.3")
        self.answers(self.h1, "10.0.0.66")
        self.refused(self.h1, "10.0.0.3", 80)
        self.connects(self.h1, "10.0.0.3", 8080)
        print("\nThe rules now:")
        self.show()

    def latencies(self):
        took = sorted(r["decide_seconds"] * 1e3 for r in decisions(self.gateway.log).values() if "packet_in" in r["event"])
        if self.checks.check(bool(took), "decisions over HTTPS", "%d" % len(took)):
            print("          median %.2f ms, nine in ten within %.2f ms, slowest %.2f ms"
                  % (took[len(took) // 2], took[len(took) * 9 // 10], took[-1]))

    def stop(self):
        self.net.stop()
        self.function.stop()


def main():
    setLogLevel("error")
    Mininet.inited = True  # else it raises limits of the machine, which the demo has no need of
    with tempfile.TemporaryDirectory(prefix="switchbridge-demo-") as folder:
        demo = Demo(folder)
        demo.before()
        demo.change()
        demo.after()
        demo.latencies()
        demo.stop()
        status = demo.checks.report()
        if status:
            for log in demo.function.log, demo.gateway.log:
                with open(log) as f:
                    print("\n%s ends with\n%s" % (log, "".join(f.readlines()[-15:])))
    return status


if __name__ == "__main__":
    sys.exit(main())
