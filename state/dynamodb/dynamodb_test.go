package dynamodb

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/statetest"
	"switchbridge/state/statetest/dynamotest"
)

const table = "states"

// local returns a client of a DynamoDB Local with the table.
func local(t *testing.T) *dynamodb.Client {
	server := dynamotest.Start(t)
	if err := server.CreateTable(t.Context(), table, keyName); err != nil {
		t.Fatal(err)
	}
	return server.Client()
}

func opener(client *dynamodb.Client) func(context.Context) (state.Store, error) {
	return func(ctx context.Context) (state.Store, error) {
		s, err := Open(ctx, access.Options{URL: &url.URL{Scheme: "dynamodb", Host: table}})
		if err == nil {
			s.(*Store).client = client
		}
		return s, err
	}
}

func TestStore(t *testing.T) {
	open := opener(local(t))
	statetest.Run(t, &statetest.Store{Open: open, Expire: func(ttl time.Duration) { time.Sleep(ttl + 20*time.Millisecond) }})
	t.Run("many keys", func(t *testing.T) { manyKeys(t, open) })
	t.Run("clock ahead", func(t *testing.T) { clockAhead(t, open) })
}

// More keys than DynamoDB takes in one question are asked for in several.
func manyKeys(t *testing.T, open func(context.Context) (state.Store, error)) {
	s, err := open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, maxBatch+20)
	for i := range keys {
		keys[i] = "many:" + strings.Repeat("x", i)
		if _, err := s.CompareAndSwap(t.Context(), keys[i], 0, []byte(keys[i]), 0); err != nil {
			t.Fatal(err)
		}
	}
	values := make([]state.Value, len(keys))
	if err := s.Get(t.Context(), keys, values); err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		if string(v.Data) != keys[i] {
			t.Errorf("key %d has %q", i, v.Data)
		}
	}
}

// A key that somebody deleted whose clock was ahead gets a higher version all the same.
func clockAhead(t *testing.T, open func(context.Context) (state.Store, error)) {
	s, err := open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ahead := uint64(time.Now().Add(time.Minute).UnixMicro())
	it := keyOf("ahead")
	it[versionName] = numberOf(ahead)
	if _, err := s.(*Store).client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(table), Item: it}); err != nil {
		t.Fatal(err)
	}
	if v, err := s.CompareAndSwap(t.Context(), "ahead", 0, nil, 0); err != nil || v <= ahead {
		t.Errorf("version %d after %d, %v", v, ahead, err)
	}
}

func TestURL(t *testing.T) {
	for text, want := range map[string]string{
		"dynamodb://states?region=x&regoin=y": "unknown parameter",
		"dynamodb://states/more":              "want dynamodb://table",
		"dynamodb:":                           "want dynamodb://table",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), access.Options{URL: u}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
