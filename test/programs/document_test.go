package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"switchbridge/internal/built"
	"switchbridge/internal/testlong"
)

// block returns the first indented block of docs/p4.md after a line that begins so, as it stands.
func block(t *testing.T, text, after string) string {
	t.Helper()
	at := strings.Index(text, "\n"+after)
	if at < 0 {
		t.Fatalf("docs/p4.md has no line that begins with %q", after)
	}
	var out strings.Builder
	for line := range strings.Lines(text[at+1:]) {
		switch code, ok := strings.CutPrefix(line, "    "); {
		case ok:
			out.WriteString(code)
		case strings.TrimSpace(line) == "" && out.Len() > 0:
			out.WriteString("\n")
		case out.Len() > 0:
			return out.String()
		}
	}
	return out.String()
}

// What docs/p4.md tells its reader to type is typed: each way from nothing to a governed ping, as far as
// the programs that it takes are at hand.
func TestLongDocument(t *testing.T) {
	testlong.Need(t)
	need(t)
	for _, tool := range []string{"bash", "unshare", "p4c-bm2-ss"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not on PATH", tool)
		}
	}
	raw, err := os.ReadFile("../../docs/p4.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	dir := t.TempDir()
	if err := os.Symlink(filepath.Dir(built.Switchbridge(t)), filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	others := os.Getenv("SWITCHBRIDGE_P4_PROGRAMS")
	hosts := block(t, text, "Two hosts, each in a network namespace")
	policy := block(t, text, "A policy that denies SSH")
	// Beyond what the document shows: TCP 80 passes while 22 does not.
	const proof = `
ip netns exec h1 ping -c 3 10.0.0.2
for port in 22 80; do ip netns exec h2 timeout 20 python3 -m http.server --bind 10.0.0.2 $port >/dev/null 2>&1 & done
sleep 2
ip netns exec h1 timeout 8 bash -c '</dev/tcp/10.0.0.2/80' && echo "80 passes"
ip netns exec h1 timeout 4 bash -c '</dev/tcp/10.0.0.2/22' 2>/dev/null || echo "22 is blocked"
ip netns exec sw switchbridge status
kill $(jobs -p)
`
	fabric := `
cp -r "$PROGRAMS/onos-fabric" fabric && rm -f fabric/*.yaml
` + block(t, text, "`bmv2.json` and `p4info.txt`, into a folder") + block(t, text, "and how to run it") + block(t, text, "Before a gateway relies on the mapping")
	for name, script := range map[string]string{
		"our program": block(t, text, "### With our program"),
		"ONOS":        fabric,
		"a tutorial": `
mkdir ngsdn && cp "$PROGRAMS"/src/*ngsdn*/solution/p4src/main.p4 ngsdn/main.p4
` + block(t, text, "`ngsdn/main.p4`, is older") + strings.ReplaceAll(block(t, text, "and how to run it")+block(t, text, "Before a gateway relies on the mapping"),
			"p4info=fabric/p4info.txt,json=fabric/bmv2.json,mapping=fabric.yaml", "p4info=ngsdn/main.p4info.txtpb,json=ngsdn/main.json,mapping=ngsdn.yaml"),
		"your own": `
mkdir my && cp "$EXAMPLES/campus.p4" my/switch.p4
` + strings.ReplaceAll(block(t, text, "### With your own"), "switchbridge p4 check device=1,addr=127.0.0.1:9559,ports=1-2,miss=punt,p4info=...,json=...,mapping=my.yaml", `
ip netns exec sw simple_switch_grpc --no-p4 --device-id 1 -i 1@s1 -i 2@s2 -- --grpc-server-addr 127.0.0.1:9559 --cpu-port 255 &
own=device=1,addr=127.0.0.1:9559,ports=1-2,miss=punt,p4info=my/switch.p4info.txtpb,json=my/switch.json,mapping=my.yaml
ip netns exec sw switchbridge p4 check $own
ip netns exec sw switchbridge run --policy no-ssh.yaml --p4 $own &`),
		"a check with packets": `
cp -r "$PROGRAMS/onos-fabric" fabric && rm -f fabric/*.yaml
switchbridge p4 info fabric --write fabric.yaml
ip link set lo up
` + block(t, text, "of it with what was sent, and sends one out"),
	} {
		t.Run(name, func(t *testing.T) {
			if others == "" && strings.Contains(script, "$PROGRAMS") {
				t.Skip("SWITCHBRIDGE_P4_PROGRAMS names no folder of other people's programs")
			}
			packets := name == "a check with packets"
			if script = "mount -t tmpfs tmpfs /run && mkdir -p /run/netns\n" + hosts + policy + script; !packets {
				script += proof
			} else {
				script += "\nkill $(jobs -p)\n"
			}
			// The embedded function takes a build by make, and minutes under the race detector.
			script = strings.ReplaceAll(script, "switchbridge run ", "switchbridge run --function native ")
			// Other processes: there is nothing to wait on.
			script = strings.ReplaceAll(script, " &\n", " >>out 2>&1 &\nsleep 3\n")
			work := filepath.Join(t.TempDir(), "work")
			if err := os.Mkdir(work, 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", script)
			cmd.Dir = work
			examples, _ := filepath.Abs("../../p4src/example")
			cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "PROGRAMS="+others, "EXAMPLES="+examples)
			out, _ := cmd.CombinedOutput() // its end is that of the processes it killed
			wanted := []string{"80 passes", "22 is blocked", "serving", " 0% packet loss"}
			if packets {
				wanted = []string{"ok    a packet into port 1 asks", "ok    a packet out of port 1"}
			}
			for _, want := range wanted {
				if !strings.Contains(string(out), want) {
					log, _ := os.ReadFile(filepath.Join(work, "out"))
					t.Errorf("no %q:\n%s\n--- processes\n%.4000s", want, out, log)
					break
				}
			}
			if strings.Contains(string(out), "FAIL") {
				t.Errorf("a check failed:\n%s", out)
			}
		})
	}
}
