// Package lab_test runs the labs in mininet/ with a program built from this checkout: what a newcomer
// types is what is tested.
package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"switchbridge/internal/built"
	"switchbridge/internal/testlong"
)

const (
	root   = "../.." // of the checkout, from here
	python = "/usr/bin/python3"
)

// lab runs a script of mininet/ and returns what it printed and whether it ended well.
func lab(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a lab makes network namespaces")
	}
	for _, tool := range []string{"mnexec", "ovs-vswitchd", "ethtool", "ping"} {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", tool)
		}
		t.Skipf("%s is not installed (make setup installs what the tests use)", tool)
	}
	program := built.Switchbridge(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, args...)
	cmd.Dir = filepath.Join(root, "mininet")
	cmd.Env = append(os.Environ(), "SWITCHBRIDGE="+program, "PYTHONDONTWRITEBYTECODE=1")
	// SIGTERM, so that the lab ends what it started; its namespaces take the rest with them.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func TestDemo(t *testing.T) {
	t.Parallel()
	out, err := lab(t, "demo.py")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The exit status is the demo's own word; these are ours on what it must have looked at.
	for _, want := range []string{
		"All 12 checks hold.",
		"drop           ", // a rule that drops, in the table
		"header: no-8080",
		"blocklist: 10.0.0.2 ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo doesn't say %q:\n%s", want, out)
		}
	}
}

func TestFailover(t *testing.T) {
	t.Parallel()
	out, err := lab(t, "labs/failover.py")
	if err != nil || !strings.Contains(out, "All 8 checks hold.") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestLongLine: over four and eight switches a conversation costs one call.
func TestLongLine(t *testing.T) {
	testlong.Need(t)
	for _, args := range [][]string{{"4"}, {"8"}, {"4", "bmv2"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			needBMv2(t, args...)
			out, err := lab(t, append([]string{"labs/line.py"}, args...)...)
			if err != nil || !strings.Contains(out, "All 7 checks hold.") {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// TestLongPair: a gateway that leads is killed, hangs and hands over while hosts talk.
func TestLongPair(t *testing.T) {
	testlong.Need(t)
	if _, err := exec.LookPath("iperf"); err != nil {
		t.Skip("iperf is not installed: Mininet's package recommends it")
	}
	onBoth(t, "labs/pair.py", 10, 10)
}

// needBMv2 skips a lab that wants one, where there is none.
func needBMv2(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("simple_switch_grpc"); slices.Contains(args, "bmv2") && err != nil && os.Getenv("SIMPLE_SWITCH_GRPC") == "" {
		t.Skip("simple_switch_grpc is neither in PATH nor named by SIMPLE_SWITCH_GRPC")
	}
}

// onBoth runs a lab on Open vSwitch and on BMv2, each with so many checks.
func onBoth(t *testing.T, script string, openVSwitch, bmv2 int) {
	t.Parallel()
	for where, checks := range map[string]int{"ovs": openVSwitch, "bmv2": bmv2} {
		t.Run(where, func(t *testing.T) {
			args := []string{script}
			if where == "bmv2" {
				args = append(args, where)
			}
			needBMv2(t, args...)
			out, err := lab(t, args...)
			if err != nil || !strings.Contains(out, fmt.Sprintf("All %d checks hold.", checks)) {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// A host forges another's addresses, a sensor's events and a server's answers: they pass without a source guard, and are stopped with one.
func TestForge(t *testing.T) { onBoth(t, "labs/forge.py", 18, 18) }

// A sensor's packet lets a camera stream for a while. A port that goes down ends that at once, where the switch tells of it.
func TestSensor(t *testing.T) { onBoth(t, "labs/sensor.py", 15, 12) }

func TestMininetCommand(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"OpenFlow10", "OpenFlow13"} {
		t.Run(version, func(t *testing.T) {
			// As the README has it: the port is the sandbox's own, and the admin port 3000 above it.
			out, err := lab(t, "sandbox.py", "mn", "--custom", "switchbridge.py",
				"--controller", "switchbridge", "--switch", "ovs,protocols="+version,
				"--topo", "linear,2", "--test", "pingall")
			if err != nil || !strings.Contains(out, "Results: 0% dropped (2/2 received)") {
				t.Errorf("mn --test pingall: %v\n%s", err, out)
			}
			if !strings.Contains(out, "page and metrics http://127.0.0.1:9653/") {
				t.Errorf("mn does not print the page's address:\n%s", out)
			}
		})
	}
}

// TestMininetRefusals looks at what `mn` must not do: take a bridge that is there already, or run a network
// whose gateway doesn't.
func TestMininetRefusals(t *testing.T) {
	t.Parallel()
	const mn = "mn --custom switchbridge.py --topo single,2 --test none --controller switchbridge,port=0"
	out, err := lab(t, "sandbox.py", "sh", "-c",
		"ovs-vsctl add-br s1 -- set bridge s1 datapath_type=netdev external-ids:mine=yes; "+
			"! "+mn+" && ovs-vsctl get bridge s1 external-ids:mine")
	if err != nil || !strings.Contains(out, "the machine has a bridge s1 already") || !strings.HasSuffix(out, "yes\n") {
		t.Errorf("a bridge of the machine's: %v\n%s", err, out)
	}
	out, err = lab(t, "sandbox.py", "sh", "-c", "! "+mn+",policy=missing.yaml && ! ovs-vsctl br-exists s1")
	if err != nil || !strings.Contains(out, "missing.yaml") {
		t.Errorf("a policy that is missing: %v\n%s", err, out)
	}
	out, err = lab(t, "sandbox.py", "sh", "-c", "! OVS_RUNDIR=/tmp/nowhere "+mn)
	if err != nil || !strings.Contains(out, "Open vSwitch does not answer: start it") {
		t.Errorf("an Open vSwitch that does not run: %v\n%s", err, out)
	}
	// A misspelt parameter is no parameter that is left out.
	for parameters, want := range map[string]string{
		"--controller switchbridge,port=0,polcy=open.yaml":                      "no parameter polcy; there are admin, args, config, ",
		"--controller switchbridge,open.yaml":                                   "port=open.yaml: want a port's number",
		"--controller switchbridge,port=0 --switch governed,failmod=standalone": "switch s1: no parameter failmod; there are ",
	} {
		out, err = lab(t, "sandbox.py", "sh", "-c", "! mn --custom switchbridge.py --topo single,2 --test none "+parameters+" && ! ovs-vsctl br-exists s1")
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s\nwant %q", parameters, err, out, want)
		}
	}
}
