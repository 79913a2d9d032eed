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

func TestMayUseGrant(t *testing.T) {
	c := store.Client{GrantTypes: []string{oauth.ClientCredentials}}
	if err := policy.MayUseGrant(c, oauth.ClientCredentials); err != nil {
		t.Errorf("a registered grant type is refused: %v", err)
	}
	if got := code(policy.MayUseGrant(c, oauth.RefreshToken)); got != oauth.UnauthorizedClient {
		t.Errorf("another grant type: %q", got)
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
		want     string
		refused  oauth.Code
	}{
		"the one asked for":                  {client: one, asked: []string{stock}, want: stock},
		"else the client's only API":         {client: one, settings: withDefault, want: orders},
		"of two APIs neither is the only":    {client: two, settings: withDefault, want: stock},
		"else the default":                   {settings: withDefault, scope: oauth.Scope{"openid"}, want: stock},
		"else userinfo with openid":          {scope: oauth.Scope{"openid"}, want: ""},
		"else invalid_target":                {scope: oauth.Scope{"profile"}, refused: oauth.InvalidTarget},
		"two at once are refused":            {client: one, asked: []string{stock, orders}, refused: oauth.InvalidTarget},
		"two APIs and no default is refused": {client: two, refused: oauth.InvalidTarget},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policy.Audience(tt.client, tt.asked, tt.settings, tt.scope)
			if got != tt.want || code(err) != tt.refused {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestClientScope(t *testing.T) {
	c := store.Client{APIGrants: map[string][]string{orders: {"read", "list"}}}
	api := store.API{Identifier: orders}
	for name, tt := range map[string]struct {
		api     store.API
		asked   oauth.Scope
		want    oauth.Scope
		refused oauth.Code
	}{
		"all of the grant where nothing is asked": {api, nil, oauth.Scope{"read", "list"}, ""},
		"what is asked":          {api, oauth.Scope{"list"}, oauth.Scope{"list"}, ""},
		"more than the grant":    {api, oauth.Scope{"list", "write"}, nil, oauth.InvalidScope},
		"an API without a grant": {store.API{Identifier: stock}, nil, nil, oauth.InvalidTarget},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policy.ClientScope(c, tt.api, tt.asked)
			if !slices.Equal(got, tt.want) || code(err) != tt.refused {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestUserScope(t *testing.T) {
	refreshing := store.Client{GrantTypes: []string{oauth.AuthorizationCode, oauth.RefreshToken}}
	plain := store.Client{GrantTypes: []string{oauth.AuthorizationCode}}
	api := &store.API{Scopes: map[string]string{"read": ""}}
	offlineAPI := &store.API{Scopes: map[string]string{"read": ""}, AllowOfflineAccess: true}
	for name, tt := range map[string]struct {
		client store.Client
		api    *store.API
		asked  string
		want   string
	}{
		"identity and the API's own, the rest is ignored": {plain, api, "openid read write x", "openid read"},
		"without an API only identity":                    {plain, nil, "openid email read", "openid email"},
		"offline_access needs the client's grant":         {plain, offlineAPI, "openid offline_access", "openid"},
		"offline_access needs the API":                    {refreshing, api, "openid offline_access", "openid"},
		"offline_access with both":                        {refreshing, offlineAPI, "openid offline_access", "openid offline_access"},
		"offline_access without an API":                   {refreshing, nil, "openid offline_access", "openid offline_access"},
	} {
		t.Run(name, func(t *testing.T) {
			asked, err := oauth.ParseScope(tt.asked)
			if err != nil {
				t.Fatal(err)
			}
			if got := policy.UserScope(tt.client, tt.api, asked).String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestGrantEnds(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c := store.Client{Refresh: store.RefreshPolicy{Lifetime: 3600}}
	api := &store.API{TokenLifetime: 600}
	end, kept := policy.GrantEnds(c, api, oauth.Scope{oauth.OpenID}, now)
	if !end.Equal(now.Add(time.Minute)) || !kept.Equal(now.Add(11*time.Minute)) {
		t.Errorf("without a refresh token: %v, %v", end.Sub(now), kept.Sub(now))
	}
	end, kept = policy.GrantEnds(c, api, oauth.Scope{oauth.OfflineAccess}, now)
	if !end.Equal(now.Add(time.Hour)) || !kept.Equal(now.Add(70*time.Minute)) {
		t.Errorf("with a refresh token: %v, %v", end.Sub(now), kept.Sub(now))
	}
	if got := policy.TokenLifetime(nil); got != 24*time.Hour {
		t.Errorf("the default lifetime is %v", got)
	}
}
