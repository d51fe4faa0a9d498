// Package programs governs P4 programs of other people on a real BMv2. They are not
// part of this repository: SWITCHBRIDGE_P4_PROGRAMS names a folder that has one
// folder for each, with P4Info and what p4c-bm2-ss made of the program.
//
// For each program the mapping is the one that `switchbridge p4 info` proposes, or
// the folder's own mapping.yaml. A policy denies TCP port 22 and allows the rest.
// What held is printed as a table.
package programs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"switchbridge/internal/built"
	"switchbridge/internal/testlong"
)

const policy = `serial: 1
chain:
  - header:
      rules:
        - {name: no-ssh, match: {tcp_dst: 22}, action: deny}
  - forward: {mode: normal}
`

// result is a row of the table.
type result struct {
	program                                        string
	asks, denies, forwards                         string // what p4 info said beforehand
	written                                        int    // lines of the mapping that p4 info did not propose; -1: none is possible
	ping, tagged, web, ssh, flood, gateway, reboot string
}

func TestProgramsOfOthers(t *testing.T) {
	root := os.Getenv("SWITCHBRIDGE_P4_PROGRAMS")
	if root == "" {
		t.Skip("SWITCHBRIDGE_P4_PROGRAMS names no folder of compiled P4 programs (docs/p4.md says where some are)")
	}
	need(t)
	compiled, err := filepath.Glob(filepath.Join(root, "*", "*.json"))
	if err != nil || len(compiled) == 0 {
		t.Fatalf("%s has no folder with a compiled program: %v", root, err)
	}
	var dirs []string
	for _, path := range compiled {
		dirs = append(dirs, filepath.Dir(path))
	}
	governAll(t, dirs)
}

// The programs of p4src/example are governed by what is proposed for them.
func TestLongExamples(t *testing.T) {
	testlong.Need(t)
	need(t)
	var dirs []string
	for _, name := range []string{"campus", "classroom"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, ending := range []string{".p4info.txtpb", ".json"} {
			text, err := os.ReadFile("../../p4src/example/" + name + ending)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name+ending), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		dirs = append(dirs, dir)
	}
	governAll(t, dirs)
}

// governAll governs the program of each folder and prints the table.
func governAll(t *testing.T, dirs []string) {
	program := os.Getenv("SWITCHBRIDGE")
	if program == "" {
		program = built.Switchbridge(t)
	}
	var rows []*result
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			r := &result{program: filepath.Base(dir)}
			rows = append(rows, r)
			govern(t, r, program, dir)
		})
	}
	t.Logf("what held:\n%s", table(rows))
}

func table(rows []*result) string {
	var b strings.Builder
	fmt.Fprintln(&b, "| program | asks | denies | forwards | written by hand | ping | VLAN 20 | TCP 80 | TCP 22 | floods | gateway restarts | switch restarts |")
	fmt.Fprintln(&b, "|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		by := "-"
		if r.written >= 0 {
			by = fmt.Sprint(r.written)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n",
			r.program, r.asks, r.denies, r.forwards, by, r.ping, r.tagged, r.web, r.ssh, r.flood, r.gateway, r.reboot)
	}
	return b.String()
}

var (
	missOf = regexp.MustCompile(`,miss=(\w+),`)
	cpuOf  = regexp.MustCompile(`--cpu-port (\d+)`)
	heldBy = regexp.MustCompile(`(?m)^  (asks|denies|forwards): (.*)$`)
)

// govern fills in a row.
func govern(t *testing.T, r *result, program, dir string) {
	mapping := filepath.Join(t.TempDir(), "mapping.yaml")
	said, err := exec.Command(program, "p4", "info", dir, "--write", mapping).CombinedOutput()
	for _, m := range heldBy.FindAllStringSubmatch(string(said), -1) {
		short, _, _ := strings.Cut(m[2], ". ")
		short = strings.TrimSuffix(short, ".")
		switch m[1] {
		case "asks":
			r.asks = short
		case "denies":
			r.denies = short
		case "forwards":
			r.forwards = short
		}
	}
	own := filepath.Join(dir, "mapping.yaml")
	if text, ownErr := os.ReadFile(own); ownErr == nil {
		proposed, _ := os.ReadFile(mapping)
		r.written, mapping = added(string(proposed), string(text)), own
	} else if err != nil {
		r.written = -1
		r.ping, r.tagged, r.web, r.ssh, r.flood, r.gateway, r.reboot = "-", "-", "-", "-", "-", "-", "-"
		t.Logf("p4 info says that nothing can be governed: %s", said)
		return
	}
	miss, cpu := "punt", "510"
	if m := missOf.FindSubmatch(said); m != nil {
		miss = string(m[1])
	}
	if m := cpuOf.FindSubmatch(said); m != nil {
		cpu = string(m[1])
	}
	info, json := files(t, dir)
	l := newLab(t, program, cpu, fmt.Sprintf("device=1,addr=%s,ports=1-3,miss=%s,p4info=%s,json=%s,mapping=%s", grpcAddr, miss, info, json, mapping))
	l.startSwitch()
	l.startGateway()
	l.ready()

	says := func(held *string, what string, ok bool, detail string) bool {
		*held = "yes"
		if !ok {
			*held = "**no**"
			t.Errorf("%s: %s\n%s", what, detail, l.log())
		}
		return ok
	}
	out, ok := l.ping()
	if !says(&r.ping, "ping", ok, out) {
		return
	}
	if r.tagged, err = l.tagged(); err != nil {
		t.Errorf("%v\n%s", err, l.log())
	}
	// Where no key holds a port, no rule tells TCP 22 from 80, and a policy that looks at ports denies both.
	byPort := !strings.HasPrefix(r.denies, "not by")
	if r.web = "as said: no"; byPort {
		says(&r.web, "TCP 80 passes", l.connects(80), "it does not")
	}
	blocked := func() (bool, string) {
		if l.connects(22) {
			return false, "TCP 22 connects"
		}
		if byPort && !l.connects(80) {
			return false, "TCP 80 does not pass either, so that TCP 22 does not says nothing"
		}
		if n := l.arrived(22); n > 0 {
			return false, fmt.Sprintf("%d packets to TCP port 22 arrived", n)
		}
		return true, ""
	}
	ok, detail := blocked()
	says(&r.ssh, "TCP 22 is blocked", ok, detail)
	if ok {
		r.ssh = "blocked"
	}
	ok, detail = l.floods()
	says(&r.flood, "a flood reaches every other port once", ok, detail)

	l.stopGateway()
	l.startGateway()
	l.ready()
	ok, detail = blocked()
	says(&r.gateway, "after the gateway's restart", ok, detail)

	l.stopSwitch()
	l.startSwitch()
	l.ready()
	if out, ok = l.ping(); says(&r.reboot, "ping after the switch's restart", ok, out) {
		ok, detail = blocked()
		says(&r.reboot, "after the switch's restart", ok, detail)
	}
}

// added counts the lines of a mapping that are not among those proposed.
func added(proposed, text string) (n int) {
	have := map[string]int{}
	for line := range strings.Lines(proposed) {
		have[strings.TrimSpace(line)]++
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if have[line]--; have[line] < 0 {
			n++
		}
	}
	return n
}

// files are a program's P4Info and JSON.
func files(t *testing.T, dir string) (info, json string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		switch {
		case strings.Contains(f.Name(), "p4info"):
			info = filepath.Join(dir, f.Name())
		case strings.HasSuffix(f.Name(), ".json"):
			json = filepath.Join(dir, f.Name())
		}
	}
	return info, json
}

// within waits for something that other processes bring about.
func within(t *testing.T, d time.Duration, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, d)
		}
	}
}

func run(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Skipf("ip %v: %v: %s", args, err, out)
	}
}
