package test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// forbidden has the edges that the design leaves out: no package below from may
// import, directly or not, a package below to, save those excepted.
var forbidden = []struct {
	from, to string
	except   []string
	why      string
}{
	{from: "switchbridge/flow", to: "switchbridge", except: []string{"switchbridge/flow", "switchbridge/ofproxy/ofp"},
		why: "the nouns are at the centre: everything imports them; the contract's OpenFlow encoding needs the codec"},
	{from: "switchbridge/flow$", to: "switchbridge", except: []string{"switchbridge/flow$"}, why: "the nouns know nobody"},
	{from: "switchbridge/flow$", to: "encoding/json", why: "it doubles a WebAssembly guest"},
	{from: "switchbridge/flow$", to: "net/http", why: "it triples a WebAssembly guest"},
	{from: "switchbridge/ofproxy/ofp", to: "switchbridge", except: []string{"switchbridge/flow$", "switchbridge/ofproxy/ofp"}, why: "the codec knows bytes and nouns"},
	{from: "switchbridge/ofproxy/ofp", to: "net/http", why: "the codec does no input or output"},
	{from: "switchbridge/bridge$", to: "switchbridge", except: []string{"switchbridge/bridge", "switchbridge/flow"}, why: "the session core knows nouns, neither protocols nor functions"},
	{from: "switchbridge/bridge", to: "switchbridge/httpclient", why: "the session core does not know how a function is reached"},
	{from: "switchbridge/ofproxy$", to: "switchbridge/httpclient", why: "a session gets a flow.Decider and does not know what is behind it"},
	{from: "switchbridge/ofproxy$", to: "switchbridge/controller", why: "a session gets a flow.Decider and does not know what is behind it"},
	{from: "switchbridge/ofproxy$", to: "switchbridge/p4bridge", why: "the two kinds of session are independent"},
	{from: "switchbridge/p4bridge", to: "switchbridge/ofproxy", except: []string{"switchbridge/ofproxy/ofp"}, why: "the two kinds of session are independent"},
	{from: "switchbridge/p4bridge", to: "switchbridge/httpclient", why: "a session gets a flow.Decider and does not know what is behind it"},
	{from: "switchbridge/bridge/guard", to: "switchbridge", except: []string{"switchbridge/flow$", "switchbridge/bridge/guard"}, why: "guardrails know rules, not who made them nor what carries them"},
	{from: "switchbridge/httpclient", to: "switchbridge/ofproxy$", why: "the client serves every kind of switch"},
	{from: "switchbridge/controller", to: "net/http", why: "the controller is a pure function that also runs in a guest"},
	{from: "switchbridge/controller", to: "encoding/json", why: "it doubles a WebAssembly guest"},
	{from: "switchbridge/controller", to: "go.yaml.in/yaml/v3", why: "a guest gets its policy compiled"},
	{from: "switchbridge/controller", to: "net$", why: "there is no network in a guest"},
	{from: "switchbridge/policy$", to: "net$", why: "there is no network in a guest"},
	{from: "switchbridge/policy/kinds", to: "net$", why: "there is no network in a guest"},
	{from: "switchbridge/policy/syntax", to: "switchbridge/policy", except: []string{"switchbridge/policy/syntax"}, why: "what kinds are read with knows no kinds"},
	{from: "switchbridge/policy/wire", to: "switchbridge/policy", except: []string{"switchbridge/policy/wire"}, why: "what kinds are written in knows no kinds"},
	{from: "switchbridge/policy$", to: "encoding/json", why: "it doubles a WebAssembly guest"},
	{from: "switchbridge/policy$", to: "go.yaml.in/yaml/v3", why: "a guest gets its policy compiled"},
	{from: "switchbridge/policy/kinds", to: "encoding/json", why: "it doubles a WebAssembly guest"},
	{from: "switchbridge/policy/kinds", to: "go.yaml.in/yaml/v3", why: "a guest gets its policy compiled"},
	{from: "switchbridge/controller", to: "switchbridge/ofproxy", why: "the controller knows nouns, not protocols"},
	{from: "switchbridge/faas/platform/workershost$", to: "net/http", why: "it doubles a Worker, and every event starts one"},
	{from: "switchbridge/faas/distribution/push", to: "switchbridge/policy/policyfile", why: "what is pushed is compiled already"},
	{from: "switchbridge/faas/distribution/push", to: "switchbridge/faas/platform/lambdahost$", why: "it needs no function's host, only where one looks"},
	{from: "switchbridge/faas/platform/lambdahost", to: "switchbridge/faas/distribution/push", why: "a function reads its policy and never writes it"},
	{from: "switchbridge/cmd/switchbridge$", to: "switchbridge/bench", except: []string{"switchbridge/bench/stats"}, why: "a gateway doesn't carry what measures; switchbridge-bench does"},
	{from: "switchbridge/cmd/switchbridge$", to: "gonum.org", why: "plots are drawn by switchbridge-bench: 10 MB, and more than a millisecond of every start"},
	{from: "switchbridge/cmd/switchbridge$", to: "codeberg.org", why: "fonts, LaTeX and PDF are switchbridge-bench's: 10 MB, and more than a millisecond of every start"},
	{from: "switchbridge", to: "github.com/netrack/openflow$", why: "its server, mux and connections do not hold; only its encoders are used"},
}

func under(pkg, rule string) bool {
	if exact, ok := strings.CutSuffix(rule, "$"); ok {
		return pkg == exact
	}
	return pkg == rule || strings.HasPrefix(pkg, rule+"/")
}

func TestImportDiagram(t *testing.T) {
	if testing.Short() {
		t.Skip("lists all packages")
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Deps,Imports", "switchbridge/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	matched := make([]bool, len(forbidden))
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p struct {
			ImportPath    string
			Deps, Imports []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		for i, f := range forbidden {
			if !under(p.ImportPath, f.from) {
				continue
			}
			matched[i] = true
			for _, dep := range p.Deps {
				if !under(dep, f.to) || under(p.ImportPath, f.to) && dep == p.ImportPath {
					continue
				}
				allowed := false
				for _, e := range f.except {
					allowed = allowed || under(dep, e)
				}
				if !allowed {
					t.Errorf("%s imports %s: %s", p.ImportPath, dep, f.why)
				}
			}
		}
		// netrack's types stay inside the codec.
		for _, imp := range p.Imports {
			if under(imp, "github.com/netrack/openflow") && p.ImportPath != "switchbridge/ofproxy/ofp" {
				t.Errorf("%s imports %s: its types stay inside ofproxy/ofp", p.ImportPath, imp)
			}
		}
	}
	for i, f := range forbidden {
		if !matched[i] {
			t.Errorf("no package is under %s: the rule checks nothing", f.from)
		}
	}
}
