// Package mud turns a device's Manufacturer Usage Description (RFC 8520) into a draft of a policy.
//
// What a profile can say and a policy can't is an error that names the entry: a draft never allows more than the profile. Names and classes of hosts
// are the network's to say; an entry of which nothing says which hosts are meant is left out, with a note.
package mud

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"switchbridge/flow"
	"switchbridge/policy/draft"
)

// Profile is the part of a MUD file that says what the device may do.
type Profile struct {
	URL        string
	SystemInfo string
	from, to   []ace
}

// ace is an access control entry (RFC 8519) of one direction.
type ace struct {
	list    string
	Name    string  `json:"name"`
	Matches matches `json:"matches"`
	Actions struct {
		Forwarding string `json:"forwarding"`
		Logging    string `json:"logging"`
	} `json:"actions"`
}

// matches are the containers of RFC 8519, 4.1, and RFC 8520, 4.
type matches struct {
	Eth  *ethernet  `json:"eth"`
	IPv4 *network   `json:"ipv4"`
	IPv6 *network   `json:"ipv6"`
	TCP  *transport `json:"tcp"`
	UDP  *transport `json:"udp"`
	ICMP *icmp      `json:"icmp"`
	MUD  *who       `json:"ietf-mud:mud"`
}

type ethernet struct {
	EtherType string `json:"ethertype"`
}

type network struct {
	Protocol *uint8 `json:"protocol"`
	DSCP     *uint8 `json:"dscp"`
	SrcName  string `json:"ietf-acldns:src-dnsname"`
	DstName  string `json:"ietf-acldns:dst-dnsname"`
	Src4     string `json:"source-ipv4-network"`
	Dst4     string `json:"destination-ipv4-network"`
	Src6     string `json:"source-ipv6-network"`
	Dst6     string `json:"destination-ipv6-network"`
}

type transport struct {
	Src       *ports `json:"source-port"`
	Dst       *ports `json:"destination-port"`
	Direction string `json:"ietf-mud:direction-initiated"`
}

// ports are a range or an operator on one port (RFC 8519, 4.2).
type ports struct {
	Operator string `json:"operator"`
	Port     *int   `json:"port"`
	Lower    *int   `json:"lower-port"`
	Upper    *int   `json:"upper-port"`
}

type icmp struct {
	Type *uint8 `json:"type"`
	Code *uint8 `json:"code"`
}

// who are classes of hosts (RFC 8520, 5). An empty leaf is [null].
type who struct {
	Manufacturer     string          `json:"manufacturer"`
	SameManufacturer json.RawMessage `json:"same-manufacturer"`
	Model            string          `json:"model"`
	LocalNetworks    json.RawMessage `json:"local-networks"`
	Controller       string          `json:"controller"`
	MyController     json.RawMessage `json:"my-controller"`
}

// Gateway is the controller class of the network's router (RFC 8520, 17.7 names the others).
const Gateway = "urn:ietf:params:mud:gateway"

// maxProfile bounds what is read of a profile.
const maxProfile = 1 << 20

// Parse reads a MUD file: of RFC 8520, and of its draft, which published profiles follow, where the lists are called access-lists.
func Parse(r io.Reader) (*Profile, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxProfile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxProfile {
		return nil, fmt.Errorf("more than %d bytes", maxProfile)
	}
	type lists struct {
		Lists struct {
			List []struct {
				Name string `json:"name"`
			} `json:"access-list"`
		} `json:"access-lists"`
	}
	type acl struct {
		Name string `json:"name"`
		ACEs struct {
			ACE []json.RawMessage `json:"ace"`
		} `json:"aces"`
	}
	type acls struct {
		ACL []acl `json:"acl"`
	}
	var file struct {
		MUD *struct {
			URL        string `json:"mud-url"`
			SystemInfo string `json:"systeminfo"`
			From       lists  `json:"from-device-policy"`
			To         lists  `json:"to-device-policy"`
		} `json:"ietf-mud:mud"`
		ACLs  *acls `json:"ietf-access-control-list:acls"`
		Draft *acls `json:"ietf-access-control-list:access-lists"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, readable(err, text)
	}
	if file.MUD == nil {
		return nil, errors.New("no member ietf-mud:mud: it is no MUD file")
	}
	all := file.ACLs
	if all == nil {
		all = file.Draft
	}
	if all == nil {
		return nil, errors.New("no member ietf-access-control-list:acls, nor access-lists, as the draft called it")
	}
	p := &Profile{URL: file.MUD.URL, SystemInfo: file.MUD.SystemInfo}
	for _, side := range []struct {
		lists lists
		aces  *[]ace
	}{{file.MUD.From, &p.from}, {file.MUD.To, &p.to}} {
		for _, l := range side.lists.Lists.List {
			i := slices.IndexFunc(all.ACL, func(a acl) bool { return a.Name == l.Name })
			if i < 0 {
				return nil, fmt.Errorf("access list %q is not in the file", l.Name)
			}
			for n, raw := range all.ACL[i].ACEs.ACE {
				one := ace{list: l.Name}
				d := json.NewDecoder(strings.NewReader(string(raw)))
				d.DisallowUnknownFields() // a condition that is not known must not be passed over
				if err := d.Decode(&one); err != nil {
					return nil, fmt.Errorf("access list %q, entry %d: %w", l.Name, n+1, readable(err, nil))
				}
				*side.aces = append(*side.aces, one)
			}
		}
	}
	return p, nil
}

// readable says in the words of a file what is wrong with JSON. Of the whole file's text it says the line.
func readable(err error, text []byte) error {
	place := func(offset int64) string {
		if n := int(offset); 0 < n && n <= len(text) {
			return fmt.Sprintf("line %d: ", bytes.Count(text[:n-1], []byte("\n"))+1)
		}
		return ""
	}
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch unknown, ok := strings.CutPrefix(err.Error(), "json: unknown field "); {
	case ok:
		return fmt.Errorf("unknown member %s: what it asks of packets would be left out", unknown)
	case errors.As(err, &syntax) && int(syntax.Offset) >= len(text):
		return errors.New("the JSON ends too early")
	case errors.As(err, &syntax):
		return fmt.Errorf("%sno JSON: %w", place(syntax.Offset), err)
	case errors.As(err, &typ):
		return fmt.Errorf("%s%s can't be a %s", place(typ.Offset), cmp.Or(typ.Field, "it"), typ.Value)
	}
	return err
}

// Options are what the network knows and the profile doesn't.
type Options struct {
	Device           netip.Addr // the device itself
	Controllers      map[string][]netip.Prefix
	MyController     []netip.Prefix
	LocalNetworks    []netip.Prefix
	SameManufacturer []netip.Prefix // other devices of the manufacturer
	Manufacturers    map[string][]netip.Prefix
	Models           map[string][]netip.Prefix
	DNS              []netip.Prefix // name servers that the device may ask; a profile need not name them
	// Lookup returns the addresses of a name; none where it has none.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
}

// Policy makes a draft of the profile. Notes say what was left out, and why.
func (p *Profile) Policy(ctx context.Context, o Options) (d *draft.Policy, notes []string, err error) {
	if !o.Device.IsValid() {
		return nil, nil, errors.New("the device's address is missing")
	}
	c := compiler{Options: o, ctx: ctx, resolved: make(map[string][]netip.Prefix)}
	var from, to []draft.Rule
	for i := range p.from {
		m, err := c.ace(&p.from[i], true)
		if err != nil {
			return nil, nil, err
		}
		from = append(from, m...)
	}
	for i := range p.to {
		m, err := c.ace(&p.to[i], false)
		if err != nil {
			return nil, nil, err
		}
		to = append(to, m...)
	}
	// The first entry that matches decides (RFC 8519, 4.1), as among header rules of one priority. What only the device may begin is a conversation: its answers come by the rule that allows the question.
	to = slices.DeleteFunc(to, func(t draft.Rule) bool {
		return slices.ContainsFunc(from, func(f draft.Rule) bool { return f.Replies && slices.Equal(turned(f.Match), sorted(t.Match)) && !t.Deny })
	})
	what := p.SystemInfo
	if what == "" {
		what = p.URL
	}
	d = &draft.Policy{Head: []string{fmt.Sprintf("What %s at %v may do, by its manufacturer's profile %s.", what, o.Device, p.URL)}}
	for _, name := range slices.Sorted(maps.Keys(c.resolved)) {
		var list []string
		for _, a := range c.resolved[name] {
			list = append(list, a.Addr().String())
		}
		if list == nil {
			list = []string{"nobody"}
		}
		d.Head = append(d.Head, name+" is "+strings.Join(list, ", "))
	}
	basics := draft.Basics()
	for _, server := range o.DNS {
		basics.Rules = append(basics.Rules, draft.Rule{Name: "dns", Match: []draft.Condition{{Field: "ip_src", Value: o.Device.String()}, draft.Address("ip_dst", server), {Field: "udp_dst", Value: "53"}},
			Replies: true, Evidence: "not in the profile"})
	}
	d.Sections = []draft.Section{basics, {Title: "from the device", Rules: from}, {Title: "to the device", Rules: to}}
	return d, c.notes, nil
}

func sorted(match []draft.Condition) []draft.Condition {
	list := slices.Clone(match)
	slices.SortFunc(list, func(a, b draft.Condition) int { return strings.Compare(a.Field, b.Field) })
	return list
}

// turned is a match of the packets that answer.
func turned(match []draft.Condition) []draft.Condition {
	var list []draft.Condition
	for _, c := range match {
		if head, ok := strings.CutSuffix(c.Field, "_src"); ok {
			c.Field = head + "_dst"
		} else if head, ok := strings.CutSuffix(c.Field, "_dst"); ok {
			c.Field = head + "_src"
		}
		list = append(list, c)
	}
	return sorted(list)
}

type compiler struct {
	Options
	ctx      context.Context
	resolved map[string][]netip.Prefix
	notes    []string
}

func (c *compiler) note(a *ace, format string, args ...any) {
	c.notes = append(c.notes, draft.Line(fmt.Sprintf("%s: %s: left out: ", a.list, a.Name)+fmt.Sprintf(format, args...)))
}

// ace makes the rules of an entry: one for each address that it means.
func (c *compiler) ace(a *ace, fromDevice bool) (list []draft.Rule, err error) {
	fail := func(format string, args ...any) ([]draft.Rule, error) {
		return nil, fmt.Errorf("access list %q, entry %q: %s", a.list, a.Name, fmt.Sprintf(format, args...))
	}
	m := &a.Matches
	deny := false
	switch a.Actions.Forwarding {
	case "accept":
	case "drop", "reject":
		deny = true
	default:
		return fail("forwarding %q: want accept, drop or reject", a.Actions.Forwarding)
	}
	own, other := "ip_src", "ip_dst"
	if !fromDevice {
		own, other = other, own
	}
	ip := m.IPv4
	if m.IPv6 != nil {
		if ip != nil {
			return fail("matches of both families")
		}
		ip = m.IPv6
	}
	if m.Eth != nil {
		return c.ethernet(a, deny, fail)
	}
	peers, known, err := c.peers(a, ip, fromDevice)
	if err != nil {
		return fail("%v", err)
	}
	if !known {
		return nil, nil
	}
	base := []draft.Condition{{Field: own, Value: c.Device.String()}}
	more, replies, err := c.conditions(m, ip, fromDevice)
	if err != nil {
		return fail("%v", err)
	}
	if peers == nil {
		rule := draft.Rule{Name: a.Name, Match: append(base, more...), Deny: deny, Replies: replies && !deny, Evidence: evidence(a)}
		return []draft.Rule{rule}, nil
	}
	for _, peer := range peers {
		if peer.Addr().Is4() != c.Device.Is4() {
			continue
		}
		match := append(slices.Clone(base), draft.Address(other, peer))
		rule := draft.Rule{Name: a.Name, Match: append(match, more...), Deny: deny, Replies: replies && !deny, Evidence: evidence(a)}
		list = append(list, rule)
	}
	if list == nil {
		c.note(a, "its hosts have no address of the device's family")
	}
	return list, nil
}

// evidence says of an entry what a rule does not show.
func evidence(a *ace) string {
	var parts []string
	for _, ip := range []*network{a.Matches.IPv4, a.Matches.IPv6} {
		if ip != nil {
			for _, name := range []string{ip.SrcName, ip.DstName} {
				if name != "" {
					parts = append(parts, name)
				}
			}
		}
	}
	if w := a.Matches.MUD; w != nil {
		for _, one := range []struct{ what, value string }{{"controller", w.Controller}, {"manufacturer", w.Manufacturer}, {"model", w.Model}} {
			if one.value != "" {
				parts = append(parts, one.what+" "+one.value)
			}
		}
		for _, one := range []struct {
			what string
			set  bool
		}{{"my-controller", w.MyController != nil}, {"local-networks", w.LocalNetworks != nil}, {"same-manufacturer", w.SameManufacturer != nil}} {
			if one.set {
				parts = append(parts, one.what)
			}
		}
	}
	return strings.Join(parts, ", ")
}

func (c *compiler) ethernet(a *ace, deny bool, fail func(string, ...any) ([]draft.Rule, error)) ([]draft.Rule, error) {
	m := &a.Matches
	if m.IPv4 != nil || m.IPv6 != nil || m.TCP != nil || m.UDP != nil || m.ICMP != nil || m.MUD != nil || m.Eth.EtherType == "" {
		return fail("eth beside other conditions, or without an ethertype")
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(m.Eth.EtherType, "eth:"), 0, 16)
	if err != nil {
		return fail("ethertype %q: want a number", m.Eth.EtherType)
	}
	return []draft.Rule{{Name: a.Name, Match: []draft.Condition{{Field: "eth_type", Value: fmt.Sprintf("%#04x", v)}}, Deny: deny}}, nil
}

// peers returns the other side's addresses; nil is any. known is false where nothing says which they are.
func (c *compiler) peers(a *ace, ip *network, fromDevice bool) (list []netip.Prefix, known bool, err error) {
	said := 0
	take := func(what string, prefixes []netip.Prefix) {
		said++
		list = prefixes
		if len(prefixes) == 0 {
			c.note(a, "nothing says which hosts %s is", what)
		}
	}
	if ip != nil {
		name, wrong := ip.DstName, ip.SrcName
		net, wrongNet := ip.Dst4+ip.Dst6, ip.Src4+ip.Src6
		if !fromDevice {
			name, wrong, net, wrongNet = wrong, name, wrongNet, net
		}
		if wrong+wrongNet != "" {
			return nil, false, errors.New("it names the device's side by a name or a network")
		}
		if name != "" {
			addrs, err := c.lookup(name)
			if err != nil {
				return nil, false, err
			}
			take(name, addrs)
		}
		if net != "" {
			p, err := netip.ParsePrefix(net)
			if err != nil {
				return nil, false, err
			}
			take(net, []netip.Prefix{p.Masked()})
		}
	}
	if w := a.Matches.MUD; w != nil {
		if w.Controller != "" {
			take("controller "+w.Controller, c.Controllers[w.Controller])
		}
		if w.Manufacturer != "" {
			take("manufacturer "+w.Manufacturer, c.Manufacturers[w.Manufacturer])
		}
		if w.Model != "" {
			take("model "+w.Model, c.Models[w.Model])
		}
		if w.MyController != nil {
			take("my-controller", c.MyController)
		}
		if w.SameManufacturer != nil {
			take("same-manufacturer", c.SameManufacturer)
		}
		if w.LocalNetworks != nil {
			take("local-networks", c.LocalNetworks)
		}
	}
	switch {
	case said > 1:
		return nil, false, errors.New("it names the other side in several ways, all of which would have to hold")
	case said == 1 && len(list) == 0:
		return nil, false, nil
	}
	return list, true, nil
}

func (c *compiler) lookup(name string) ([]netip.Prefix, error) {
	if list, ok := c.resolved[name]; ok {
		return list, nil
	}
	var list []netip.Prefix
	if c.Lookup != nil {
		addrs, err := c.Lookup(c.ctx, name)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			list = append(list, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		}
		slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
		list = slices.Compact(list)
	}
	c.resolved[name] = list
	return list, nil
}

// conditions are those beside the addresses. replies says that the device alone may begin.
func (c *compiler) conditions(m *matches, ip *network, fromDevice bool) (list []draft.Condition, replies bool, err error) {
	proto := ""
	set := func(p string) error {
		if proto != "" && proto != p {
			return fmt.Errorf("protocol %s, and %s", proto, p)
		}
		proto = p
		return nil
	}
	if ip != nil && ip.Protocol != nil {
		names := map[uint8]string{flow.ProtoTCP: "tcp", flow.ProtoUDP: "udp", flow.ProtoICMP: "icmp", flow.ProtoICMPv6: "icmpv6", flow.ProtoSCTP: "sctp"}
		if proto = names[*ip.Protocol]; proto == "" {
			proto = strconv.Itoa(int(*ip.Protocol))
		}
	}
	if ip != nil && ip.DSCP != nil {
		list = append(list, draft.Condition{Field: "ip_dscp", Value: strconv.Itoa(int(*ip.DSCP))})
	}
	named := false
	for _, t := range []struct {
		name string
		*transport
	}{{"tcp", m.TCP}, {"udp", m.UDP}} {
		if t.transport == nil {
			continue
		}
		if err := set(t.name); err != nil {
			return nil, false, err
		}
		for _, side := range []struct {
			field string
			*ports
		}{{t.name + "_src", t.Src}, {t.name + "_dst", t.Dst}} {
			if side.ports == nil {
				continue
			}
			text, err := side.text()
			if err != nil {
				return nil, false, err
			}
			list, named = append(list, draft.Condition{Field: side.field, Value: text}), true
		}
		switch t.Direction {
		case "":
		case "from-device":
			// The other direction's entry is about answers alone.
			if replies = fromDevice; !fromDevice {
				return nil, false, errors.New("direction-initiated from-device, of packets to the device: say it of those that it sends")
			}
		case "to-device":
			if fromDevice {
				return nil, false, errors.New("direction-initiated to-device, of packets from the device: say it of those that it gets")
			}
			replies = true
		default:
			return nil, false, fmt.Errorf("direction-initiated %q", t.Direction)
		}
	}
	if m.ICMP != nil {
		family := "icmp"
		if !c.Device.Is4() {
			family = "icmpv6"
		}
		if err := set(family); err != nil {
			return nil, false, err
		}
		for _, one := range []struct {
			field string
			v     *uint8
		}{{family + "_type", m.ICMP.Type}, {family + "_code", m.ICMP.Code}} {
			if one.v != nil {
				list, named = append(list, draft.Condition{Field: one.field, Value: strconv.Itoa(int(*one.v))}), true
			}
		}
	}
	if proto != "" && !named {
		list = append(list, draft.Condition{Field: "ip_proto", Value: proto})
	}
	return list, replies, nil
}

// text writes ports as a header rule has them.
func (p *ports) text() (string, error) {
	port := func(v *int) (int, error) {
		if v == nil || *v < 0 || *v > 65535 {
			return 0, errors.New("a port is missing or none")
		}
		return *v, nil
	}
	if p.Lower != nil || p.Upper != nil {
		low, err := port(p.Lower)
		if err != nil {
			return "", err
		}
		high, err := port(p.Upper)
		if err != nil || high < low {
			return "", fmt.Errorf("ports %d to %d", low, high)
		}
		return fmt.Sprintf("%d-%d", low, high), nil
	}
	v, err := port(p.Port)
	if err != nil {
		return "", err
	}
	switch p.Operator {
	case "eq", "":
		return strconv.Itoa(v), nil
	case "lte":
		return fmt.Sprintf("0-%d", v), nil
	case "gte":
		return fmt.Sprintf("%d-65535", v), nil
	}
	return "", fmt.Errorf("operator %q of a port: want eq, lte or gte", p.Operator)
}
