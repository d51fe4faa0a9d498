package p4bridge

import (
	"slices"
	"strings"
	"testing"

	"switchbridge/p4src"
)

func TestLoadProgram(t *testing.T) {
	const info, compiled, file = "../p4src/example/l2acl.p4info.txtpb", "../p4src/example/l2acl.json", "../p4src/example/l2acl.yaml"
	c := Config{Bridge: bridgeOf(t, local{exactNormal}, nil), Device: 3, Addr: "127.0.0.1:1", Miss: MissPunt}
	var err error
	if c.Pipeline, c.Mapping, err = LoadProgram(info, compiled, file); err != nil || c.Pipeline.Cookie != p4src.L2ACL().Cookie {
		t.Errorf("a user's program: %v", err)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.cfg.Ports, defaultPorts) {
		t.Errorf("ports %v, want the default", s.cfg.Ports)
	}
	for _, row := range [][4]string{
		{info, "", "", "go together"},
		{info, compiled, "", "needs a mapping"},
		{info, compiled, "none.yaml", "no such file"},
		{"none", compiled, file, "no such file"},
		{info, "../p4src/switchbridge.json", file, "P4Info only"},
		{"", "", file, "has no table"},
	} {
		if _, _, err := LoadProgram(row[0], row[1], row[2]); err == nil || !strings.Contains(err.Error(), row[3]) {
			t.Errorf("%v: error %v, want one that says %q", row[:3], err, row[3])
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	good := func() Config {
		return Config{Bridge: bridgeOf(t, local{exactNormal}, nil), Device: 1, Addr: "127.0.0.1:1", Pipeline: program(), Mapping: binding(), Ports: []uint32{1}}
	}
	for want, change := range map[string]func(*Config){
		"device id 0":          func(c *Config) { c.Device = 0 },
		"address":              func(c *Config) { c.Addr = "nowhere" },
		"no bridge":            func(c *Config) { c.Bridge = nil },
		"no pipeline":          func(c *Config) { c.Pipeline = nil },
		"port 0: BMv2":         func(c *Config) { c.Ports = []uint32{1, 0} },
		"listed twice":         func(c *Config) { c.Ports = []uint32{1, 1} },
		"no negative numbers":  func(c *Config) { c.MissLimit.Rate = -1 },
		"a burst of 5 without": func(c *Config) { c.MissLimit.Burst = 5 },
		"port 512 is beyond":   func(c *Config) { c.MissLimit.Rate, c.Ports = 9, []uint32{1, 512} },
		"no meter for misses": func(c *Config) {
			c.Pipeline, c.Mapping, _ = LoadProgram("../p4src/example/l2acl.p4info.txtpb", "../p4src/example/l2acl.json", "../p4src/example/l2acl.yaml")
			c.Miss, c.MissLimit.Rate = MissPunt, 9
		},
		"waits for ever": func(c *Config) { c.Digest.MaxListSize = 10 },
		"mapping names none": func(c *Config) {
			c.Pipeline, c.Mapping, _ = LoadProgram("../p4src/example/l2acl.p4info.txtpb", "../p4src/example/l2acl.json", "../p4src/example/l2acl.yaml")
		},
	} {
		c := good()
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
}
