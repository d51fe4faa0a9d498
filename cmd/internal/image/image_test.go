package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"switchbridge/internal/built"
	"switchbridge/internal/netns"
	"switchbridge/internal/testlong"
)

func testImage(program string) *image {
	return &image{program: []byte(program), license: []byte("free"), version: "1.2", revision: "abc", architecture: "amd64", created: time.Unix(1700000000, 0).UTC()}
}

// files are what a tar file has, by name, and the names in order.
func files(t *testing.T, b []byte) (map[string][]byte, []*tar.Header) {
	t.Helper()
	content, headers := map[string][]byte{}, []*tar.Header(nil)
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return content, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		if content[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		headers = append(headers, h)
	}
}

// The same program, version and time give the same bytes whatever the files that they come from, and another program others.
func TestSameBytes(t *testing.T) {
	var sums []string
	for i, program := range []string{"program", "program", "other"} {
		dir := t.TempDir()
		in, license, out := filepath.Join(dir, fmt.Sprint("in", i)), filepath.Join(dir, "license"), filepath.Join(dir, "out")
		for name, content := range map[string]string{in: program, license: "free"} {
			if err := os.WriteFile(name, []byte(content), os.FileMode(0o600|i)); err != nil {
				t.Fatal(err)
			}
			when := time.Now().Add(-time.Duration(i) * time.Hour)
			if err := os.Chtimes(name, when, when); err != nil {
				t.Fatal(err)
			}
		}
		img := testImage("")
		if err := write(out, in, license, img); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, digest(b))
	}
	if sums[0] != sums[1] || sums[0] == sums[2] {
		t.Errorf("images of the same, the same and another program: %q", sums)
	}
}

// What is in the image, and how it says so to those that load it: each digest is that of what it names.
func TestContents(t *testing.T) {
	var b bytes.Buffer
	if err := testImage("program").write(&b); err != nil {
		t.Fatal(err)
	}
	blobs, _ := files(t, b.Bytes())
	for name, content := range blobs {
		if sum, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && sum != "" && digest(content) != "sha256:"+sum {
			t.Errorf("%s has the digest %s", name, digest(content))
		}
	}
	read := func(name string, v any) {
		t.Helper()
		if err := json.Unmarshal(blobs[name], v); err != nil {
			t.Fatalf("%s: %v: %q", name, err, blobs[name])
		}
	}
	var index struct{ Manifests []descriptor }
	read("index.json", &index)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	read(blobName(index.Manifests[0]), &manifest)
	var docker []struct {
		Config           string
		RepoTags, Layers []string
	}
	read("manifest.json", &docker)
	if len(docker) != 1 || docker[0].Config != blobName(manifest.Config) || !slices.Equal(docker[0].Layers, []string{blobName(manifest.Layers[0])}) ||
		!slices.Equal(docker[0].RepoTags, []string{"switchbridge:1.2"}) {
		t.Errorf("manifest.json says %+v, the manifest %+v", docker, manifest)
	}
	var config struct {
		Config struct {
			User            string
			Entrypoint, Cmd []string
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	read(docker[0].Config, &config)
	if config.Config.User != "65532:65532" || strings.Join(config.Config.Entrypoint, " ") != "/usr/bin/switchbridge" {
		t.Errorf("it runs %q as %q", config.Config.Entrypoint, config.Config.User)
	}

	z, err := gzip.NewReader(bytes.NewReader(blobs[docker[0].Layers[0]]))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if got := config.RootFS.DiffIDs; !slices.Equal(got, []string{digest(layer)}) {
		t.Errorf("diff_ids are %q, the layer's digest is %s", got, digest(layer))
	}
	content, headers := files(t, layer)
	var programs, writable []string
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg && h.Mode&0o111 != 0 {
			programs = append(programs, h.Name)
		}
		if h.Uid != 0 || h.Mode&0o022 != 0 {
			writable = append(writable, h.Name)
		}
		if h.Mode&0o7000 != 0 || h.Uname != "" || !h.ModTime.Equal(time.Unix(1700000000, 0)) {
			t.Errorf("%s has mode %o, owner %q, time %v", h.Name, h.Mode, h.Uname, h.ModTime)
		}
	}
	if !slices.Equal(programs, []string{"usr/bin/switchbridge"}) || !slices.Equal(writable, []string{"var/cache/switchbridge/"}) {
		t.Errorf("programs are %q, and the user may write in %q", programs, writable)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(content["etc/ssl/certs/ca-certificates.crt"]) {
		t.Error("there is no certificate authority")
	}
}

// The image is read by others' programs, as docker's archive and as an OCI layout, and runs: without root, without capabilities, on a file system that
// can't be written.
func TestLongImageRuns(t *testing.T) {
	testlong.Need(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root: a container and its network namespace can't be made without")
	}
	for _, tool := range []string{"skopeo", "umoci", "runc"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed, which make test-long installs", tool)
			}
			t.Skipf("%s is not installed (apt install skopeo umoci runc)", tool)
		}
	}
	ns, err := netns.New()
	if err != nil {
		t.Skip(err)
	}
	defer ns.Close()
	dir := t.TempDir()
	run := func(env []string, args ...string) {
		t.Helper()
		c := exec.Command(args[0], args[1:]...)
		c.Dir, c.Env = dir, append(os.Environ(), env...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	if err := write(filepath.Join(dir, "image.tar"), built.Switchbridge(t), "../../../LICENSE", testImage("")); err != nil {
		t.Fatal(err)
	}
	run(nil, "skopeo", "copy", "docker-archive:image.tar", "oci:other:1.2")
	run(nil, "mkdir", "layout")
	run(nil, "tar", "-xf", "image.tar", "-C", "layout")
	run(nil, "umoci", "unpack", "--image", "layout:1.2", "bundle")

	etc := filepath.Join(dir, "etc")
	run(nil, "mkdir", "-m", "755", etc)
	for name, content := range map[string]string{
		"switchbridge.yaml": "function: {urls: [native]}\npolicy: /etc/switchbridge/policy.yaml\n",
		"policy.yaml":       "serial: 7\nchain:\n  - forward: {mode: normal}\n"} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	restrict(t, filepath.Join(dir, "bundle", "config.json"), ns.Path(), etc)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	const name = "switchbridge-test"
	runc := func(args ...string) *exec.Cmd {
		return exec.Command("runc", append([]string{"--root", filepath.Join(dir, "runc")}, args...)...)
	}
	container := runc("run", "--bundle", filepath.Join(dir, "bundle"), name)
	container.Stdout, container.Stderr = log, log
	if err := container.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- container.Wait() }()
	defer runc("delete", "--force", name).Run()
	said := func() string {
		b, _ := os.ReadFile(log.Name())
		return string(b)
	}

	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = ns.Do(func() error { c, err = new(net.Dialer).DialContext(ctx, network, address); return err })
		return c, err
	}}}
	for ready := false; !ready; {
		select {
		case err := <-ended:
			if strings.Contains(said(), "cgroup") || strings.Contains(said(), "operation not permitted") {
				t.Skipf("runc makes no container here: %v\n%s", err, said())
			}
			t.Fatalf("the container ended: %v\n%s", err, said())
		case <-time.After(50 * time.Millisecond):
		}
		resp, err := client.Get("http://127.0.0.1:9653/readyz")
		if err != nil {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if ready = err == nil && resp.StatusCode == http.StatusOK; ready && !strings.HasPrefix(string(body), "ready\n") {
			t.Errorf("readyz says %q", body)
		}
	}
	if out, err := runc("exec", name, "/usr/bin/switchbridge", "status").CombinedOutput(); err != nil {
		t.Errorf("status in the container: %v\n%s", err, out)
	}
	if out, err := runc("exec", name, "/bin/sh", "-c", "true").CombinedOutput(); err == nil {
		t.Errorf("there is a shell: %s", out)
	}
	state, err := runc("state", name).Output()
	var is struct{ Pid int }
	if err != nil || json.Unmarshal(state, &is) != nil {
		t.Fatalf("%v: %s", err, state)
	}
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", is.Pid)); err != nil || !strings.Contains(string(status), "\nUid:\t65532\t65532\t65532\t65532\n") ||
		!strings.Contains(string(status), "\nCapEff:\t0000000000000000\n") {
		t.Errorf("it runs as somebody else, or may more: %v\n%s", err, status)
	}
	if out, err := runc("kill", name, "TERM").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := <-ended; err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, said())
	}
}

// restrict changes a bundle's configuration: no terminal, no capabilities, nothing can be written, the given network namespace, and a folder as
// /etc/switchbridge. What needs rights over control groups is left out, since a test may have none.
func restrict(t *testing.T, file, network, etc string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Version  string           `json:"ociVersion"`
		Process  map[string]any   `json:"process"`
		Root     map[string]any   `json:"root"`
		Hostname string           `json:"hostname"`
		Mounts   []map[string]any `json:"mounts"`
		Linux    struct {
			Namespaces []map[string]any `json:"namespaces"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	c.Process["capabilities"], c.Process["terminal"] = map[string]any{}, false
	delete(c.Process, "rlimits")
	c.Root["readonly"] = true
	c.Mounts = slices.DeleteFunc(c.Mounts, func(m map[string]any) bool { return m["type"] == "cgroup" })
	c.Mounts = append(c.Mounts, map[string]any{"destination": "/etc/switchbridge", "type": "bind", "source": etc, "options": []string{"bind", "ro"}})
	c.Linux.Namespaces = slices.DeleteFunc(c.Linux.Namespaces, func(n map[string]any) bool { return n["type"] == "cgroup" || n["type"] == "network" })
	c.Linux.Namespaces = append(c.Linux.Namespaces, map[string]any{"type": "network", "path": network})
	if b, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
