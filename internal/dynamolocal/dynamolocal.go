// Package dynamolocal runs DynamoDB Local, Amazon's own imitation of DynamoDB, for tests and measurements. It listens at all addresses of its machine, so that
// it gets a network namespace of its own, and who uses it an address of loopback that leads there.
package dynamolocal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/logging"
	"golang.org/x/sys/unix"

	"switchbridge/internal/child"
)

// ErrMissing is wrapped by an error that says what this machine lacks.
var ErrMissing = errors.New("DynamoDB Local can't run here")

// Region is one that clients may name: any will do.
const Region = "eu-central-1"

// inner is the port that it has in its namespace.
const inner = 8000

// Server is a DynamoDB Local. It keeps its tables in a folder, also when it is killed, or in memory.
type Server struct {
	jars, dir string
	relay     net.Listener
	relaying  sync.WaitGroup

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
	said  bytes.Buffer // read once it has ended
}

// Start starts a server of the jars in a folder (make dynamodb), which keeps its tables in dir, an absolute path, or in memory where
// dir is empty. The caller closes it.
func Start(ctx context.Context, jars, dir string) (*Server, error) {
	if _, err := os.Stat(filepath.Join(jars, "lib")); err != nil {
		return nil, fmt.Errorf("%w: %s/lib is not there: make dynamodb", ErrMissing, jars)
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: a network namespace can't be made without root", ErrMissing)
	}
	for _, tool := range []string{"java", "unshare", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMissing, err)
		}
	}
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{jars: jars, dir: dir, relay: relay}
	s.relaying.Go(s.serve)
	if err := s.Restart(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Endpoint is its URL.
func (s *Server) Endpoint() string { return "http://" + s.relay.Addr().String() }

// Client returns a client that asks nothing twice.
func (s *Server) Client() *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{Region: Region, BaseEndpoint: aws.String(s.Endpoint()), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""), Logger: logging.Nop{}})
}

// CreateTable makes a table whose items have a key of that name.
func (s *Server) CreateTable(ctx context.Context, table, key string) error {
	_, err := s.Client().CreateTable(ctx, &dynamodb.CreateTableInput{TableName: aws.String(table), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String(key), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String(key), KeyType: types.KeyTypeHash}}})
	return err
}

// Use writes an item of a table and reads it, as a bare client does.
func (s *Server) Use(ctx context.Context, table, key string) error {
	client, name := s.Client(), aws.String(table)
	at := map[string]types.AttributeValue{key: &types.AttributeValueMemberS{Value: "bare"}}
	_, err := client.PutItem(ctx, &dynamodb.PutItemInput{TableName: name, Item: at})
	if err == nil {
		_, err = client.GetItem(ctx, &dynamodb.GetItemInput{TableName: name, Key: at, ConsistentRead: aws.Bool(true)})
	}
	return err
}

// Kill ends the server at once, as by a power cut. Connections to it are refused until it is started again.
func (s *Server) Kill() {
	s.mu.Lock()
	cmd, ended := s.cmd, s.ended
	s.cmd = nil
	s.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		<-ended
	}
}

// Restart starts the server, which was killed, and returns when it answers.
func (s *Server) Restart(ctx context.Context) error {
	tables := "-inMemory"
	if s.dir != "" {
		tables = "-dbPath '" + s.dir + "'"
	}
	script := fmt.Sprintf("ip link set lo up && exec java -cp 'lib/*' com.amazonaws.services.dynamodbv2.local.main.ServerRunner %s -sharedDb -port %d -disableTelemetry", tables, inner)
	cmd := exec.Command("unshare", "--net", "--", "sh", "-c", script)
	s.said.Reset()
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.jars, &s.said, &s.said
	if err := child.Start(cmd); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	s.mu.Lock()
	s.cmd, s.ended = cmd, ended
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint(), nil)
		if err != nil {
			return err
		}
		if resp, err := web.Do(r); err == nil {
			resp.Body.Close()
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("DynamoDB Local ended: %s", strings.TrimSpace(s.said.String()))
		case <-ctx.Done():
			s.Kill()
			return fmt.Errorf("DynamoDB Local does not answer: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Close ends the server. Its folder stays.
func (s *Server) Close() {
	s.Kill()
	s.relay.Close()
	s.relaying.Wait()
}

// serve leads connections into the namespace.
func (s *Server) serve() {
	for {
		outer, err := s.relay.Accept()
		if err != nil {
			return
		}
		s.relaying.Go(func() {
			defer outer.Close()
			s.mu.Lock()
			cmd, ended := s.cmd, s.ended
			s.mu.Unlock()
			if cmd == nil {
				return
			}
			conn, err := dialIn(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), fmt.Sprintf("127.0.0.1:%d", inner))
			if err != nil {
				return
			}
			defer conn.Close()
			over := make(chan struct{}, 2)
			for _, way := range [][2]net.Conn{{outer, conn}, {conn, outer}} {
				s.relaying.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					over <- struct{}{}
				})
			}
			select {
			case <-over:
			case <-ended:
			}
		})
	}
}

// dialIn connects from inside a namespace.
func dialIn(ns, addr string) (c net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f, e := os.Open(ns)
		if e != nil {
			err = e
			return
		}
		defer f.Close()
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err == nil {
			c, err = net.DialTimeout("tcp", addr, 5*time.Second)
		}
	}()
	<-done
	return c, err
}
