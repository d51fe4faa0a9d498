#!/usr/bin/python3
"""An Open vSwitch of its own, for labs and for trying things.

    sudo mininet/sandbox.py mn --custom mininet/switchbridge.py --controller switchbridge --topo linear,2

runs any command where it can't touch the machine: in network, process and mount namespaces of its own,
with a private ovsdb-server and ovs-vswitchd that all Open vSwitch tools in there find. All of it is gone
when the command ends, however it ends. A lab calls enter() first thing.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time

MARK = "SWITCHBRIDGE_SANDBOX"
RUNDIR = "/run/openvswitch"
CONTROL = RUNDIR + "/vswitchd.ctl"  # for ovs-appctl -t
TOOLS = ("unshare", "ip", "ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-vswitchd", "mnexec", "ethtool")


def enter():
    """Move the running script into a sandbox and start its Open vSwitch.

    The script begins anew inside, so this belongs before all else.
    """
    if os.environ.pop(MARK, None) is None:
        _leave_machine()
    _hide_machine()
    _start_openvswitch()


def _leave_machine():
    """Run this script again in namespaces of its own. Never returns."""
    if os.geteuid() != 0:
        sys.exit("%s: a lab makes network namespaces, which needs root" % sys.argv[0])
    os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        sys.exit("%s: not installed: %s; run\n    apt-get install -y --no-install-recommends "
                 "openvswitch-switch mininet ethtool iproute2 iputils-ping" % (sys.argv[0], ", ".join(missing)))
    if __name__ != "__main__" and importlib.util.find_spec("mininet") is None:
        sys.exit("%s: %s finds no Mininet; Debian's belongs to Debian's Python: run it with /usr/bin/python3"
                 % (sys.argv[0], sys.executable))

    # The script is process 1 inside: when it ends, the kernel ends all that is left in there. When we are
    # ended, call() ends unshare, and unshare ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(subprocess.call(["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child",
                                  "--mount-proc", sys.executable, *sys.argv], env=dict(os.environ, **{MARK: "1"})))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def _hide_machine():
    """Cover what belongs to the machine. The mount namespace is ours, so nothing of this shows outside."""
    # The machine's own Open vSwitch has its sockets below /run; ours gets the same place, so that tools
    # find it with and without the variables.
    _mount("-t", "tmpfs", "tmpfs", "/run")
    os.mkdir(RUNDIR)
    for name in "RUNDIR", "DBDIR", "LOGDIR", "SYSCONFDIR":
        os.environ["OVS_" + name] = RUNDIR
    # Mininet raises limits of the machine when it starts.
    for limits in "/proc/sys/kernel", "/proc/sys/fs":
        _mount("--bind", "-o", "ro", limits, limits)
    # Mininet keeps its logs in /tmp, and when it fails deletes everybody's. Not all kernels have overlays.
    os.mkdir("/run/tmp")
    os.mkdir("/run/tmp-work")
    _mount("-t", "overlay", "-o", "lowerdir=/tmp,upperdir=/run/tmp,workdir=/run/tmp-work", "overlay", "/tmp",
           check=False, stderr=subprocess.DEVNULL)


def _mount(*args, check=True, **kwargs):
    subprocess.run(["mount", *args], check=check, **kwargs)


def _start_openvswitch():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    database, remote = RUNDIR + "/conf.db", RUNDIR + "/db.sock"
    quiet = ["-vconsole:off", "-vsyslog:off", "-vfile:info"]
    subprocess.run(["ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema"], check=True)
    _daemon("ovsdb-server", database, "--remote=punix:" + remote, *quiet)
    _await(remote)
    subprocess.run(["ovs-vsctl", "--no-wait", "init"], check=True)
    _daemon("ovs-vswitchd", "unix:" + remote, "--unixctl=" + CONTROL, *quiet)
    _await(CONTROL)


def _daemon(name, *args):
    # "opened log file" is said on the terminal, whatever the options.
    subprocess.Popen([name, *args, "--log-file=%s/%s.log" % (RUNDIR, name)], stderr=subprocess.DEVNULL)


def _await(path, seconds=10):
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            sys.exit("sandbox: Open vSwitch has not made %s in %d s" % (path, seconds))
        time.sleep(0.01)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    enter()
    sys.exit(subprocess.call(sys.argv[1:]))
