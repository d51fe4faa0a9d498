package starter

import (
	"strings"
	"testing"

	"switchbridge/internal/vsctl"
	"switchbridge/settings"
)

// Names of bridges and ports stay in their comments, whatever ends of lines they have.
func TestNamesAreComments(t *testing.T) {
	texts := func(bridge, port string) (list []string) {
		c := Choice{Bridge: vsctl.Bridge{Name: bridge, Ports: []vsctl.Port{{Name: port, Number: 1}}}, VLANLimit: 1, Listen: settings.Default().OpenFlow.Listen[0], Admin: settings.Default().Admin.Listen}
		for _, f := range c.Files() {
			list = append(list, f.Text)
		}
		return list
	}
	lines := func(text string) int {
		return strings.Count(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(text), "\n")
	}
	plain := texts("br0", "eth1")
	for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
		for i, text := range texts("br0"+end+"admin: {listen: 0.0.0.0:80}"+end+"#", "eth1"+end+"install: mac-pair"+end+"#") {
			if lines(text) != lines(plain[i]) || !strings.Contains(text, "br0?") {
				t.Errorf("ends of lines as %q:\n%s", end, text)
			}
		}
	}
}
