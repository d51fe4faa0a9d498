package replay

import (
	"cmp"
	"container/heap"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"switchbridge/flow"
	"switchbridge/internal/frames"
)

// Profile is what kind of network a generated capture comes from.
type Profile struct {
	Name     string
	Flows    int           // new flows, each direction being one
	Duration time.Duration // of the whole capture
	Hosts    int           // inside
	// Burst[n] is the share of bursts that have n+1 conversations, all begun
	// within a millisecond.
	Burst []float64
	// AtOnce bounds the flows that begin within any 16 ms, about the time of an
	// answer over a WAN; 0: no bound. What would be more begins later.
	AtOnce int
	// Packets is the mean number of packets of a conversation, both directions
	// together.
	Packets float64
	// Services are what the hosts talk to, by weight.
	Services []Service
}

// Service is one kind of conversation.
type Service struct {
	Weight float64
	Proto  uint8 // flow.ProtoTCP, ProtoUDP or ProtoICMP
	Port   uint16
	V6     bool
}

// Profiles by name. The organisation has the size of the paper's largest set:
// 34,974 new flows in an hour, at most four at once.
var Profiles = []Profile{
	{
		Name: "organisation", Flows: 34_974, Duration: time.Hour, Hosts: 180, Burst: []float64{0.86, 0.11, 0.022, 0.008}, AtOnce: 4, Packets: 6,
		Services: []Service{{40, flow.ProtoTCP, 443, false}, {12, flow.ProtoTCP, 80, false}, {20, flow.ProtoUDP, 53, false},
			{8, flow.ProtoUDP, 443, false}, {8, flow.ProtoTCP, 443, true}, {5, flow.ProtoTCP, 502, false}, {4, flow.ProtoTCP, 22, false}, {3, flow.ProtoICMP, 0, false}},
	},
	{
		Name: "home", Flows: 4_000, Duration: time.Hour, Hosts: 12, Burst: []float64{0.7, 0.2, 0.07, 0.03}, Packets: 12,
		Services: []Service{{45, flow.ProtoTCP, 443, false}, {25, flow.ProtoUDP, 53, false}, {20, flow.ProtoUDP, 443, true}, {10, flow.ProtoTCP, 80, false}},
	},
	{
		Name: "iot", Flows: 1_200, Duration: time.Hour, Hosts: 25, Burst: []float64{0.95, 0.05}, Packets: 20,
		Services: []Service{{60, flow.ProtoTCP, 8883, false}, {20, flow.ProtoTCP, 1883, false}, {15, flow.ProtoUDP, 123, false}, {5, flow.ProtoUDP, 53, false}},
	},
}

// ProfileNamed returns the profile of that name.
func ProfileNamed(name string) (Profile, error) {
	names := make([]string, len(Profiles))
	for i, p := range Profiles {
		if names[i] = p.Name; p.Name == name {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("profile %q: want one of %s", name, strings.Join(names, ", "))
}

// GenerateConfig says what to generate. The same configuration gives the same
// bytes.
type GenerateConfig struct {
	Profile Profile
	Seed    uint64
	Start   time.Time // of the first packet; zero: 2025-01-01

	// Blocked are the addresses of the policy that the verdicts are expected
	// of: a flow to one of them is denied, every other is allowed. Nil is
	// 203.0.113.0/24 (RFC 5737). BlockedShare of the flows go to them: 0.05.
	Blocked      []netip.Addr
	BlockedShare float64
}

// Generated counts what Generate wrote.
type Generated struct {
	Flows   int `json:"flows"`
	Denied  int `json:"denied"`
	Packets int `json:"packets"`
}

// ExpectedColumns are those of the table of expected verdicts: a line for each
// flow with the number of the packet that begins it, as records have it.
var ExpectedColumns = []string{"packet", "src", "dst", "proto", "sport", "dport", "verdict"}

// genPacket is one packet to come.
type genPacket struct {
	at    time.Duration
	order int // of its making, so that equal times have an order
	frame []byte
	first *genFlow // the flow that it begins
}

// genFlow is one direction of a conversation.
type genFlow struct {
	from, to frames.Endpoint
	proto    uint8
	denied   bool
}

type genQueue []genPacket

func (q genQueue) Len() int { return len(q) }
func (q genQueue) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].at, q[j].at), cmp.Compare(q[i].order, q[j].order)) < 0
}
func (q genQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *genQueue) Push(x any)   { *q = append(*q, x.(genPacket)) }
func (q *genQueue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = genPacket{}
	*q = (*q)[:last]
	return p
}

type generator struct {
	cfg     *GenerateConfig
	rand    *rand.Rand
	weights float64
	blocked map[netip.Addr]bool
	queue   genQueue        // packets of the flows under way
	begins  []time.Duration // of flows, sorted, those of the recent past and to come
	order   int
	nextTo  uint32 // outside addresses
	pcap    *pcapgo.Writer
	table   *csv.Writer
	res     Generated
}

// Generate writes a pcap file and, to expected where it is not nil, the table of
// expected verdicts as CSV. A flow differs from all others, but for those 64,000
// conversations away, in its addresses or ports. It needs memory for the
// conversations under way only.
func Generate(w, expected io.Writer, cfg GenerateConfig) (Generated, error) {
	g := &generator{cfg: &cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0)), blocked: map[netip.Addr]bool{}, pcap: pcapgo.NewWriterNanos(w)}
	if err := g.run(expected); err != nil {
		return g.res, fmt.Errorf("generate: %w", err)
	}
	return g.res, nil
}

func (g *generator) run(expected io.Writer) error {
	p := &g.cfg.Profile
	switch {
	case p.Flows < 1 || p.Duration <= 0 || p.Hosts < 1 || p.Hosts > 60_000 || p.Packets < 1:
		return fmt.Errorf("profile %q: want flows, a duration, 1 to 60000 hosts and at least one packet a flow", p.Name)
	case len(p.Burst) == 0 || len(p.Services) == 0:
		return fmt.Errorf("profile %q: want bursts and services", p.Name)
	case g.cfg.BlockedShare < 0 || g.cfg.BlockedShare > 1:
		return fmt.Errorf("blocked share %v: want 0 to 1", g.cfg.BlockedShare)
	}
	if g.cfg.Blocked == nil {
		for i := range 256 {
			g.cfg.Blocked = append(g.cfg.Blocked, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
		}
	}
	for _, a := range g.cfg.Blocked {
		if !a.IsValid() {
			return errors.New("an address of the blocklist is not valid")
		}
		g.blocked[a] = true
	}
	if g.cfg.BlockedShare == 0 {
		g.cfg.BlockedShare = 0.05
	}
	if g.cfg.Start.IsZero() {
		g.cfg.Start = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	for _, s := range p.Services {
		g.weights += s.Weight
	}
	if err := g.pcap.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return err
	}
	if expected != nil {
		g.table = csv.NewWriter(expected)
		if err := g.table.Write(ExpectedColumns); err != nil {
			return err
		}
	}
	if err := g.bursts(); err != nil {
		return err
	}
	if err := g.writeUntil(math.MaxInt64); err != nil {
		return err
	}
	if g.table != nil {
		g.table.Flush()
		return g.table.Error()
	}
	return nil
}

// bursts begins the conversations: bursts come as a Poisson process whose rate
// makes the profile's number of flows fill its duration.
func (g *generator) bursts() error {
	p := &g.cfg.Profile
	var total, conversations float64
	for n, share := range p.Burst {
		total += share
		conversations += share * float64(n+1)
	}
	answered := (1 - 1/p.Packets) * (1 - g.cfg.BlockedShare)
	gap := float64(p.Duration) / float64(p.Flows) * conversations / total * (1 + answered)
	var at time.Duration
	for number, made := 0, 0; made < p.Flows; {
		at += time.Duration(g.rand.ExpFloat64() * gap)
		size := 1
		for pick := g.rand.Float64() * total; size < len(p.Burst) && pick >= p.Burst[size-1]; size++ {
			pick -= p.Burst[size-1]
		}
		if err := g.writeUntil(at); err != nil {
			return err
		}
		past, _ := slices.BinarySearch(g.begins, at-100*time.Millisecond) // further back than any window
		g.begins = slices.Delete(g.begins, 0, past)
		for i := 0; i < size && made < p.Flows; i++ {
			made += g.begin(at+time.Duration(g.rand.Int64N(int64(time.Millisecond))), number, p.Flows-made)
			number++
		}
	}
	return nil
}

// begin queues the packets of conversation number and returns how many flows
// they are: two if it is answered, and no more than limit.
func (g *generator) begin(at time.Duration, number, limit int) (flows int) {
	p := &g.cfg.Profile
	service := p.Services[len(p.Services)-1]
	pick := g.rand.Float64() * g.weights
	for _, s := range p.Services {
		if pick -= s.Weight; pick < 0 {
			service = s
			break
		}
	}
	host := uint16(g.rand.IntN(p.Hosts))
	inside := frames.Endpoint{MAC: flow.MAC{2, 0, 0, 1, byte(host >> 8), byte(host)}, Port: uint16(1024 + number%64_000)}
	outside := frames.Endpoint{MAC: flow.MAC{2, 0, 0, 2, 0, 1}, IP: g.outside(service.V6), Port: service.Port} // the router's MAC
	if service.Proto != flow.ProtoICMP && g.rand.Float64() < g.cfg.BlockedShare {
		outside.IP = g.cfg.Blocked[g.rand.IntN(len(g.cfg.Blocked))]
	}
	denied := g.blocked[outside.IP]
	if outside.IP.Is4() {
		inside.IP = netip.AddrFrom4([4]byte{10, 1, byte(host >> 8), byte(host)})
	} else {
		inside.IP = netip.AddrFrom16([16]byte{0xfd, 0, 0, 1, 14: byte(host >> 8), 15: byte(host)})
	}

	packets := 1
	for g.rand.Float64() > 1/p.Packets && packets < 1000 {
		packets++
	}
	if denied || limit == 1 {
		packets = 1 // the first packet is all that the network sees of a denied one
	}
	for i := range packets {
		if i < 2 {
			at = g.reserve(at)
		}
		f := &genFlow{inside, outside, service.Proto, denied}
		if i%2 == 1 {
			f.from, f.to = outside, inside
		}
		pkt := genPacket{at: at, order: g.order, frame: g.frame(f, inside.Port, i)}
		if i < 2 {
			pkt.first = f
		}
		g.order++
		heap.Push(&g.queue, pkt)
		at += time.Duration((5 + g.rand.ExpFloat64()*40) * float64(time.Millisecond))
	}
	return min(packets, 2)
}

// reserve returns when, at or after the given time, a flow may begin.
func (g *generator) reserve(at time.Duration) time.Duration {
	const window = 16 * time.Millisecond
	most := g.cfg.Profile.AtOnce
	if most == 0 {
		return at
	}
	for {
		i, _ := slices.BinarySearch(g.begins, at)
		list := slices.Insert(g.begins, i, at)
		crowded := false
		for first := max(0, i-most); first <= i && first+most < len(list); first++ {
			crowded = crowded || list[first+most]-list[first] < window
		}
		if !crowded {
			g.begins = list
			return at
		}
		g.begins = slices.Delete(list, i, i+1)
		at += time.Millisecond
	}
}

// outside returns an address that no flow had before, outside of the blocklist.
func (g *generator) outside(v6 bool) netip.Addr {
	for {
		g.nextTo++
		n := g.nextTo
		a := netip.AddrFrom4([4]byte{100 + byte(n>>20&7), byte(n >> 12), byte(n >> 4), byte(n<<4 | 1)})
		if v6 {
			a = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
		}
		if !g.blocked[a] {
			return a
		}
	}
}

// frame makes packet i of a conversation.
func (g *generator) frame(f *genFlow, id uint16, i int) []byte {
	payload := make([]byte, 20+g.rand.IntN(200))
	switch f.proto {
	case flow.ProtoUDP:
		return frames.UDP(f.from, f.to, payload)
	case flow.ProtoICMP:
		if i%2 == 1 {
			return frames.Pong(f.from, f.to, id, uint16(i/2))
		}
		return frames.Ping(f.from, f.to, id, uint16(i/2))
	}
	switch i {
	case 0:
		return frames.TCP(f.from, f.to, frames.SYN, nil)
	case 1:
		return frames.TCP(f.from, f.to, frames.SYN|frames.ACK, nil)
	}
	return frames.TCP(f.from, f.to, frames.ACK|frames.PSH, payload)
}

// writeUntil writes the packets before the given time, in order.
func (g *generator) writeUntil(end time.Duration) error {
	for len(g.queue) > 0 && g.queue[0].at < end {
		p := heap.Pop(&g.queue).(genPacket)
		g.res.Packets++
		ci := gopacket.CaptureInfo{Timestamp: g.cfg.Start.Add(p.at), CaptureLength: len(p.frame), Length: len(p.frame)}
		if err := g.pcap.WritePacket(ci, p.frame); err != nil {
			return err
		}
		if f := p.first; f != nil {
			if err := g.expect(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *generator) expect(f *genFlow) error {
	g.res.Flows++
	verdict := flow.Allow
	if f.denied {
		g.res.Denied++
		verdict = flow.Deny
	}
	if g.table == nil {
		return nil
	}
	ports := []string{"", ""}
	if f.proto != flow.ProtoICMP {
		ports = []string{strconv.Itoa(int(f.from.Port)), strconv.Itoa(int(f.to.Port))}
	}
	return g.table.Write(slices.Concat([]string{strconv.Itoa(g.res.Packets), f.from.IP.String(), f.to.IP.String(), strconv.Itoa(int(f.proto))}, ports, []string{verdict.String()}))
}
