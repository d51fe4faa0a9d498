"""BMv2 for Mininet: a P4 switch that waits for its gateway.

    sudo mn --custom mininet/switchbridge.py,mininet/bmv2.py --switch bmv2 \\
        --controller switchbridge,config=p4.yaml --topo single,3

with the switch in the configuration's `p4:` section.

The switch starts without a program: the gateway pushes one. Its number in Mininet (s1 is 1) is its P4Runtime
device id, and its gRPC port is 9558 plus that. In a lab, flag() gives what the gateway wants to know of it.

simple_switch_grpc is found by the variable SIMPLE_SWITCH_GRPC, then in PATH.
`mn` executes this file with exec: there is no __file__ here, and every name below becomes one of mn's.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

from mininet.log import error
from mininet.node import Switch

CPU_PORT = 510
BMV2_SECONDS = 10


def find_bmv2():
    """Return the path of simple_switch_grpc, or None."""
    return os.environ.get("SIMPLE_SWITCH_GRPC") or shutil.which("simple_switch_grpc")


def _end_with_mininet():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class BMv2Switch(Switch):
    """A simple_switch_grpc.

    device: P4Runtime's device_id (the number in the name)
    grpc: the port of its gRPC server (9558 + device), on the loopback alone
    thrift: the port of its debugging interface (9089 + device), which listens on every address: use a
        network namespace
    miss: what flag() asks of the gateway, digest or punt
    log: file for its log, without ".txt" (/tmp/<name>.bmv2)
    """

    def __init__(self, name, device=None, grpc=None, thrift=None, miss="digest", log=None, **params):
        super().__init__(name, **params)
        if not find_bmv2():
            error("*** bmv2: no simple_switch_grpc: put it into PATH, or name it in the variable SIMPLE_SWITCH_GRPC\n")
            sys.exit(1)
        self.device = device or int("".join(c for c in name if c.isdigit()) or 1)
        self.grpc = grpc or 9558 + self.device
        self.thrift = thrift or 9089 + self.device
        self.miss = miss
        self.log = log or "/tmp/%s.bmv2" % name
        self.process = None

    def p4_ports(self):
        """Return the interfaces by their P4 port, which is Mininet's port number."""
        return {port: intf for port, intf in sorted(self.intfs.items()) if not intf.IP() and port > 0}

    def flag(self, ports=None):
        """Return the value of the gateway's --p4 for this switch.

        ports: how many it will have; needed before links are made, as for a gateway that starts first.
        """
        last = ports or max(self.p4_ports())
        return "device=%d,addr=127.0.0.1:%d,miss=%s,ports=1-%d" % (self.device, self.grpc, self.miss, last)

    def start(self, _controllers):
        argv = [find_bmv2(), "--no-p4", "--device-id", str(self.device), "--thrift-port", str(self.thrift),
                "--log-file", self.log, "-L", "warn"]
        for port, intf in self.p4_ports().items():
            # A segment larger than the link passes a veth whole, and BMv2 cuts what is longer than it reads.
            self.cmd("ethtool -K", intf, "tso off gso off gro off tx off rx off")
            # On a link between switches, what the kernel sends from our end comes in at the other.
            self.cmd("echo 1 >/proc/sys/net/ipv6/conf/%s/disable_ipv6" % intf)
            argv += ["-i", "%d@%s" % (port, intf)]
        argv += ["--", "--grpc-server-addr", "127.0.0.1:%d" % self.grpc, "--cpu-port", str(CPU_PORT)]
        with open(self.log + ".out", "w") as out:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                            preexec_fn=_end_with_mininet)
        deadline = time.monotonic() + BMV2_SECONDS
        while not self.connected():  # what it prints sits in a buffer, so there is nothing to read
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("%s does not listen; see %s.out" % (self.name, self.log))
            time.sleep(0.02)

    def connected(self):
        """Whether the gRPC server listens."""
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.grpc)) == 0

    def restart(self):
        """End it and start it again, empty."""
        self.end()
        self.start([])

    def end(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def stop(self, deleteIntfs=True):
        self.end()
        super().stop(deleteIntfs)


switches = {"bmv2": BMv2Switch}
