package fetch_test

import (
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"kmint/pkg/fetch"
)

// The same guard as for a document; sent once, and no further than the address says.
func TestPost(t *testing.T) {
	other := serve(t, func(http.ResponseWriter, *http.Request) {})
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		status int
		want   string
		asked  int64
	}{
		"taken":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }, 200, "got", 1},
		"no words": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, 204, "got", 1},
		"refused":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }, 400, "got", 1},
		"ill":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, 500, "got", 1},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}, 307, "got", 1},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 12 {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		}, 200, "got", 1},
		"broken off": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "unavailable", 1},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, 0, "unavailable", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.PostFormValue("logout_token") != "a+b&c" {
					t.Errorf("%s %v", r.Method, r.PostForm)
				}
				tt.answer(w, r)
			})
			f := &fetch.Fetcher{Roots: roots(s), AllowLoopback: true, Now: newClock().Now}
			began := time.Now()
			status, err := f.Post(t.Context(), s.URL+"/back?x=1", url.Values{"logout_token": {"a+b&c"}})
			if status != tt.status || kind(err) != tt.want || s.asked.Load() != tt.asked || other.asked.Load() != 0 {
				t.Errorf("%d, %s after %d requests, %d elsewhere", status, kind(err), s.asked.Load(), other.asked.Load())
			}
			if time.Since(began) > fetch.Patience+time.Second {
				t.Error("it was too patient")
			}
		})
	}
}

func TestPostGuarded(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) {})
	n := &names{addresses: map[string][]string{"example.com": {"127.0.0.1"}, "meta.example.com": {"169.254.169.254"}, "half.example.com": {"93.184.216.34", "10.0.0.1"}}}
	for _, address := range []string{
		s.URL, s.named("example.com"), "https://meta.example.com/", "https://half.example.com/", "https://[::1]/", "https://10.0.0.1/",
		"http://example.com/", "ftp://example.com/", "https://u:p@example.com/", "https://example.com/#x", "example.com", "",
	} {
		f := &fetch.Fetcher{Roots: roots(s), Resolver: n, Now: newClock().Now}
		if status, err := f.Post(t.Context(), address, nil); status != 0 || kind(err) != "refused" {
			t.Errorf("%s: %d, %s", address, status, kind(err))
		}
	}
	if s.asked.Load() != 0 {
		t.Error("it was asked")
	}
}
