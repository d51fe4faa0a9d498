"""python3 -m unittest discover -s tests, with src on PYTHONPATH."""

import asyncio
import base64
import io
import json
import unittest
from typing import Any, Optional

from switchbridge_function import Decision, Function, Packet

ALL = ["covers_incomplete", "reply", "revoke", "reuse"]
HEADERS = {"content-type": "application/json", "ce-specversion": "1.0", "ce-type": "switchbridge.packet_in.v1", "ce-id": "1"}
MATCH = {"in_port": 1, "eth_type": 2048, "vlan_vid": "0x0000", "ip_proto": 6, "ipv4_src": "10.0.0.1", "ipv4_dst": "10.0.0.2", "tcp_src": 40000, "tcp_dst": 443}


def event(accepts: Optional[list[str]] = None, hidden: bool = False, **match: Any) -> dict[str, Any]:
    headers = {**MATCH, **match}
    packet: dict[str, Any] = {"in_port": 1, "match": headers}
    if hidden:
        del headers["tcp_src"], headers["tcp_dst"]
        packet["incomplete"] = ["tcp_src", "tcp_dst"]
    else:
        packet["rule_match"] = dict(headers)
    return {"switch": {"dpid": "0000000000000001", "protocol": "OpenFlow 1.3"}, "packet_in": packet, "accepts": ALL if accepts is None else accepts}


def answer(decide: Any, asked: dict[str, Any]) -> dict[str, Any]:
    function = Function(policy="7-0c0ffee1")
    function.packet_in(decide)
    status, headers, body = function.answer(HEADERS, json.dumps(asked).encode())
    assert status == 200 and headers["switchbridge-policy"] == "7-0c0ffee1", (status, body)
    return json.loads(body)  # type: ignore[no-any-return]


def no_ssh(packet: Packet) -> Decision:
    return packet.deny("no ssh") if packet.get("tcp_dst") == 22 else packet.allow("not ssh")


def pair(packet: Packet) -> Decision:
    return packet.allow_pair("these two") if packet.get("ipv4_src") == "10.0.0.1" else packet.deny("others")


class Traces(unittest.TestCase):
    def test_kept_ones_have_the_time(self) -> None:
        function = Function()
        function.packet_in(no_ssh)
        for flags, kept in (("00", False), ("01", True)):
            parent = f"00-0123456789abcdef0123456789abcdef-0123456789abcdef-{flags}"
            _, headers, _ = function.answer({**HEADERS, "traceparent": parent}, json.dumps(event()).encode())
            self.assertEqual(headers.get("server-timing", "").startswith("decide;dur="), kept)


class Helpers(unittest.TestCase):
    def test_exact(self) -> None:
        asked = event()
        d = answer(no_ssh, asked)
        self.assertEqual((d["verdict"], d["flows"][0]["match"]), ("allow", asked["packet_in"]["rule_match"]))
        self.assertEqual(d["packet_out"]["actions"], [{"type": "OUTPUT", "port": "NORMAL"}])
        d = answer(no_ssh, event(tcp_dst=22))
        self.assertEqual((d["verdict"], d["flows"][0]["actions"], d["packet_out"]["actions"]), ("deny", [], []))

    def test_hidden_header_is_denied_without_a_rule(self) -> None:
        d = answer(no_ssh, event(hidden=True))
        self.assertEqual((d["verdict"], d.get("flows"), d["packet_out"]["actions"]), ("deny", None, []))
        self.assertIn("tcp_dst", d["reason"])

    def test_pair(self) -> None:
        d = answer(pair, event())
        self.assertEqual(sorted(d["flows"][0]["match"]), ["eth_type", "in_port", "ipv4_dst", "ipv4_src", "vlan_vid"])
        self.assertNotIn("covers_incomplete", d["flows"][0])
        self.assertTrue(answer(pair, event(hidden=True))["flows"][0]["covers_incomplete"])
        self.assertNotIn("flows", answer(pair, event([], hidden=True)))  # an older gateway
        looked = answer(lambda p: p.allow_pair("x") if p.get("tcp_dst") == 443 else None, event())
        self.assertIn("tcp_dst", looked["flows"][0]["match"])  # not wider than what was looked at

    def test_deny_unless_reply(self) -> None:
        d = answer(lambda p: p.deny_unless_reply("x"), event())
        self.assertEqual((d["flows"][0]["hard_timeout"], d["if_reply"]["flows"][0]["match"]), (2, event()["packet_in"]["rule_match"]))
        self.assertNotIn("if_reply", answer(lambda p: p.deny_unless_reply("x"), event([])))
        error = answer(lambda p: p.deny_unless_reply("x"), event(icmpv4_type=3))
        self.assertEqual((error.get("flows"), error.get("if_reply")), (None, None))

    def test_reuse(self) -> None:
        decide = lambda p: p.reuse_for(no_ssh(p), 5)  # noqa: E731
        self.assertEqual(answer(decide, event())["reuse"], {"seconds": 5, "fields": ["tcp_dst"]})
        self.assertNotIn("reuse", answer(decide, event([])))
        self.assertNotIn("reuse", answer(decide, event(hidden=True)))

    def test_states_need_a_gateway_that_revokes(self) -> None:
        decide = lambda p: {**p.allow("x"), "states": [{"state": "a", "version": 1}]}  # noqa: E731
        self.assertIn("states", answer(decide, event()))
        older = answer(decide, event(["reply"]))
        self.assertEqual((older.get("states"), older.get("flows"), older["verdict"]), (None, None, "allow"))

    def test_unknown_field(self) -> None:
        with self.assertRaises(KeyError):
            answer(lambda p: p.get("tcp_port"), event())


class Hosts(unittest.TestCase):
    def setUp(self) -> None:
        self.function = Function()
        self.function.packet_in(no_ssh)
        self.body = json.dumps(event()).encode()
        self.want = self.function.answer(HEADERS, self.body)[2]

    def test_other_events(self) -> None:
        connected = {**HEADERS, "ce-type": "switchbridge.switch_connected.v1"}
        self.assertEqual(self.function.answer(connected, self.body)[2], b"{}")
        self.function.on("switch_connected")(lambda e: {"reason": e["switch"]["dpid"]})
        self.assertIn(b"0000000000000001", self.function.answer(connected, self.body)[2])
        with self.assertRaises(KeyError):
            self.function.on("packet_in")

    def test_asgi(self) -> None:
        sent: list[Any] = []
        parts = [{"body": self.body[:9], "more_body": True}, {"body": self.body[9:]}]

        async def receive() -> Any:
            return parts.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "headers": [(k.title().encode(), v.encode()) for k, v in HEADERS.items()]}
        asyncio.run(self.function.asgi(scope, receive, send))
        self.assertEqual((sent[0]["status"], sent[1]["body"]), (200, self.want))

    def test_wsgi(self) -> None:
        status: list[str] = []
        environ = {"wsgi.input": io.BytesIO(self.body), "CONTENT_LENGTH": str(len(self.body)), "CONTENT_TYPE": "application/json"}
        environ.update({"HTTP_" + k.upper().replace("-", "_"): v for k, v in HEADERS.items() if k != "content-type"})
        body = self.function.wsgi(environ, lambda s, headers: status.append(s))
        self.assertEqual((status, b"".join(body)), (["200 OK"], self.want))

    def test_lambda(self) -> None:
        for encoded in (False, True):
            text = base64.b64encode(self.body).decode() if encoded else self.body.decode()
            got = self.function.aws_lambda({"headers": {k.title(): v for k, v in HEADERS.items()}, "body": text, "isBase64Encoded": encoded})
            self.assertEqual((got["statusCode"], got["body"].encode()), (200, self.want))

    def test_refusals(self) -> None:
        for change, body, want in (
            ({"content-type": "text/xml"}, self.body, 415),
            ({"content-encoding": "gzip"}, self.body, 415),
            ({"ce-type": "switchbridge.other.v1"}, self.body, 400),
            ({"ce-id": ""}, self.body, 400),
            ({}, b"[]", 400),
            ({}, b"{", 400),
            ({}, b'{"switch": {}}', 400),
            ({}, b" " * (1 << 20) + b"{}", 413),
            ({}, json.dumps(event(unheard_of=1)).encode(), 400),
        ):
            self.assertEqual(self.function.answer({**HEADERS, **change}, body)[0], want, (change, body[:40]))


if __name__ == "__main__":
    unittest.main()
