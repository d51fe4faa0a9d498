package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"switchbridge/internal/built"
	"switchbridge/internal/certs/certstest"
	"switchbridge/internal/child"
	"switchbridge/internal/examples"
	"switchbridge/internal/ovs"
	"switchbridge/policy/blob"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
)

// notRun are the examples that want what a test does not have. Their flags and arguments are looked at all the same.
var notRun = map[string]string{
	"switchbridge function test https://f.example/decide --function-token-file token --junit report.xml":               "a function of somebody else's; the other two are run",
	"switchbridge p4 check device=1,addr=127.0.0.1:9559,p4info=my.p4info.txtpb,json=my.json,mapping=my.yaml,miss=punt": "a P4 switch; test/programs has one",
	"switchbridge p4 check device=1,addr=127.0.0.1:9559,ports=1-2 --interface 1=h1 --interface 2=h2":                   "a P4 switch; test/programs has one",
	"switchbridge pair handover --admin-token-file token":                                                              "two gateways; testdata/pair.txtar has them",
	"switchbridge policy rollback 17-0c0ffee1 --admin-token-file token":                                                "a policy that is named by its content, which is another one for each",
	"switchbridge policy push fastly policy.yaml --config-store ID --kv-store ID --yes":                                "an account; testdata/push.txtar pushes to what stands for the platform",
	"switchbridge policy push workers policy.yaml --account ID --namespace ID --yes":                                   "an account; testdata/push.txtar pushes to what stands for the platform",
	"switchbridge policy push lambda ssm:/switchbridge/policy policy.yaml --yes":                                       "an account; testdata/push.txtar pushes to what stands for the platform",
	"switchbridge policy push lambda s3://bucket/policy.blob policy.yaml --yes":                                        "an account; testdata/push.txtar pushes to what stands for the platform",
}

// Every example of every command's help does what it says: it is run as a user would, in a folder with the
// files that it names. Servers come up and end in good order.
func TestExamples(t *testing.T) {
	lines := examples.Lines(t, rootCommand())
	if len(lines) < 50 {
		t.Errorf("only %d examples were found", len(lines))
	}
	for line, why := range notRun {
		if !slices.Contains(lines, line) {
			t.Errorf("no help has the example %q, which is not run, since it wants %s", line, why)
		}
		if err := examples.Parse(rootCommand(), line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	l := newExamples(t)
	var serve, run, rest, last []string
	for _, line := range lines {
		switch {
		case notRun[line] != "":
		case strings.HasPrefix(line, "switchbridge function serve"):
			serve = append(serve, line)
		case strings.HasPrefix(line, "switchbridge run") && !strings.HasSuffix(line, "--check"):
			run = append(run, line)
		case strings.HasPrefix(line, "switchbridge policy promote"): // after it there is no shadow
			last = append(last, line)
		default:
			rest = append(rest, line)
		}
	}
	// In this order the examples' ports, which are the defaults, are free when they are wanted.
	for _, line := range serve {
		if strings.Contains(line, "guest.wasm") && l.data["guest.wasm"] == nil {
			t.Logf("%s: not run, since there is no build/function.wasm (make guest)", line)
			if err := examples.Parse(rootCommand(), line); err != nil {
				t.Error(err)
			}
			continue
		}
		l.serves(line, "msg=serving ")
	}
	l.functions()
	for _, line := range run {
		l.serves(line, "waiting for switches")
	}
	l.gateway()
	for _, line := range append(rest, last...) {
		l.ends(line)
	}
}

// exampleFolder has the files that examples name, and what they call.
type exampleFolder struct {
	*machine
	path string            // PATH, where switchbridge is
	data map[string][]byte // files
}

func newExamples(t *testing.T) *exampleFolder {
	l := &exampleFolder{machine: newMachine(t, ovs.Options{}), data: map[string][]byte{}}
	// Not this process's program: under the race detector it takes half a minute to compile the function.
	programs := filepath.Dir(built.Switchbridge(t))
	l.path = programs + string(os.PathListSeparator) + os.Getenv("PATH")

	const policy = "serial: %d\nchain:\n  - header: {rules: [{name: no-ssh, match: {tcp_dst: %d}, action: deny}]}\n  - forward: {mode: normal}\n" +
		"# expect: udp 10.0.0.1:40000 > 10.0.0.2:53 => allow\n"
	l.data["policy.yaml"] = fmt.Appendf(nil, policy, 1, 22)
	l.data["next.yaml"] = fmt.Appendf(nil, policy, 2, 23)
	l.data["office.yaml"] = l.data["policy.yaml"]
	l.data["switchbridge.yaml"] = []byte("policy: policy.yaml\nfunction: {urls: [native]}\n")
	l.data["token"] = []byte("0123456789abcdef\n")
	authority := certstest.New(t)
	l.data["ca.pem"] = authority.PEM()
	l.data["cert.pem"], l.data["key.pem"] = certstest.Pair(t, authority.Issue(t, "function", time.Now().Add(time.Hour)))

	var capture bytes.Buffer
	w := pcapgo.NewWriter(&capture)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, packet := range []string{"udp 10.0.0.1:40000 > 10.0.0.2:53", "tcp 10.0.0.1:40000 > 10.0.0.2:22", "tcp 10.0.0.1:40000 > 10.0.0.2:23", "tcp 10.42.0.205:40000 > 10.42.0.1:443"} {
		frame, _, err := policytest.Packet(packet)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1_700_000_000, int64(i)*1e6)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame)}, frame); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"office.pcapng", "home.pcapng", "office.pcap", "home.pcap", "plug.pcap"} {
		l.data[name] = capture.Bytes()
	}
	entry := func(name, direction string) string {
		return `{"name": "` + name + `", "type": "ipv4-acl-type", "aces": {"ace": [{"name": "e", "matches": {"ipv4": {"protocol": 17, "ietf-mud:` + direction + `"}}, "actions": {"forwarding": "accept"}}]}}`
	}
	l.data["plug.mud.json"] = []byte(`{"ietf-mud:mud": {"mud-version": 1, "mud-url": "https://maker.example/plug", "systeminfo": "a plug",
		"from-device-policy": {"access-lists": {"access-list": [{"name": "from"}]}}, "to-device-policy": {"access-lists": {"access-list": [{"name": "to"}]}}},
		"ietf-access-control-list:acls": {"acl": [` + strings.ReplaceAll(entry("from", `x`), `"ietf-mud:x"`, `"destination-ipv4-network": "192.0.2.1/32"`) + `, ` +
		strings.ReplaceAll(entry("to", `x`), `"ietf-mud:x"`, `"source-ipv4-network": "192.0.2.1/32"`) + `]}}`)
	if guest, err := os.ReadFile("../../build/function.wasm"); err == nil {
		l.data["guest.wasm"] = guest
		p, err := policyfile.Load("../../configs/policies/allow-all.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if l.data["guest.conf"], err = blob.Pack(p); err != nil {
			t.Fatal(err)
		}
	}
	for name, from := range map[string]string{"my.p4info.txtpb": "campus.p4info.txtpb", "my.json": "campus.json", "my.yaml": "campus.yaml",
		"build/a.p4info.txtpb": "classroom.p4info.txtpb", "build/a.json": "classroom.json"} {
		b, err := os.ReadFile("../../p4src/example/" + from)
		if err != nil {
			t.Fatal(err)
		}
		l.data[name] = b
	}
	return l
}

// folder makes a folder with the files, for one example.
func (l *exampleFolder) folder(line string) string {
	l.t.Helper()
	dir := l.t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "build"), 0o755); err != nil {
		l.t.Fatal(err)
	}
	for name, b := range l.data {
		if strings.HasPrefix(line, "switchbridge init") && (name == "switchbridge.yaml" || name == "policy.yaml") {
			continue // which it is to write
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			l.t.Fatal(err)
		}
	}
	return dir
}

// shell prepares a line as a user types it.
func (l *exampleFolder) shell(line, dir string) *exec.Cmd {
	l.t.Helper()
	cmd := l.sw.Command("sh", "-c", "exec "+line) // so that signals reach the program, not a shell
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, "PATH="+l.path, "XDG_CACHE_HOME="+filepath.Join(l.dir, "cache"), "SSL_CERT_FILE="+l.write("ca.pem", string(l.data["ca.pem"])))
	return cmd
}

// ends runs a line that ends by itself with success.
func (l *exampleFolder) ends(line string) {
	l.t.Helper()
	cmd := l.shell(line, l.folder(line))
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Errorf("%s: %v\n%s", line, err, out)
	}
}

// server is a line that runs until it is ended.
type server struct {
	*exec.Cmd
	dir   string
	ended chan error
}

// log is what it has printed.
func (s *server) log() string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(b)
}

// start runs a line until its log says that it is up.
func (l *exampleFolder) start(line, up string) *server {
	l.t.Helper()
	dir := l.folder(line)
	file, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer file.Close()
	s := &server{l.shell(line, dir), dir, make(chan error, 1)}
	s.Stdout, s.Stderr = file, file
	if err := child.Start(s.Cmd); err != nil {
		l.t.Fatal(err)
	}
	go func() { s.ended <- s.Wait() }()
	timeout := time.After(2 * time.Minute)
	for !strings.Contains(s.log(), up) {
		select {
		case err := <-s.ended:
			l.t.Fatalf("%s: it ended (%v) before it said %q:\n%s", line, err, up, s.log())
		case <-timeout:
			s.Process.Kill()
			l.t.Fatalf("%s: it does not say %q:\n%s", line, up, s.log())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return s
}

// serves runs a line that comes up, and ends when it is asked to.
func (l *exampleFolder) serves(line, up string) {
	l.t.Helper()
	s := l.start(line, up)
	s.Process.Signal(syscall.SIGTERM)
	if err := <-s.ended; err != nil {
		l.t.Errorf("%s: %v\n%s", line, err, s.log())
	}
}

// stays runs a line until the test ends, and returns its folder.
func (l *exampleFolder) stays(line, up string) string {
	l.t.Helper()
	s := l.start(line, up)
	l.t.Cleanup(func() { s.Process.Kill(); <-s.ended })
	return s.dir
}

// functions serves those that examples call.
func (l *exampleFolder) functions() {
	l.t.Helper()
	l.stays("switchbridge function serve --native --policy policy.yaml --listen 127.0.0.1:8443 --cert cert.pem --key key.pem", "msg=serving ")
	l.stays("switchbridge function serve --native --policy policy.yaml --listen 127.0.0.1:8080 --plain", "msg=serving ")
}

// gateway runs the one that examples call, with a bridge, a shadow and records of packets.
func (l *exampleFolder) gateway() {
	l.t.Helper()
	config := l.data["switchbridge.yaml"]
	l.data["switchbridge.yaml"] = []byte("policy: policy.yaml\nshadow: {policy: next.yaml}\nfunction: {urls: [native]}\nadmin: {token_file: token}\nlog: {records: records.jsonl}\n")
	dir := l.stays("switchbridge run --config switchbridge.yaml", "waiting for switches")
	l.data["switchbridge.yaml"] = config
	l.sw.AddBridge("br0", ovs.Bridge{Controllers: []string{"tcp:127.0.0.1:6653"}})
	l.sw.WaitConnected("br0")
	l.ends("switchbridge replay --quiet --gateway 127.0.0.1:6653 --pace max home.pcap")
	l.eventually("the gateway's records have a denial", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "records.jsonl"))
		whole := b[:bytes.LastIndexByte(b, '\n')+1]
		l.data["records.jsonl"], l.data["records.jsonl.1"] = whole, whole
		return err == nil && bytes.Contains(whole, []byte(`"verdict":"deny"`)) && bytes.Contains(whole, []byte(`"shadow_verdict"`))
	})
	l.eventually("the bridge is governed", func() bool {
		out, _ := l.run("status")
		return strings.Contains(out, "  ready  ")
	})
}
