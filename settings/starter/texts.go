package starter

const configText = `# The gateway of bridge {{.Bridge.Name}}. Start it with
#   switchbridge run --config ` + ConfigFile + `
# configs/reference.yaml has every key, with its default and the reason for it. A gateway
# that runs notices changes of this file; a mistake changes nothing and is in its log.

openflow:
  # The bridge connects here: ovs-vsctl set-controller {{.Bridge.Name}} {{.Listen.Target}}
  listen: [{{quote .Listen.String}}]
{{- if ne .VLANLimit 1}}
  # As in Open vSwitch (other_config:vlan-limit).
  vlan_limit: {{.VLANLimit}}
{{- end}}
{{if .Function}}
# The function that is asked about each packet that the bridge has no rule for.
function:
  urls: [{{quote .Function}}]
{{- if .Encoding}}
  encoding: {{.Encoding}}
{{- end}}
{{- if .FunctionCA}}
  ca: {{quote .FunctionCA}}
{{- end}}
{{- if .TokenFile}}
  token_file: {{quote .TokenFile}}
{{- end}}
{{else}}
# Who may talk to whom. The controller decides by it in this process, in an instance that
# exists for one packet. To have it in a function elsewhere, write
#   function: {urls: ["https://..."], token_file: ..., ca: ...}
policy: ` + PolicyFile + `
{{end}}
# What happens to a new packet while nobody decides: secure drops it, standalone forwards it.
# Rules that are in the bridge go on forwarding either way.
fail_mode:
  default: secure

# The page, metrics and health: http://{{.Admin}}/
admin:
  listen: {{quote .Admin}}

log:
  decisions: all                # a line for each decision, at most 20 a second; deny or off
`

const policyHead = `# Who may talk to whom behind bridge {{.Bridge.Name}}. The first entry that decides a packet counts.
# policy/README.md says what entries there are. After a change, which makes serial one larger:
#   switchbridge policy check ` + PolicyFile + `
#   switchbridge policy test ` + PolicyFile + `
# A gateway that runs notices the change and brings the bridge's rules in line.
#
# The ports of {{.Bridge.Name}}: {{.Ports}}.
serial: 1
chain:
`

const allText = policyHead + `  - header:
      rules:
        # An example. A rule may look at in_port, eth_src, vlan_vid, ip_src, ip_dst, tcp_dst, udp_dst and more.
        - {name: no-telnet, match: {tcp_dst: 23}, action: deny}
  # All else passes, as it does in a switch without a controller.
  - forward: {mode: normal}

# What is expected of it:
# expect: tcp 10.0.0.1:40000 > 10.0.0.2:80 => allow (forward: normal)
# expect: tcp 10.0.0.1:40000 > 10.0.0.2:23 => deny (header: no-telnet)
`

const listedText = policyHead + `  - header:
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
