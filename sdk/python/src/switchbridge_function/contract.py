"""Types of the contract, generated from docs/contract.schema.json by go test ./sdk -run TestGenerated -update."""

from __future__ import annotations

from typing import TypedDict, Union

Match = dict[str, Union[int, str]]

MATCH_FIELDS = frozenset((
    "arp_op", "arp_sha", "arp_spa", "arp_tha", "arp_tpa", "dl_dst", "dl_src", "dl_type",
    "dl_vlan", "dl_vlan_pcp", "eth_dst", "eth_src", "eth_type", "icmpv4_code", "icmpv4_type", "icmpv6_code",
    "icmpv6_type", "in_port", "ip_dscp", "ip_ecn", "ip_proto", "ipv4_dst", "ipv4_src", "ipv6_dst",
    "ipv6_flabel", "ipv6_nd_sll", "ipv6_nd_target", "ipv6_src", "metadata", "nw_dst", "nw_proto", "nw_src",
    "sctp_dst", "sctp_src", "tcp_dst", "tcp_src", "tp_dst", "tp_src", "tunnel_id", "udp_dst",
    "udp_src", "vlan_pcp", "vlan_vid",
))


class PortDescription(TypedDict, total=False):
    """A port of a switch."""

    config: int
    hw_addr: str
    name: str
    port_no: int | str
    state: int


class Switch(TypedDict, total=False):
    """Who asks."""

    capabilities: int
    dpid: str
    n_buffers: int
    n_tables: int
    ports: list[PortDescription]
    protocol: str


class PacketIn(TypedDict, total=False):
    """A packet that needs a decision."""

    buffer_id: int
    cookie: int | str
    data: str
    in_port: int | str
    incomplete: list[str]
    match: Match
    reason: int | str
    rule_match: Match
    table_id: int
    total_len: int


class FlowRemoved(TypedDict, total=False):
    """A rule that has gone."""

    byte_count: int | str
    cookie: int | str
    duration_nsec: int
    duration_sec: int
    hard_timeout: int
    idle_timeout: int
    match: Match
    packet_count: int | str
    priority: int
    reason: int | str
    table_id: int


class PortStatus(TypedDict, total=False):
    """A port that has changed."""

    port: PortDescription
    reason: int | str


class Error(TypedDict, total=False):
    """What the switch refused."""

    code: int
    data: str
    name: str
    rule: str
    type: int
    xid: int


class TravellingState(TypedDict, total=False):
    """A state that comes back with later events of its key."""

    data: str
    key: str
    name: str
    ttl: int | str
    version: int | str


class Event(TypedDict, total=False):
    """The body of a request."""

    accepts: list[str]
    error: Error
    flow_removed: FlowRemoved
    handshake: str
    packet_in: PacketIn
    port_status: PortStatus
    state: str
    switch: Switch
    travel: list[TravellingState]


class Action(TypedDict, total=False):
    """What is done with a packet; which members there are follows from type."""

    ethertype: str
    field: str
    max_len: int
    meter_id: int
    port: int | str
    queue_id: int
    table_id: int
    type: str
    value: int | str


class Flow(TypedDict, total=False):
    """A rule."""

    actions: list[Action]
    buffer_id: int
    command: str
    cookie: int | str
    cookie_mask: int | str
    covers_incomplete: bool
    dpid: int | str
    flags: int
    goto_table: int
    hard_timeout: int
    idle_timeout: int
    match: Match
    meter: int
    out_port: int | str
    priority: int
    table_id: int


class Entry(TypedDict, total=False):
    """A P4 table's entry, by the names of its program."""

    action: str
    hard_timeout: int
    idle_timeout: int
    match: dict[str, str | float]
    params: dict[str, str | float]
    priority: int
    table: str


class PacketOut(TypedDict, total=False):
    """What is done with the packet that asked; without actions it is dropped."""

    actions: list[Action]


class Reply(TypedDict, total=False):
    """What becomes of a packet if it is a reply."""

    flows: list[Flow]
    packet_out: PacketOut
    reason: str


class Reuse(TypedDict, total=False):
    """For which other packets an answer holds."""

    fields: list[str]
    seconds: int


class StateVersion(TypedDict, total=False):
    """A state that an answer rests on."""

    state: str
    version: int | str


class Decision(TypedDict, total=False):
    """The body of an answer."""

    entries: list[Entry]
    flows: list[Flow]
    handshake: str
    if_reply: Reply
    log: bool
    packet_out: PacketOut
    policy: str
    reason: str
    reject: bool
    reply: Reply
    reuse: Reuse
    revoke: list[str]
    state: str
    state_key: str
    states: list[StateVersion]
    travel: list[TravellingState]
    verdict: str
