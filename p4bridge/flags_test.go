package p4bridge

import (
	"slices"
	"strings"
	"testing"

	"switchbridge/p4src"
)

func TestParseSwitch(t *testing.T) {
	c, err := ParseSwitch("device=3,addr=127.0.0.1:9559,miss=punt,ports=1-3+7,election=9,entries=true")
	if err != nil {
		t.Fatal(err)
	}
	if c.Device != 3 || c.Addr != "127.0.0.1:9559" || c.Miss != MissPunt || c.Election.Low != 9 || !c.Entries || !slices.Equal(c.Ports, []uint32{1, 2, 3, 7}) {
		t.Errorf("%+v", c)
	}
	user := "p4info=../p4src/example/l2acl.p4info.txtpb,json=../p4src/example/l2acl.json,mapping=../p4src/example/l2acl.yaml"
	if c, err = ParseSwitch("device=3,addr=:1,miss=punt," + user); err != nil || c.Pipeline.Cookie != p4src.L2ACL().Cookie {
		t.Errorf("a user's program: %v", err)
	}
	if _, err := New(c, local{exactNormal}); err != nil {
		t.Errorf("New: %v", err)
	}
	for text, want := range map[string]string{
		"device=x,addr=:1":                   "device",
		"device=1,adr=:1":                    "no such key",
		"device":                             "not key=value",
		"device=1,entries=perhaps":           "entries",
		"device=1,ports=0-3":                 "want numbers from 1",
		"device=1,ports=1-99999999":          "want numbers from 1",
		"device=1,miss=later":                "want digest, punt, flood or drop",
		"device=1,p4info=a":                  "go together",
		"device=1,p4info=a,json=b":           "needs a mapping",
		"device=1,p4info=a,json=b,mapping=c": "no such file",
	} {
		if _, err := ParseSwitch(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", text, err, want)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	good := func() Config {
		return Config{Device: 1, Addr: "127.0.0.1:1", Pipeline: program(), Mapping: binding(), Ports: []uint32{1}}
	}
	for want, change := range map[string]func(*Config){
		"device id 0":    func(c *Config) { c.Device = 0 },
		"address":        func(c *Config) { c.Addr = "nowhere" },
		"0xffff":         func(c *Config) { c.GatewayID = 0xffff },
		"no pipeline":    func(c *Config) { c.Pipeline = nil },
		"listed twice":   func(c *Config) { c.Ports = []uint32{1, 1} },
		"waits for ever": func(c *Config) { c.Digest.MaxListSize = 10 },
		"mapping names no ": func(c *Config) {
			c.Pipeline, c.Mapping, _ = LoadProgram("../p4src/example/l2acl.p4info.txtpb", "../p4src/example/l2acl.json", "../p4src/example/l2acl.yaml")
		},
	} {
		c := good()
		change(&c)
		if _, err := New(c, local{exactNormal}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
