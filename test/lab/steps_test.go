package lab_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// commands are the lines of a page that are typed: those that are indented by four spaces.
func commands(t *testing.T, page string) (list []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if command, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "    "); ok {
			list = append(list, command)
		}
	}
	return list
}

// stepsHead is what the script of TestFirstSteps begins with.
const stepsHead = `set -eu
mkdir "$HOME/bin" && ln -s "$SWITCHBRIDGE" "$HOME/bin/switchbridge" && cd "$HOME"
until_() { for i in $(seq 600); do if eval "$1" >out 2>&1; then return; fi; sleep 0.1; done; echo "not within a minute: $1"; cat out *.log; exit 1; }
set -x
`

// A newcomer who types docs/first-steps.md gets what it says: each line is run, in its order, with an Open
// vSwitch of its own. What is added is what a person does: wait until something is there, and look.
func TestFirstSteps(t *testing.T) {
	t.Parallel()
	var script strings.Builder
	script.WriteString(stepsHead)
	say := func(format string, args ...any) { fmt.Fprintf(&script, format+"\n", args...) }
	seen := map[string]int{}
	for _, line := range commands(t, "docs/first-steps.md") {
		word := strings.Join(strings.Fields(line + " - -")[:2], " ")
		seen[word]++
		switch {
		case strings.HasPrefix(line, "make ") || strings.HasPrefix(line, "apt ") || strings.HasPrefix(line, "service "): // done
		case word == "bin/switchbridge run" && seen[word] == 1:
			say("%s >run.log 2>&1 & gateway=$!", line)
			say("until_ 'grep -q \"waiting for switches\" run.log'")
		case strings.HasPrefix(line, "bin/switchbridge function serve"): // "Stop the gateway"
			say("kill $gateway; wait $gateway || true")
			say("%s >serve.log 2>&1 &", line)
			say("until_ 'grep -q \"msg=serving \" serve.log'")
		case word == "bin/switchbridge run":
			say("ca=$(sed -n 's/.*--function-ca \\([^ \"]*\\).*/\\1/p' serve.log | head -1)")
			say("%s >remote.log 2>&1 &", strings.Replace(line, "PRINTED-PATH", "$ca", 1))
			say("until_ 'bin/switchbridge status | grep -q \"  ready  \"'")
			say("bin/switchbridge status | grep 'https://127.0.0.1:8443'")
			say("until_ 'ip netns exec h2 ping -c 1 -W 1 10.0.0.1 | grep \"0 received\"'") // the policy is the function's now
		case strings.HasPrefix(line, "bin/switchbridge doctor"):
			say("until_ '%s'; cat out; grep 'no fault, no warning' out", line)
		case strings.HasPrefix(line, "- {name: no-ping"):
			say("sed -i 's/^serial: 1/serial: 2/; s/^        - {name: no-telnet/        %s\\n&/' policy.yaml", line)
			say("until_ '! ip netns exec h1 ping -c 1 -W 1 10.0.0.2'")
		default:
			say("%s", line)
		}
		if strings.Contains(line, "ping -c 2") { // which has succeeded
			say("until_ 'curl -s http://127.0.0.1:9653/api/v1/decisions | grep -q \"forward: normal\"'; curl -s http://127.0.0.1:9653/ | grep -q '<title>'")
		}
	}
	say("test \"$(ovs-vsctl get-fail-mode br0)\" = standalone && ip netns exec h1 ping -c 1 10.0.0.2 && echo all steps taken")
	for _, want := range []string{"bin/switchbridge init", "bin/switchbridge run", "bin/switchbridge doctor", "bin/switchbridge function", "ovs-vsctl set-fail-mode", "ip netns"} {
		if seen[want] == 0 {
			t.Errorf("the page has no line that begins with %q", want)
		}
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "steps.sh")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := lab(t, "sandbox.py", "env", "HOME="+dir, "XDG_CACHE_HOME="+dir, "bash", file)
	if err != nil || !strings.HasSuffix(strings.TrimSpace(out), "all steps taken") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Each line of mininet/README.md that starts mn works as it stands there, from the repository's root.
func TestMininetReadme(t *testing.T) {
	t.Parallel()
	n := 0
	text := strings.Join(commands(t, "mininet/README.md"), "\n")
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		mn, ok := strings.CutPrefix(strings.TrimSpace(line), "sudo mn ")
		if !ok {
			continue
		}
		n++
		if !strings.Contains(mn, "--test") {
			mn += " --test pingall" // in the place of a person at mn's prompt
		}
		out, err := lab(t, "sandbox.py", "sh", "-c", "cd .. && mn "+mn)
		if err != nil || !strings.Contains(out, "page and metrics http://127.0.0.1:9653/") || !strings.Contains(out, "Results: 0% dropped") {
			t.Errorf("mn %s: %v\n%s", mn, err, out)
		}
	}
	if n < 2 {
		t.Errorf("the page has only %d lines that start mn", n)
	}
}
