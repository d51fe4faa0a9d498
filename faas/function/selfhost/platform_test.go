package selfhost

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"switchbridge/faas/instance/embedded"
	"switchbridge/internal/built"
	"switchbridge/internal/child"
	"switchbridge/internal/logbuffer"
)

// knativeService is what our manifests use of serving.knative.dev/v1, which Cloud Run takes too.
type knativeService struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   metadata
	Spec       struct {
		Template struct {
			Metadata metadata
			Spec     struct {
				ContainerConcurrency int `yaml:"containerConcurrency"`
				TimeoutSeconds       int `yaml:"timeoutSeconds"`
				Containers           []container
				Volumes              []struct {
					Name      string
					Secret    *secretVolume
					ConfigMap *struct{ Name string } `yaml:"configMap"`
				}
			}
		}
	}
}

type metadata struct {
	Name        string
	Annotations map[string]string
}

type secretVolume struct {
	SecretName string                       `yaml:"secretName"`
	Items      []struct{ Key, Path string } `yaml:"items"`
}

type container struct {
	Image string
	Args  []string
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	Env []struct {
		Name, Value string
		ValueFrom   *struct {
			SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	}
	Resources       struct{ Limits map[string]string }
	SecurityContext *struct {
		AllowPrivilegeEscalation bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool `yaml:"readOnlyRootFilesystem"`
		RunAsNonRoot             bool `yaml:"runAsNonRoot"`
		Capabilities             struct{ Drop []string }
	} `yaml:"securityContext"`
	StartupProbe   *probe `yaml:"startupProbe"`
	ReadinessProbe *probe `yaml:"readinessProbe"`
	LivenessProbe  *probe `yaml:"livenessProbe"`
	VolumeMounts   []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet          struct{ Path string } `yaml:"httpGet"`
	PeriodSeconds    int                   `yaml:"periodSeconds"`
	FailureThreshold int                   `yaml:"failureThreshold"`
}

// platform is what a manifest says of how the function is started and asked.
type platform struct {
	name    string
	args    []string // after `function serve`
	portEnv string
	live    string // health path; empty: the platform doesn't ask
	ready   string
	grace   time.Duration // until it is killed
}

const configs = "../../../configs"

func strictYAML(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(configs, path))
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func strictJSON(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(configs, path))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// knative reads a Service and checks that its parts fit together.
func knative(t *testing.T, path string, grace time.Duration) platform {
	t.Helper()
	var s knativeService
	strictYAML(t, path, &s)
	if s.APIVersion != "serving.knative.dev/v1" || s.Kind != "Service" || s.Metadata.Name == "" {
		t.Errorf("%s: %s %s %q", path, s.APIVersion, s.Kind, s.Metadata.Name)
	}
	spec := &s.Spec.Template.Spec
	if len(spec.Containers) != 1 || len(spec.Volumes) != 1 || spec.ContainerConcurrency < 1 || spec.TimeoutSeconds < 1 {
		t.Fatalf("%s: %+v", path, spec)
	}
	c := &spec.Containers[0]
	if len(c.Ports) != 1 || c.Ports[0].Name != "http1" && c.Ports[0].Name != "h2c" {
		t.Errorf("%s: ports %+v", path, c.Ports)
	}
	if len(c.VolumeMounts) != 1 || c.VolumeMounts[0].Name != spec.Volumes[0].Name {
		t.Errorf("%s: no volume is mounted", path)
	} else if !strings.HasPrefix(argument(c.Args, "--policy"), c.VolumeMounts[0].MountPath+"/") {
		t.Errorf("%s: the policy is not in %s", path, c.VolumeMounts[0].MountPath)
	}
	if len(c.Env) != 1 || c.Env[0].Name != "SWITCHBRIDGE_TOKENS" || c.Env[0].ValueFrom == nil || c.Env[0].ValueFrom.SecretKeyRef.Name == "" {
		t.Errorf("%s: tokens are not from a secret: %+v", path, c.Env)
	}
	if limit, err := strconv.Atoi(argument(c.Args, "--concurrency")); err != nil || limit < spec.ContainerConcurrency {
		t.Errorf("%s: the platform sends %d at a time, the function takes %d", path, spec.ContainerConcurrency, limit)
	}
	ready := c.ReadinessProbe
	if ready == nil {
		ready = c.StartupProbe
	}
	return platform{args: c.Args, portEnv: "PORT", live: c.LivenessProbe.HTTPGet.Path, ready: ready.HTTPGet.Path, grace: grace}
}

func argument(args []string, name string) string {
	for i, a := range args[:max(len(args)-1, 0)] {
		if a == name {
			return args[i+1]
		}
	}
	return ""
}

func openFaaS(t *testing.T) platform {
	var s struct {
		Version   string
		Provider  struct{ Name, Gateway string }
		Functions map[string]struct {
			SkipBuild              bool `yaml:"skip_build"`
			Image                  string
			Environment            map[string]string
			Secrets                []string
			FProcess               string `yaml:"fprocess"`
			ReadonlyRootFilesystem bool   `yaml:"readonly_root_filesystem"`
			Labels                 map[string]string
			Annotations            map[string]string
		}
	}
	strictYAML(t, "openfaas/stack.yaml", &s)
	f, ok := s.Functions["switchbridge"]
	if !ok || s.Provider.Name != "openfaas" || f.Environment["mode"] != "http" {
		t.Fatalf("%+v", s)
	}
	words := strings.Fields(f.FProcess)
	if len(words) < 3 || words[1] != "function" || words[2] != "serve" {
		t.Fatalf("fprocess %q", f.FProcess)
	}
	for _, flag := range []string{"--policy", "--token-file"} {
		secret, ok := strings.CutPrefix(argument(words, flag), "/var/openfaas/secrets/")
		if !ok || !strings.Contains(strings.Join(f.Secrets, " "), secret) {
			t.Errorf("%s %s is no secret of %v", flag, argument(words, flag), f.Secrets)
		}
	}
	// of-watchdog has the health paths, and asks the function at the port that both are told.
	if f.Environment["upstream_url"] != "http://127.0.0.1:"+f.Environment["PORT"] || f.Environment["PORT"] == "8080" {
		t.Errorf("the watchdog asks %s, and the function listens at %s", f.Environment["upstream_url"], f.Environment["PORT"])
	}
	lame, err := time.ParseDuration(argument(words, "--lame-duck"))
	health, err2 := time.ParseDuration(f.Environment["healthcheck_interval"])
	if err != nil || err2 != nil || lame <= health {
		t.Errorf("the watchdog takes requests for %v after SIGTERM, and the function for %v", health, lame)
	}
	return platform{args: words[3:], portEnv: "PORT", live: f.Annotations["com.openfaas.health.http.path"],
		ready: f.Annotations["com.openfaas.ready.http.path"], grace: 30 * time.Second}
}

func azure(t *testing.T) platform {
	var host struct {
		Version    string
		Extensions struct{ HTTP struct{ RoutePrefix string } }
		Custom     struct {
			Description struct {
				Path      string   `json:"defaultExecutablePath"`
				Arguments []string `json:"arguments"`
			} `json:"description"`
			Forward bool `json:"enableForwardingHttpRequest"`
		} `json:"customHandler"`
	}
	strictJSON(t, "azure/host.json", &host)
	var f struct {
		Bindings []struct {
			Type, Direction, Name, AuthLevel, Route string
			Methods                                 []string
		}
	}
	strictJSON(t, "azure/controller/function.json", &f)
	a := host.Custom.Description.Arguments
	if host.Version != "2.0" || !host.Custom.Forward || len(a) < 2 || a[0] != "function" || a[1] != "serve" {
		t.Fatalf("host.json: %+v", host)
	}
	if len(f.Bindings) != 2 || f.Bindings[0].Type != "httpTrigger" || f.Bindings[0].Direction != "in" || f.Bindings[1].Type != "http" || f.Bindings[1].Direction != "out" {
		t.Fatalf("function.json: %+v", f)
	}
	return platform{args: a[2:], portEnv: "FUNCTIONS_CUSTOMHANDLER_PORT", grace: 10 * time.Second}
}

const testToken = "0123456789abcdef"

// TestPlatforms starts the program as each manifest says and asks it what the platform asks.
func TestPlatforms(t *testing.T) {
	rows := []platform{
		knative(t, "cloudrun/service.yaml", 10*time.Second),
		knative(t, "knative/service.yaml", 30*time.Second),
		openFaaS(t),
		azure(t),
	}
	for i, name := range []string{"Cloud Run", "Knative", "OpenFaaS", "Azure"} {
		rows[i].name = name
	}
	if err := embedded.Built(); err != nil {
		t.Skip(err)
	}
	program := built.Switchbridge(t)
	cache := t.TempDir()
	for i := range rows {
		t.Run(rows[i].name, func(t *testing.T) {
			t.Parallel() // each takes requests for some seconds after SIGTERM
			rows[i].holds(t, program, cache)
		})
	}
}

func (p *platform) holds(t *testing.T, program, cache string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	l.Close()

	// The manifest's arguments, with files and limits of the test's.
	args := []string{"function", "serve", "--records", "off"}
	tokens := testToken
	for i := 0; i < len(p.args); i += 2 {
		value := p.args[i+1]
		switch p.args[i] {
		case "--policy":
			value = writeFile(t, "policy.yaml", []byte(policyOf(7)))
		case "--token-file":
			value, tokens = writeFile(t, "token", []byte(testToken)), ""
		case "--concurrency":
			value = "2"
		case "--admin":
			value = "127.0.0.1:0"
		}
		args = append(args, p.args[i], value)
	}
	var log logbuffer.Buffer
	cmd := exec.Command(program, args...)
	cmd.Env = []string{p.portEnv + "=" + port, "SWITCHBRIDGE_TOKENS=" + tokens, "CACHE_DIRECTORY=" + cache}
	cmd.Stderr = &log
	if err := child.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		if t.Failed() {
			t.Logf("log:\n%s", &log)
		}
	})
	client := &http.Client{Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	status := func(path string) int {
		resp, err := client.Get("http://" + address + path)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	live, ready := p.live, p.ready
	if live == "" {
		live, ready = "/healthz", "/readyz"
	}
	until(t, "it listens where it was told", func() bool { return status(live) == 200 })
	until(t, "it is ready", func() bool { return status(ready) == 200 })

	ask := func(change func(*http.Request)) *http.Response {
		t.Helper()
		q := policyCheck(t, "http://"+address+"/controller")
		q.Header.Set("Authorization", "Bearer "+testToken)
		change(q)
		resp, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	unchanged := func(*http.Request) {}
	if resp := ask(func(q *http.Request) { q.Header.Del("Authorization") }); resp.StatusCode != 401 {
		t.Errorf("without a token: %s", resp.Status)
	}
	if resp := ask(unchanged); resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Switchbridge-Policy"), "7-") {
		t.Errorf("%s, policy %q", resp.Status, resp.Header.Get("Switchbridge-Policy"))
	}

	// Bodies that are half there take no place, and are answered when they are whole.
	half := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		q := policyCheck(t, "http://"+address)
		q.Header.Set("Content-Type", "application/json")
		q.Header.Set("Authorization", "Bearer "+testToken)
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 2\r\nExpect: 100-continue\r\n")
		q.Header.Write(conn)
		fmt.Fprint(conn, "\r\n")
		r := bufio.NewReader(conn)
		if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 100 { // the body is read: the request is in
			t.Fatalf("instead of 100 Continue: %v, %v", resp, err)
		}
		fmt.Fprint(conn, "{")
		return conn, r
	}
	var held [3]net.Conn
	var answers [3]*bufio.Reader
	for i := range held {
		held[i], answers[i] = half()
	}
	after, answer := half()
	fmt.Fprint(after, "}")
	if resp, err := http.ReadResponse(answer, nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("beside three slow callers: %v, %v", resp, err)
	}

	// SIGTERM: whoever still asks gets an answer for a while, then those who are there, and then it ends, in time.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "it is not ready any more, or gone", func() bool { return status(ready) != 200 })
	until(t, "nobody is let in any more", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	for i, conn := range held {
		fmt.Fprint(conn, "}")
		resp, err := http.ReadResponse(answers[i], nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
			t.Errorf("%s %s", resp.Status, body)
		}
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(p.grace):
		t.Error("the platform would kill it now")
	}
}

// TestContainerfile holds what the docs promise of the image.
func TestContainerfile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(configs, "container", "Containerfile"))
	if err != nil {
		t.Fatal(err)
	}
	stages, last := 0, ""
	instructions := map[string]string{} // of the last stage
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "FROM" {
			stages, last, instructions = stages+1, rest, map[string]string{}
		}
		if word != "" && word != "#" {
			instructions[word] += rest + "\n"
		}
	}
	if stages != 2 || !strings.Contains(last, "distroless/static") || !strings.Contains(string(text), "CGO_ENABLED=0") {
		t.Errorf("%d stages, the last from %s", stages, last)
	}
	if user := strings.TrimSpace(instructions["USER"]); user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
		t.Errorf("it runs as %q", user)
	}
	var entry []string
	if err := json.Unmarshal([]byte(instructions["ENTRYPOINT"]), &entry); err != nil || strings.Join(entry[:3], " ") != "/switchbridge function serve" {
		t.Errorf("entry %v, %v", entry, err)
	}
	if instructions["RUN"] != "" { // there is no shell
		t.Errorf("the last stage runs %s", instructions["RUN"])
	}
}
