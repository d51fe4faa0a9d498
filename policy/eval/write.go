package eval

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"text/tabwriter"

	"switchbridge/flow"
)

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// WriteText writes a table of the flows, then what the policy consists of and how many flows each reason decided.
func (r *Report) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w) // keeps the first error until Flush
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "PACKET\tPACKETS\tFROM\tTO\tPROTOCOL\tVERDICT\tREASON")
	for _, f := range r.Flows {
		from, to, proto := f.ends()
		fmt.Fprintf(tw, "%d\t%d\t%s\t%s\t%s\t%s\t%s\n", f.First, f.Packets, from, to, proto, f.Verdict, f.Reason)
	}
	tw.Flush()

	type line struct {
		verdict, reason string
		flows, packets  int
	}
	byReason := make(map[[2]string]*line)
	for _, f := range r.Flows {
		k := [2]string{f.Verdict, f.Reason}
		if byReason[k] == nil {
			byReason[k] = &line{verdict: f.Verdict, reason: f.Reason}
		}
		byReason[k].flows++
		byReason[k].packets += f.Packets
	}
	lines := slices.SortedFunc(maps.Values(byReason), func(a, b *line) int {
		return cmp.Or(cmp.Compare(b.flows, a.flows), cmp.Compare(a.verdict, b.verdict), cmp.Compare(a.reason, b.reason))
	})
	fmt.Fprintf(out, "\npolicy %s: %d packets, %d flows: %d allowed, %d denied\n", r.Policy, r.Packets, len(r.Flows), r.Allowed, r.Denied)
	for i, entry := range r.Chain {
		fmt.Fprintf(out, "  %d. %s\n", i+1, entry)
	}
	if r.Truncated > 0 {
		fmt.Fprintf(out, "the capture holds only a part of %d packets\n", r.Truncated)
	}
	if r.Bad > 0 {
		fmt.Fprintf(out, "%d bad records of the capture were left out\n", r.Bad)
	}
	if r.Decided > 0 {
		fmt.Fprintf(out, "%d of %d packets were decided differently\n", r.Differs, r.Decided)
		tw = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		for _, f := range r.Flows {
			if f.Differs > 0 {
				from, to, proto := f.ends()
				fmt.Fprintf(tw, "  %d\t%s > %s\t%s\twas %s (%s)\tis %s (%s)\n", f.First, from, to, proto, f.Was, f.WasReason, f.Verdict, f.Reason)
			}
		}
		tw.Flush()
	}
	tw = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FLOWS\tPACKETS\tVERDICT\tREASON")
	for _, l := range lines {
		fmt.Fprintf(tw, "%d\t%d\t%s\t%s\n", l.flows, l.packets, l.verdict, l.reason)
	}
	tw.Flush()
	r.writeStates(out)
	return out.Flush()
}

// maxMoves is how many changes of states are written as text.
const maxMoves = 100

// writeStates writes what the policy's machines did.
func (r *Report) writeStates(out io.Writer) {
	if len(r.States) == 0 {
		return
	}
	asked, denied := 0, 0
	for _, f := range r.Flows {
		asked, denied = asked+f.Asked, denied+f.PacketsDenied
	}
	fmt.Fprintf(out, "\n%d of %d packets were asked about, %d denied; machines moved %d times\n", asked, r.Packets, denied, len(r.Moves))
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Moves) > 0 {
		fmt.Fprintln(tw, "PACKET\tSECONDS\tMACHINE\tFROM\tTO")
	}
	for _, m := range r.Moves[:min(len(r.Moves), maxMoves)] {
		fmt.Fprintf(tw, "%d\t%.3f\t%s\t%s\t%s\n", m.Packet, m.Offset.Seconds(), m.Key, m.From, m.To)
	}
	tw.Flush()
	if more := len(r.Moves) - maxMoves; more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
	tw = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "KEYS\tIN THE END")
	for _, state := range slices.Sorted(maps.Keys(r.States)) {
		fmt.Fprintf(tw, "%d\t%s\n", r.States[state], state)
	}
	tw.Flush()
}

// ends names a flow's two sides and what they speak.
func (f *Flow) ends() (from, to, proto string) {
	m := &f.headers
	switch {
	case m.Has(flow.FieldIPSrc | flow.FieldIPDst):
		from, to = m.IPSrc.Addr().String(), m.IPDst.Addr().String()
	case m.Has(flow.FieldARPSPA | flow.FieldARPTPA):
		from, to = m.ARPSPA.Addr().String(), m.ARPTPA.Addr().String()
	case m.Has(flow.FieldEthSrc | flow.FieldEthDst):
		from, to = m.EthSrc.String(), m.EthDst.String()
	default:
		return "?", "?", "cut short"
	}
	if m.Has(flow.FieldL4Src | flow.FieldL4Dst) {
		from = net.JoinHostPort(from, strconv.Itoa(int(m.L4Src)))
		to = net.JoinHostPort(to, strconv.Itoa(int(m.L4Dst)))
	}
	return from, to, protocol(m)
}

var protocolNames = map[uint8]string{
	flow.ProtoICMP: "ICMP", flow.ProtoTCP: "TCP", flow.ProtoUDP: "UDP", flow.ProtoICMPv6: "ICMPv6", flow.ProtoSCTP: "SCTP",
	2: "IGMP", 47: "GRE", 50: "ESP", 89: "OSPF",
}

func protocol(m *flow.Match) string {
	switch {
	case m.Has(flow.FieldIPProto):
		name := protocolNames[m.IPProto]
		if name == "" {
			name = fmt.Sprintf("IP %d", m.IPProto)
		}
		if m.Has(flow.FieldICMPType) {
			name = fmt.Sprintf("%s %d/%d", name, m.ICMPType, m.ICMPCode)
		}
		return name
	case m.Has(flow.FieldARPOp):
		switch m.ARPOp {
		case 1:
			return "ARP request"
		case 2:
			return "ARP reply"
		}
		return fmt.Sprintf("ARP %d", m.ARPOp)
	case m.EthType == flow.EthTypeLLDP:
		return "LLDP"
	case m.EthType < 0x0600:
		return "802.3"
	}
	return fmt.Sprintf("%#04x", m.EthType)
}
