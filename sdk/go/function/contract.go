// Code generated from docs/contract.schema.json by go test ./sdk -run TestGenerated -update. DO NOT EDIT.

package function

// Match is headers of packets, by the contract's names: numbers and texts.
type Match map[string]any

var matchFields = map[string]bool{
	"arp_op": true, "arp_sha": true, "arp_spa": true, "arp_tha": true, "arp_tpa": true, "dl_dst": true, "dl_src": true, "dl_type": true,
	"dl_vlan": true, "dl_vlan_pcp": true, "eth_dst": true, "eth_src": true, "eth_type": true, "icmpv4_code": true, "icmpv4_type": true, "icmpv6_code": true,
	"icmpv6_type": true, "in_port": true, "ip_dscp": true, "ip_ecn": true, "ip_proto": true, "ipv4_dst": true, "ipv4_src": true, "ipv6_dst": true,
	"ipv6_flabel": true, "ipv6_nd_sll": true, "ipv6_nd_target": true, "ipv6_src": true, "metadata": true, "nw_dst": true, "nw_proto": true, "nw_src": true,
	"sctp_dst": true, "sctp_src": true, "tcp_dst": true, "tcp_src": true, "tp_dst": true, "tp_src": true, "tunnel_id": true, "udp_dst": true,
	"udp_src": true, "vlan_pcp": true, "vlan_vid": true,
}

// PortDescription: A port of a switch.
type PortDescription struct {
	Config uint32 `json:"config,omitempty"`
	HWAddr string `json:"hw_addr,omitempty"`
	Name   string `json:"name,omitempty"`
	PortNo any    `json:"port_no"`
	State  uint32 `json:"state,omitempty"`
}

// Switch: Who asks.
type Switch struct {
	Capabilities uint32            `json:"capabilities,omitempty"`
	DPID         string            `json:"dpid"`
	NBuffers     uint32            `json:"n_buffers,omitempty"`
	NTables      uint32            `json:"n_tables,omitempty"`
	Ports        []PortDescription `json:"ports,omitempty"`
	Protocol     string            `json:"protocol,omitempty"`
}

// PacketIn: A packet that needs a decision.
type PacketIn struct {
	BufferID   uint32   `json:"buffer_id,omitempty"`
	Cookie     any      `json:"cookie,omitempty"`
	Data       string   `json:"data,omitempty"`
	InPort     any      `json:"in_port,omitempty"`
	Incomplete []string `json:"incomplete,omitempty"`
	Match      Match    `json:"match,omitempty"`
	Reason     any      `json:"reason,omitempty"`
	RuleMatch  Match    `json:"rule_match,omitempty"`
	TableID    uint32   `json:"table_id,omitempty"`
	TotalLen   uint32   `json:"total_len,omitempty"`
}

// FlowRemoved: A rule that has gone.
type FlowRemoved struct {
	ByteCount    any    `json:"byte_count,omitempty"`
	Cookie       any    `json:"cookie,omitempty"`
	DurationNsec uint32 `json:"duration_nsec,omitempty"`
	DurationSec  uint32 `json:"duration_sec,omitempty"`
	HardTimeout  uint32 `json:"hard_timeout,omitempty"`
	IdleTimeout  uint32 `json:"idle_timeout,omitempty"`
	Match        Match  `json:"match,omitempty"`
	PacketCount  any    `json:"packet_count,omitempty"`
	Priority     uint32 `json:"priority,omitempty"`
	Reason       any    `json:"reason,omitempty"`
	TableID      uint32 `json:"table_id,omitempty"`
}

// PortStatus: A port that has changed.
type PortStatus struct {
	Port   *PortDescription `json:"port,omitempty"`
	Reason any              `json:"reason,omitempty"`
}

// Error: What the switch refused.
type Error struct {
	Code uint32 `json:"code,omitempty"`
	Data string `json:"data,omitempty"`
	Name string `json:"name,omitempty"`
	Rule string `json:"rule,omitempty"`
	Type uint32 `json:"type,omitempty"`
	XID  uint32 `json:"xid,omitempty"`
}

// TravellingState: A state that comes back with later events of its key.
type TravellingState struct {
	Data    string `json:"data,omitempty"`
	Key     string `json:"key,omitempty"`
	Name    string `json:"name"`
	Ttl     any    `json:"ttl,omitempty"`
	Version any    `json:"version"`
}

// Event: The body of a request.
type Event struct {
	Accepts     []string          `json:"accepts,omitempty"`
	Error       *Error            `json:"error,omitempty"`
	FlowRemoved *FlowRemoved      `json:"flow_removed,omitempty"`
	Handshake   string            `json:"handshake,omitempty"`
	PacketIn    *PacketIn         `json:"packet_in,omitempty"`
	PortStatus  *PortStatus       `json:"port_status,omitempty"`
	State       string            `json:"state,omitempty"`
	Switch      *Switch           `json:"switch,omitempty"`
	Travel      []TravellingState `json:"travel,omitempty"`
}

// Action: What is done with a packet; which members there are follows from type.
type Action struct {
	Ethertype string `json:"ethertype,omitempty"`
	Field     string `json:"field,omitempty"`
	MaxLen    uint32 `json:"max_len,omitempty"`
	MeterID   uint32 `json:"meter_id,omitempty"`
	Port      any    `json:"port,omitempty"`
	QueueID   uint32 `json:"queue_id,omitempty"`
	TableID   uint32 `json:"table_id,omitempty"`
	Type      string `json:"type"`
	Value     any    `json:"value,omitempty"`
}

// Flow: A rule.
type Flow struct {
	Actions          []Action `json:"actions,omitempty"`
	BufferID         uint32   `json:"buffer_id,omitempty"`
	Command          string   `json:"command,omitempty"`
	Cookie           any      `json:"cookie,omitempty"`
	CookieMask       any      `json:"cookie_mask,omitempty"`
	CoversIncomplete bool     `json:"covers_incomplete,omitempty"`
	DPID             any      `json:"dpid,omitempty"`
	Flags            uint32   `json:"flags,omitempty"`
	GotoTable        uint32   `json:"goto_table,omitempty"`
	HardTimeout      uint32   `json:"hard_timeout,omitempty"`
	IdleTimeout      uint32   `json:"idle_timeout,omitempty"`
	Match            Match    `json:"match,omitempty"`
	Meter            uint32   `json:"meter,omitempty"`
	OutPort          any      `json:"out_port,omitempty"`
	Priority         uint32   `json:"priority,omitempty"`
	TableID          uint32   `json:"table_id,omitempty"`
}

// Entry: A P4 table's entry, by the names of its program.
type Entry struct {
	Action      string         `json:"action,omitempty"`
	HardTimeout uint32         `json:"hard_timeout,omitempty"`
	IdleTimeout uint32         `json:"idle_timeout,omitempty"`
	Match       map[string]any `json:"match,omitempty"`
	Params      map[string]any `json:"params,omitempty"`
	Priority    uint32         `json:"priority,omitempty"`
	Table       string         `json:"table,omitempty"`
}

// PacketOut: What is done with the packet that asked; without actions it is dropped.
type PacketOut struct {
	Actions []Action `json:"actions"`
}

// Reply: What becomes of a packet if it is a reply.
type Reply struct {
	Flows     []Flow     `json:"flows,omitempty"`
	PacketOut *PacketOut `json:"packet_out,omitempty"`
	Reason    string     `json:"reason,omitempty"`
}

// Reuse: For which other packets an answer holds.
type Reuse struct {
	Fields  []string `json:"fields,omitempty"`
	Seconds uint32   `json:"seconds,omitempty"`
}

// StateVersion: A state that an answer rests on.
type StateVersion struct {
	State   string `json:"state"`
	Version any    `json:"version"`
}

// Decision: The body of an answer.
type Decision struct {
	Entries   []Entry           `json:"entries,omitempty"`
	Flows     []Flow            `json:"flows,omitempty"`
	Handshake string            `json:"handshake,omitempty"`
	IfReply   *Reply            `json:"if_reply,omitempty"`
	Log       bool              `json:"log,omitempty"`
	PacketOut *PacketOut        `json:"packet_out,omitempty"`
	Policy    string            `json:"policy,omitempty"`
	Reason    string            `json:"reason,omitempty"`
	Reject    bool              `json:"reject,omitempty"`
	Reply     *Reply            `json:"reply,omitempty"`
	Reuse     *Reuse            `json:"reuse,omitempty"`
	Revoke    []string          `json:"revoke,omitempty"`
	State     string            `json:"state,omitempty"`
	StateKey  string            `json:"state_key,omitempty"`
	States    []StateVersion    `json:"states,omitempty"`
	Travel    []TravellingState `json:"travel,omitempty"`
	Verdict   string            `json:"verdict,omitempty"`
}
