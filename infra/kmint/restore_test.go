package main

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"kmint/infra/rig/ddb"
	"kmint/infra/rig/kmstest"
	"kmint/pkg/kms"
	"kmint/pkg/oauth"
	"kmint/pkg/server"
	"kmint/pkg/session"
	"kmint/pkg/store"
)

type items = []map[string]types.AttributeValue

// backup is what a table holds.
func (a account) backup(table string) items {
	a.t.Helper()
	page, err := a.store.DB.Scan(a.t.Context(), &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
	if err != nil {
		a.t.Fatal(err)
	}
	return page.Items
}

// putBack writes a backup over what is there, as nobody should with grants.
func (a account) putBack(table string, all items) {
	a.t.Helper()
	for _, item := range all {
		if _, err := a.store.DB.PutItem(a.t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item}); err != nil {
			a.t.Fatal(err)
		}
	}
}

// A house is the two functions that serve people, with empty caches.
type house struct{ token, authorize http.Handler }

func (a account) house(macKey string) house {
	keys, log := kms.NewClient(a.config()), slog.New(slog.DiscardHandler)
	mac := &kms.MAC{Client: keys, Key: macKey}
	db := a.store
	return house{
		token: server.Token{
			TokenPath: "/oauth2/token",
			Clients:   db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
			Codes: db, Grants: db, Kept: db, Uses: db, Revocations: db, Revoked: db, Opaque: db, Documents: db,
			MAC: mac, PrivateKey: kms.Signer{Client: keys}, Now: time.Now, Log: log,
		}.Handler(),
		authorize: server.Authorize{
			Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
			Joined: db, Listings: db, Ended: db, Consents: db, Codes: db, Opaque: db, Documents: db,
			MAC: mac, Now: time.Now, Log: log,
		}.Handler(),
	}
}

// ask is what the token endpoint answers demo-web.
func (h house) ask(params url.Values) (status int, body string) {
	r := httptest.NewRequest(http.MethodPost, "https://login.example.com/oauth/token", strings.NewReader(params.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("demo-web", "demo-web-secret-used-in-examples-only")
	w := httptest.NewRecorder()
	h.token.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// silent is where a browser with the session is sent that must not see a page.
func (h house) silent(cookie oauth.Secret) string {
	r := httptest.NewRequest(http.MethodGet, "https://login.example.com/authorize?"+url.Values{
		"client_id": {"demo-web"}, "response_type": {"code"}, "redirect_uri": {"http://localhost:8080/callback"},
		"scope": {"openid"}, "prompt": {"none"}, "state": {"s"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}.Encode(), nil)
	r.AddCookie(&http.Cookie{Name: session.CookieName(true), Value: cookie.Reveal()})
	w := httptest.NewRecorder()
	h.authorize.ServeHTTP(w, r)
	return w.Header().Get("Location")
}

// verifier is that of RFC 7636 appendix B.
const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

// A login is what one of demo-user's left behind: a session, a grant whose code is not
// spent, and one that has a refresh token.
type login struct {
	cookie        oauth.Secret
	code, refresh url.Values
}

func (a account) login(at time.Time) login {
	a.t.Helper()
	ctx := a.t.Context()
	s, cookie := session.Keeper{Sessions: a.store, Users: a.store, Now: func() time.Time { return at }}.New("demo-user")
	code, family, rotating, id := oauth.NewHandle(oauth.CodePrefix), oauth.NewHandle(""), oauth.NewHandle(""), oauth.NewID()
	challenge, err := oauth.ChallengeOf(verifier)
	if err != nil {
		a.t.Fatal(err)
	}
	scope := oauth.Scope{oauth.OpenID, oauth.OfflineAccess, "read:orders"}
	g := store.Grant{
		ID: string(code.Digest()), ClientID: "demo-web", Subject: "demo-user", RedirectURI: "http://localhost:8080/callback", RedirectSent: true,
		Challenge: challenge, Scope: scope, Requested: scope, Audience: []string{"https://orders.example.com/"},
		AuthTime: at, Created: at, CodeExpires: at.Add(2 * time.Hour), End: at.Add(24 * time.Hour), Kept: at.Add(48 * time.Hour),
	}
	kept := g
	kept.ID, kept.Spent, kept.Family, kept.Current, kept.IdleExpires = id, at, family.Digest(), rotating.Digest(), kept.End
	for _, err := range []error{a.store.PutSession(ctx, s), a.store.PutGrant(ctx, g), a.store.PutGrant(ctx, kept)} {
		if err != nil {
			a.t.Fatal(err)
		}
	}
	return login{
		cookie: cookie,
		code: url.Values{
			"grant_type": {oauth.AuthorizationCode}, "code": {code.Reveal()}, "redirect_uri": {g.RedirectURI}, "code_verifier": {verifier},
		},
		refresh: url.Values{
			"grant_type": {oauth.RefreshToken}, "refresh_token": {oauth.RefreshPrefix + strings.Join([]string{id, family.Reveal(), rotating.Reveal()}, ".")},
		},
	}
}

// holds asks for all that a login left.
func (l login) holds(t *testing.T, h house, want bool) {
	t.Helper()
	for name, params := range map[string]url.Values{"code": l.code, "refresh token": l.refresh} {
		status, body := h.ask(params)
		if good := status == http.StatusOK && strings.Contains(body, "access_token"); good != want || !want && !strings.Contains(body, `"invalid_grant"`) {
			t.Errorf("the %s, want good %v: %d %s", name, want, status, body)
		}
	}
	location := h.silent(l.cookie)
	if good := strings.Contains(location, "code="); good != want || !want && !strings.Contains(location, "error=login_required") {
		t.Errorf("the session, want good %v: %s", want, location)
	}
}

// What a backup of the grants revives is good, spent codes and rotated tokens too, unless
// the not_before is raised: then it is refused, and what begins afterwards is good.
func TestRestoreEndsWhatABackupRevives(t *testing.T) {
	a := newAccount(t)
	good(t, a.flags("--seed", example)...)
	mac, err := a.kms.Create(kmstest.HMAC256)
	if err != nil {
		t.Fatal(err)
	}
	before := a.login(time.Now().Add(-time.Hour))
	grants := a.backup(a.store.GrantsTable)
	before.holds(t, a.house(mac), true)
	for name, params := range map[string]url.Values{"code": before.code, "refresh token": before.refresh} {
		if status, body := a.house(mac).ask(params); status != http.StatusBadRequest || !strings.Contains(body, `"invalid_grant"`) {
			t.Errorf("the %s a second time: %d %s", name, status, body)
		}
	}

	a.putBack(a.store.GrantsTable, grants)
	before.holds(t, a.house(mac), true) // the twin: this is what a restore does

	a.putBack(a.store.GrantsTable, grants)
	out := good(t, "restore", "--config-table", a.store.ConfigTable)
	before.holds(t, a.house(mac), false)
	a.login(time.Now()).holds(t, a.house(mac), true)

	settings, err := a.store.Settings(t.Context())
	if err != nil || settings.DefaultAudience != "https://orders.example.com/" {
		t.Errorf("the other settings: %+v, %v", settings, err)
	}
	said := settings.NotBefore.Format(time.RFC3339Nano)
	if want := "every login before " + said + " has ended; write into the server of your seed:\n  \"not_before\": \"" + said + "\"\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}

	// An import that would lower it is refused; the twin says it.
	code, _, errs := try(t, a.flags("--seed", example)...)
	if code != 1 || !strings.Contains(errs, "server.not_before: what began before "+said+" has ended, and would live again; write \""+said+"\" there, or later") {
		t.Errorf("exit %d: %s", code, errs)
	}
	file, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	seed := write(t, strings.Replace(string(file), `"server": {`, `"server": {"not_before": "`+said+`",`, 1))
	if out := good(t, a.flags("--seed", seed)...); !strings.Contains(out, "unchanged server\n") {
		t.Error(out)
	}
	before.holds(t, a.house(mac), false)
}

// One that lies ahead ends what is to come: it may come back to now, and no further.
func TestImportTakesBackANotBeforeThatLiesAhead(t *testing.T) {
	a := newAccount(t)
	ahead := time.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
	good(t, a.flags("--seed", write(t, `{"server": {"not_before": "`+ahead.Format(time.RFC3339Nano)+`"}}`))...)
	for at, want := range map[time.Time]int{time.Now().Add(-time.Minute): 1, time.Now().Add(time.Minute): 0} {
		seed := write(t, `{"server": {"not_before": "`+at.Format(time.RFC3339)+`"}}`)
		if code, out, errs := try(t, append(a.flags("--seed", seed), "--dry-run")...); code != want {
			t.Errorf("%v: exit %d\n%s%s", at, code, out, errs)
		}
	}
}

// What is missing comes back; what is there stays, however old the backup says it was.
func TestRestoreBringsBackWhatIsMissing(t *testing.T) {
	a := newAccount(t)
	ctx := t.Context()
	good(t, a.flags("--seed", example)...)
	from := ddb.Tables{Config: a.store.ConfigTable + "-restored", Users: a.store.UsersTable + "-restored", Grants: a.store.GrantsTable + "-restored"}
	if err := ddb.CreateTables(ctx, a.store.DB, from); err != nil {
		t.Fatal(err)
	}
	a.putBack(from.Config, a.backup(a.store.ConfigTable))
	a.putBack(from.Users, a.backup(a.store.UsersTable))

	// Two are lost, with the settings; one is changed since, and a person is new.
	for table, lost := range map[string][]string{
		a.store.ConfigTable: {"client#demo-spa", "api#https://orders.example.com/", "server"},
		a.store.UsersTable:  {"user#demo-user"},
	} {
		for _, key := range lost {
			if !slices.ContainsFunc(a.backup(table), func(item map[string]types.AttributeValue) bool {
				return item["pk"].(*types.AttributeValueMemberS).Value == key
			}) {
				t.Fatalf("there is no %s", key)
			}
			_, err := a.store.DB.DeleteItem(ctx, &dynamodb.DeleteItemInput{
				TableName: &table, Key: map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: key}},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	changed, err := a.store.Client(ctx, "demo-web")
	if err != nil {
		t.Fatal(err)
	}
	changed.Name, changed.SecretDigests = "Another name", []oauth.Digest{oauth.DigestOf("another-secret-of-the-demo-web-app")}
	registry, err := a.store.Registry(ctx)
	if err != nil {
		t.Fatal(err)
	}
	registry.Version++
	for _, err := range []error{
		a.store.PutClient(ctx, changed), a.store.ReplaceRegistry(ctx, registry), a.store.PutIssuer(ctx, "https://id.example.com/"),
		a.store.PutUser(ctx, store.User{Subject: "another", Username: "another"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}

	restore := func() string {
		t.Helper()
		var out, errs bytes.Buffer
		r, err := parseRestore([]string{
			"--config-table", a.store.ConfigTable, "--users-table", a.store.UsersTable, "--from-config", from.Config, "--from-users", from.Users,
		}, &errs)
		if err != nil {
			t.Fatal(errs.String())
		}
		if r.Wait != store.MaxAge {
			t.Errorf("waits %v", r.Wait)
		}
		r.Out, r.Wait = &out, time.Millisecond
		if err := r.run(ctx); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	out := restore()
	for _, line := range []string{
		"restored client demo-spa", "restored api https://orders.example.com/",
		a.store.ConfigTable + ": 2 items restored, 3 are there and stay as they are", a.store.UsersTable + ": 1 items restored, 1 are there and stay as they are",
	} {
		if !strings.Contains(out, line+"\n") {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	_, spa := a.store.Client(ctx, "demo-spa")
	_, api := a.store.API(ctx, "https://orders.example.com/")
	_, person := a.store.User(ctx, "demo-user")
	for name, err := range map[string]error{"client": spa, "API": api, "person": person} {
		if err != nil {
			t.Errorf("the %s: %v", name, err)
		}
	}
	web, err := a.store.Client(ctx, "demo-web")
	if err != nil || web.Name != changed.Name || !slices.Equal(web.SecretDigests, changed.SecretDigests) {
		t.Errorf("what was changed since: %+v, %v", web, err)
	}
	if is, err := a.store.Registry(ctx); err != nil || is.Version != registry.Version {
		t.Errorf("the registry: %+v, %v", is, err)
	}
	if issuer, err := a.store.Issuer(ctx); err != nil || issuer != "https://id.example.com/" {
		t.Errorf("the issuer: %s, %v", issuer, err)
	}
	settings, err := a.store.Settings(ctx)
	if err != nil || settings.DefaultAudience != "https://orders.example.com/" || time.Since(settings.NotBefore) > time.Minute {
		t.Errorf("the settings: %+v, %v", settings, err)
	}

	if out := restore(); !strings.Contains(out, a.store.ConfigTable+": 0 items restored") || !strings.Contains(out, a.store.UsersTable+": 0 items restored") {
		t.Errorf("the second time:\n%s", out)
	}
}

func TestRestoreRefused(t *testing.T) {
	a := newAccount(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"nothing named", nil, 2, "kmint: name the --stack, or else --config-table"},
		{"no table for the people", []string{"--config-table", "a", "--from-users", "b"}, 2, "kmint: name the --stack, or else --config-table"},
		{"argument", []string{"--config-table", "a", "b"}, 2, `kmint: "b" is no flag`},
		{"no keys yet", []string{"--config-table", a.store.ConfigTable}, 1, "kmint: the stack has no signing key yet; run kmint import first"},
		{"no table", []string{"--config-table", "nowhere"}, 1, "kmint: the stack has no signing key yet"},
	} {
		if code, out, errs := try(t, slices.Concat([]string{"restore"}, test.args)...); code != test.code || out != "" || !strings.HasPrefix(errs, test.want) {
			t.Errorf("%s: exit %d\n%s%s", test.name, code, out, errs)
		}
	}
	if all := a.backup(a.store.ConfigTable); len(all) > 0 {
		t.Errorf("something was written: %v", slices.Collect(maps.Keys(all[0])))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	good(t, a.flags()...)
	r := restorer{ConfigTable: a.store.ConfigTable, FromConfig: "nowhere", Wait: time.Hour, Now: time.Now, Out: &bytes.Buffer{}}
	if err := r.run(ended); err == nil {
		t.Error("it goes on although it was told to end")
	}
}
