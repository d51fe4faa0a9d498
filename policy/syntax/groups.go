package syntax

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"switchbridge/flow"
)

// Group is a name for hosts and networks, or for services.
type Group struct {
	Prefixes []netip.Prefix
	MACs     []flow.MAC
	Services []Service

	Named bool // some are a host's, by its name

	members *Node // nil once they are read
	reading bool
}

// Service is what a packet is for: a protocol, and maybe ports of its destination.
type Service struct {
	Proto       uint8
	First, Last uint16 // 0 and 65535: any port, also where the protocol has none
}

// AnyPort reports whether the service is its protocol as a whole.
func (s Service) AnyPort() bool { return s.First == 0 && s.Last == 0xffff }

// MaxGroup is how many members a group may have. Longer lists are a blocklist's.
const MaxGroup = 10_000

// ParseGroups reads the policy's groups. They may be named in one another, in any order.
func (f *File) ParseGroups(n *Node) {
	if n.Shape != Mapping {
		f.Mapping(n, "groups") // says what is wrong
		return
	}
	f.groups = make(map[string]*Group)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		if _, err := groupName(name.Value); err != nil {
			f.Errorf(name, "groups: %v", err)
			continue
		}
		if f.groups[name.Value] != nil {
			f.Errorf(name, "groups: %s is given twice", name.Value)
			continue
		}
		f.groups[name.Value] = &Group{members: n.Content[i+1]}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if g := f.groups[n.Content[i].Value]; g != nil {
			f.readGroup(n.Content[i].Value, g)
		}
	}
}

// groupName takes a word that can't be mistaken for an address, a service or a number.
func groupName(s string) (string, error) {
	bad := s == "" || len(s) > 64 || strings.Trim(s[:1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" ||
		strings.ContainsFunc(s, func(r rune) bool {
			return r != '-' && r != '_' && !('a' <= r|0x20 && r|0x20 <= 'z') && !('0' <= r && r <= '9')
		})
	if _, isService := services[s]; bad || isService {
		return "", fmt.Errorf("%.80q: want a name of letters, digits, - and _ that begins with a letter and is no protocol's", s)
	}
	return s, nil
}

// readGroup reads a group's members, those of the groups that it names first.
func (f *File) readGroup(name string, g *Group) {
	if g.members == nil {
		return
	}
	where := "group " + name
	if g.reading {
		f.Errorf(g.members, "%s: it has itself among its members", where)
		g.members = nil
		return
	}
	g.reading = true
	items := g.items()
	for _, item := range items {
		s, ok := f.Scalar(item, where)
		if !ok {
			continue
		}
		if other := f.groups[s]; other != nil {
			f.readGroup(s, other)
			g.add(other)
			continue
		}
		if err := g.member(f, s); err != nil {
			f.Errorf(item, "%s: %v", where, err)
		}
	}
	switch {
	case len(g.Services) > 0 && len(g.Prefixes)+len(g.MACs) > 0:
		f.Errorf(g.members, "%s: it has hosts and services: give each a group of its own", where)
	case len(items) == 0:
		f.Errorf(g.members, "%s: want a list of addresses, prefixes and Ethernet addresses, or of services", where)
	case len(g.Services)+len(g.Prefixes)+len(g.MACs) > MaxGroup:
		f.Errorf(g.members, "%s: more than %d members: put them in the list of a blocklist or mac entry", where, MaxGroup)
	}
	g.members = nil
}

func (g *Group) items() []*Node {
	if g.members.Shape == Sequence {
		return g.members.Content
	}
	return []*Node{g.members}
}

func (g *Group) add(o *Group) {
	g.Prefixes = append(g.Prefixes, o.Prefixes...)
	g.MACs = append(g.MACs, o.MACs...)
	g.Services = append(g.Services, o.Services...)
	g.Named = g.Named || o.Named
}

// member adds what one word says.
func (g *Group) member(f *File, s string) error {
	if a, err := flow.ParseMAC(s); err == nil {
		g.MACs = append(g.MACs, a)
		return nil
	}
	if v, err := parseService(s); err == nil {
		g.Services = append(g.Services, v)
		return nil
	}
	p, err := ParsePrefix(s)
	if err != nil && IsName(s) {
		list, err := f.Addresses(s)
		g.Prefixes, g.Named = append(g.Prefixes, list...), true
		return err
	}
	if err != nil && strings.ContainsAny(s, ".:") {
		return err
	}
	if err != nil {
		return fmt.Errorf("%.60q: want an address or prefix such as 10.0.0.0/8, an Ethernet address, a service such as tcp/443, a name such as www.example.org, or a group%s", s, Nearest(s, f.groupNames()))
	}
	g.Prefixes = append(g.Prefixes, p)
	return nil
}

func (f *File) groupNames() (names []string) {
	for name := range f.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Hosts reads an address, a prefix, an Ethernet address, a group of them, or a list. ok is false where it says what is wrong.
func (f *File) Hosts(n *Node, where string) (g Group, ok bool) {
	return f.members(n, where, "an address or prefix such as 10.0.0.0/8, an Ethernet address, a name such as www.example.org, a group, or a list of them",
		func(g *Group) bool { return len(g.Services) == 0 })
}

// Services reads a service, a group of them, or a list. ok is false where it says what is wrong.
func (f *File) Services(n *Node, where string) (g Group, ok bool) {
	return f.members(n, where, "a service such as tcp/443, udp/5000-5010 or icmp, a group, or a list of them",
		func(g *Group) bool { return len(g.Prefixes)+len(g.MACs) == 0 })
}

func (f *File) members(n *Node, where, want string, fits func(*Group) bool) (all Group, ok bool) {
	all.members = n
	faults := len(f.Errs)
	for _, item := range all.items() {
		s, ok := f.Scalar(item, where)
		if !ok {
			continue
		}
		var one Group
		if named := f.groups[s]; named != nil {
			one = *named
		} else if err := one.member(f, s); err != nil && strings.ContainsAny(s, ".:") {
			f.Errorf(item, "%s: %v", where, err)
			continue
		} else if err != nil {
			f.Errorf(item, "%s: %.60q: want %s%s", where, s, want, Nearest(s, f.groupNames()))
			continue
		}
		if one.Named && f.Fixed != "" {
			f.Errorf(item, "%s: %s: %s", where, s, f.Fixed)
			continue
		}
		if !fits(&one) {
			f.Errorf(item, "%s: %s: want %s", where, s, want)
			continue
		}
		all.add(&one)
	}
	if len(all.items()) == 0 {
		f.Errorf(n, "%s: want %s", where, want)
	}
	all.members = nil
	return all, len(f.Errs) == faults
}

// Grouped returns the group that a word names, or the addresses of a host's name as one, which are none where its lookup fails; nil where the word
// is neither.
func (f *File) Grouped(word string) (*Group, error) {
	g := f.groups[word]
	switch {
	case f.Fixed != "" && (IsName(word) || g != nil && g.Named):
		return nil, fmt.Errorf("%s: %s", word, f.Fixed)
	case g != nil || !IsName(word):
		return g, nil
	}
	list, err := f.Addresses(word)
	return &Group{Prefixes: list}, err
}

// Names reports whether a word is a group's name or a host's.
func (f *File) Names(word string) bool { return f.groups[word] != nil || IsName(word) }

// services are the protocols that a service may name, and whether they have ports.
var services = map[string]struct {
	proto uint8
	ports bool
}{
	"tcp": {flow.ProtoTCP, true}, "udp": {flow.ProtoUDP, true}, "sctp": {flow.ProtoSCTP, true}, "icmp": {flow.ProtoICMP, false}, "icmpv6": {flow.ProtoICMPv6, false},
}

// parseService reads tcp/443, udp/5000-5010, tcp or icmp.
func parseService(s string) (v Service, err error) {
	name, ports, has := strings.Cut(s, "/")
	known, ok := services[name]
	if !ok || has && !known.ports {
		return v, fmt.Errorf("%.60q is no service, such as tcp/443, udp/5000-5010 or icmp", s)
	}
	v = Service{known.proto, 0, 0xffff}
	if has {
		v.First, v.Last, err = ParsePorts(ports)
	}
	return v, err
}

// ParsePorts reads 22 or 8000-8080.
func ParsePorts(s string) (first, last uint16, err error) {
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	a, err1 := flow.ParseNumber(strings.TrimSpace(low), 16)
	b, err2 := flow.ParseNumber(strings.TrimSpace(high), 16)
	if err1 != nil || err2 != nil || a > b {
		return 0, 0, fmt.Errorf("%q: want a port such as 22, or a range such as 8000-8080", s)
	}
	return uint16(a), uint16(b), nil
}

// Nearest returns "; did you mean W?" for the one of some words that s was most likely meant to be, and nothing where none is near.
func Nearest(s string, words []string) string {
	best, least := "", 1+len(s)/3
	for _, w := range words {
		if d := distance(s, w, least); d <= least && (best == "" || d < least) {
			best, least = w, d
		}
	}
	if best == "" || best == s {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is how many letters must be put in, left out, changed, or swapped with the next one to make b of a; more than most where it is more.
func distance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most || len(a) > 64 || len(b) > 64 {
		return most + 1
	}
	a, b = strings.ToLower(a), strings.ToLower(b)
	var rows [3][65]int
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, above, before := &rows[i%3], &rows[(i+2)%3], &rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			changed := above[j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			row[j] = min(changed, row[j-1]+1, above[j]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}
