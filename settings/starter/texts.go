package starter

import (
	"fmt"
	"strings"
	"unicode"

	"switchbridge/internal/vsctl"
)

// config is the configuration's text.
func (c *Choice) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# The gateway of bridge %[1]s. Start it with
#   switchbridge run --config %[2]s
# configs/reference.yaml has every key, with its default and the reason for it. A gateway
# that runs notices changes of this file; a mistake changes nothing and is in its log.

openflow:
  # The bridge connects here: ovs-vsctl set-controller %[3]s
  listen: [%[4]q]
`, line(c.Bridge.Name), ConfigFile, line(vsctl.Line(c.Bridge.Name, c.Listen.Target())), c.Listen.String())
	if c.VLANLimit != 1 {
		fmt.Fprintf(&b, "  # As in Open vSwitch (other_config:vlan-limit).\n  vlan_limit: %d\n", c.VLANLimit)
	}
	if c.Function != "" {
		fmt.Fprintf(&b, `
# The function that is asked about each packet that the bridge has no rule for.
function:
  urls: [%q]
`, c.Function)
		if c.Encoding != "" {
			fmt.Fprintf(&b, "  encoding: %s\n", c.Encoding)
		}
		if c.FunctionCA != "" {
			fmt.Fprintf(&b, "  ca: %q\n", c.FunctionCA)
		}
		if c.TokenFile != "" {
			fmt.Fprintf(&b, "  token_file: %q\n", c.TokenFile)
		}
	} else {
		b.WriteString(`
# Who may talk to whom. The controller decides by it in this process, in an instance that
# exists for one packet. To have it in a function elsewhere, write
#   function: {urls: ["https://..."], token_file: ..., ca: ...}
policy: ` + PolicyFile + "\n")
	}
	fmt.Fprintf(&b, `
# What happens to a new packet while nobody decides: secure drops it, standalone forwards it.
# Rules that are in the bridge go on forwarding either way.
fail_mode:
  default: secure

# The page, metrics and health: http://%[1]s/
admin:
  listen: %[2]q

log:
  decisions: all                # a line for each decision, at most 20 a second; deny or off
`, line(c.Admin), c.Admin)
	return b.String()
}

// policy is the policy's text.
func (c *Choice) policy() string {
	text := allText
	if c.Listed {
		text = listedText
	}
	return fmt.Sprintf(policyHead, line(c.Bridge.Name), PolicyFile, c.Ports()) + text
}

// line is a name as it can stand in a comment: whoever gives bridges and ports their names writes nothing into the files.
func line(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
}

// policyHead has the bridge's name, the file's, and the bridge's ports put in.
const policyHead = `# Who may talk to whom behind bridge %[1]s. The first entry that decides a packet counts.
# policy/README.md says what entries there are. After a change, which makes serial one larger:
#   switchbridge policy check %[2]s
#   switchbridge policy test %[2]s
# A gateway that runs notices the change and brings the bridge's rules in line.
#
# The ports of %[1]s: %[3]s.
serial: 1
chain:
`

const allText = `  - header:
      rules:
        # An example. A rule may look at in_port, eth_src, vlan_vid, ip_src, ip_dst, tcp_dst, udp_dst and more.
        - {name: no-telnet, match: {tcp_dst: 23}, action: deny}
  # All else passes, as it does in a switch without a controller.
  - forward: {mode: normal}

# What is expected of it:
# expect: tcp 10.0.0.1:40000 > 10.0.0.2:80 => allow (forward: normal)
# expect: tcp 10.0.0.1:40000 > 10.0.0.2:23 => deny (header: no-telnet)
`

const listedText = `  - header:
      rules:
        # How hosts find each other and get their addresses.
        - {name: arp, match: {eth_type: arp}, action: allow}
        - {name: dhcp, match: {udp_src: 68, udp_dst: 67}, action: allow}
        - {name: dhcp-answers, match: {udp_src: 67, udp_dst: 68}, action: allow}
        # Examples. "replies: allow" lets in what answers a packet that was allowed, and nothing else.
        - {name: ping, match: {icmp_type: 8}, action: allow, replies: allow}
        - {name: web, match: {tcp_dst: 443}, action: allow, replies: allow}
  # There is no "forward" here: what no rule allows is denied.

# What is expected of it:
# expect: arp 10.0.0.1 > 10.0.0.2 => allow (header: arp)
# expect: tcp 10.0.0.1:40000 > 10.0.0.2:443 => allow (header: web)
# expect: tcp 10.0.0.1:40000 > 10.0.0.2:22 => deny
`
