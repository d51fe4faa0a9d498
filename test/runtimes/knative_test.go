package runtimes

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"go.yaml.in/yaml/v3"

	"switchbridge/functiontest"
	"switchbridge/internal/testlong"
)

// The ports of a pod: Knative's own, and the one that the manifest names.
const (
	queueAt    = "127.0.0.1:8012"
	functionAt = "127.0.0.1:8080"
)

// queueProxy is the proxy that Knative puts before a function in each pod, which is started as configs/knative/service.yaml says.
func queueProxy(t *testing.T, r *run) functiontest.Exchange {
	startQueueProxy(t, r, 0)
	return functiontest.Posts(r.client(t), "http://"+queueAt+"/", nil)
}

// startQueueProxy starts a pod. Its concurrency is the manifest's, or another one.
func startQueueProxy(t *testing.T, r *run, concurrency int) {
	t.Helper()
	r.separate(t)
	program, cache := r.container(t)
	var service struct {
		Spec struct {
			Template struct {
				Spec struct {
					ContainerConcurrency int `yaml:"containerConcurrency"`
					TimeoutSeconds       int `yaml:"timeoutSeconds"`
					Containers           []struct {
						Args           []string
						ReadinessProbe struct {
							HTTPGet struct{ Path string } `yaml:"httpGet"`
						} `yaml:"readinessProbe"`
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(read(t, filepath.Join(configs, "knative", "service.yaml")), &service); err != nil {
		t.Fatal(err)
	}
	spec := &service.Spec.Template.Spec
	args := append([]string{"function", "serve"}, spec.Containers[0].Args...)
	for i := range args[1:] {
		switch args[i] {
		case "--policy":
			args[i+1] = filepath.Join(r.dir, "policy.blob")
		case "--concurrency":
			if concurrency > 0 {
				args[i+1] = strconv.Itoa(concurrency)
			}
		}
	}
	if concurrency > 0 {
		spec.ContainerConcurrency = concurrency
	}
	r.start(t, functionAt, []string{"PORT=8080", "SWITCHBRIDGE_TOKENS=" + token, cache}, program, args...)

	// What Knative's controller makes of the manifest: pkg/reconciler/revision/resources/queue.go.
	probe, err := json.Marshal(map[string]any{"httpGet": map[string]any{"host": "127.0.0.1", "port": 8080, "scheme": "HTTP",
		"path": spec.Containers[0].ReadinessProbe.HTTPGet.Path}, "successThreshold": 1})
	if err != nil {
		t.Fatal(err)
	}
	proxy := r.serve(t, queueAt, []string{
		fmt.Sprint("CONTAINER_CONCURRENCY=", spec.ContainerConcurrency), fmt.Sprint("REVISION_TIMEOUT_SECONDS=", spec.TimeoutSeconds),
		"QUEUE_SERVING_PORT=8012", "QUEUE_SERVING_TLS_PORT=8112", "USER_PORT=8080", "SERVING_READINESS_PROBE=" + string(probe),
		"SERVING_NAMESPACE=default", "SERVING_SERVICE=switchbridge", "SERVING_CONFIGURATION=switchbridge", "SERVING_REVISION=switchbridge-00001",
		"SERVING_POD=switchbridge-00001-deployment", "SERVING_POD_IP=127.0.0.1", "SERVING_LOGGING_CONFIG=", "SERVING_LOGGING_LEVEL=warn",
	})
	r.ready(t, proxy, "http://"+queueAt+"/readyz")
}

// TestLongQueueProxyLimits has ten times as many callers as the pod takes events: queue-proxy lets each wait, and the function, whose own limit is the
// same, refuses none.
func TestLongQueueProxyLimits(t *testing.T) {
	testlong.Need(t)
	const limit = 2
	r := prepare(t, find(t, "Knative's queue-proxy"))
	startQueueProxy(t, r, limit)
	questions := ask(t)
	exchange := functiontest.Posts(r.client(t), "http://"+queueAt+"/", nil)
	var callers sync.WaitGroup
	var asked atomic.Int64
	for range 10 * limit {
		callers.Go(func() {
			for i := asked.Add(1); i <= 1000; i = asked.Add(1) {
				q := &questions[i%int64(len(questions))]
				status, answer, body, err := exchange(t.Context(), q.authorised(), q.body)
				if err != nil {
					t.Error(err)
				} else if diff := q.differs(status, answer, body); diff != "" {
					t.Errorf("%s: %s", q.name, diff)
				}
			}
		})
	}
	callers.Wait()
}
