package capture

import (
	"errors"
	"io"
	"net/netip"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// maxNames bounds how many names are remembered.
const maxNames = 1 << 16

// Names returns which addresses the DNS answers of r give names: those of a question have the addresses at the end of its chain, too.
func Names(r *Reader) (map[string][]netip.Addr, error) {
	names := make(map[string][]netip.Addr)
	add := func(name []byte, a netip.Addr) {
		list, known := names[string(name)]
		if !slices.Contains(list, a) && (known || len(names) < maxNames) {
			names[string(name)] = append(list, a)
		}
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		packet := gopacket.NewPacket(p.Frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		dns, ok := packet.Layer(layers.LayerTypeDNS).(*layers.DNS)
		if !ok || !dns.QR {
			continue
		}
		for i := range dns.Answers {
			a, ok := netip.AddrFromSlice(dns.Answers[i].IP)
			if !ok {
				continue
			}
			add(dns.Answers[i].Name, a.Unmap())
			for j := range dns.Questions {
				add(dns.Questions[j].Name, a.Unmap())
			}
		}
	}
}
