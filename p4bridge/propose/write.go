package propose

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"switchbridge/p4bridge/pipeline"
)

// YAML returns the mapping as a file. Each guess is marked with "# guess".
func (p *Proposal) YAML() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# A mapping for %s, as `switchbridge p4 info` proposes it.", p.file)
	line("# What is not marked as a guess follows from the compiled program.")
	for _, s := range p.Holds() {
		line("# %s", s)
	}
	if p.pl.Name != "" {
		line("pipeline: %s", quoted(p.pl.Name))
	}
	line("\ntables:")
	for _, u := range p.tables {
		u.write(line)
	}
	p.writeSkipped(line)
	if d := p.digest; d != nil {
		line("\ndigest:")
		line("  name: %s", quoted(d.d.Name))
		line("  fields:")
		writeFields(line, "    ", d.fields)
		writeAssigned(line, "  ", "implied", d.implied)
	}
	if p.in != nil {
		line("\npacket_in:")
		line("  in_port: %s%s", quoted(p.in.inPort), mark(p.in.guess, "by its name"))
		if p.in.reason != "" {
			line("  reason: %s", quoted(p.in.reason))
		}
	}
	if o := p.out; o != nil {
		line("packet_out:")
		line("  port: %s%s", quoted(o.port), mark(o.guess != "", o.guess))
		if o.inPort != "" {
			line("  in_port: %s%s", quoted(o.inPort), mark(true, "by its name"))
		}
		line("  output: {%s}", pairs(o.output))
		if o.flood != nil {
			line("  flood: {%s}", pairs(o.flood))
		}
		if o.normal != nil {
			line("  normal: {%s}", pairs(o.normal))
		}
	}
	if k := &p.ask; k.t != nil {
		line("")
		if k.asEntry {
			line("# The program fixes the table's default action: an entry below all others asks.")
		}
		line("miss:")
		line("  table: %s", quoted(k.t.Name))
		for _, x := range []struct {
			name string
			act  *pipeline.Action
		}{{"digest", k.digest}, {"punt", k.punt}, {"clone", k.clone}, {"drop", k.drop}} {
			if x.act != nil {
				line("  %s: %s", x.name, quoted(x.act.Name))
			}
		}
		if k.flood != nil {
			line("  flood: %s", k.flood.call())
		}
		if k.clone != nil {
			line("clone: [{session: %d}]", k.session)
		}
	}
	if n := p.normal; n != nil {
		line("\nl2:")
		line("  table: %s", quoted(n.t.Name))
		line("  mac: %s", quoted(n.key))
		line("  action: %s", quoted(n.act.Name))
		line("  port: %s", quoted(n.param))
	}
	if len(p.setup) > 0 {
		line("\n# Entries without which no rule of a policy could forward.")
		line("setup:")
		for i := range p.setup {
			p.setup[i].write(line)
		}
	}
	if p.group != 0 {
		line("")
		if p.back {
			line("# The program does not keep a flood from going back to where it came from.")
		}
		line("flood_group: %d", p.group)
	}
	if p.cpu != nil {
		line("cpu_port: %d", *p.cpu)
	}
	return b.String()
}

// writeSkipped says why tables hold no rules; of those that have no header field
// for a key only the names.
func (p *Proposal) writeSkipped(line func(string, ...any)) {
	var names []string
	for _, u := range p.skipped {
		if len(u.fields) == 0 || u.unmet {
			names = append(names, u.t.Name)
			continue
		}
		line("  # %s holds no rules: %s", u.t.Name, u.cant)
	}
	if len(names) > 0 {
		line("  # Nor do these, which packets don't come to or whose keys are no header fields: %s", strings.Join(names, ", "))
	}
}

func (u *use) write(line func(string, ...any)) {
	line("  - openflow: 0")
	line("    table: %s", quoted(u.t.Name))
	line("    fields:")
	writeFields(line, "      ", u.fields)
	if u.tagged != "" {
		line("    tagged: %s", quoted(u.tagged))
	}
	writeAssigned(line, "    ", "always", u.always)
	writeAssigned(line, "    ", "implied", u.implied)
	line("    actions:")
	for _, a := range u.actions {
		line("      %s: %s", quoted(a.sig), a.call())
	}
	for _, n := range u.notes {
		line("      # %s", n)
	}
}

// call is a P4 action as a mapping has it.
func (a *action) call() string {
	if len(a.params) == 0 && len(a.only) == 0 {
		return quoted(a.p4.Name)
	}
	text := "{action: " + quoted(a.p4.Name)
	if len(a.params) > 0 {
		params := make([]string, len(a.params))
		for i, g := range a.params {
			params[i] = quoted(g.param) + ": " + g.value
		}
		text += ", params: {" + strings.Join(params, ", ") + "}"
	}
	if len(a.only) > 0 {
		text += ", only: {" + pairs(a.only) + "}"
	}
	return text + "}"
}

func writeFields(line func(string, ...any), indent string, list []field) {
	for _, f := range list {
		line("%s%s: [%s]%s", indent, quoted(f.key), strings.Join(f.oxms, ", "), mark(f.guess, "by name and width"))
	}
}

func writeAssigned(line func(string, ...any), indent, what string, list []assigned) {
	if len(list) > 0 {
		line("%s%s: {%s}", indent, what, pairs(list))
	}
}

func pairs(list []assigned) string {
	s := make([]string, len(list))
	for i, a := range list {
		value := fmt.Sprint(a.value)
		if a.name == "eth_type" {
			value = fmt.Sprintf("%#04x", a.value)
		}
		s[i] = quoted(a.name) + ": " + value
	}
	return strings.Join(s, ", ")
}

func mark(guess bool, why string) string {
	if !guess {
		return ""
	}
	return "  # guess: " + why
}

// quoted is a name as YAML has it within braces.
func quoted(s string) string {
	if strings.ContainsAny(s, "[]{},:#&*!|>'\"%@` ") {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// forwards reports whether rules can send packets to a port, and let them pass to
// where their stations are.
func (p *Proposal) forwards() (out, normal bool) {
	for _, u := range p.tables {
		for _, a := range u.actions {
			out = out || strings.HasSuffix(a.sig, "output")
			normal = normal || a.sig == "normal"
		}
	}
	return out, normal
}

// byGateway reports whether the gateway has the packets that it is asked about, and
// can send them.
func (p *Proposal) byGateway() bool { return p.Miss() == "punt" && p.out != nil }

// Governs says why a policy can't govern the program's packets with this mapping, or
// nil.
func (p *Proposal) Governs() error {
	out, normal := p.forwards()
	switch {
	case p.Miss() == "":
		return errors.New("the program can't ask about a packet, so no policy decides about its packets; rules that a policy installs beforehand can be had with miss=drop or miss=flood, if the mapping names it")
	case !out && !normal && !p.byGateway():
		return errors.New("allowed packets can't be forwarded: in the tables that can hold rules, no action sends a packet to a port, and the gateway does not get the packets")
	}
	return nil
}

// Miss is what `run --p4 ...,miss=` should be; empty where the program can't ask.
func (p *Proposal) Miss() string {
	switch k := &p.ask; {
	case k.punt != nil && p.in != nil && p.out != nil:
		return "punt"
	case k.digest != nil && p.digest != nil:
		return "digest"
	case k.clone != nil && p.in != nil:
		return "clone"
	}
	return ""
}

// CPUPort is what BMv2's --cpu-port must be; false where the program knows none.
func (p *Proposal) CPUPort() (uint64, bool) {
	if p.cpu == nil {
		return 0, false
	}
	return *p.cpu, true
}

// Cautions are what the program's parser does that no mapping can make good, a sentence each. ports says that a table's rules are
// of TCP's or UDP's ports.
func Cautions(pl *pipeline.Pipeline, ports bool) (list []string) {
	a, err := analyse(pl)
	if err != nil { // not BMv2's
		return []string{"What the program's parser takes for ports is not known: the compiled program is not of a form that can be read."}
	}
	if kinds := a.loose(); ports && len(kinds) > 0 {
		list = append(list, loosened(kinds))
	}
	if names := a.arrays(); len(names) > 0 {
		list = append(list, arrayed(names))
	}
	return list
}

func loosened(kinds []string) string {
	return fmt.Sprintf("In IPv4 packets %s the program takes other bytes for the ports: whoever sends such packets chooses by what ports they pass.", strings.Join(kinds, ", and in those "))
}

func arrayed(names []string) string {
	if len(names) == 1 {
		return names[0] + " is an array of headers. P4Info describes one of them, and the rest would be taken for the packet's start."
	}
	return strings.Join(names, " and ") + " are arrays of headers. P4Info describes one of each, and the rest would be taken for the packet's start."
}

// Holds says in sentences what a policy can have with this program: how the
// switch asks, what it can deny, and how it forwards.
func (p *Proposal) Holds() []string {
	var list []string
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	how := "by the default action of "
	if p.ask.asEntry {
		how = "by an entry below all others in "
	}
	switch k := &p.ask; {
	case k.none() && k.tells != nil:
		say("asks: not at all. Table %s tells the controller of packets, and forwards them without waiting for an answer.", k.tells.Name)
	case k.none() && k.behind != nil:
		say("asks: not at all. Table %s could, but no packet comes to it while the tables before it are empty.", k.behind.Name)
	case k.none():
		say("asks: not at all. Nothing in the program sends an unknown packet, or a digest of it, to the controller.")
	case p.Miss() == "punt":
		say("asks: by packet-in, %stable %s (miss=punt).", how, k.t.Name)
	case p.Miss() == "clone":
		say("asks: by a copy to the CPU port, %stable %s (miss=clone). The packet itself is lost.", how, k.t.Name)
	case p.Miss() == "digest":
		say("asks: by digest, %stable %s (miss=digest).", how, k.t.Name)
	case len(p.arrays) > 0:
		say("asks: not at all. Table %s could, but %s", k.t.Name, arrayed(p.arrays))
	default:
		say("asks: not at all. Table %s could, but the program has no packet headers by which the gateway would get and send packets.", k.t.Name)
	}
	if len(p.arrays) > 0 && p.Miss() != "" {
		say("      %s", arrayed(p.arrays))
	}
	if k := &p.ask; k.digest != nil && k.punt != nil && p.Miss() == "punt" {
		say("      or by digest (miss=digest).")
	}
	if len(p.free) > 0 {
		say("      Not governed: the program forwards packets of these kinds without asking: %s.", strings.Join(p.free, ", "))
	}
	if len(p.lost) > 0 {
		say("      The program drops packets of these kinds before it asks: %s.", strings.Join(p.lost, ", "))
	}
	var deny []string
	ports := false
	for _, u := range p.tables {
		if slices.ContainsFunc(u.actions, func(a action) bool { return a.sig == "drop" }) {
			deny = append(deny, u.t.Name)
			ports = ports || u.has("tcp_dst") || u.has("udp_dst")
		}
	}
	switch {
	case len(deny) == 0:
		say("denies: not at all. No table that rules fit in has an action that drops.")
	case ports:
		say("denies: by address, protocol and port (%s).", strings.Join(deny, ", "))
		// Where the gateway decides packet by packet it looks at the frame itself.
		if out, normal := p.forwards(); len(p.loose) > 0 && (out || normal) {
			say("        %s", loosened(p.loose))
		}
	default:
		say("denies: not by TCP or UDP port: no key holds one (%s).", strings.Join(deny, ", "))
	}
	out, normal := p.forwards()
	switch {
	case p.Miss() == "" && out:
		say("forwards: by port, for rules that a policy installs beforehand (proactive: true).")
	case p.Miss() == "":
		say("forwards: not at all.")
	case normal:
		say("forwards: by port, and NORMAL by table %s, which the gateway fills.", p.normal.t.Name)
	case out:
		say("forwards: by port; NORMAL is resolved by the gateway from the addresses that it has seen.")
	case p.byGateway():
		say("forwards: by the gateway alone, packet by packet: no action of a table that rules fit in sends a packet to a port.")
	default:
		say("forwards: not at all.")
	}
	if p.blind {
		say("The program has too many ways through it to follow all of them: try this mapping with `switchbridge p4 check`.")
	}
	return list
}
