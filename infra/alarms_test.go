package infra_test

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"kmint/infra/rig/kmstest"
	"kmint/pkg/audit"
	"kmint/pkg/bolt"
	"kmint/pkg/config"
	"kmint/pkg/jwt"
	"kmint/pkg/keys"
	"kmint/pkg/kms"
	"kmint/pkg/localkey"
	"kmint/pkg/meter"
	"kmint/pkg/oauth"
	"kmint/pkg/seed"
	"kmint/pkg/server"
	"kmint/pkg/store"
)

// Every alarm on metrics of ours is raised by lines that the functions have printed, and
// is not by those of a calmer day.
func TestAlarmsOnOwnMetrics(t *testing.T) {
	hours := func(n int) func(*watched) {
		return func(w *watched) {
			for range n / 6 {
				w.now = w.now.Add(6 * time.Hour)
				w.rotate()
			}
		}
	}
	times := func(n int, do func(*watched)) func(*watched) {
		return func(w *watched) {
			for range n {
				do(w)
			}
		}
	}
	// slow lets KMS take so long in each of so many periods.
	slow := func(periods int, delay time.Duration) func(*watched) {
		return func(w *watched) {
			for range periods {
				w.now = w.now.Add(5 * time.Minute)
				w.cloud.Next("Sign", kmstest.Fault{Delay: delay})
				w.machine("demo-service-secret-used-in-examples-only", http.StatusOK)
			}
		}
	}
	for name, tt := range map[string]struct {
		breaches, calm func(*watched)
	}{
		"KmsLatency": {slow(3, 300*time.Millisecond), func(w *watched) { slow(2, 300*time.Millisecond)(w); slow(1, 0)(w) }},
		"KmsThrottled": {func(w *watched) {
			w.cloud.Next("Sign", kmstest.Fault{Error: kmstest.Throttled}) // and the second attempt is not
			w.machine("demo-service-secret-used-in-examples-only", http.StatusOK)
		}, func(w *watched) { w.machine("demo-service-secret-used-in-examples-only", http.StatusOK) }},
		"ReplaySeen":   {times(5, (*watched).replay), times(4, (*watched).replay)},
		"RefreshReuse": {times(5, (*watched).reuse), times(4, (*watched).reuse)},
		"InvalidClientBurst": {
			times(51, func(w *watched) { w.machine("wrong", http.StatusUnauthorized) }),
			times(50, func(w *watched) { w.machine("wrong", http.StatusUnauthorized) }),
		},
		// Who has no attempts left is refused without a look at the password.
		"LoginSuccess": {
			func(w *watched) { times(10, (*watched).login)(w); times(240, (*watched).guess)(w) },
			func(w *watched) { times(75, (*watched).login)(w); times(175, (*watched).guess)(w) },
		},
		"KeyAge": {func(w *watched) {
			w.unreplaceable = true
			w.now = w.now.Add(98 * 24 * time.Hour)
			hours(24)(w)
		}, func(w *watched) {
			w.now = w.now.Add(89 * 24 * time.Hour)
			hours(24)(w)
		}},
		"NextKeyMissing": {func(w *watched) { w.unreplaceable = true; hours(24)(w) }, hours(24)},
		"RotationFailed": {func(w *watched) {
			w.cloud.Next("CreateKey", kmstest.Fault{Error: kmstest.AccessDenied})
			w.rotate()
		}, (*watched).rotate},
	} {
		t.Run(name, func(t *testing.T) {
			for want, script := range map[string]func(*watched){inAlarm: tt.breaches, fine: tt.calm} {
				w := watch(t)
				script(w)
				a := w.alarm(name)
				if got, err := a.state(w.samples(), w.now); err != nil || got != want {
					t.Errorf("%s, want %s: %v; %v", got, want, err, a)
				}
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		var own []string
		for id, resource := range alarms(t) {
			if strings.Contains(flat(resource), meter.Namespace+"/") {
				own = append(own, id)
			}
		}
		slices.Sort(own)
		if want := []string{
			"InvalidClientBurst", "KeyAge", "KmsLatency", "KmsThrottled", "LoginSuccess", "NextKeyMissing", "RefreshReuse", "ReplaySeen", "RotationFailed",
		}; !slices.Equal(own, want) {
			t.Errorf("the alarms on metrics of ours are %q, and %q are tried", own, want)
		}
	})
}

// What the functions print of a metric is what package meter says of it, and nothing is
// waited for that is never printed.
func TestOwnMetrics(t *testing.T) {
	defined := map[string]string{}
	for _, d := range meter.Metrics() {
		defined[meter.Namespace+"/"+string(d.Name)+" "+meter.Dimension+"=kmint"] = d.Unit
	}
	for id, resource := range alarms(t) {
		a, err := readAlarm(at(resource, "Properties"), parameters())
		if err != nil {
			t.Fatal(id, err)
		}
		for _, q := range a.queries {
			if _, ok := defined[q.metric]; strings.HasPrefix(q.metric, meter.Namespace+"/") && !ok {
				t.Errorf("%s is on %s, which there is not", id, q.metric)
			}
		}
	}
	w := watch(t)
	w.machine("demo-service-secret-used-in-examples-only", http.StatusOK)
	w.machine("wrong", http.StatusUnauthorized)
	w.login()
	w.guess()
	w.replay()
	w.reuse()
	w.cloud.Next("Sign", kmstest.Fault{Error: kmstest.Throttled})
	w.machine("demo-service-secret-used-in-examples-only", http.StatusOK)
	w.rotate()
	printed := map[string]string{}
	for _, s := range w.samples() {
		printed[s.metric] = s.unit
	}
	for _, m := range []meter.Metric{meter.DynamoDBTime, meter.DynamoDBThrottled} { // there is no DynamoDB here: TestEvents has them
		printed["kmint/"+string(m)+" stack=kmint"] = defined["kmint/"+string(m)+" stack=kmint"]
	}
	if !maps.Equal(printed, defined) {
		t.Errorf("printed %v, defined %v", printed, defined)
	}
}

// README.md names every event, with Auth0's code, and every metric, with its unit.
func TestReadmeSaysWhatIsSaid(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for event, kind := range audit.Kinds() {
		row := strings.ReplaceAll("| `"+string(event)+"` | `"+kind.Auth0+"` |", "| `` |", "| |")
		if !strings.Contains(string(readme), row) {
			t.Errorf("there is no row %s", row)
		}
	}
	for _, d := range meter.Metrics() {
		listed := false
		for line := range strings.Lines(string(readme)) {
			cells := strings.Split(line, "|")
			listed = listed || len(cells) == 5 && strings.Contains(cells[1], "`"+string(d.Name)+"`") && strings.TrimSpace(cells[2]) == d.Unit
		}
		if !listed {
			t.Errorf("there is no row for %s in %q", d.Name, d.Unit)
		}
	}
}

func parameters() map[string]string {
	return map[string]string{
		"Stack": "kmint", "Runbook": "r", "RotationDays": "90", "KMSQuota": "1000", "LambdaConcurrency": "1000", "ApiId": "api", "DeadLetterQueue": "dead",
		"TokenFunction": "token", "AuthorizeFunction": "authorize", "UserinfoFunction": "userinfo", "DiscoveryFunction": "discovery",
		"DeliverFunction": "deliver", "RotateFunction": "rotate", "ConfigTable": "config", "UsersTable": "users", "GrantsTable": "grants",
	}
}

// alarms are those of infra/alarms.yaml.
func alarms(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile("alarms.yaml")
	if err != nil {
		t.Fatal(err)
	}
	template, err := parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]any{}
	for id, resource := range members(template["Resources"]) {
		if at(resource, "Type") == "AWS::CloudWatch::Alarm" {
			found[id] = resource
		}
	}
	return found
}

// flat is the metrics of an alarm as one text.
func flat(resource any) string {
	a, err := readAlarm(at(resource, "Properties"), parameters())
	if err != nil {
		return ""
	}
	var all []string
	for _, q := range a.queries {
		all = append(all, q.metric)
	}
	return strings.Join(all, "\n")
}

// watched is the token and the rotate function over a store in a file and the KMS of the
// tests, with a clock of its own, and what they have printed.
type watched struct {
	t       *testing.T
	now     time.Time
	cloud   *kmstest.Server
	log     bytes.Buffer
	store   *bolt.Store
	token   http.Handler
	rotates server.Rotate
	// unreplaceable lets no key be made.
	unreplaceable bool
}

func watch(t *testing.T) *watched {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &watched{t: t, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), cloud: kmstest.New()}
	now := func() time.Time { return w.now }
	w.cloud.Now = now
	endpoint := httptest.NewServer(w.cloud)
	t.Cleanup(endpoint.Close)
	var err error
	w.store, err = bolt.Open(filepath.Join(t.TempDir(), "kmint.db"))
	must(err)
	t.Cleanup(func() { _ = w.store.Close() })
	local, err := localkey.Open(t.TempDir())
	must(err)
	client := kms.NewClient(aws.Config{
		Region: kmstest.Region, BaseEndpoint: &endpoint.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	arn, err := w.cloud.Create(kmstest.RSA2048)
	must(err)
	must(errors.Join(w.cloud.Tag(arn, kms.TagStack, "kmint"), w.cloud.Tag(arn, kms.TagUse, kms.Sign)))
	public, err := kms.Signer{Client: client}.PublicKey(t.Context(), arn)
	must(err)
	key, err := keys.New(jwt.RS256, public, arn)
	must(err)
	_, err = keys.First(t.Context(), w.store, key, w.now)
	must(err)
	for _, name := range []string{"seed.json", "full.json"} {
		file, err := os.Open(filepath.Join("examples", name))
		must(err)
		example, err := seed.Read(file)
		must(errors.Join(err, file.Close()))
		_, err = example.Write(t.Context(), seed.Writers{
			Issuer: "https://auth.example.com/", Config: w.store, Clients: w.store, APIs: w.store, Settings: w.store, Users: w.store, Logins: w.store,
			People: w.store, Vault: local,
		})
		must(err)
	}
	log := slog.New(slog.NewJSONHandler(&w.log, nil)).With(config.Common{Stack: "kmint"}.Attrs("v")...)
	db := w.store
	w.token = server.Token{
		Issuer: "https://auth.example.com/", TokenPath: "/oauth/token",
		Clients: db, APIs: db, Settings: db, Issuers: db, Registry: db, Users: db, Logins: db, Attempts: db, Sessions: db,
		Codes: db, Grants: db, Kept: db, Uses: db, Revocations: db, Revoked: db, Opaque: db, Documents: db,
		MAC: local, Vault: local, PrivateKey: kms.Signer{Client: client}, Now: now, Log: log,
	}.Handler()
	keeper := kms.Keeper{Client: client, Stack: "kmint", Signers: []string{"arn:aws:iam::000000000000:role/token"}}
	w.rotates = server.Rotate{
		Registries: db, Inventory: keeper, Keeper: keeper, Period: 90 * 24 * time.Hour, Publish: 24 * time.Hour, Now: now, Log: log,
	}
	return w
}

func (w *watched) samples() (all []sample) {
	w.t.Helper()
	for line := range strings.Lines(w.log.String()) {
		some, err := extract(line)
		if err != nil {
			w.t.Fatalf("%v: %s", err, line)
		}
		all = append(all, some...)
	}
	return all
}

func (w *watched) alarm(id string) alarm {
	w.t.Helper()
	a, err := readAlarm(at(alarms(w.t)[id], "Properties"), parameters())
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// ask posts a form to the token endpoint, as in Lambda, and returns the answer's body.
func (w *watched) ask(basic *url.Userinfo, form url.Values, statuses ...int) string {
	w.t.Helper()
	ctx := lambdacontext.NewContext(w.t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "r"})
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/oauth/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic != nil {
		secret, _ := basic.Password()
		r.SetBasicAuth(basic.Username(), secret)
	}
	answer := httptest.NewRecorder()
	w.token.ServeHTTP(answer, r)
	if !slices.Contains(statuses, answer.Code) {
		w.t.Fatalf("%d, want %d: %s", answer.Code, statuses, answer.Body)
	}
	return answer.Body.String()
}

func (w *watched) machine(secret string, status int) {
	w.t.Helper()
	w.ask(url.UserPassword("demo-service", secret), url.Values{"grant_type": {"client_credentials"}}, status)
}

func (w *watched) web(status int, form ...string) string {
	w.t.Helper()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	return w.ask(url.UserPassword("demo-web", "demo-web-secret-used-in-examples-only"), values, status)
}

// code grants what a login would.
func (w *watched) code() string {
	w.t.Helper()
	code := oauth.NewHandle(oauth.CodePrefix)
	grant := store.Grant{
		ID: string(code.Digest()), ClientID: "demo-web", Subject: "demo-user", RedirectURI: "http://localhost:8080/callback",
		Scope: oauth.Scope{"openid", "offline_access"}, Requested: oauth.Scope{"openid", "offline_access"}, AuthTime: w.now, Created: w.now,
		CodeExpires: w.now.Add(time.Minute), End: w.now.Add(time.Hour), Kept: w.now.Add(time.Hour),
	}
	if err := w.store.PutGrant(w.t.Context(), grant); err != nil {
		w.t.Fatal(err)
	}
	return code.Reveal()
}

// replay uses a code twice.
func (w *watched) replay() {
	w.t.Helper()
	code := w.code()
	for _, status := range []int{http.StatusOK, http.StatusBadRequest} {
		w.web(status, "grant_type", "authorization_code", "code", code, "redirect_uri", "http://localhost:8080/callback")
	}
}

// reuse uses a refresh token twice.
func (w *watched) reuse() {
	w.t.Helper()
	answer := w.web(http.StatusOK, "grant_type", "authorization_code", "code", w.code(), "redirect_uri", "http://localhost:8080/callback")
	_, token, _ := strings.Cut(answer, `"refresh_token":"`)
	token, _, _ = strings.Cut(token, `"`)
	for _, status := range []int{http.StatusOK, http.StatusBadRequest} {
		w.web(status, "grant_type", "refresh_token", "refresh_token", token)
	}
}

func (w *watched) password(username, password string, statuses ...int) {
	w.t.Helper()
	w.ask(nil, url.Values{
		"grant_type": {"password"}, "username": {username}, "password": {password}, "scope": {"openid"},
		"client_id": {"demo-legacy"}, "client_secret": {"demo-legacy-secret-used-in-examples-only"},
	}, statuses...)
}

func (w *watched) login() { w.password("demo", "correct horse battery staple", http.StatusOK) }

func (w *watched) guess() {
	w.password("nobody", "nothing", http.StatusForbidden, http.StatusTooManyRequests)
}

func (w *watched) rotate() {
	w.t.Helper()
	if w.unreplaceable {
		w.cloud.Next("CreateKey", kmstest.Fault{Error: kmstest.AccessDenied})
	}
	ctx := lambdacontext.NewContext(w.t.Context(), &lambdacontext.LambdaContext{AwsRequestID: strconv.Itoa(w.log.Len())})
	_ = w.rotates.Handler()(ctx) // what fails is in the log
}
