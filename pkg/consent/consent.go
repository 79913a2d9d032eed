// Package consent answers: has the person let this client have what it asks for?
//
// The owner's own clients, first-party ones, are never asked about. What another
// client would get is a list of words (Wanted): each scope value, and of an API's
// values each for the API whose it is, as a value that two APIs have may mean two
// things. The person has let it have that if each word is in the record, which says
// since when; an empty request needs a record too. A scope that grows is asked for
// again, and what was let before keeps its date.
package consent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
	"kmint/pkg/words"
)

// Wanted are the words for what a client would have by the scope at the APIs. One for
// an API and not for the person's identity holds a space, which no scope value does:
// the API's identifier, a space, and the value; or nothing, for the API itself.
func Wanted(scope oauth.Scope, apis []store.API) []string {
	var wanted []string
	for _, value := range scope {
		if _, personal := identity(value); personal {
			wanted = append(wanted, value)
		}
	}
	for _, api := range apis {
		wanted = append(wanted, api.Identifier+" ")
		for _, value := range scope {
			if _, ok := api.Scopes[value]; ok {
				wanted = append(wanted, api.Identifier+" "+value)
			}
		}
	}
	return wanted
}

// Given reports whether the record, nil for none, holds all that is wanted.
func Given(c store.Consent, wanted []string) bool {
	return c != nil && !slices.ContainsFunc(wanted, func(word string) bool { _, ok := c[word]; return !ok })
}

// identity says in our own words what a scope value means that no API has.
func identity(value string) (text words.Phrase, ok bool) {
	text, ok = map[string]words.Phrase{
		oauth.OpenID:        nothing,
		oauth.Profile:       "See your profile: your name, your picture and the like",
		oauth.Email:         "See your email address",
		oauth.Address:       "See your postal address",
		oauth.Phone:         "See your phone number",
		oauth.OfflineAccess: "Keep this access while you are away",
		oauth.OnlineAccess:  "Keep this access as long as you are logged in",
	}[value]
	return text, ok
}

// nothing is what an empty request asks for.
const nothing words.Phrase = "Know who you are here"

// What an API is used for: as its owner says, or without more.
const (
	ofAPI  words.Phrase = "%1: %2"
	wholly words.Phrase = "Use *%1* in your name"
)

// Words says what is wanted, a line for each thing, as people read it, and at least one.
// An API is named where the client has no more of it than that.
func Words(wanted []string, apis []store.API) []words.Text {
	var lines []words.Text
	for _, word := range wanted {
		if text, ok := identity(word); ok {
			lines = append(lines, words.Text{Phrase: text})
			continue
		}
		identifier, value := split(word)
		name, description := identifier, value
		for _, api := range apis {
			if api.Identifier != identifier {
				continue
			}
			if api.Name != "" {
				name = api.Name
			}
			if api.Scopes[value] != "" {
				description = api.Scopes[value]
			}
		}
		switch {
		case value != "":
			lines = append(lines, words.Text{Phrase: ofAPI, Args: []string{name, description}})
		case !slices.ContainsFunc(wanted, func(w string) bool { return w != word && strings.HasPrefix(w, word) }):
			lines = append(lines, words.Text{Phrase: wholly, Args: []string{name}})
		}
	}
	if len(lines) == 0 {
		lines = []words.Text{{Phrase: nothing}}
	}
	return lines
}

// APIs are the identifiers of the APIs that a record is about, sorted.
func APIs(c store.Consent) []string {
	var found []string
	for word := range c {
		if identifier, _ := split(word); strings.Contains(word, " ") && !slices.Contains(found, identifier) {
			found = append(found, identifier)
		}
	}
	slices.Sort(found)
	return found
}

// split cuts a word at its last space.
func split(word string) (identifier, value string) {
	i := strings.LastIndex(word, " ")
	if i < 0 {
		return word, ""
	}
	return word[:i], word[i+1:]
}

// Held are the words of a record, sorted, the person's identity first.
func Held(c store.Consent) []string {
	identity := append(oauth.IdentityScope(), oauth.OfflineAccess, oauth.OnlineAccess)
	last := func(word string) int {
		if i := slices.Index(identity, word); i >= 0 {
			return i
		}
		return len(identity)
	}
	return slices.SortedFunc(maps.Keys(c), func(a, b string) int { return cmp.Or(cmp.Compare(last(a), last(b)), cmp.Compare(a, b)) })
}

// Since is when the person first let the client have anything that it still has; zero
// for an empty record.
func Since(c store.Consent) time.Time {
	if len(c) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(slices.Collect(maps.Values(c)), time.Time.Compare)
}

// A Keeper remembers consents.
type Keeper struct {
	Consents store.Consents
	// Listings and Grants are for Withdraw.
	Listings store.Listings
	Grants   store.GrantEnder
	// Settle waits until a request that has read a record before it was gone has written
	// its grant, and the index shows it; an error says that there is no time for it.
	Settle func(context.Context) error
	Now    func() time.Time
}

// settled is how long Settle waits: many times what such a request and the index take.
const settled = time.Second

// Settle is that of a server.
func Settle(ctx context.Context) error {
	select {
	case <-time.After(settled):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rounds bounds how often a consent is written anew because another came between.
const rounds = 3

// Allow remembers that the person lets the client have what is wanted. before is the
// record as it was read, nil for none.
func (k Keeper) Allow(ctx context.Context, subject, clientID string, before store.Consent, wanted []string) error {
	for range rounds {
		next := store.Consent{}
		for _, word := range wanted {
			next[word] = k.Now()
		}
		maps.Copy(next, before)
		err := k.Consents.PutConsent(ctx, subject, clientID, before, next)
		if !errors.Is(err, store.ErrConflict) {
			return wrap(err)
		}
		all, err := k.Consents.Consents(ctx, subject)
		if err != nil {
			return wrap(err)
		}
		before = all[clientID]
	}
	return fmt.Errorf("consent: %w: it keeps changing", store.ErrBusy)
}

// Of returns all that the person lets clients have, by client_id.
func (k Keeper) Of(ctx context.Context, subject string) (map[string]store.Consent, error) {
	all, err := k.Consents.Consents(ctx, subject)
	return all, wrap(err)
}

// atOnce is how many grants are ended side by side.
const atOnce = 8

// Withdraw ends every grant that the client holds for the person, each by one write, and
// makes the client be asked about again. The record goes after the grants: where it is
// still there the person can withdraw once more what was half done. What the client got
// in between is ended after that.
func (k Keeper) Withdraw(ctx context.Context, subject, clientID string) error {
	err := k.endGrants(ctx, subject, clientID)
	if err == nil {
		err = k.Consents.DeleteConsent(ctx, subject, clientID)
	}
	if err == nil {
		err = k.Settle(ctx)
	}
	if err == nil {
		err = k.endGrants(ctx, subject, clientID)
	}
	return wrap(err)
}

func (k Keeper) endGrants(ctx context.Context, subject, clientID string) error {
	for from := ""; ; {
		ids, next, err := k.Listings.GrantsOf(ctx, subject, clientID, from)
		if err != nil {
			return err
		}
		work, workCtx := errgroup.WithContext(ctx)
		work.SetLimit(atOnce)
		for _, id := range ids {
			work.Go(func() error {
				err := k.Grants.RevokeGrant(workCtx, store.Revocation{GrantID: id, ClientID: clientID, Subject: subject, Now: k.Now()})
				// The index was wrong: it is gone, or never was this person's or client's.
				if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrOtherClient) {
					return nil
				}
				return err
			})
		}
		if err := work.Wait(); err != nil || next == "" {
			return err
		}
		from = next
	}
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("consent: %w", err)
	}
	return nil
}
