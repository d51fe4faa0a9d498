package stores

import (
	"context"
	"fmt"
	"os"

	"switchbridge/internal/files"
	"switchbridge/internal/watched"
	"switchbridge/state"
	"switchbridge/state/access"
	"switchbridge/state/travel"
)

// maxSeal bounds what is read of a file of keys.
const maxSeal = 4 << 10

// OpenTravel is the opener of states that travel. Their keys are in a file, which is looked at again while it is in use, or in the environment
// ([travel.EnvKeys]).
func OpenTravel(_ context.Context, o access.Options) (state.Store, error) {
	if o.SealFile == "" {
		keys, err := travel.ParseKeys(os.Getenv(travel.EnvKeys))
		if err != nil {
			return nil, fmt.Errorf("%s: %w; set it to the output of openssl rand -base64 %d, or name a file (state.seal_file)", travel.EnvKeys, err, travel.KeySize)
		}
		return travel.New(func() *travel.Keys { return keys }), nil
	}
	file, err := watched.Open(watched.Source[*travel.Keys]{What: "keys", Paths: []string{o.SealFile}, Read: func() (*travel.Keys, []string, error) {
		text, err := files.ReadFile(o.SealFile, maxSeal)
		if err != nil {
			return nil, nil, err
		}
		keys, err := travel.ParseKeys(string(text))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", o.SealFile, err)
		}
		return keys, nil, nil
	}, Log: o.Log})
	if err != nil {
		return nil, fmt.Errorf("seal_file: %w", err)
	}
	return travel.New(file.Get), nil
}
