// Types of the contract, generated from docs/contract.schema.json by go test ./sdk -run TestGenerated -update.

/** Headers of packets, by the contract's names. */
export type Match = Record<string, number | string>;

export const matchFields: ReadonlySet<string> = new Set([
    "arp_op", "arp_sha", "arp_spa", "arp_tha", "arp_tpa", "dl_dst", "dl_src", "dl_type",
    "dl_vlan", "dl_vlan_pcp", "eth_dst", "eth_src", "eth_type", "icmpv4_code", "icmpv4_type", "icmpv6_code",
    "icmpv6_type", "in_port", "ip_dscp", "ip_ecn", "ip_proto", "ipv4_dst", "ipv4_src", "ipv6_dst",
    "ipv6_flabel", "ipv6_nd_sll", "ipv6_nd_target", "ipv6_src", "metadata", "nw_dst", "nw_proto", "nw_src",
    "sctp_dst", "sctp_src", "tcp_dst", "tcp_src", "tp_dst", "tp_src", "tunnel_id", "udp_dst",
    "udp_src", "vlan_pcp", "vlan_vid",
]);

/** A port of a switch. */
export interface PortDescription {
  config?: number;
  hw_addr?: string;
  name?: string;
  port_no: number | string;
  state?: number;
}

/** Who asks. */
export interface Switch {
  capabilities?: number;
  dpid: string;
  n_buffers?: number;
  n_tables?: number;
  ports?: Array<PortDescription>;
  protocol?: string;
}

/** A packet that needs a decision. */
export interface PacketIn {
  buffer_id?: number;
  cookie?: number | string;
  data?: string;
  in_port?: number | string;
  incomplete?: Array<string>;
  match?: Match;
  reason?: number | string;
  rule_match?: Match;
  table_id?: number;
  total_len?: number;
}

/** A rule that has gone. */
export interface FlowRemoved {
  byte_count?: number | string;
  cookie?: number | string;
  duration_nsec?: number;
  duration_sec?: number;
  hard_timeout?: number;
  idle_timeout?: number;
  match?: Match;
  packet_count?: number | string;
  priority?: number;
  reason?: number | string;
  table_id?: number;
}

/** A port that has changed. */
export interface PortStatus {
  port?: PortDescription;
  reason?: number | string;
}

/** What the switch refused. */
export interface Error {
  code?: number;
  data?: string;
  name?: string;
  rule?: string;
  type?: number;
  xid?: number;
}

/** A state that comes back with later events of its key. */
export interface TravellingState {
  data?: string;
  key?: string;
  name: string;
  ttl?: number | string;
  version: number | string;
}

/** The body of a request. */
export interface Event {
  accepts?: Array<string>;
  error?: Error;
  flow_removed?: FlowRemoved;
  handshake?: string;
  packet_in?: PacketIn;
  port_status?: PortStatus;
  state?: string;
  switch?: Switch;
  travel?: Array<TravellingState>;
}

/** What is done with a packet; which members there are follows from type. */
export interface Action {
  ethertype?: string;
  field?: string;
  max_len?: number;
  meter_id?: number;
  port?: number | string;
  queue_id?: number;
  table_id?: number;
  type: string;
  value?: number | string;
}

/** A rule. */
export interface Flow {
  actions?: Array<Action>;
  buffer_id?: number;
  command?: string;
  cookie?: number | string;
  cookie_mask?: number | string;
  covers_incomplete?: boolean;
  dpid?: number | string;
  flags?: number;
  goto_table?: number;
  hard_timeout?: number;
  idle_timeout?: number;
  match?: Match;
  meter?: number;
  out_port?: number | string;
  priority?: number;
  table_id?: number;
}

/** A P4 table's entry, by the names of its program. */
export interface Entry {
  action?: string;
  hard_timeout?: number;
  idle_timeout?: number;
  match?: Record<string, string | number>;
  params?: Record<string, string | number>;
  priority?: number;
  table?: string;
}

/** What is done with the packet that asked; without actions it is dropped. */
export interface PacketOut {
  actions: Array<Action>;
}

/** What becomes of a packet if it is a reply. */
export interface Reply {
  flows?: Array<Flow>;
  packet_out?: PacketOut;
  reason?: string;
}

/** For which other packets an answer holds. */
export interface Reuse {
  fields?: Array<string>;
  seconds?: number;
}

/** A state that an answer rests on. */
export interface StateVersion {
  state: string;
  version: number | string;
}

/** The body of an answer. */
export interface Decision {
  entries?: Array<Entry>;
  flows?: Array<Flow>;
  handshake?: string;
  if_reply?: Reply;
  log?: boolean;
  packet_out?: PacketOut;
  policy?: string;
  reason?: string;
  reject?: boolean;
  reply?: Reply;
  reuse?: Reuse;
  revoke?: Array<string>;
  state?: string;
  state_key?: string;
  states?: Array<StateVersion>;
  travel?: Array<TravellingState>;
  verdict?: string;
}
