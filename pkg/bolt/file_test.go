package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kmint/pkg/bolt"
	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

func TestFileIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmint.db")
	first, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := bolt.Open(path); err == nil || !strings.Contains(err.Error(), path+" is in use by another process") {
		t.Errorf("a second Open: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a second Open took %s", took)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmint.db")
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestBadFile(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{garbage, dir, filepath.Join(dir, "missing", "kmint.db")} {
		if _, err := bolt.Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A file that was cut, overwritten or left by another version is refused with one
// sentence that says what to do; what is whole is opened.
func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kmint.db")
	s, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		client := store.Client{ID: fmt.Sprintf("client-%d", i), Name: strings.Repeat("x", 1000)}
		if err := s.PutClient(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"text":            []byte(strings.Repeat("no database", 1000)),
		"short":           []byte("x"),
		"other version":   bytes.ReplaceAll(whole, []byte(`{"v":1,`), []byte(`{"v":0,`)),
		"items no JSON":   bytes.ReplaceAll(whole, []byte(`{"v":1,`), []byte(`["v":1,`)),
		"pages zeroed":    append(bytes.Clone(whole[:8192]), make([]byte, len(whole)-8192)...),
		"pages of others": append(bytes.Clone(whole[:8192]), bytes.Repeat([]byte("garbage "), (len(whole)-8192)/8)...),
	}
	// 20000 is where bbolt itself only notices when it reads.
	for _, size := range []int{1, 100, 4096, 8192, 12288, 20000, len(whole) / 2} {
		files[fmt.Sprintf("cut to %d", size)] = whole[:size]
	}
	for name, content := range files {
		t.Run(name, func(t *testing.T) {
			damaged := filepath.Join(t.TempDir(), "damaged.db")
			if err := os.WriteFile(damaged, content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := bolt.Open(damaged)
			if err == nil || !strings.HasPrefix(err.Error(), "bolt: "+damaged+" ") || !strings.Contains(err.Error(), "; delete it, and an empty one is made") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := open(t, path).Client(t.Context(), "client-49"); err != nil {
		t.Error(err)
	}
}

// TestKilled starts this test anew as a process that writes and is killed: what
// was answered is in the file.
func TestKilled(t *testing.T) {
	if path := os.Getenv("BOLT_KILLED"); path != "" {
		s, err := bolt.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		g, spend := grant(time.Now())
		if err := s.PutGrant(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if _, err := s.SpendCode(t.Context(), spend); err != nil {
			t.Fatal(err)
		}
		fmt.Println("spent", g.ID)
		time.Sleep(time.Minute) // longer than its parent lets it live
		return
	}
	path := filepath.Join(t.TempDir(), "kmint.db")
	child := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
	child.Env = append(os.Environ(), "BOLT_KILLED="+path)
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var id string
	_, scanErr := fmt.Fscanf(output, "spent %s\n", &id)
	if err := errors.Join(scanErr, child.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	g, err := open(t, path).Grant(t.Context(), id)
	if err != nil || g.Spent.IsZero() {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestSweep(t *testing.T) {
	ctx := t.Context()
	s := open(t, filepath.Join(t.TempDir(), "kmint.db"))
	start := time.Now()
	now := start
	s.Now = func() time.Time { return now }
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	unspent, _ := grant(start)
	spent, spend := grant(start)
	must(s.PutGrant(ctx, unspent), s.PutGrant(ctx, spent))
	_, err := s.SpendCode(ctx, spend)
	must(err)
	session := store.Session{Digest: "digest", Expires: start.Add(time.Hour), IdleExpires: start.Add(time.Hour)}
	must(s.PutSession(ctx, session), s.BeginAttempt(ctx, "name", start), s.PutClient(ctx, store.Client{ID: "demo"}))

	// there reports whether each is in the file, however long it has expired.
	there := func(want ...bool) {
		t.Helper()
		_, unspentErr := s.Grant(ctx, unspent.ID)
		_, spentErr := s.Grant(ctx, spent.ID)
		_, sessionErr := s.Session(ctx, session.Digest, start)
		got := []bool{unspentErr == nil, spentErr == nil, sessionErr == nil}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("at %s: %v, want %v", now.Sub(start), got, want)
		}
	}
	sweep := func(after time.Duration) {
		t.Helper()
		now = start.Add(after)
		other, _ := grant(now)
		must(s.PutGrant(ctx, other))
	}
	there(true, true, true)
	sweep(2 * time.Minute) // the code's minute, and one of grace
	there(true, true, true)
	sweep(2*time.Minute + time.Second) // too soon after the last sweep
	there(true, true, true)
	sweep(4 * time.Minute)
	there(false, true, true)
	sweep(90 * time.Minute)
	there(false, true, false)
	sweep(2*time.Hour + time.Minute)
	there(false, false, false)
	if _, err := s.Client(ctx, "demo"); err != nil {
		t.Errorf("the configuration was swept out too: %v", err)
	}
}

func grant(now time.Time) (store.Grant, store.Spend) {
	g := store.Grant{
		ID: string(oauth.NewHandle("").Digest()), ClientID: "demo",
		Created: now, CodeExpires: now.Add(time.Minute), End: now.Add(time.Hour), Kept: now.Add(2 * time.Hour),
	}
	return g, store.Spend{GrantID: g.ID, ClientID: "demo", Now: now, By: "by", Family: "family", Current: "current", Idle: time.Hour}
}
