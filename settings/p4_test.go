package settings

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Both forms of a switch mean the same; paths of either start from the file's folder.
func TestP4Switch(t *testing.T) {
	want := P4Switch{
		Device: 3, Address: "10.0.0.1:9559", Ports: Ports{1, 2, 3, 7}, Election: 9, Miss: "punt", MissRate: 100, MissBurst: 20, Entries: true,
		TLS:    &P4TLS{CA: "/etc/sb/ca.pem", Cert: "/etc/sb/gw.pem", Key: "/etc/sb/gw.key", ServerName: "s3"},
		P4Info: "/etc/sb/my.p4info.txtpb", JSON: "/srv/my.json", Mapping: "/etc/sb/my.yaml",
	}
	for name, text := range map[string]string{
		"short": `p4: {switches: ["device=3,addr=10.0.0.1:9559,ports=1-3+7,election=9,miss=punt,miss_rate=100,miss_burst=20,entries=true,` +
			`ca=ca.pem,cert=gw.pem,key=gw.key,server_name=s3,p4info=my.p4info.txtpb,json=/srv/my.json,mapping=my.yaml"]}`,
		"mapping": `p4:
  switches:
    - device: 3
      address: 10.0.0.1:9559
      ports: [1, 2, 3, 7]
      election: 9
      miss: punt
      miss_rate: 100
      miss_burst: 20
      entries: true
      tls: {ca: ca.pem, cert: gw.pem, key: gw.key, server_name: s3}
      p4info: my.p4info.txtpb
      json: /srv/my.json
      mapping: my.yaml
`} {
		s, err := Parse(strings.NewReader(text), "/etc/sb/sb.yaml")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff([]P4Switch{want}, s.P4.Switches); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for text, tls := range map[string]bool{
		`device: 1, address: "a:1"`: false, `device: 1, address: "a:1", tls: {}`: true, `device: 1, address: "a:1", ports: "1-4+7"`: false,
	} {
		s, err := Parse(strings.NewReader("p4: {switches: [{"+text+"}]}"), "sb.yaml")
		if err != nil || (s.P4.Switches[0].TLS != nil) != tls {
			t.Errorf("%s: TLS %v, error %v", text, s, err)
		}
	}
	if s, err := ParseP4Switch("device=1,addr=a:1,tls=true"); err != nil || s.TLS == nil {
		t.Errorf("tls=true: %v, %v", s, err)
	}
}

func TestBadP4Switch(t *testing.T) {
	for text, want := range map[string]string{
		"device=x,addr=:1":                       "device",
		"addr=:1":                                "device",
		"device=1":                               "address",
		"device=1,addr=nowhere":                  "address",
		"device=1,adr=:1":                        "no such key",
		"device":                                 "not key=value",
		"device=1,device=2,addr=:1":              "device is there twice",
		"device=1,addr=:1,entries=perhaps":       "entries",
		"device=1,addr=:1,ports=0-3":             "want numbers from 1",
		"device=1,addr=:1,ports=1-99999999":      "want numbers from 1",
		"device=1,addr=:1,ports=1-60000+1-60000": "want numbers from 1",
		"device=1,addr=h:1,miss=later":           "want digest, punt, clone, flood or drop",
		"device=1,addr=:1,miss_rate=fast":        "miss_rate",
		"device=1,addr=:1,miss_rate=-1":          "miss_rate",
		"device=1,addr=:1,miss_burst=5":          "needs miss_rate",
		"device=1,addr=:1,tls=false,ca=a":        "tls=false, and keys that need it",
		"device=1,addr=:1,cert=a":                "cert and key go together",
		"device=1,addr=:1,p4info=a,mapping=b":    "p4info and json go together",
		"device=1,addr=:1,p4info=a,json=b":       "a program of your own needs one",
	} {
		if _, err := ParseP4Switch(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"p4:\n  switches:\n  - device: 1\n    adress: x":                                 `line 4: unknown key "adress"`,
		"p4:\n  switches:\n  - {device: 1, address: \"a:1\", tls: {cacert: x}}":          `line 3: unknown key "cacert"`,
		"p4:\n  switches:\n  - \"device=1,addr=h:1,miss=later\"":                         "line 3: p4 switch",
		"p4:\n  switches:\n  - {device: 1, address: here}":                               "line 3: address",
		"p4: {switches: [{device: 1, address: \"a:1\"}, {device: 1, address: \"a:2\"}]}": "p4.switches[1].device: datapath id 1 is switch 0's already",
		"p4: {switches: [[]]}": "want a mapping",
		"p4: {switches: [{device: 1, address: \"a:1\", ports: \"4-1\"}]}": "want numbers from 1",
		"p4: {switches: [{device: 1, address: \"a:1\", tls: true}]}":      "tls: line 1: want a mapping",
	} {
		if _, err := Parse(strings.NewReader(text), "sb.yaml"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %q", text, err, want)
		}
	}
}

// A device of id 0, and two switches that call themselves the same, are told by
// their datapath ids.
func TestDatapathOfADevice(t *testing.T) {
	s, err := ParseP4Switch("device=0,dpid=7,addr=h:1,role=edge,miss=clone")
	if err != nil || s.Device != 0 || s.Datapath() != 7 || s.Role != "edge" || s.Miss != "clone" {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := ParseP4Switch("device=3,addr=h:1"); err != nil || s.Datapath() != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := Parse(strings.NewReader("p4: {switches: [{device: 0, dpid: 1, address: \"a:1\"}, {device: 0, dpid: 2, address: \"a:2\"}]}"), "sb.yaml"); err != nil {
		t.Error(err)
	}
}

func FuzzP4Switch(f *testing.F) {
	f.Add("device=1,addr=127.0.0.1:9559,ports=1-4+7,miss=punt,ca=a,cert=b,key=c")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseP4Switch(text); err == nil && (s.Datapath() == 0 || len(s.Ports) > maxPort+1) {
			t.Errorf("%q is taken for %+v", text, s)
		}
	})
}
