package mapping_test

import (
	"errors"
	"strings"
	"testing"

	"switchbridge/p4bridge/mapping"
	"switchbridge/p4src"
)

func TestDescribe(t *testing.T) {
	m, err := mapping.Default().Bind(p4src.Switchbridge())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := errors.Join(mapping.Describe(&b, p4src.Switchbridge()), m.Describe(&b, "switchbridge.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"pipeline switchbridge, version 1", "table flow_exact (0x2000002): 65536 entries, idle timeouts, counters",
		"key     ip_src           exact     128 bits", "action  output(port:9)", "digest miss_t", "header packet_out: egress_port:9",
		"mapping switchbridge.yaml fits", "OpenFlow table 0, priority 40000 to 65535: acl",
		"miss=digest: the default action of table miss",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the listing lacks %q:\n%s", want, b.String())
		}
	}
}
