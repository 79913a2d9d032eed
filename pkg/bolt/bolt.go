// Package bolt answers: how are the moments of package store kept in one local
// file?
//
// It is the store of `make run`: one process, one file, nothing to install. A
// moment is one transaction of bbolt, which lets one writer in at a time and
// returns once the file has reached the disk; what is to happen in it the pure
// functions of package store say, the same that judge DynamoDB's refusals.
//
// Nothing deletes expired items for us, so writing grants sweeps them out now and
// then. As everywhere, that is the broom alone: expiry is checked on every read.
package bolt

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"kmint/pkg/store"
)

// A Store is the store in one file.
type Store struct {
	// Now is the clock of the broom; time.Now unless set before the first use.
	Now func() time.Time

	db    *bbolt.DB
	swept time.Time // guarded by the one writer
}

const (
	// patience is how long Open waits for the file's lock.
	patience = 500 * time.Millisecond
	// sweepEvery is how often expired items are swept out at most.
	sweepEvery = time.Minute
)

// Three buckets, as DynamoDB has three tables, with the same keys in them.
const (
	configBucket = "config"
	usersBucket  = "users"
	grantsBucket = "grants"
)

// Open opens the file, or makes it. Its directory must exist. No two processes
// can have it open: the second is told at once. A file that is damaged, or that
// another version wrote, is refused with what to do about it.
func Open(path string) (*Store, error) {
	db, err := openSound(path)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{configBucket, usersBucket, grantsBucket} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bolt: %s: %w", path, err), db.Close())
	}
	return &Store{Now: time.Now, db: db}, nil
}

// openSound opens a file of which every page can be read. bbolt maps the file into
// memory: it panics on a page that is none, and where the file was cut short the
// reader is sent a signal, which the runtime makes a panic of if it is asked to.
func openSound(path string) (db *bbolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		// What has panicked may hold bbolt's locks: it is left as it is.
		if cause := recover(); cause != nil {
			db, err = nil, damaged(path, cause)
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: patience})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("bolt: %s is in use by another process", path)
	case errors.As(err, new(syscall.Errno)): // the file may be well
		return nil, fmt.Errorf("bolt: %s: %w", path, err)
	case err != nil:
		return nil, damaged(path, err)
	}
	if err := db.View(func(tx *bbolt.Tx) error { return check(path, tx) }); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// check reads the whole file.
func check(path string, tx *bbolt.Tx) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("bolt: %w", err)
	}
	if info.Size() < tx.Size() {
		return damaged(path, fmt.Sprintf("it has %d bytes of %d", info.Size(), tx.Size()))
	}
	var problem error
	for err := range tx.Check() {
		if problem == nil {
			problem = damaged(path, err)
		}
	}
	if problem != nil {
		return problem
	}
	return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error {
		return bucket.ForEach(func(key, value []byte) error {
			var r record
			if err := json.Unmarshal(value, &r); err != nil {
				return damaged(path, fmt.Errorf("item %s: %w", key, err))
			}
			if r.Version != store.Version {
				return fmt.Errorf("bolt: %s was written by another version of kmint; delete it, and an empty one is made", path)
			}
			return nil
		})
	})
}

func damaged(path string, cause any) error {
	return fmt.Errorf("bolt: %s is damaged; delete it, and an empty one is made (%v)", path, cause)
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// A record is what is kept under a key.
type record struct {
	// Version is that of the items of package store.
	Version int `json:"v"`
	// Until is when a grant, a session or a count may be swept out.
	Until time.Time       `json:"until,omitzero"`
	Value json.RawMessage `json:"value"`
}

// view runs do on a bucket that nobody changes meanwhile.
func (s *Store) view(bucket string, do func(b items) error) error {
	return wrap(s.db.View(func(tx *bbolt.Tx) error { return do(items{tx.Bucket([]byte(bucket))}) }))
}

// update runs do as the only writer. If it returns an error nothing has changed.
func (s *Store) update(bucket string, do func(b items) error) error {
	return wrap(s.db.Update(func(tx *bbolt.Tx) error {
		b := items{tx.Bucket([]byte(bucket))}
		if bucket == grantsBucket {
			if err := s.sweep(b); err != nil {
				return err
			}
		}
		return do(b)
	}))
}

// sweep deletes what has expired, at most once in sweepEvery.
func (s *Store) sweep(b items) error {
	now := s.Now()
	if !s.swept.IsZero() && now.Before(s.swept.Add(sweepEvery)) {
		return nil
	}
	s.swept = now
	var gone [][]byte
	err := b.bucket.ForEach(func(key, value []byte) error {
		var r record
		if err := json.Unmarshal(value, &r); err != nil {
			return fmt.Errorf("item %s: %w", key, err)
		}
		if !r.Until.IsZero() && now.After(r.Until) {
			gone = append(gone, key)
		}
		return nil
	})
	for _, key := range gone {
		if err := b.bucket.Delete(key); err != nil {
			return err
		}
	}
	return err
}

// items is a bucket within a transaction.
type items struct{ bucket *bbolt.Bucket }

// get reads a record into value, a pointer. ErrNotFound if there is none.
func (i items) get(key string, value any) error {
	text := i.bucket.Get([]byte(key))
	if text == nil {
		return store.ErrNotFound
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("item %s: %w", key, err)
	}
	if err := json.Unmarshal(r.Value, value); err != nil {
		return fmt.Errorf("item %s: %w", key, err)
	}
	return nil
}

// has reports whether there is a record.
func (i items) has(key string) bool { return i.bucket.Get([]byte(key)) != nil }

// put writes a record that may be swept out after until; zero for never.
func (i items) put(key string, value any, until time.Time) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("item %s: %w", key, err)
	}
	text, err = json.Marshal(record{Version: store.Version, Until: until, Value: text})
	if err != nil {
		return fmt.Errorf("item %s: %w", key, err)
	}
	return i.bucket.Put([]byte(key), text)
}

func (i items) delete(key string) error { return i.bucket.Delete([]byte(key)) }

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("bolt: %w", err)
	}
	return nil
}
