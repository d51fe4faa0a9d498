// Package dynamodb keeps states in a table of Amazon DynamoDB, by conditional writes and consistent reads.
package dynamodb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"switchbridge/state"
	"switchbridge/state/access"
)

// An item is the key (k), its version (v), the data (d; absent: the key was deleted), when it expires in milliseconds since 1970 (x; absent:
// never), and when DynamoDB may remove it in seconds (e). That is an hour later than x: versions are the writers' clocks in
// microseconds, and above what is there as long as it is there. So they grow while the clocks of functions differ by less than an hour.
const (
	keyName     = "k"
	versionName = "v"
	dataName    = "d"
	expiryName  = "x"
	removeName  = "e" // the table's TTL attribute

	grace = time.Hour
)

// maxBatch is how many keys DynamoDB takes in one question.
const maxBatch = 100

// Store is a [state.Store].
type Store struct {
	table string
	name  string
	load  func(context.Context) (*dynamodb.Client, error)

	mu     sync.Mutex
	client *dynamodb.Client
}

// Open makes a client for dynamodb://table?region=eu-central-1. Credentials are AWS's own: environment, files, or the function's role.
// AWS_ENDPOINT_URL_DYNAMODB names another server. Nothing is asked before the first event.
func Open(_ context.Context, o access.Options) (state.Store, error) {
	u := o.URL
	for key := range u.Query() {
		if key != "region" {
			return nil, fmt.Errorf("%s: unknown parameter %q; known: region", u, key)
		}
	}
	if u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%s: want dynamodb://table?region=NAME", u)
	}
	var web *http.Client
	if o.CA != "" {
		c, err := o.TLS("")
		if err != nil {
			return nil, err
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.RootCAs}
		web = &http.Client{Transport: transport}
	}
	region := u.Query().Get("region")
	return &Store{table: u.Host, name: u.Redacted(), load: func(ctx context.Context) (*dynamodb.Client, error) {
		var options []func(*config.LoadOptions) error
		if region != "" {
			options = append(options, config.WithRegion(region))
		}
		if web != nil {
			options = append(options, config.WithHTTPClient(web))
		}
		c, err := config.LoadDefaultConfig(ctx, options...)
		if err != nil {
			return nil, err
		}
		if c.Region == "" {
			return nil, errors.New("no region: dynamodb://table?region=NAME, or AWS_REGION")
		}
		// A swap that was sent may have been made, and Decider knows what to do.
		return dynamodb.NewFromConfig(c, func(o *dynamodb.Options) { o.Retryer = aws.NopRetryer{} }), nil
	}}, nil
}

// open returns the client.
func (s *Store) open(ctx context.Context) (*dynamodb.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		client, err := s.load(ctx)
		if err != nil {
			return nil, err
		}
		s.client = client
	}
	return s.client, nil
}

type item = map[string]types.AttributeValue

func keyOf(key string) item { return item{keyName: &types.AttributeValueMemberS{Value: key}} }

// Get implements [state.Store]. Several keys are one BatchGetItem.
func (s *Store) Get(ctx context.Context, keys []string, values []state.Value) error {
	client, err := s.open(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	if len(keys) == 1 {
		out, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &s.table, Key: keyOf(keys[0]), ConsistentRead: aws.Bool(true)})
		if err == nil {
			values[0], err = valueOf(out.Item, now)
		}
		return err
	}
	places := map[string][]int{} // DynamoDB takes no key twice, and answers in any order
	for i, key := range keys {
		values[i] = state.Value{}
		places[key] = append(places[key], i)
	}
	var asked []item
	for key := range places {
		asked = append(asked, keyOf(key))
	}
	for len(asked) > 0 {
		n := min(len(asked), maxBatch)
		rest := asked[n:]
		out, err := client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{s.table: {Keys: asked[:n], ConsistentRead: aws.Bool(true)}}})
		if err != nil {
			return err
		}
		for _, it := range out.Responses[s.table] {
			key, _ := it[keyName].(*types.AttributeValueMemberS)
			v, err := valueOf(it, now)
			if err != nil || key == nil {
				return errors.Join(state.ErrCorrupt, err)
			}
			for _, i := range places[key.Value] {
				values[i] = v
				values[i].Data = slices.Clone(v.Data)
			}
		}
		left := out.UnprocessedKeys[s.table].Keys
		if len(left) == n { // throttled
			return errors.New("the table answers about none of the keys: its throughput is used up")
		}
		asked = append(append([]item(nil), left...), rest...)
	}
	return nil
}

// valueOf reads an item.
func valueOf(it item, now time.Time) (v state.Value, err error) {
	if len(it) == 0 {
		return v, nil
	}
	version, ok, err := number(it, versionName)
	if err != nil || !ok {
		return v, errors.Join(state.ErrCorrupt, err)
	}
	data, ok := it[dataName].(*types.AttributeValueMemberB)
	if !ok { // it was deleted
		return state.Value{Last: version}, nil
	}
	if expires, ok, err := number(it, expiryName); err != nil || ok && int64(expires) <= now.UnixMilli() {
		return state.Value{Last: version}, err
	}
	v.Version = version
	if v.Data = data.Value; v.Data == nil {
		v.Data = []byte{}
	}
	return v, nil
}

func number(it item, name string) (n uint64, ok bool, err error) {
	a, ok := it[name].(*types.AttributeValueMemberN)
	if !ok {
		return 0, false, nil
	}
	if n, err = strconv.ParseUint(a.Value, 10, 64); err != nil {
		return 0, false, fmt.Errorf("%w: attribute %s is %q", state.ErrCorrupt, name, a.Value)
	}
	return n, true, nil
}

func numberOf(n uint64) *types.AttributeValueMemberN {
	return &types.AttributeValueMemberN{Value: strconv.FormatUint(n, 10)}
}

// CompareAndSwap implements [state.Store].
func (s *Store) CompareAndSwap(ctx context.Context, key string, old uint64, data []byte, ttl time.Duration) (uint64, error) {
	it := keyOf(key)
	it[dataName] = &types.AttributeValueMemberB{Value: append([]byte{}, data...)} // nil would be no value
	if ttl > 0 {
		expires := time.Now().Add(ttl)
		it[expiryName] = numberOf(uint64(expires.UnixMilli()))
		it[removeName] = numberOf(uint64(expires.Add(grace).Unix()))
	}
	return s.put(ctx, it, old)
}

// Delete implements [state.Store]. What it leaves keeps the version for an hour.
func (s *Store) Delete(ctx context.Context, key string, old uint64) error {
	if old == 0 {
		return state.ErrConflict
	}
	it := keyOf(key)
	it[removeName] = numberOf(uint64(time.Now().Add(grace).Unix()))
	_, err := s.put(ctx, it, old)
	return err
}

const (
	conditionOld  = "v = :old AND attribute_exists(d) AND (attribute_not_exists(x) OR x > :now)"
	conditionNone = "attribute_not_exists(k) OR ((attribute_not_exists(d) OR x <= :now) AND v < :new)"
)

// put writes an item of a new version if the key's is old.
func (s *Store) put(ctx context.Context, it item, old uint64) (uint64, error) {
	client, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	version := max(old+1, uint64(max(now.UnixMicro(), 0)))
	for {
		it[versionName] = numberOf(version)
		in := &dynamodb.PutItemInput{TableName: &s.table, Item: it, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}
		in.ExpressionAttributeValues = item{":now": numberOf(uint64(now.UnixMilli()))}
		if old == 0 {
			in.ConditionExpression = aws.String(conditionNone)
			in.ExpressionAttributeValues[":new"] = it[versionName]
		} else {
			in.ConditionExpression = aws.String(conditionOld)
			in.ExpressionAttributeValues[":old"] = numberOf(old)
		}
		_, err := client.PutItem(ctx, in)
		var refused *types.ConditionalCheckFailedException
		switch {
		case err == nil:
			return version, nil
		case !errors.As(err, &refused):
			return 0, err
		}
		there, _, err := number(refused.Item, versionName)
		if err != nil {
			return 0, err
		}
		if v, err := valueOf(refused.Item, now); old != 0 || err != nil || v.Version != 0 || there < version {
			return 0, state.ErrConflict
		}
		version = there + 1 // of somebody whose clock is ahead, and who has left
	}
}

// Promise implements [state.Store].
func (*Store) Promise() state.Promise {
	return state.Promise{Shared: true, Linearizable: true, Durable: true}
}

func (s *Store) String() string { return s.name }

// Close implements [state.Store].
func (*Store) Close() error { return nil }
