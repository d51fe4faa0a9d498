package propose

import (
	"regexp"
	"strings"
)

// guesses are names that people give to keys, by width in bits (0: any). They are
// asked where the compiled program does not say what a key is.
var guesses = []struct {
	width int
	name  *regexp.Regexp
	oxms  []string
}{
	{0, regexp.MustCompile(`\b(in|ig|ingress)[ ]?port\b`), []string{"in_port"}},
	{48, regexp.MustCompile(`\b(dst|dest|destination|daddr|dmac|to)\b`), []string{"eth_dst"}},
	{48, regexp.MustCompile(`\b(src|source|saddr|smac|from)\b`), []string{"eth_src"}},
	{16, regexp.MustCompile(`\be?th?(er)? ?type\b`), []string{"eth_type"}},
	{12, regexp.MustCompile(`\bvlan\b`), []string{"vlan_vid"}},
	{8, regexp.MustCompile(`\b(protocol|proto|next hdr|next header)\b`), []string{"ip_proto"}},
	{32, regexp.MustCompile(`\b(dst|dest|destination|daddr)\b`), []string{"ipv4_dst"}},
	{32, regexp.MustCompile(`\b(src|source|saddr)\b`), []string{"ipv4_src"}},
	{128, regexp.MustCompile(`\b(dst|dest|destination|daddr)\b`), []string{"ipv6_dst"}},
	{128, regexp.MustCompile(`\b(src|source|saddr)\b`), []string{"ipv6_src"}},
	{16, regexp.MustCompile(`\btcp\b.*\b(dst|dport|dest)`), []string{"tcp_dst"}},
	{16, regexp.MustCompile(`\btcp\b.*\b(src|sport|source)`), []string{"tcp_src"}},
	{16, regexp.MustCompile(`\budp\b.*\b(dst|dport|dest)`), []string{"udp_dst"}},
	{16, regexp.MustCompile(`\budp\b.*\b(src|sport|source)`), []string{"udp_src"}},
	{16, regexp.MustCompile(`\bl4\b.*\b(dst|dport|dest)|\bdport\b`), []string{"tcp_dst", "udp_dst"}},
	{16, regexp.MustCompile(`\bl4\b.*\b(src|sport|source)|\bsport\b`), []string{"tcp_src", "udp_src"}},
}

var camel = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// guess returns the OXM names that a key's name and width suggest.
func guess(name string, width int) []string {
	words := strings.ToLower(camel.ReplaceAllString(name, "$1 $2"))
	words = strings.NewReplacer(".", " ", "_", " ", "(", " ", ")", " ").Replace(words)
	for _, g := range guesses {
		if (g.width == 0 || g.width == width) && g.name.MatchString(words) {
			return g.oxms
		}
	}
	return nil
}
