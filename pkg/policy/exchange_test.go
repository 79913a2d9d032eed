package policy_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"kmint/pkg/oauth"
	"kmint/pkg/policy"
	"kmint/pkg/store"
)

func TestMayExchange(t *testing.T) {
	for _, impersonation := range []bool{false, true} {
		for _, delegation := range []bool{false, true} {
			c := store.Client{Exchange: store.ExchangePolicy{Impersonation: impersonation, Delegation: delegation}}
			if got := policy.MayExchange(c, false); (got == nil) != impersonation || got != nil && code(got) != oauth.UnauthorizedClient {
				t.Errorf("%+v without an actor: %v", c.Exchange, got)
			}
			if got := policy.MayExchange(c, true); (got == nil) != delegation || got != nil && code(got) != oauth.UnauthorizedClient {
				t.Errorf("%+v with an actor: %v", c.Exchange, got)
			}
		}
	}
}

func TestExchangeAudience(t *testing.T) {
	bare := store.Client{APIGrants: map[string][]string{orders: nil}}
	one := store.Client{UserAPIGrants: map[string][]string{orders: nil}}
	for name, tt := range map[string]struct {
		client   store.Client
		subject  policy.Subject
		asked    []string
		settings store.Settings
		scope    oauth.Scope
		want     []string
		refused  oauth.Code
	}{
		"that of the subject_token":            {client: one, subject: policy.Subject{Audience: []string{stock}}, want: []string{stock}},
		"or the one asked for":                 {client: one, subject: policy.Subject{Audience: []string{stock}}, asked: []string{orders}, want: []string{orders}},
		"of an identity the only one":          {client: one, subject: policy.Subject{Identity: true}, want: []string{orders}},
		"or the default":                       {client: bare, subject: policy.Subject{Identity: true}, settings: store.Settings{DefaultAudience: stock}, want: []string{stock}},
		"or userinfo":                          {client: bare, subject: policy.Subject{Identity: true}, scope: oauth.Scope{oauth.OpenID}},
		"never what is for the client's name":  {client: bare, subject: policy.Subject{Identity: true}, refused: oauth.InvalidTarget},
		"the aud of an identity means nothing": {client: bare, subject: policy.Subject{Identity: true, Audience: []string{stock}}, refused: oauth.InvalidTarget},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policy.ExchangeAudience(tt.client, tt.subject, tt.asked, tt.settings, tt.scope)
			if !slices.Equal(got, tt.want) || code(err) != tt.refused {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestExchangeScope(t *testing.T) {
	refreshing := []string{oauth.RefreshToken}
	bare := store.Client{GrantTypes: refreshing}
	onward := store.Client{
		GrantTypes:    refreshing,
		UserAPIGrants: map[string][]string{stock: {"read", "write"}}, APIGrants: map[string][]string{stock: {"list"}, orders: {"read"}},
	}
	person := policy.Subject{Scope: oauth.Scope{"openid", "read", "list", "offline_access"}, Audience: []string{orders}}
	machine := policy.Subject{Scope: oauth.Scope{"read", "list"}, Audience: []string{orders}, Machine: true}
	identity := policy.Subject{Identity: true}
	offline := func(a store.API) store.API { a.AllowOfflineAccess = true; return a }
	here, there := offline(api(orders, "", "")), offline(api(stock, "", "", "write"))
	for name, tt := range map[string]struct {
		client  store.Client
		subject policy.Subject
		apis    []store.API
		asked   string
		want    string
		refused oauth.Code
	}{
		"all that it has, but no refresh token":      {bare, person, []store.API{here}, "", "openid read list", ""},
		"what is asked":                              {bare, person, []store.API{here}, "read", "read", ""},
		"a refresh token where it is asked for":      {bare, person, []store.API{here}, "read offline_access", "read offline_access", ""},
		"but not where the API has none":             {bare, person, []store.API{api(orders, "", "")}, "read offline_access", "read", ""},
		"more than it has":                           {bare, person, []store.API{api(orders, "", "", "write")}, "read write", "", oauth.InvalidScope},
		"more identity than it has":                  {bare, person, []store.API{here}, "openid email", "", oauth.InvalidScope},
		"what the API has no more":                   {bare, policy.Subject{Scope: oauth.Scope{"gone"}, Audience: []string{orders}}, []store.API{here}, "gone", "", oauth.InvalidScope},
		"an API that denies":                         {bare, person, []store.API{api(orders, store.DenyAll, "")}, "read", "", oauth.InvalidTarget},
		"another API that allows all is not enough":  {bare, person, []store.API{there}, "read", "", oauth.InvalidTarget},
		"another API that is written down":           {onward, person, []store.API{there}, "read", "read", ""},
		"gives no more than the token has":           {onward, person, []store.API{there}, "write", "", oauth.InvalidScope},
		"and no more than is written down":           {onward, person, []store.API{there}, "list", "", oauth.InvalidScope},
		"unasked both bounds hold too":               {onward, person, []store.API{there}, "", "openid read", ""},
		"beside its own, only what both give":        {onward, person, []store.API{here, there}, "", "openid read", ""},
		"another API that denies despite the list":   {onward, person, []store.API{api(stock, store.DenyAll, "")}, "read", "", oauth.InvalidTarget},
		"for userinfo with openid":                   {bare, person, nil, "openid", "openid", ""},
		"for nothing at all":                         {bare, policy.Subject{Scope: oauth.Scope{"read"}}, nil, "", "", oauth.InvalidTarget},
		"a machine has what its client's policy has": {onward, machine, []store.API{here}, "", "read", ""},
		"a machine onward":                           {onward, machine, []store.API{there}, "", "list", ""},
		"a machine onward by what is for people":     {onward, machine, []store.API{there}, "read", "", oauth.InvalidScope},
		"a machine without a grant":                  {bare, machine, []store.API{here}, "", "", oauth.InvalidTarget},
		"an identity gives what is written down":     {onward, identity, []store.API{there}, "", "read write", ""},
		"and openid where that is asked for":         {onward, identity, []store.API{there}, "openid read", "openid read", ""},
		"no more identity":                           {onward, identity, []store.API{there}, "openid email", "", oauth.InvalidScope},
		"no refresh token":                           {onward, identity, []store.API{there}, "read offline_access", "", oauth.InvalidScope},
		"and nothing that is not":                    {onward, identity, []store.API{there}, "list", "", oauth.InvalidScope},
		"nor by allow_all":                           {bare, identity, []store.API{there}, "", "", oauth.InvalidTarget},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := policy.ExchangeScope(tt.client, tt.subject, tt.apis, scope(t, tt.asked))
			if got.String() != tt.want || code(err) != tt.refused {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// The rules once more, each said by itself: whatever the configuration and the
// request, every value that comes out was asked for, or the subject has it, and no
// API in whose token it stands refuses it to the client.
func TestNarrowing(t *testing.T) {
	values := []string{"read", "list", "write", "openid", "email", "offline_access", "online_access"}
	identifiers := []string{orders, stock, "https://bills.example.com/"}
	someOf := func(t *rapid.T, of []string, label string) []string {
		var some []string
		for _, one := range of {
			if rapid.Bool().Draw(t, label+" "+one) {
				some = append(some, one)
			}
		}
		return some
	}
	policies := []string{"", store.AllowAll, store.RequireGrant, store.DenyAll}
	check := func(t *rapid.T) {
		apis := map[string]store.API{}
		c := store.Client{GrantTypes: someOf(t, []string{oauth.RefreshToken}, "uses"), APIGrants: map[string][]string{}, UserAPIGrants: map[string][]string{}}
		for _, id := range identifiers {
			a := store.API{
				Identifier: id, Scopes: map[string]string{}, AllowOfflineAccess: rapid.Bool().Draw(t, "offline"),
				UserPolicy: rapid.SampledFrom(policies).Draw(t, "user policy"), ClientPolicy: rapid.SampledFrom(policies).Draw(t, "client policy"),
			}
			for _, value := range someOf(t, values[:3], "scopes of "+id) {
				a.Scopes[value] = ""
			}
			apis[id] = a
			if rapid.Bool().Draw(t, "granted") {
				c.APIGrants[id] = someOf(t, values[:3], "grants of "+id)
			}
			if rapid.Bool().Draw(t, "granted for people") {
				c.UserAPIGrants[id] = someOf(t, values[:3], "people's grants of "+id)
			}
		}
		var targets []store.API
		for _, id := range someOf(t, identifiers, "target") {
			targets = append(targets, apis[id])
		}
		asked := oauth.Scope(someOf(t, values, "asked"))
		s := policy.Subject{
			Scope: someOf(t, values, "subject"), Audience: someOf(t, identifiers, "aud"),
			Identity: rapid.Bool().Draw(t, "identity"), Machine: rapid.Bool().Draw(t, "machine"),
		}
		s.Identity = s.Identity && !s.Machine

		// refuses says that the API has the value and does not give it to the client.
		refuses := func(a store.API, value string, machine, explicit bool) bool {
			p, granted := a.UserPolicy, c.UserAPIGrants[a.Identifier]
			if machine {
				p, granted = a.ClientPolicy, c.APIGrants[a.Identifier]
			}
			written := slices.Contains(granted, value)
			if p == "" && machine {
				p = store.RequireGrant
			}
			_, has := a.Scopes[value]
			return has && (p == store.DenyAll || (p == store.RequireGrant || explicit) && !written)
		}
		hold := func(from string, got oauth.Scope, machine bool, explicit func(store.API) bool) {
			for _, value := range got {
				var given bool
				for _, a := range targets {
					if refuses(a, value, machine, explicit(a)) {
						t.Fatalf("%s: %s refuses %s, which is in %q", from, a.Identifier, value, got)
					}
					_, has := a.Scopes[value]
					given = given || has
				}
				if slices.Contains(values[:3], value) && !given {
					t.Fatalf("%s: no API has %s, which is in %q", from, value, got)
				}
				if value == oauth.OfflineAccess && slices.ContainsFunc(targets, func(a store.API) bool { return !a.AllowOfflineAccess }) {
					t.Fatalf("%s: an API allows no offline access", from)
				}
				if (value == oauth.OfflineAccess || value == oauth.OnlineAccess) && len(c.GrantTypes) == 0 {
					t.Fatalf("%s: the client refreshes nothing", from)
				}
				if machine && !slices.Contains(values[:3], value) {
					t.Fatalf("%s: %s speaks of a person", from, value)
				}
			}
		}
		never := func(store.API) bool { return false }

		if got, err := policy.UserScope(c, targets, asked); err == nil {
			hold("UserScope", got, false, never)
			if !got.Within(asked) {
				t.Fatalf("UserScope gives %q for %q", got, asked)
			}
			if again, err := policy.UserScope(c, targets, got); err != nil || again.String() != got.String() {
				t.Fatalf("UserScope of %q is %q", got, again)
			}
			for i := range targets { // fewer APIs never give more
				fewer, err := policy.UserScope(c, slices.Delete(slices.Clone(targets), i, i+1), got)
				if err != nil || !fewer.Within(got) {
					t.Fatalf("narrowed to fewer APIs: %q of %q, %v", fewer, got, err)
				}
			}
		}
		if got, err := policy.ClientScope(c, targets, asked); err == nil {
			hold("ClientScope", got, true, never)
			if len(asked) > 0 && got.String() != asked.String() {
				t.Fatalf("ClientScope gives %q for %q", got, asked)
			}
		}
		got, err := policy.ExchangeScope(c, s, targets, asked)
		if err != nil {
			if got := code(err); got != oauth.InvalidScope && got != oauth.InvalidTarget {
				t.Fatalf("refused by %q", got)
			}
			return
		}
		hold("ExchangeScope", got, s.Machine, func(a store.API) bool { return s.Identity || !slices.Contains(s.Audience, a.Identifier) })
		if !s.Identity && !got.Within(s.Scope) {
			t.Fatalf("ExchangeScope gives %q of %q", got, s.Scope)
		}
		if len(asked) > 0 && !got.Within(asked) {
			t.Fatalf("ExchangeScope gives %q for %q", got, asked)
		}
		if s.Identity && (got.Has(oauth.Email) || policy.Refreshable(got)) {
			t.Fatalf("an identity gives %q", got)
		}
		for _, a := range targets {
			grants := c.UserAPIGrants
			if s.Machine {
				grants = c.APIGrants
			}
			if _, written := grants[a.Identifier]; !written && (s.Identity || !slices.Contains(s.Audience, a.Identifier)) {
				t.Fatalf("a token for %s, which the owner has not written down", a.Identifier)
			}
		}
		if !s.Machine { // what the endpoint looks at once more changes nothing
			if again, err := policy.UserScope(c, targets, got); err != nil || again.String() != got.String() {
				t.Fatalf("UserScope of %q is %q, %v", got, again, err)
			}
		}
	}
	for range 50 { // a hundred at a time
		rapid.Check(t, check)
	}
}
