package fastlyhost_test

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"switchbridge/faas/platform/fastlyhost"
	"switchbridge/faas/platform/fastlyhost/fastlytest"
	"switchbridge/flow/contract"
	"switchbridge/flow/contract/openflow"
	"switchbridge/policy/policyfile"
)

// manifest is what of fastly.toml is ours. What is in the file and not here is an error of the test.
type manifest struct {
	ManifestVersion             int `toml:"manifest_version"`
	Name, Description, Language string
	Authors                     []string
	Scripts                     struct{ Build string }
	Setup                       struct {
		ConfigStores map[string]description `toml:"config_stores"`
		KVStores     map[string]description `toml:"kv_stores"`
		SecretStores map[string]struct {
			Description string
			Entries     map[string]description
		} `toml:"secret_stores"`
		LogEndpoints map[string]struct{ Provider string } `toml:"log_endpoints"`
	}
	LocalServer struct {
		ConfigStores map[string]struct {
			Format   string
			Contents map[string]string
		} `toml:"config_stores"`
		KVStores     map[string][]keyed `toml:"kv_stores"`
		SecretStores map[string][]keyed `toml:"secret_stores"`
	} `toml:"local_server"`
}

type description struct{ Description string }

type keyed struct{ Key, Data string }

// What the manifest declares is what the program reads, and with the local section's stores it decides.
func TestManifest(t *testing.T) {
	const root = "../../../"
	var m manifest
	meta, err := toml.DecodeFile(root+"configs/fastly/fastly.toml", &m)
	if err != nil {
		t.Fatal(err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		t.Errorf("unknown: %v", unknown)
	}
	if m.ManifestVersion != 3 || m.Language != "other" || !strings.Contains(m.Scripts.Build, "-o configs/fastly/bin/main.wasm ./cmd/function-fastly") {
		t.Errorf("%+v", m)
	}
	_, config := m.Setup.ConfigStores[fastlyhost.ConfigStore]
	_, kv := m.Setup.KVStores[fastlyhost.KVStore]
	_, states := m.Setup.KVStores[fastlyhost.StateStore]
	_, secret := m.Setup.SecretStores[fastlyhost.SecretStore].Entries[fastlyhost.KeyTokens]
	_, log := m.Setup.LogEndpoints[fastlyhost.LogEndpoint]
	if !config || !kv || !states || !secret || !log || len(m.Setup.ConfigStores)+len(m.Setup.KVStores)+len(m.Setup.SecretStores)+len(m.Setup.LogEndpoints) != 5 {
		t.Errorf("setup: %+v", m.Setup)
	}

	s := &fastlytest.Service{Config: map[string]map[string]string{}, Secrets: map[string]map[string]string{}, KV: map[string]*fastlytest.KVStore{}}
	for name, store := range m.LocalServer.ConfigStores {
		if store.Format != "inline-toml" {
			t.Errorf("%s: format %q", name, store.Format)
		}
		s.Config[name] = store.Contents
	}
	for name, secrets := range m.LocalServer.SecretStores {
		s.Secrets[name] = make(map[string]string)
		for _, e := range secrets {
			s.Secrets[name][e.Key] = e.Data
		}
	}
	for name := range m.LocalServer.KVStores {
		s.KV[name] = new(fastlytest.KVStore)
	}
	p, err := policyfile.Load(root + "configs/policies/allow-all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := request(t, openflow.Codec{}, packetIn())
	r.Header.Set("Authorization", "Bearer "+s.Secrets[fastlyhost.SecretStore][fastlyhost.KeyTokens])
	resp := do(t, s, r)
	if resp.Status != 200 || resp.Header.Get(contract.HeaderVerdict) != "allow" {
		t.Errorf("%d %v %s", resp.Status, resp.Header, resp.Body)
	}
	if got := resp.Header.Get(contract.HeaderPolicy); got != p.Version().String() {
		t.Errorf("the local policy is %s, and configs/policies/allow-all.yaml is %s: compile it again", got, p.Version())
	}
}
