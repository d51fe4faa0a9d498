package gateway

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchbridge/bridge"
	"switchbridge/flow"
)

// Bounds of what the page is shown.
const (
	feedRate  = 200  // decisions a second that are looked at; the rest are counted
	feedKept  = 512  // of these that are kept
	feedHosts = 4096 // stations; the one that was seen longest ago gives way, nearly
	hostAddrs = 4    // network addresses of a station
	hostPorts = 8    // ports by which a station's packets came
	shownText = 512  // bytes of a text that a function or a packet brought
	shownRule = 8    // rules of a decision
)

// ShownDecision is one decision in GET /api/v1/decisions.
type ShownDecision struct {
	Decision uint32    `json:"decision"` // its number, which its rules' cookies carry
	Time     time.Time `json:"time"`
	DPID     string    `json:"dpid"`
	Event    string    `json:"event"`
	Port     string    `json:"port,omitempty"`   // by which the packet came
	Source   string    `json:"source,omitempty"` // of the packet: its network address, or its Ethernet address
	Target   string    `json:"target,omitempty"`
	Packet   string    `json:"packet,omitempty"` // its headers
	Verdict  string    `json:"verdict"`          // allow, deny, none, or failed: without an answer
	Reason   string    `json:"reason"`
	Policy   string    `json:"policy,omitempty"`
	Rules    []string  `json:"rules"`                // that it left, eight at most
	More     int       `json:"more_rules,omitempty"` // that are not in Rules
	Refused  int       `json:"rules_refused,omitempty"`
	Calls    int       `json:"calls"`            // requests to functions
	Reused   bool      `json:"reused,omitempty"` // an earlier answer held for it
	Wait     float64   `json:"wait_seconds"`
	Decide   float64   `json:"decide_seconds"`
	Total    float64   `json:"total_seconds"`
	Trace    string    `json:"trace_id,omitempty"`

	seq  uint64
	find string // what a filter by host looks in
}

// ShownHost is one station in GET /api/v1/hosts, by the source address of packets
// that were decided about.
type ShownHost struct {
	MAC   string      `json:"mac"`
	IPs   []string    `json:"ips"`
	Ports []ShownPort `json:"ports"`
	Seen  time.Time   `json:"seen"`
}

// ShownPort is a port by which a station's packets came.
type ShownPort struct {
	DPID string    `json:"dpid"`
	Port string    `json:"port"`
	Seen time.Time `json:"seen"`
}

// feed holds what the page shows: the latest decisions, and the stations whose packets
// they were about. If the gateway decides more than feedRate events a second, it
// holds a part of them.
type feed struct {
	second  atomic.Uint64    // see spend
	verdict [4]atomic.Uint64 // all decisions so far, by class

	mu    sync.Mutex
	ring  []ShownDecision
	seq   uint64 // of the latest in ring, from 1
	hosts map[flow.MAC]*host
}

type host struct {
	addrs []netip.Addr // latest first
	ports []hostPort   // latest first
	seen  time.Time
}

type hostPort struct {
	dpid flow.DPID
	port flow.PortNo
	seen time.Time
}

// put adds a decision, if there is room in this second. Allows get three quarters of
// the room, as in the log. A nil feed adds nothing.
func (f *feed) put(rec *bridge.Record, failure error) {
	if f == nil {
		return
	}
	class, first := classOf(rec, failure)
	f.verdict[class].Add(1)
	if !spend(&f.second, uint32(rec.Event.Time.Add(rec.Total).Unix()), 1, feedRate, first) {
		return
	}
	d := shown(rec, failure)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	d.seq = f.seq
	if len(f.ring) < feedKept {
		f.ring = append(f.ring, d)
	} else {
		f.ring[(f.seq-1)%feedKept] = d
	}
	if pi := rec.Event.PacketIn; pi != nil && rec.Event.Type == flow.EventPacketIn {
		f.saw(rec.Switch.DPID, &pi.Match, rec.Event.Time)
	}
}

// shown copies what the page is shown of a decision.
func shown(rec *bridge.Record, failure error) ShownDecision {
	d := ShownDecision{Decision: rec.Event.XID, Time: rec.Event.Time, DPID: rec.Switch.DPID.String(), Event: rec.Event.Type.Name(),
		Wait: seconds(rec.Wait), Decide: seconds(rec.Decide), Total: seconds(rec.Total), Trace: rec.Trace, Refused: rec.Refused, Rules: []string{}}
	if pi := rec.Event.PacketIn; pi != nil {
		m := &pi.Match
		d.Port, d.Packet = m.InPort.String(), cut(m.String())
		d.Source, d.Target = endsOf(m)
		d.find = strings.ToLower(d.Source + " " + d.Target + " " + m.EthSrc.String() + " " + m.EthDst.String())
	}
	if rec.Err == nil {
		a := rec.Decision
		d.Verdict, d.Reason, d.Calls, d.Reused = a.Verdict.String(), cut(a.Reason), a.Calls, a.Reused != 0
		if !a.Policy.IsZero() {
			d.Policy = a.Policy.String()
		}
		for i := range a.Rules[:min(len(a.Rules), shownRule)] {
			d.Rules = append(d.Rules, cut(a.Rules[i].String()))
		}
		d.More = len(a.Rules) + len(a.Entries) - len(d.Rules)
	}
	if failure != nil {
		d.Verdict = "failed"
		d.Reason = cut(strings.TrimSpace(d.Reason + " " + failure.Error()))
	}
	return d
}

// cut copies the start of a text.
func cut(s string) string { return strings.ToValidUTF8(strings.Clone(s[:min(len(s), shownText)]), "?") }

// endsOf names a packet's source and destination.
func endsOf(m *flow.Match) (from, to string) {
	l4 := func(addr netip.Addr, has flow.Field, port uint16) string {
		if m.Has(has) && port != 0 {
			return netip.AddrPortFrom(addr, port).String()
		}
		return addr.String()
	}
	switch {
	case m.Has(flow.FieldIPSrc) && m.Has(flow.FieldIPDst):
		return l4(m.IPSrc.Addr(), flow.FieldL4Src, m.L4Src), l4(m.IPDst.Addr(), flow.FieldL4Dst, m.L4Dst)
	case m.Has(flow.FieldARPSPA) && m.Has(flow.FieldARPTPA):
		return m.ARPSPA.Addr().String(), m.ARPTPA.Addr().String()
	}
	return m.EthSrc.String(), m.EthDst.String()
}

// saw notes the station that sent a packet. The caller holds mu.
func (f *feed) saw(dpid flow.DPID, m *flow.Match, now time.Time) {
	if !m.Has(flow.FieldEthSrc) || m.EthSrc.Multicast() || m.EthSrc == (flow.MAC{}) {
		return
	}
	h := f.hosts[m.EthSrc]
	if h == nil {
		if f.hosts == nil {
			f.hosts = make(map[flow.MAC]*host)
		}
		f.makeRoom()
		h = new(host)
		f.hosts[m.EthSrc] = h
	}
	h.seen = now
	var addr netip.Addr
	switch {
	case m.Has(flow.FieldIPSrc):
		addr = m.IPSrc.Addr()
	case m.Has(flow.FieldARPSPA):
		addr = m.ARPSPA.Addr()
	}
	if addr.IsValid() && !addr.IsUnspecified() {
		h.addrs = slices.DeleteFunc(h.addrs, func(a netip.Addr) bool { return a == addr })
		h.addrs = slices.Insert(h.addrs, 0, addr)[:min(len(h.addrs)+1, hostAddrs)]
	}
	at := hostPort{dpid, m.InPort, now}
	h.ports = slices.DeleteFunc(h.ports, func(p hostPort) bool { return p.dpid == dpid && p.port == at.port })
	h.ports = slices.Insert(h.ports, 0, at)[:min(len(h.ports)+1, hostPorts)]
}

// makeRoom forgets a station where there are too many: the oldest of sixteen that
// the map happens to list first.
func (f *feed) makeRoom() {
	if len(f.hosts) < feedHosts {
		return
	}
	var oldest flow.MAC
	looked := 0
	for mac, h := range f.hosts {
		if looked == 0 || h.seen.Before(f.hosts[oldest].seen) {
			oldest = mac
		}
		if looked++; looked == 16 {
			break
		}
	}
	delete(f.hosts, oldest)
}

// filter selects decisions; empty members select all.
type filter struct {
	host, port, dpid, verdict string
}

func (q *filter) selects(d *ShownDecision) bool {
	return (q.verdict == "" || q.verdict == d.Verdict) && (q.dpid == "" || q.dpid == d.DPID) &&
		(q.port == "" || q.port == d.Port) && (q.host == "" || strings.Contains(d.find, q.host))
}

// since returns at most n of the decisions that q selects and that came after seq,
// the newest first. left is how many more there were.
func (f *feed) since(seq uint64, q *filter, n int) (list []ShownDecision, left int, latest uint64) {
	list = []ShownDecision{}
	if f == nil {
		return list, 0, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for at := f.seq; at > seq && at+feedKept > f.seq; at-- {
		switch d := &f.ring[(at-1)%feedKept]; {
		case !q.selects(d):
		case len(list) < n:
			list = append(list, *d)
		default:
			left++
		}
	}
	return list, left, f.seq
}

// decision returns one of those that are kept.
func (f *feed) decision(number uint32) (d ShownDecision, ok bool) {
	if f == nil {
		return d, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.ring {
		if f.ring[i].Decision == number && (!ok || f.ring[i].seq > d.seq) {
			d, ok = f.ring[i], true
		}
	}
	return d, ok
}

// stations returns the stations whose packets were decided about, by address.
func (f *feed) stations() []ShownHost {
	list := []ShownHost{}
	if f == nil {
		return list
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, mac := range slices.SortedFunc(maps.Keys(f.hosts), func(a, b flow.MAC) int { return slices.Compare(a[:], b[:]) }) {
		h := f.hosts[mac]
		s := ShownHost{MAC: mac.String(), IPs: []string{}, Seen: h.seen}
		for _, a := range h.addrs {
			s.IPs = append(s.IPs, a.String())
		}
		for _, p := range h.ports {
			s.Ports = append(s.Ports, ShownPort{p.dpid.String(), p.port.String(), p.seen})
		}
		list = append(list, s)
	}
	return list
}

// Totals counts the decisions since the start, for the page.
type Totals struct {
	Allow  uint64 `json:"allow"`
	Deny   uint64 `json:"deny"`
	None   uint64 `json:"none"`
	Failed uint64 `json:"failed"`
	Shown  uint64 `json:"shown"` // of all, so many were looked at for the page
}

func (f *feed) totals() Totals {
	if f == nil {
		return Totals{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return Totals{Allow: f.verdict[flow.Allow].Load(), Deny: f.verdict[flow.Deny].Load(), None: f.verdict[flow.NoVerdict].Load(), Failed: f.verdict[3].Load(), Shown: f.seq}
}
