#!/usr/bin/python3
"""A sensor's packet changes what a camera may do.

    sudo mininet/labs/sensor.py
    sudo mininet/labs/sensor.py bmv2

The policy is configs/policies/sensor-camera.yaml: the camera may stream to the hub while the motion sensor's machine says that something
moves. There it does for thirty seconds after the sensor's last report, here for three.
"""

import os
import socket
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
from one_switch import OneSwitch, arrival, datagram

POLICY = os.path.join(os.path.dirname(MININET), "configs", "policies", "sensor-camera.yaml")
AFTER = 3  # seconds of motion after a report

SENSOR, CAMERA, HUB, STRANGER = 5, 6, 9, 7
REPORT, STREAM, NTP = 5683, 5004, 123


def read_policy():
    with open(POLICY) as f:
        text = f.read()
    quiet = "{from: motion, to: quiet, after: 30s}"
    if quiet not in text:
        raise RuntimeError("%s has no %s" % (POLICY, quiet))
    return text.replace(quiet, quiet.replace("30s", "%ds" % AFTER))


def lab(folder, bmv2):
    checks = Checks()
    config = os.path.join(folder, "gateway.yaml")
    with open(config, "w") as f:
        f.write("state: {url: 'memory:'}\nopenflow: {subscribe: [port_status]}\n")
    net = OneSwitch(folder, "sensor", read_policy(), (SENSOR, CAMERA, HUB, STRANGER), bmv2, ["--config", config])

    def arrives(what, expected, sender, text, port, address=None):
        frame = datagram(sender, address or sender, HUB, 40000, port, text)
        ms = net.arrives(sender, frame, HUB, port, text)
        checks.check((ms is not None) == expected, what, arrival(ms))

    print("\nNothing has moved:")
    arrives("the camera's stream", False, CAMERA, b"picture 1", STREAM)
    arrives("the camera asks the time", True, CAMERA, b"time", NTP)
    arrives("a report that a stranger forges", False, STRANGER, b"forged", REPORT, address=SENSOR)
    arrives("the camera's stream", False, CAMERA, b"picture 2", STREAM)

    print("\nThe sensor reports motion:")
    arrives("the report", True, SENSOR, b"motion 1", REPORT)
    arrives("the camera's stream", True, CAMERA, b"picture 3", STREAM)
    arrives("the camera's stream again", True, CAMERA, b"picture 4", STREAM)
    # Reports go to the gateway each, and keep the camera's stream going.
    for number in (2, 3):
        time.sleep(AFTER / 2)
        arrives("another report", True, SENSOR, b"motion %d" % number, REPORT)
    arrives("the camera's stream", True, CAMERA, b"picture 5", STREAM)

    print("\nThe sensor says nothing more, and the camera goes on:")
    with net.listener(HUB, STREAM) as hub:
        hub.settimeout(0.02)
        began = last = time.monotonic()
        while time.monotonic() < began + 2 * AFTER:
            net.send(CAMERA, datagram(CAMERA, CAMERA, HUB, 40000, STREAM, b"film"))
            try:
                hub.recv(2048)
                last = time.monotonic()
            except socket.timeout:
                pass
    checks.check(0 < last - began < AFTER + 0.2, "the last picture", "arrives %.1f s after the sensor's last report" % (last - began))
    arrives("the camera's stream", False, CAMERA, b"picture 6", STREAM)

    if not bmv2:  # which tells nobody of its ports
        print("\nThe sensor is unplugged in the middle of a motion:")
        arrives("a report", True, SENSOR, b"motion 4", REPORT)
        arrives("the camera's stream", True, CAMERA, b"picture 7", STREAM)
        net.net.configLinkStatus("s1", "h%d" % SENSOR, "down")
        time.sleep(0.5)
        arrives("the camera's stream", False, CAMERA, b"picture 8", STREAM)
    net.stop()
    return checks.report()


if __name__ == "__main__":
    if "bmv2" in sys.argv[1:] and not find_bmv2():
        sys.exit("%s: simple_switch_grpc is neither in PATH nor named by SIMPLE_SWITCH_GRPC" % sys.argv[0])
    start(lab, "bmv2" in sys.argv[1:])
