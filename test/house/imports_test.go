package house

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The diagram of layers, from the inside out. A package imports packages of its
// own layer and of those above it in this list, and never of one below. Where
// two layers name a package, the longer name counts; "$" at the end means that
// folder alone.
var layers = []struct {
	name     string
	packages []string
}{
	{"the nouns, which everybody speaks", []string{"flow$"}},
	{"tools, which know the nouns at most", []string{"internal", "p4src/compile"}},
	{"words: how nouns are written, on wires and in files", []string{
		"flow/contract", "ofproxy/ofp", "ofproxy/oftest", "p4bridge/pipeline", "p4bridge/p4test", "p4src$", "faas/instance/guest",
		"faas/platform/lambdahost/sigv4", "replay/capture", "bench/stats"}},
	{"judgement: who decides, and what holds a decision in bounds", []string{
		"policy", "controller", "state", "flow/decider", "bridge/guard", "p4bridge/mapping", "p4bridge/propose"}},
	{"sessions with switches, the client of functions, and functions", []string{"bridge", "pair", "ofproxy$", "p4bridge$", "httpclient", "faas"}},
	{"wholes: what is wired from the parts, and what measures them", []string{"gateway", "settings", "doctor", "replay$", "bench", "test", "functiontest", "sdk"}},
	{"programs", []string{"cmd"}},
}

// target is an operating system with the programs that are built for it, or all
// packages.
type target struct {
	goos, goarch string
	packages     string
}

var (
	host    = target{"linux", "", "switchbridge/..."}
	guest   = target{"wasip1", "wasm", "switchbridge/cmd/function-wasm"}
	fastly  = target{"wasip1", "wasm", "switchbridge/cmd/function-fastly"}
	workers = target{"js", "wasm", "switchbridge/cmd/function-workers"}
)

// forbidden has the edges that the layers allow and the design leaves out: no
// package below from may import, directly or not, a package below to, save those
// excepted. Each is looked at in one target.
var forbidden = []struct {
	in     target
	from   string
	to     string
	except []string
	why    string
}{
	{in: host, from: "switchbridge/flow$", to: "encoding/json", why: "it doubles a WebAssembly guest"},
	{in: host, from: "switchbridge/flow$", to: "net/http", why: "it triples a WebAssembly guest"},
	{in: host, from: "switchbridge/flow/contract", to: "switchbridge", except: []string{"switchbridge/flow", "switchbridge/ofproxy/ofp"},
		why: "the contract is between a gateway and a function and knows neither"},
	{in: host, from: "switchbridge/flow/decider", to: "switchbridge", except: []string{"switchbridge/flow"}, why: "a decorator wraps any decider"},
	{in: host, from: "switchbridge/ofproxy/ofp", to: "switchbridge", except: []string{"switchbridge/flow$", "switchbridge/ofproxy/ofp"}, why: "the codec knows bytes and nouns"},
	{in: host, from: "switchbridge/ofproxy/ofp", to: "net/http", why: "the codec does no input or output"},
	{in: host, from: "switchbridge/bridge$", to: "switchbridge", except: []string{"switchbridge/bridge", "switchbridge/flow", "switchbridge/internal/elapsed"}, why: "the session core knows nouns, neither protocols nor functions"},
	{in: host, from: "switchbridge/bridge", to: "switchbridge/httpclient", why: "the session core does not know how a function is reached"},
	{in: host, from: "switchbridge/bridge/guard", to: "switchbridge", except: []string{"switchbridge/flow$", "switchbridge/bridge/guard"}, why: "guardrails know rules, not who made them nor what carries them"},
	{in: host, from: "switchbridge/ofproxy$", to: "switchbridge/httpclient", why: "a session gets a flow.Decider and does not know what is behind it"},
	{in: host, from: "switchbridge/ofproxy$", to: "switchbridge/controller", why: "a session gets a flow.Decider and does not know what is behind it"},
	{in: host, from: "switchbridge/ofproxy$", to: "switchbridge/faas", why: "a session gets a flow.Decider and does not know what is behind it"},
	{in: host, from: "switchbridge/ofproxy$", to: "switchbridge/p4bridge", why: "the two kinds of session are independent"},
	{in: host, from: "switchbridge/p4bridge", to: "switchbridge/ofproxy", except: []string{"switchbridge/ofproxy/ofp"}, why: "the two kinds of session are independent"},
	{in: host, from: "switchbridge/p4bridge", to: "switchbridge/httpclient", why: "a session gets a flow.Decider and does not know what is behind it"},
	{in: host, from: "switchbridge/p4bridge", to: "switchbridge/faas", why: "a session gets a flow.Decider and does not know what is behind it"},
	{in: host, from: "switchbridge/httpclient", to: "switchbridge/ofproxy$", why: "the client serves every kind of switch"},
	{in: host, from: "switchbridge/httpclient", to: "switchbridge/faas", why: "a function is whatever answers by the contract"},
	{in: host, from: "switchbridge/faas", to: "switchbridge/bridge", why: "a function knows the contract, not the gateway that asks"},
	{in: host, from: "switchbridge/faas", to: "switchbridge/httpclient", why: "a function knows the contract, not the gateway that asks"},
	{in: host, from: "switchbridge/faas", to: "switchbridge/ofproxy$", why: "a function knows messages, not connections"},
	{in: host, from: "switchbridge/faas", to: "switchbridge/p4bridge", why: "a function knows messages, not connections"},
	{in: host, from: "switchbridge/faas/function/httphost", to: "github.com/prometheus", why: "the functions of platforms have no metrics page to serve: it is a quarter of such a program"},
	{in: host, from: "switchbridge/controller", to: "switchbridge/ofproxy", why: "the controller knows nouns, not protocols"},
	{in: host, from: "switchbridge/faas/distribution/push", to: "switchbridge/policy/policyfile", why: "what is pushed is compiled already"},
	{in: host, from: "switchbridge/faas/distribution/push", to: "switchbridge/faas/platform/lambdahost$", why: "it needs no function's host, only where one looks"},
	{in: host, from: "switchbridge/faas/platform/lambdahost", to: "switchbridge/faas/distribution/push", why: "a function reads its policy and never writes it"},
	{in: host, from: "switchbridge/functiontest$", to: "switchbridge", except: []string{"switchbridge/flow", "switchbridge/bridge/guard", "switchbridge/ofproxy/ofp", "switchbridge/internal/frames"},
		why: "what judges any function knows the contract and the guardrails, not our controller"},
	{in: host, from: "switchbridge/sdk/go/function", to: "switchbridge", why: "it is a folder to copy"},
	{in: host, from: "switchbridge/faas/instance/embedded", to: "switchbridge/functiontest/conformance", why: "the guest that is shipped is trained by inputs of its own: an edit of a test must not change it"},
	{in: host, from: "switchbridge/faas/instance/embedded", to: "testing", why: "what trains the guest that is shipped is no test"},
	{in: host, from: "switchbridge/cmd", to: "testing", except: []string{"testing/fstest"}, why: "programs carry no test suites: neither conformance nor bridgetest, p4test or certstest"},
	{in: host, from: "switchbridge/cmd/switchbridge$", to: "switchbridge/bench", except: []string{"switchbridge/bench/stats"}, why: "a gateway doesn't carry what measures; switchbridge-bench does"},
	{in: host, from: "switchbridge/cmd/switchbridge$", to: "gonum.org", why: "plots are drawn by switchbridge-bench: 10 MB, and more than a millisecond of every start"},
	{in: host, from: "switchbridge/cmd/switchbridge$", to: "codeberg.org", why: "fonts, LaTeX and PDF are switchbridge-bench's: 10 MB, and more than a millisecond of every start"},
	{in: host, from: "switchbridge/faas/platform/workershost$", to: "net/http", why: "it doubles a Worker, and every event starts one"},
	{in: host, from: "switchbridge", to: "github.com/netrack/openflow$", why: "its server, mux and connections do not hold; only its encoders are used"},

	{in: guest, from: "switchbridge", to: "net$", why: "there is no network in a guest"},
	{in: guest, from: "switchbridge", to: "net/http", why: "there is no network in a guest, and it triples one"},
	{in: guest, from: "switchbridge", to: "encoding/json", why: "it doubles a guest"},
	{in: guest, from: "switchbridge", to: "go.yaml.in/yaml/v3", why: "a guest gets its policy compiled"},
	{in: guest, from: "switchbridge", to: "switchbridge/internal", why: "files, listeners and tools of tests have no place in a guest"},
	{in: guest, from: "switchbridge", to: "switchbridge/policy/prove", why: "a function decides; what is so of all packets is asked beforehand"},
	{in: guest, from: "switchbridge", to: "github.com", why: "what is in every instance is our own"},
	{in: fastly, from: "switchbridge", to: "net/http", why: "Compute has requests of its own, and it triples a guest"},
	{in: fastly, from: "switchbridge", to: "go.yaml.in/yaml/v3", why: "a function gets its policy compiled"},
	{in: fastly, from: "switchbridge", to: "switchbridge/internal", why: "there are no files and no listeners at Fastly"},
	{in: workers, from: "switchbridge", to: "net$", why: "a Worker's network is JavaScript's"},
	{in: workers, from: "switchbridge", to: "net/http", why: "it doubles a Worker, and every event starts one"},
	{in: workers, from: "switchbridge", to: "go.yaml.in/yaml/v3", why: "a function gets its policy compiled"},
	{in: fastly, from: "switchbridge", to: "switchbridge/policy/prove", why: "a function decides; what is so of all packets is asked beforehand"},
	{in: workers, from: "switchbridge", to: "switchbridge/policy/prove", why: "a function decides; what is so of all packets is asked beforehand"},
	{in: workers, from: "switchbridge", to: "switchbridge/internal", why: "there are no files and no listeners in a Worker"},
}

// under reports whether a package is a rule's, and how long the rule is.
func under(pkg, rule string) bool {
	if exact, ok := strings.CutSuffix(rule, "$"); ok {
		return pkg == exact
	}
	return pkg == rule || strings.HasPrefix(pkg, rule+"/")
}

type goPackage struct {
	ImportPath    string
	Standard      bool
	Deps, Imports []string
}

// list returns the packages of a target that are the project's: with what they
// import, when they are built for it.
func (o target) list(t *testing.T) (list []goPackage) {
	t.Helper()
	cmd := exec.Command("go", "list", "-pgo=off", "-deps", "-json=ImportPath,Standard,Deps,Imports", o.packages)
	cmd.Env = append(os.Environ(), "GOOS="+o.goos)
	if o.goarch != "" {
		cmd.Env = append(cmd.Env, "GOARCH="+o.goarch)
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list for %s: %v", o.goos, err)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if under(p.ImportPath, "switchbridge") {
			list = append(list, p)
		}
	}
	return list
}

// layerOf is the index of a package's layer; -1 where it has none.
func layerOf(pkg string) int {
	best, length := -1, 0
	for i, l := range layers {
		for _, rule := range l.packages {
			if under(pkg, "switchbridge/"+rule) && len(rule) > length {
				best, length = i, len(rule)
			}
		}
	}
	return best
}

func TestImportDiagram(t *testing.T) {
	if testing.Short() {
		t.Skip("lists all packages")
	}
	matched := make([]bool, len(forbidden))
	for _, o := range []target{host, guest, fastly, workers} {
		list := o.list(t)
		if len(list) == 0 {
			t.Fatalf("no package of %s for %s", o.packages, o.goos)
		}
		for _, p := range list {
			for i, f := range forbidden {
				if f.in != o || !under(p.ImportPath, f.from) {
					continue
				}
				matched[i] = true
				for _, dep := range p.Deps {
					allowed := !under(dep, f.to) || under(p.ImportPath, f.to) && dep == p.ImportPath
					for _, e := range f.except {
						allowed = allowed || under(dep, e)
					}
					if !allowed {
						t.Errorf("for %s, %s imports %s: %s", o.goos, p.ImportPath, dep, f.why)
					}
				}
			}
			layer := layerOf(p.ImportPath)
			if layer < 0 {
				t.Errorf("%s is in no layer: give it one, in the list that begins this file", p.ImportPath)
				continue
			}
			for _, imp := range p.Imports {
				if under(imp, "switchbridge") && layerOf(imp) > layer {
					t.Errorf("for %s, %s (%s) imports %s (%s), which is further out", o.goos, p.ImportPath, layers[layer].name, imp, layers[layerOf(imp)].name)
				}
				if under(imp, "github.com/netrack/openflow") && p.ImportPath != "switchbridge/ofproxy/ofp" {
					t.Errorf("%s imports %s: its types stay inside ofproxy/ofp", p.ImportPath, imp)
				}
			}
		}
		if o == host {
			checkLayers(t, list)
		}
	}
	for i, f := range forbidden {
		if !matched[i] {
			t.Errorf("no package for %s is under %s: the rule checks nothing", f.in.goos, f.from)
		}
	}
}

// checkLayers wants a package for every name in the layers.
func checkLayers(t *testing.T, list []goPackage) {
	t.Helper()
	for _, l := range layers {
		for _, rule := range l.packages {
			found := false
			for _, p := range list {
				found = found || under(p.ImportPath, "switchbridge/"+rule)
			}
			if !found {
				t.Errorf("layer %q names %s, where no package is", l.name, rule)
			}
		}
	}
}

func TestLayerOf(t *testing.T) {
	for pkg, want := range map[string]int{"switchbridge/flow": 0, "switchbridge/flow/contract/openflow": 2, "switchbridge/flow/decider": 3,
		"switchbridge/ofproxy": 4, "switchbridge/ofproxy/ofp": 2, "switchbridge/ofproxy/new": -1, "switchbridge/cmd/new": 6, "switchbridge/flows": -1} {
		if got := layerOf(pkg); got != want {
			t.Errorf("%s is in layer %d, want %d", pkg, got, want)
		}
	}
}
