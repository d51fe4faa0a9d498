"""What labs share: checks that are printed as they are made, and a view of the switches' rules."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

import sandbox

PING_REPLY = re.compile(r"icmp_seq=(\d+) .*time=([\d.]+) ms")

ECHO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "echo.py")


def start(lab, *args):
    """Run a lab in a folder that goes with it, and end with its status."""
    # Here, since this module is imported ahead of the message that Mininet is missing.
    from mininet.log import setLogLevel
    from mininet.net import Mininet

    setLogLevel("error")
    Mininet.inited = True  # else it raises limits of the machine, which a lab has no need of
    with tempfile.TemporaryDirectory(prefix="switchbridge-lab-") as folder:
        sys.exit(lab(folder, *args))


class Checks:
    """Counts what holds and what doesn't."""

    def __init__(self):
        self.made = self.failed = 0
        self.started = time.monotonic()

    def check(self, holds, what, result):
        self.made += 1
        self.failed += not holds
        print("    %s  %-32s %s" % ("ok  " if holds else "FAIL", what, result), flush=True)
        return holds

    def report(self):
        """Print the sum and return the exit status."""
        seconds = time.monotonic() - self.started
        if self.failed:
            print("\n%d of %d checks failed. (%.1f s)" % (self.failed, self.made, seconds))
            return 1
        print("\nAll %d checks hold. (%.1f s)" % (self.made, seconds))
        return 0


def ping(host, address, count=3):
    """Ping and return the times of the answers in milliseconds, by sequence number from 1."""
    out = host.cmd("ping -n -c %d -i 0.25 -W 1 %s" % (count, address))
    return {int(seq): float(ms) for seq, ms in PING_REPLY.findall(out)}


def tcp(host, address, port, timeout=1.6):
    """Open a TCP connection, exchange a line over it, and return the milliseconds or the complaint.

    The default timeout lets the kernel repeat its SYN once: the first one asks the function, the second
    one must meet the rule.
    """
    out = host.cmd(sys.executable, ECHO, "connect", address, port, timeout).strip()
    try:
        return float(out)
    except ValueError:
        return out


def serve_tcp(host, *ports):
    """Serve an echo on the host's ports until the lab ends."""
    for port in ports:
        server = host.popen([sys.executable, ECHO, "serve", str(port)], stdout=None, stderr=None)
        deadline = time.monotonic() + 10
        while not isinstance(tcp(host, "127.0.0.1", port), float):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("%s does not serve TCP port %d" % (host, port))
            time.sleep(0.05)


class Rule:
    """A rule in a switch, from a line of ovs-ofctl dump-flows."""

    def __init__(self, switch, line):
        self.switch = switch
        stats, _, self.actions = line.partition(" actions=")
        *stats, match = stats.split(", ")
        stats = dict(field.split("=", 1) for field in stats if "=" in field)
        self.cookie = int(stats["cookie"], 0)
        self.packets = int(stats["n_packets"])
        self.fields = dict(f.partition("=")[::2] for f in match.split()[-1].split(","))
        self.drops = self.actions == "drop"
        self.reactive = self.decision != 0 and int(self.fields.get("priority", 32768)) > 0

    @property
    def decision(self):
        """The number in the log of the decision that brought the rule."""
        return self.cookie & 0xFFFFFFFF

    def is_for(self, src=None, dst=None, port=None):
        """Whether the rule is about this traffic.

        A rule is as wide as the reason for it, so it need not say all of this: a blocked source is dropped
        wherever it sends to. Where it says something, it must say the same. ARP counts as traffic too: a
        blocked address isn't even resolved.
        """
        said = [(self.src, src), (self.dst, dst), (self.fields.get("tp_dst"), port and str(port))]
        said = [(mine, asked) for mine, asked in said if mine is not None and asked is not None]
        return bool(said) and all(mine == asked for mine, asked in said)

    @property
    def src(self):
        return self.fields.get("nw_src") or self.fields.get("arp_spa")

    @property
    def dst(self):
        return self.fields.get("nw_dst") or self.fields.get("arp_tpa")

    def __str__(self):
        f = self.fields
        kind = next((k for k in ("icmp", "tcp", "udp", "arp", "ip") if k in f), "any")
        src = self.src or f.get("dl_src") or "*"
        dst = self.dst or f.get("dl_dst") or "*"
        if kind in ("tcp", "udp"):
            src += ":" + f.get("tp_src", "*")
            dst += ":" + f.get("tp_dst", "*")
        return "%-4s %s → %s" % (kind, src, dst)


def rules(*switches):
    """Return the rules that decisions left in the switches of this sandbox, with counters that are up to date."""
    # Else packets are counted up to half a second after they passed.
    subprocess.run(["ovs-appctl", "-t", sandbox.CONTROL, "revalidator/wait"], check=True, stdout=subprocess.DEVNULL)
    found = []
    for switch in switches:
        for line in switch.cmd("ovs-ofctl -O OpenFlow13 dump-flows", switch).splitlines():
            if "actions=" in line:
                found.append(Rule(switch, line.strip()))
    return [rule for rule in found if rule.reactive]


def decisions(log):
    """Return the decision records of a gateway's JSON log, by datapath identifier and number."""
    records = {}
    with open(log) as f:
        for line in f:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the gateway's last line before it ended may be no JSON
            if record.get("msg") == "decision":
                records[record["dpid"], record["decision"]] = record
    return records
