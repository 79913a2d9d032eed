package kms

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// maxKeys bounds the hourly keys in memory: a few purposes, two hours each.
const maxKeys = 32

// A MAC derives keys for seals and nonces from an HMAC_256 key in KMS. It is safe
// for use side by side, and not to be copied.
type MAC struct {
	Client *kms.Client
	// Key is the ARN of the HMAC_256 key.
	Key string

	mu   sync.Mutex
	keys map[hourly][]byte
}

type hourly struct {
	purpose string
	hour    int64
}

// HourlyKey is the key, of 32 bytes, that seals things of one purpose in one hour
// (counted since 1970): what kms:GenerateMac makes of both. It is the same for
// everyone, costs one call an hour, and is held in memory alone. Who opens a
// seal tries this hour's key and the one before. The key is shared, and not to be
// changed. Errors are those of Signer.Sign.
func (m *MAC) HourlyKey(ctx context.Context, purpose string, hour int64) ([]byte, error) {
	id := hourly{purpose, hour}
	m.mu.Lock()
	key, ok := m.keys[id]
	m.mu.Unlock()
	if ok {
		return key, nil
	}
	// Two that come at once may both ask; they are told the same.
	out, err := m.Client.GenerateMac(ctx, &kms.GenerateMacInput{
		KeyId: &m.Key,
		// The hour has a fixed width, so no two pairs give the same message.
		Message:      binary.BigEndian.AppendUint64([]byte(purpose), uint64(hour)), //nolint:gosec // two's complement is as good
		MacAlgorithm: types.MacAlgorithmSpecHmacSha256,
	})
	if err != nil {
		return nil, explain(err)
	}
	if len(out.Mac) != 32 {
		return nil, fmt.Errorf("kms: MAC of %d bytes", len(out.Mac))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys == nil || len(m.keys) >= maxKeys {
		m.keys = map[hourly][]byte{}
	}
	m.keys[id] = out.Mac
	return out.Mac, nil
}
