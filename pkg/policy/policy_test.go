package policy_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
)

const orders, stock = "https://orders.example.com/", "https://stock.example.com/"

func code(err error) oauth.Code {
	var e *oauth.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func kind(err error) oauth.Case {
	var e *oauth.Error
	if errors.As(err, &e) {
		return e.Case
	}
	return ""
}

func scope(t *testing.T, s string) oauth.Scope {
	t.Helper()
	parsed, err := oauth.ParseScope(s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestMayUseGrant(t *testing.T) {
	c := store.Client{GrantTypes: []string{oauth.ClientCredentials, oauth.Password, oauth.PasswordRealm}}
	legacy := store.Settings{LegacyPassword: true}
	for name, tt := range map[string]struct {
		grantType string
		settings  store.Settings
		refused   oauth.Code
	}{
		"a registered one":                  {oauth.ClientCredentials, store.Settings{}, ""},
		"another":                           {oauth.RefreshToken, legacy, oauth.UnauthorizedClient},
		"password needs the server's leave": {oauth.Password, store.Settings{}, oauth.UnauthorizedClient},
		"so does its other form":            {oauth.PasswordRealm, store.Settings{}, oauth.UnauthorizedClient},
		"password with it":                  {oauth.Password, legacy, ""},
		"and its other form":                {oauth.PasswordRealm, legacy, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := policy.MayUseGrant(c, tt.settings, tt.grantType)
			if code(err) != tt.refused || tt.refused != "" && kind(err) != oauth.CaseGrantType {
				t.Errorf("got %v", err)
			}
		})
	}
	if code(policy.MayUseGrant(store.Client{}, legacy, oauth.Password)) != oauth.UnauthorizedClient {
		t.Error("the server's leave is not the client's")
	}
}

func TestAudience(t *testing.T) {
	one := store.Client{APIGrants: map[string][]string{orders: nil}}
	two := store.Client{APIGrants: map[string][]string{orders: nil, stock: nil}}
	withDefault := store.Settings{DefaultAudience: stock}
	for name, tt := range map[string]struct {
		client   store.Client
		asked    []string
		settings store.Settings
		scope    oauth.Scope
		want     []string
		refused  oauth.Code
	}{
		"the one asked for":                  {client: one, asked: []string{stock}, want: []string{stock}},
		"several":                            {client: one, asked: []string{stock, orders}, want: []string{stock, orders}},
		"else the client's only API":         {client: one, settings: withDefault, want: []string{orders}},
		"of two APIs neither is the only":    {client: two, settings: withDefault, want: []string{stock}},
		"else the default":                   {settings: withDefault, scope: oauth.Scope{"openid"}, want: []string{stock}},
		"else userinfo with openid":          {scope: oauth.Scope{"openid"}, want: nil},
		"userinfo by its address":            {client: one, settings: withDefault, asked: []string{}, scope: oauth.Scope{"openid"}, want: []string{}},
		"it needs openid":                    {client: one, settings: withDefault, asked: []string{}, scope: oauth.Scope{"email"}, refused: oauth.InvalidTarget},
		"else invalid_target":                {scope: oauth.Scope{"profile"}, refused: oauth.InvalidTarget},
		"two APIs and no default is refused": {client: two, refused: oauth.InvalidTarget},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policy.Audience(tt.client, tt.asked, tt.settings, tt.scope)
			if !slices.Equal(got, tt.want) || code(err) != tt.refused {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// api has the scope values read and list, and those given.
func api(identifier, userPolicy, clientPolicy string, values ...string) store.API {
	a := store.API{Identifier: identifier, UserPolicy: userPolicy, ClientPolicy: clientPolicy, Scopes: map[string]string{"read": "", "list": ""}}
	for _, value := range values {
		a.Scopes[value] = ""
	}
	return a
}

func TestClientScope(t *testing.T) {
	c := store.Client{APIGrants: map[string][]string{orders: {"read", "list", "gone"}}}
	for name, tt := range map[string]struct {
		apis    []store.API
		asked   string
		want    string
		refused oauth.Code
		kind    oauth.Case
	}{
		"all of the grant where nothing is asked": {apis: []store.API{api(orders, "", "")}, want: "read list"},
		"what is asked":                                       {apis: []store.API{api(orders, "", "")}, asked: "list", want: "list"},
		"more than the grant":                                 {apis: []store.API{api(orders, "", "", "write")}, asked: "list write", refused: oauth.InvalidScope},
		"what the API has no more":                            {apis: []store.API{api(orders, "", "")}, asked: "gone", refused: oauth.InvalidScope},
		"an API without a grant":                              {apis: []store.API{api(stock, "", "")}, refused: oauth.InvalidTarget, kind: oauth.CaseClientGrant},
		"one of two without a grant":                          {apis: []store.API{api(orders, "", ""), api(stock, "", "")}, refused: oauth.InvalidTarget, kind: oauth.CaseClientGrant},
		"a policy that is for people does not help":           {apis: []store.API{api(stock, store.AllowAll, "")}, refused: oauth.InvalidTarget, kind: oauth.CaseClientGrant},
		"allow_all gives what is asked":                       {apis: []store.API{api(stock, "", store.AllowAll)}, asked: "read", want: "read"},
		"allow_all gives what the API has":                    {apis: []store.API{api(stock, "", store.AllowAll)}, asked: "write", refused: oauth.InvalidScope},
		"allow_all gives nothing unasked":                     {apis: []store.API{api(stock, "", store.AllowAll)}, want: ""},
		"allow_all beyond the grant":                          {apis: []store.API{api(orders, "", store.AllowAll, "write")}, asked: "write", want: "write"},
		"deny_all despite a grant":                            {apis: []store.API{api(orders, "", store.DenyAll)}, asked: "read", refused: oauth.InvalidTarget, kind: oauth.CaseClientGrant},
		"an unknown policy denies":                            {apis: []store.API{api(orders, "", "allow")}, asked: "read", refused: oauth.InvalidTarget, kind: oauth.CaseClientGrant},
		"of two APIs each value that one gives":               {apis: []store.API{api(orders, "", ""), {Identifier: stock, ClientPolicy: store.AllowAll, Scopes: map[string]string{"count": ""}}}, asked: "read count", want: "read count"},
		"a value of both that one of them refuses":            {apis: []store.API{api(orders, "", "", "write"), api(stock, "", store.AllowAll, "write")}, asked: "write", refused: oauth.InvalidScope},
		"no identity: nobody has logged in":                   {apis: []store.API{api(orders, "", "")}, asked: "openid", refused: oauth.InvalidScope},
		"no refresh token, which nobody could have agreed to": {apis: []store.API{api(orders, "", "")}, asked: "offline_access", refused: oauth.InvalidScope},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policy.ClientScope(c, tt.apis, scope(t, tt.asked))
			if got.String() != tt.want || code(err) != tt.refused || kind(err) != tt.kind {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestUserScope(t *testing.T) {
	both := []string{oauth.AuthorizationCode, oauth.RefreshToken}
	refreshing := store.Client{GrantTypes: both, UserAPIGrants: map[string][]string{stock: {"read", "gone"}}}
	plain := store.Client{GrantTypes: both[:1]}
	offline := func(a store.API) store.API { a.AllowOfflineAccess = true; return a }
	open := api(orders, "", "")
	for name, tt := range map[string]struct {
		client  store.Client
		apis    []store.API
		asked   string
		want    string
		refused oauth.Code
	}{
		"identity and the API's own, the rest is ignored": {plain, []store.API{open}, "openid read write x", "openid read", ""},
		"without an API only identity":                    {plain, nil, "openid email read", "openid email", ""},
		"offline_access needs the client's grant":         {plain, []store.API{offline(open)}, "openid offline_access", "openid", ""},
		"offline_access needs the API":                    {refreshing, []store.API{open}, "openid offline_access", "openid", ""},
		"offline_access needs every API":                  {refreshing, []store.API{offline(open), api(stock, "", "")}, "openid offline_access", "openid", ""},
		"offline_access with both":                        {refreshing, []store.API{offline(open)}, "openid offline_access", "openid offline_access", ""},
		"offline_access without an API":                   {refreshing, nil, "openid offline_access", "openid offline_access", ""},
		"online_access needs the client's grant":          {plain, []store.API{open}, "openid online_access", "openid", ""},
		"online_access needs no API":                      {refreshing, []store.API{open}, "openid online_access", "openid online_access", ""},
		"require_grant gives the grant":                   {refreshing, []store.API{api(stock, store.RequireGrant, "")}, "read list gone", "read", ""},
		"require_grant without one":                       {refreshing, []store.API{api(orders, store.RequireGrant, "")}, "read", "", oauth.InvalidTarget},
		"deny_all despite a grant":                        {refreshing, []store.API{api(stock, store.DenyAll, "")}, "read", "", oauth.InvalidTarget},
		"one of two that denies":                          {refreshing, []store.API{open, api(stock, store.DenyAll, "")}, "read", "", oauth.InvalidTarget},
		"of two APIs each value that one gives":           {plain, []store.API{open, {Identifier: stock, Scopes: map[string]string{"count": ""}}}, "count read", "count read", ""},
		"a value of both that one of them refuses":        {refreshing, []store.API{open, api(stock, store.RequireGrant, "")}, "read list", "read", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policy.UserScope(tt.client, tt.apis, scope(t, tt.asked))
			if got.String() != tt.want || code(err) != tt.refused || tt.refused != "" && kind(err) != oauth.CaseClientGrant {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func TestFormatOf(t *testing.T) {
	opaque := store.API{Dialect: store.Opaque}
	if f, err := policy.FormatOf([]store.API{{}, {Dialect: store.RFC9068}}); err != nil || f.Dialect != store.RFC9068 {
		t.Errorf("%+v, %v", f, err)
	}
	for _, other := range []store.API{opaque, {Algorithm: "ES256"}, {KeyID: "k"}} {
		if _, err := policy.FormatOf([]store.API{{}, other}); code(err) != oauth.InvalidTarget {
			t.Errorf("%+v beside the default: %v", other, err)
		}
	}
}

func TestLoginEnded(t *testing.T) {
	login := time.UnixMilli(1_700_000_000_000)
	for name, tt := range map[string]struct {
		client, server time.Time
		want           bool
	}{
		"never":               {},
		"before the login":    {client: login.Add(-time.Millisecond), server: login.Add(-time.Millisecond)},
		"at the login":        {client: login, server: login},
		"by the client's":     {client: login.Add(time.Millisecond), want: true},
		"by the server's":     {server: login.Add(time.Millisecond), want: true},
		"times are of the ms": {server: login.Add(time.Microsecond)},
	} {
		if got := policy.LoginEnded(store.Client{NotBefore: tt.client}, store.Settings{NotBefore: tt.server}, login); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRotates(t *testing.T) {
	still := store.RefreshPolicy{NonRotating: true}
	for name, tt := range map[string]struct {
		client store.Client
		want   bool
	}{
		"by default":                        {store.Client{AuthMethod: oauth.ClientSecretBasic}, true},
		"not where the client asks":         {store.Client{AuthMethod: oauth.ClientSecretBasic, Refresh: still}, false},
		"a public client's all the same":    {store.Client{AuthMethod: oauth.None, Refresh: still}, true},
		"not where a public client's bound": {store.Client{AuthMethod: oauth.None, Refresh: still, DPoPBound: true}, false},
	} {
		if got := policy.Rotates(tt.client); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestGrantEnds(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c := store.Client{Refresh: store.RefreshPolicy{Lifetime: 3600}}
	short, long := store.API{TokenLifetime: 600}, store.API{TokenLifetime: 100_000}
	for name, tt := range map[string]struct {
		apis      []store.API
		scope     oauth.Scope
		end, kept time.Duration
	}{
		"without a refresh token":      {[]store.API{short}, oauth.Scope{oauth.OpenID}, time.Minute, time.Minute + 24*time.Hour},
		"with one":                     {[]store.API{short}, oauth.Scope{oauth.OfflineAccess}, time.Hour, 25 * time.Hour},
		"with one of the session":      {[]store.API{short}, oauth.Scope{oauth.OnlineAccess}, time.Hour, 25 * time.Hour},
		"as long as the longest lives": {[]store.API{short, long}, oauth.Scope{oauth.OfflineAccess}, time.Hour, time.Hour + 100_000*time.Second},
	} {
		end, kept := policy.GrantEnds(c, tt.apis, tt.scope, now)
		if end.Sub(now) != tt.end || kept.Sub(now) != tt.kept {
			t.Errorf("%s: %v, %v", name, end.Sub(now), kept.Sub(now))
		}
	}
	if got := policy.TokenLifetime(nil); got != 24*time.Hour {
		t.Errorf("the default lifetime is %v", got)
	}
	if got := policy.TokenLifetime([]store.API{long, short}); got != 10*time.Minute {
		t.Errorf("the lifetime of two is %v", got)
	}
}

func TestMayRefresh(t *testing.T) {
	refreshes := store.Client{GrantTypes: []string{oauth.RefreshToken}}
	allows, refuses := store.API{AllowOfflineAccess: true}, store.API{}
	for _, tt := range []struct {
		client store.Client
		apis   []store.API
		online bool
		want   bool
	}{
		{refreshes, []store.API{allows}, false, true},
		{refreshes, []store.API{allows, refuses}, false, false},
		{refreshes, []store.API{refuses}, true, true}, // it ends with the session
		{refreshes, nil, false, true},
		{store.Client{}, []store.API{allows}, false, false},
		{store.Client{}, nil, true, false},
	} {
		if got := policy.MayRefresh(tt.client, tt.apis, tt.online); got != tt.want {
			t.Errorf("%+v", tt)
		}
	}
}
