package vsctl

import (
	"os/exec"
	"testing"
)

// A shell takes a quoted word for what it was.
func TestQuoted(t *testing.T) {
	for _, word := range []string{"br0", "tcp:127.0.0.1:6653", "", "a b", "it's", `$HOME "x" \`, "a;b|c&d", "*?[x]", "# no", "~", "!x{a,b}", "tcp:[::1]:6653", "new\nline"} {
		out, err := exec.Command("sh", "-c", "printf %s "+Quoted(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q becomes %s, which a shell takes for %q, %v", word, Quoted(word), out, err)
		}
	}
	if got := Quoted("br-int.0"); got != "br-int.0" {
		t.Errorf("a plain word is quoted: %s", got)
	}
}
