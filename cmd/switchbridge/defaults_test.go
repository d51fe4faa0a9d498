package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"switchbridge/faas/function/selfhost"
	"switchbridge/ofproxy/ofp"
	"switchbridge/settings"
)

// What --help calls a default is the default: without flags nothing changes.
func TestRunFlagsAreDefaults(t *testing.T) {
	c := runCommand()
	want := settings.Default()
	for flag, value := range map[string]any{
		"openflow": []string{"tcp:" + ofp.DefaultAddress}, "admin": want.Admin.Listen, "function": want.Function.URLs,
		"encoding": want.Function.Encoding, "log-decisions": want.Log.Decisions, "log-format": want.Log.Format, "log-level": want.Log.Level,
		"policy": want.Policy, "function-ca": want.Function.CA, "function-token-file": want.Function.TokenFile, "pprof": want.Admin.Pprof,
	} {
		text := strings.ReplaceAll(fmt.Sprint(value), " ", ",")
		if got := c.Flag(flag).DefValue; got != text {
			t.Errorf("run --%s: default %q in --help, %q in the settings", flag, got, text)
		}
	}
	if !strings.Contains(c.Long, " "+ofp.DefaultAddress+" ") || !strings.Contains(c.Long, " "+want.Admin.Listen+".") {
		t.Errorf("run --help names other addresses than %s and %s:\n%s", ofp.DefaultAddress, want.Admin.Listen, c.Long)
	}

	var f runFlags
	bare := runCommand()
	if err := bare.ParseFlags(nil); err != nil {
		t.Fatal(err)
	}
	got, err := f.settings(bare)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("run without flags differs from the defaults (-default +run):\n%s", diff)
	}
}

func TestServeFlagsAreDefaults(t *testing.T) {
	c, server, function := serveCommand(), selfhost.Default(), selfhost.DefaultFunction()
	for flag, value := range map[string]any{
		"listen": selfhost.DefaultListen, "admin": server.Admin, "records": server.Records, "drain-timeout": server.Drain,
		"concurrency": function.Concurrency, "instances": function.Instances, "deadline": function.Deadline, "memory": function.Memory,
		"native": function.Native, "policy": function.Policy,
	} {
		if got := c.Flag(flag).DefValue; got != fmt.Sprint(value) {
			t.Errorf("function serve --%s: default %q in --help, %v in the configuration", flag, got, value)
		}
	}
}
