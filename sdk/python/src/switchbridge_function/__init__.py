"""Functions for Switchbridge: a Python function about packets, as ASGI, WSGI or AWS Lambda.

The contract is docs/contract.md of Switchbridge. This module needs the standard library alone.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Optional, Union, cast

from .contract import MATCH_FIELDS, Action, Decision, Event, Flow, Match, PacketIn, Reply

__all__ = ["Action", "Decision", "Event", "Flow", "Function", "Match", "Packet"]

MAX_BODY = 1 << 20
TRACED = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]")  # a traceparent whose trace is kept
KINDS = frozenset(("packet_in", "switch_connected", "flow_removed", "port_status", "error", "policy_check", "handshake"))
PROTOCOLS = ("OpenFlow 1.0", "OpenFlow 1.3", "P4Runtime")
PAIR_FIELDS = ("in_port", "eth_type", "vlan_vid", "ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst")

# Timeouts of rules, in seconds: a deny is short, so that a changed mind counts soon.
ALLOW_IDLE, ALLOW_HARD, DENY_HARD = 60, 3600, 30
REPLY_LIFE = 2  # of a deny that may be of a reply

Answer = tuple[int, dict[str, str], bytes]


def _normal() -> list[Action]:
    return [{"type": "OUTPUT", "port": "NORMAL"}]


class Refused(Exception):
    """An event that is refused for good: a gateway drops the packet and does not ask again."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Packet:
    """A packet that needs a decision.

    It remembers which headers were looked at, since the answer holds for those packets alone that have the same.
    """

    def __init__(self, event: Event) -> None:
        self.event = event
        self.packet_in: PacketIn = event["packet_in"]
        self.match: Match = self.packet_in.get("match") or {}
        self.incomplete: list[str] = self.packet_in.get("incomplete") or []
        self.looked: set[str] = set()

    def get(self, field: str) -> Union[int, str, None]:
        """A header; None where the packet has none or does not show it. In the second case allow() denies."""
        if field not in MATCH_FIELDS:
            raise KeyError(f"no field of a match: {field}")
        self.looked.add(field)
        return self.match.get(field)

    @property
    def hidden(self) -> Optional[str]:
        """The first header that was looked at, and that the packet has and does not show, such as the ports of a fragment."""
        return next((field for field in self.incomplete if field in self.looked), None)

    def allow(self, reason: str) -> Decision:
        """Forward the packet, with a rule for exactly its conversation where the switch can hold one.

        If the packet hides a header that was looked at, it is denied, and no rule is left.
        """
        if self.hidden:
            return self._answer("deny", f"the packet does not show {self.hidden}, so it is not: {reason}", None)
        return self._answer("allow", reason, self.packet_in.get("rule_match"))

    def deny(self, reason: str) -> Decision:
        """Drop the packet, with a rule for exactly its conversation where the switch can hold one."""
        return self._answer("deny", reason, self.packet_in.get("rule_match"))

    def allow_pair(self, reason: str) -> Decision:
        """allow() with a rule for all packets of these two hosts by this port, fragments among them.

        It is for those who have looked at nothing else: where another header was looked at, the rule is that of allow(). So it is
        for packets that are not IP.
        """
        decision = self.allow(reason)
        match: Match = {field: self.match[field] for field in PAIR_FIELDS if field in self.match}
        protocol = self.event["switch"].get("protocol")
        holds = "ipv4_dst" in match or ("ipv6_dst" in match and protocol == "OpenFlow 1.3")
        covers = bool(self.incomplete)
        if (
            decision.get("verdict") != "allow"
            or not holds
            or protocol == "P4Runtime"
            or (covers and "covers_incomplete" not in _accepts(self.event))
            or not self.looked <= set(PAIR_FIELDS)
        ):
            return decision
        rule: Flow = {"priority": 90, "idle_timeout": ALLOW_IDLE, "hard_timeout": ALLOW_HARD, "match": match, "actions": _normal()}
        if covers:
            rule["covers_incomplete"] = True
        decision["flows"] = [rule]
        return decision

    def deny_unless_reply(self, reason: str) -> Decision:
        """Deny the packet, unless the switch holds the rule of a packet that it answers, which allow() has left."""
        decision = self.deny(reason)
        match = self.packet_in.get("rule_match")
        if match is None or self._icmp_error():
            decision.pop("flows", None)
            return decision
        decision["flows"][0]["hard_timeout"] = REPLY_LIFE
        reply: Reply = {
            "reason": f"{reason} (a reply)",
            "flows": [{"priority": 100, "idle_timeout": ALLOW_IDLE, "hard_timeout": ALLOW_HARD, "match": match, "actions": _normal()}],
            "packet_out": {"actions": _normal()},
        }
        decision["if_reply"] = reply
        return decision

    def reuse_for(self, decision: Decision, seconds: int) -> Decision:
        """Say that for so many seconds every packet with the same values in the headers that were looked at gets this answer,
        whichever switch asks and by whichever port it comes."""
        if not (self.incomplete or "if_reply" in decision or decision.get("states")):
            decision["reuse"] = {"seconds": seconds, "fields": sorted(self.looked)}
        return decision

    def _icmp_error(self) -> bool:
        return self.match.get("icmpv4_type") in (3, 11, 12) or self.match.get("icmpv6_type") in (1, 2, 3, 4)

    def _answer(self, verdict: str, reason: str, match: Optional[Match]) -> Decision:
        actions = _normal() if verdict == "allow" else []
        decision: Decision = {"verdict": verdict, "reason": reason, "packet_out": {"actions": actions}}
        if match is not None:
            rule: Flow = {"priority": 100, "hard_timeout": ALLOW_HARD if actions else DENY_HARD, "match": match, "actions": actions}
            if actions:
                rule["idle_timeout"] = ALLOW_IDLE
            decision["flows"] = [rule]
        return decision


def _accepts(event: Event) -> list[str]:
    return event.get("accepts") or []


def _restrict(decision: Decision, event: Event) -> None:
    """Take out what the gateway does not accept."""
    accepts = _accepts(event)
    if "covers_incomplete" not in accepts:
        for rule in decision.get("flows") or []:
            rule.pop("covers_incomplete", None)
    if "reply" not in accepts:
        decision.pop("if_reply", None)
    if "reuse" not in accepts:
        decision.pop("reuse", None)
        decision.pop("reply", None)
    if "revoke" not in accepts:
        if decision.get("states"):  # a rule would stay when the state has changed
            decision.pop("flows", None)
            decision.pop("if_reply", None)
        decision.pop("states", None)
        decision.pop("revoke", None)


def _read(kind: str, body: bytes) -> Event:
    """Read an event, strictly where a mistake could widen a rule: a header in a match that is not known is an error."""
    try:
        event = json.loads(body)
    except ValueError as error:
        raise Refused(400, f"the event is no JSON: {error}") from None
    if not isinstance(event, dict):
        raise Refused(400, "the event is no object")
    switch = event.get("switch")
    if switch is None and kind != "policy_check" or switch is not None and not isinstance(switch, dict):
        raise Refused(400, "no switch")
    if switch and switch.get("protocol", PROTOCOLS[0]) not in PROTOCOLS:
        raise Refused(400, "a protocol that is not known")
    if kind == "packet_in":
        packet = event.get("packet_in")
        if not isinstance(packet, dict) or not isinstance(packet.get("match", {}), dict):
            raise Refused(400, "packet_in without its content")
        for field in packet.get("match", {}):
            if field not in MATCH_FIELDS:
                raise Refused(400, f"packet_in.match.{field}: unknown field")
    return cast(Event, event)


class Function:
    """Answers a gateway's events. policy is the version of what it decides by, "<serial>-<8 hexadecimal digits>"."""

    def __init__(self, policy: Optional[str] = None) -> None:
        self.policy = policy
        self._packet_in: Callable[[Packet], Optional[Decision]] = lambda packet: None
        self._on: dict[str, Callable[[Event], Optional[Decision]]] = {}

    def packet_in(self, decide: Callable[[Packet], Optional[Decision]]) -> Callable[[Packet], Optional[Decision]]:
        """A decorator: decide about packets. None counts as a deny."""
        self._packet_in = decide
        return decide

    def on(self, kind: str) -> Callable[[Callable[[Event], Optional[Decision]]], Callable[[Event], Optional[Decision]]]:
        """A decorator: answer switch_connected, flow_removed, port_status or error, which are answered without rules else."""
        if kind not in KINDS or kind == "packet_in":
            raise KeyError(f"no other event: {kind}")

        def register(decide: Callable[[Event], Optional[Decision]]) -> Callable[[Event], Optional[Decision]]:
            self._on[kind] = decide
            return decide

        return register

    def answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request, whose header names are in small letters: status, headers and body."""
        began = time.perf_counter()
        try:
            decision = self._decide(headers, body)
        except Refused as refused:
            return refused.status, {"content-type": "text/plain; charset=utf-8"}, str(refused).encode()
        answer = {"content-type": "application/json"}
        if self.policy:
            answer["switchbridge-policy"] = self.policy
        if TRACED.match(headers.get("traceparent", "")):  # the gateway makes a span of it
            answer["server-timing"] = f"decide;dur={(time.perf_counter() - began) * 1000:.3f}"
        return 200, answer, json.dumps(decision).encode()

    def _decide(self, headers: Mapping[str, str], body: bytes) -> Decision:
        content_type = headers.get("content-type", "")
        if content_type.split(";")[0].strip() != "application/json":
            raise Refused(415, f"content type {content_type!r}: want application/json")
        if headers.get("content-encoding"):
            raise Refused(415, "a content encoding: bodies are sent as they are")
        if len(body) > MAX_BODY:
            raise Refused(413, f"body of more than {MAX_BODY} bytes")
        kind = headers.get("ce-type", "").removeprefix("switchbridge.").removesuffix(".v1")
        if kind not in KINDS or not headers.get("ce-id") or headers.get("ce-specversion") != "1.0":
            raise Refused(400, "want CloudEvents 1.0 with an id, of an event of version 1")
        event = _read(kind, body)
        on = self._on.get(kind)
        decided = self._packet_in(Packet(event)) if kind == "packet_in" else on(event) if on else None
        decision: Decision = {} if decided is None else decided
        _restrict(decision, event)
        return decision

    async def asgi(self, scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        """The function as an ASGI application."""
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        body, more = b"", True
        while more and len(body) <= MAX_BODY:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status, headers, answer = self.answer({k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}, body)
        headers["content-length"] = str(len(answer))
        await send({"type": "http.response.start", "status": status, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]})
        await send({"type": "http.response.body", "body": answer})

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The function as a WSGI application."""
        body = environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0), MAX_BODY + 1))
        headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
        headers["content-type"] = environ.get("CONTENT_TYPE", "")
        status, answer_headers, answer = self.answer(headers, body)
        start_response(f"{status} {'OK' if status == 200 else 'Refused'}", [*answer_headers.items(), ("content-length", str(len(answer)))])
        return [answer]

    def aws_lambda(self, event: dict[str, Any], context: Any = None) -> dict[str, Any]:
        """The function as a handler of an AWS Lambda function URL, or of an HTTP API with payloads of format 2.0."""
        text = event.get("body") or ""
        body = base64.b64decode(text) if event.get("isBase64Encoded") else text.encode()
        status, headers, answer = self.answer({k.lower(): v for k, v in (event.get("headers") or {}).items()}, body)
        return {"statusCode": status, "headers": headers, "body": answer.decode()}

    def serve(self, host: str = "127.0.0.1", port: int = 8080) -> None:
        """Serve the function without a framework, for tries on one machine."""
        from socketserver import ThreadingMixIn
        from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

        class Server(ThreadingMixIn, WSGIServer):
            daemon_threads, request_queue_size = True, 128

        class Quiet(WSGIRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

        make_server(host, port, self.wsgi, Server, Quiet).serve_forever()
