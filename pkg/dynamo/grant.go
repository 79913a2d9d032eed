// Authorization codes and refresh tokens (RFC 6749 §4.1.3, §6; RFC 9700 §4.14.2).

package dynamo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"kmint/pkg/oauth"
	"kmint/pkg/store"
)

var (
	_ store.Codes       = (*Store)(nil)
	_ store.GrantReader = (*Store)(nil)
	_ store.Grants      = (*Store)(nil)
	_ store.Revocations = (*Store)(nil)
)

func grantKey(id string) string { return "grant#" + id }

// PutGrant writes a new grant. Its id is the digest of 256 bits drawn for it, so
// an item that is there after an answer was lost is this one.
func (s *Store) PutGrant(ctx context.Context, g store.Grant) error {
	it, err := grantItem(g)
	if err != nil {
		return err
	}
	out, err := s.put(ctx, s.GrantsTable, it, "attribute_not_exists(#pk)", nil)
	if err == nil && out.taken(it) {
		return store.ErrConflict
	}
	return err
}

// Grant reads it strongly.
func (s *Store) Grant(ctx context.Context, id string) (store.Grant, error) {
	it, err := s.get(ctx, s.GrantsTable, grantKey(id))
	if err != nil {
		return store.Grant{}, err
	}
	return readGrant(it)
}

// SpendCode is allowed by this condition exactly if Spend.Judge allows it.
func (s *Store) SpendCode(ctx context.Context, spend store.Spend) (store.Grant, error) {
	values := item{
		":client_id": text(spend.ClientID),
		":challenge": text(string(spend.Challenge)),
		":by":        text(spend.By),
		":now":       millis(spend.Now),
		":family":    text(string(spend.Family)),
		":current":   text(string(spend.Current)),
		":idle":      millis(spend.Now.Add(spend.Idle)),
		":key":       text(spend.Key),
	}
	bind := " REMOVE #refresh_key"
	if spend.Bind != "" {
		bind = ", #refresh_key = :bind"
		values[":bind"] = text(spend.Bind)
	}
	redirect := "#redirect_sent = :redirect"
	values[":redirect"] = flag(false)
	if spend.RedirectURI != "" {
		redirect = "#redirect_uri = :redirect"
		values[":redirect"] = text(spend.RedirectURI)
	}
	return s.decide(ctx, moment{
		id: spend.GrantID, by: spend.By, now: spend.Now,
		scope: spend.Scope, audience: spend.Audience,
		// The end of the item's life that PutGrant worked out is copied, so that
		// nothing has to be read first.
		changes: "SET #spent = :now, #by = :by, #family = :family, #current = :current, #idle_expires = :idle, #ttl = #kept_ttl" + bind,
		condition: and("#client_id = :client_id", redirect, "#challenge = :challenge",
			"(attribute_not_exists(#code_key) OR #code_key = :key)",
			"attribute_not_exists(#revoked)", notUndone, "attribute_not_exists(#spent)", "#code_expires > :now"),
		values: values,
		judge:  spend.Judge, settled: spend.Done, undo: s.ReopenCode,
	})
}

// RotateRefreshToken is allowed by this condition exactly if Rotation.Judge
// allows it and the grant does not hold the answer already.
func (s *Store) RotateRefreshToken(ctx context.Context, r store.Rotation) (store.Grant, error) {
	m := moment{
		id: r.GrantID, by: r.By, now: r.Now,
		scope: r.Scope, audience: r.Audience,
		values: item{
			":client_id": text(r.ClientID),
			":family":    text(string(r.Family)),
			":presented": text(string(r.Presented)),
			":now":       millis(r.Now),
			":idle":      millis(r.Now.Add(r.Idle)),
			":by":        text(r.By),
		},
		judge: r.Judge, settled: r.Settled,
	}
	proven := "attribute_not_exists(#refresh_key)"
	if r.Key != "" {
		proven = "(attribute_not_exists(#refresh_key) OR #refresh_key = :key OR #refresh_key = :any)"
		m.values[":key"], m.values[":any"] = text(r.Key), text(store.AnyKey)
	}
	m.condition = and("#client_id = :client_id", "#family = :family", proven,
		"attribute_not_exists(#revoked)", notUndone, "#current = :presented", "#end > :now", "#idle_expires > :now")
	bind := ""
	if r.Bind != "" {
		bind, m.values[":bind"] = ", #refresh_key = :bind", text(r.Bind)
	}
	if r.Bind == store.AnyKey {
		bind = ", #refresh_key = if_not_exists(#refresh_key, :bind)"
	}
	if r.Static {
		// Whoever carries it out once more, late or not, leaves the same token.
		m.changes = "SET #idle_expires = :idle" + bind + " REMOVE #claims, #access_claims, #previous, #reopened"
		return s.decide(ctx, m)
	}
	m.changes = "SET #previous = :presented, #current = :next, #salt = :salt, #generation = #generation + :one," +
		" #rotated = :now, #idle_expires = :idle, #by = :by" + bind + " REMOVE #reopened, #claims, #access_claims"
	m.values[":next"], m.values[":salt"], m.values[":one"] = text(string(r.Next)), text(r.Salt), number(1)
	m.undo = s.ReopenRotation
	return s.decide(ctx, m)
}

// markRevoked ends a grant, and lists it no more.
const markRevoked = "SET #revoked = :now REMOVE #owner"

// RevokeGrant ends a grant. Its answer may be lost: it is the same the second time.
func (s *Store) RevokeGrant(ctx context.Context, r store.Revocation) error {
	whose, values := "#family = :whose", item{":now": millis(r.Now), ":client_id": text(r.ClientID), ":whose": text(string(r.Family))}
	if r.Subject != "" {
		whose, values[":whose"] = "#sub = :whose", text(r.Subject)
	}
	out, err := s.update(ctx, grantKey(r.GrantID), markRevoked,
		and("#client_id = :client_id", whose, "attribute_not_exists(#revoked)"), values)
	if err != nil || !out.refused {
		return err
	}
	if out.item == nil {
		return store.ErrNotFound
	}
	g, err := readGrant(out.item)
	if err != nil {
		return err
	}
	if err := r.Judge(g); err != nil || !g.Revoked.IsZero() {
		return err
	}
	return fmt.Errorf("dynamo: the condition refuses what is allowed of grant %s", r.GrantID)
}

// The marks of undone requests are three attributes and no list, because one
// write can push them down blindly, and no more of them can ever be.
const (
	markUndone = "#undone = :by, #undone_earlier = if_not_exists(#undone, :none)," +
		" #undone_earliest = if_not_exists(#undone_earlier, :none)"
	notUndone = "(attribute_not_exists(#undone) OR #undone <> :by)" +
		" AND (attribute_not_exists(#undone_earlier) OR #undone_earlier <> :by)" +
		" AND (attribute_not_exists(#undone_earliest) OR #undone_earliest <> :by)"
)

// ReopenCode gives back a code. The item keeps the ttl of a spent one: it stays
// longer than it must, and forgets nothing.
func (s *Store) ReopenCode(ctx context.Context, id, by string) error {
	return s.undo(ctx, id, by, undoing{
		apply:   store.UndoSpend,
		open:    "attribute_not_exists(#rotated) AND attribute_not_exists(#revoked)",
		written: "attribute_exists(#spent)",
		changes: "SET " + markUndone + " REMOVE #spent, #by, #family, #current, #idle_expires, #refresh_key",
	})
}

// ReopenRotation marks a rotation.
func (s *Store) ReopenRotation(ctx context.Context, id, by string) error {
	return s.undo(ctx, id, by, undoing{
		apply:   store.UndoRotation,
		open:    "attribute_not_exists(#revoked)",
		written: "attribute_exists(#rotated)",
		changes: "SET " + markUndone + ", #reopened = :true REMOVE #by",
		values:  item{":true": flag(true)},
	})
}

// An undoing is how the write of a request is undone.
type undoing struct {
	// apply is what the two writes do together.
	apply func(g store.Grant, by string) (store.Grant, bool)
	// open is the condition of both.
	open string
	// changes undo the write where written holds and by was the last.
	written, changes string
	values           item
}

// undo gives back what by wrote. If by was not the last it may be yet, for its
// write may be on its way: so it is marked, which that write's own condition
// refuses. Should the write come between the two, all starts anew.
func (s *Store) undo(ctx context.Context, id, by string, u undoing) error {
	if by == "" {
		return nil
	}
	return s.insist(ctx, func(ctx context.Context) error { return s.undoOnce(ctx, id, by, u) })
}

func (s *Store) undoOnce(ctx context.Context, id, by string, u undoing) error {
	mark := item{":by": text(by), ":none": text("")}
	values := maps.Clone(mark)
	maps.Copy(values, u.values)
	for range rounds {
		out, err := s.update(ctx, grantKey(id), u.changes, and("#by = :by", u.written, u.open), values)
		if err != nil || !out.refused || out.item == nil {
			return err
		}
		g, err := readGrant(out.item)
		if err != nil {
			return err
		}
		if _, ok := u.apply(g, by); !ok {
			return nil
		}
		out, err = s.update(ctx, grantKey(id), "SET "+markUndone,
			and("(attribute_not_exists(#by) OR #by <> :by)", notUndone, u.open), mark)
		if err != nil || !out.refused {
			return err
		}
	}
	return fmt.Errorf("dynamo: %w: grant %s keeps changing", store.ErrBusy, id)
}

// A moment is one conditional write of a grant, and what judges it when refused.
type moment struct {
	id, by             string
	now                time.Time
	scope              oauth.Scope
	audience           []string
	changes, condition string
	values             item
	judge              func(store.Grant) error
	settled            func(store.Grant) bool
	// undo is nil where what is done twice is the same.
	undo func(ctx context.Context, id, by string) error
}

// decide makes the write, or says why it is refused. A replay revokes, unless an
// answer of this request was lost: then the use that it sees as another's may
// have followed from its own.
func (s *Store) decide(ctx context.Context, m moment) (store.Grant, error) {
	within, err := s.within(ctx, m)
	if err != nil {
		return store.Grant{}, err
	}
	lost := false
	for range rounds {
		out, err := s.update(ctx, grantKey(m.id), m.changes, and(m.condition, within), m.values)
		lost = lost || out.lost
		if err != nil {
			if lost {
				err = errors.Join(err, s.giveBack(ctx, m))
			}
			return store.Grant{}, err
		}
		if !out.refused {
			return readGrant(out.item)
		}
		if out.item == nil {
			return store.Grant{}, store.ErrNotFound
		}
		g, err := readGrant(out.item)
		if err != nil {
			return store.Grant{}, err
		}
		switch verdict := m.judge(g); {
		case verdict == nil && m.settled(g):
			return g, nil
		case verdict == nil:
			return store.Grant{}, fmt.Errorf("dynamo: the condition refuses what is allowed of grant %s", m.id)
		case !errors.Is(verdict, store.ErrReplayed):
			return store.Grant{}, verdict
		case lost:
			// Should that other use be given back, a late copy must not find the way free.
			err = fmt.Errorf("dynamo: %w: an answer was lost, and the grant has been used since", store.ErrBusy)
			return store.Grant{}, errors.Join(err, s.giveBack(ctx, m))
		}
		revoked, err := s.revoke(ctx, m, g.By)
		if err != nil {
			return store.Grant{}, err
		}
		if revoked {
			return store.Grant{}, store.ErrReplayed
		}
	}
	return store.Grant{}, fmt.Errorf("dynamo: %w: grant %s keeps changing", store.ErrBusy, m.id)
}

// revoke ends the grant if by is still the last to have written it; else somebody
// has given back what made the use a second one, and it is to be judged anew.
func (s *Store) revoke(ctx context.Context, m moment, by string) (bool, error) {
	values := item{":now": millis(m.now)}
	last := "attribute_not_exists(#by)"
	if by != "" {
		last, values[":by"] = "#by = :by", text(by)
	}
	out, err := s.update(ctx, grantKey(m.id), markRevoked, and(last, "attribute_not_exists(#revoked)"), values)
	return !out.refused || !out.item.time("revoked").IsZero(), err
}

// giveBack undoes a write of which no answer came, whether or not it has been
// carried out, as well as it can, so that nothing was decided and the caller may
// come again.
func (s *Store) giveBack(ctx context.Context, m moment) error {
	if m.undo == nil {
		return nil
	}
	ctx, cancel := store.GivingBack(ctx)
	defer cancel()
	return m.undo(ctx, m.id, m.by)
}

// maxWithin bounds the terms of a condition: DynamoDB allows expressions of 4 KB.
const maxWithin = 64

// within is the condition that scope and audience lie within the grant. Where they
// are too many for one, the item is read first: what was granted never changes.
func (s *Store) within(ctx context.Context, m moment) (string, error) {
	if len(m.scope)+len(m.audience) <= maxWithin {
		var terms []string
		for i, value := range m.scope {
			name := ":scope" + strconv.Itoa(i)
			terms = append(terms, "contains(#requested, "+name+")")
			m.values[name] = text(value)
		}
		for i, value := range m.audience {
			name := ":audience" + strconv.Itoa(i)
			terms = append(terms, "contains(#audience, "+name+")")
			m.values[name] = text(value)
		}
		return and(terms...), nil
	}
	g, err := s.Grant(ctx, m.id)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil // as the write will say
	}
	if err != nil {
		return "", err
	}
	if verdict := m.judge(g); errors.Is(verdict, store.ErrScope) || errors.Is(verdict, store.ErrAudience) {
		return "", verdict
	}
	return "", nil
}

// grantItem is how a grant is kept. kept_ttl is the ttl of the item once the code
// is spent.
func grantItem(g store.Grant) (item, error) {
	until, err := g.Until()
	if err != nil {
		return nil, err
	}
	it := newItem(grantKey(g.ID))
	it["client_id"] = text(g.ClientID)
	it["sub"] = text(g.Subject)
	if g.Revoked.IsZero() {
		it["owner"] = text(grantsOwner(g.Subject, g.ClientID))
	}
	it.setText("parent", g.Parent)
	it["redirect_uri"] = text(g.RedirectURI)
	it["redirect_sent"] = flag(g.RedirectSent)
	it["challenge"] = text(string(g.Challenge))
	it.setText("nonce", g.Nonce)
	it["scope"] = texts(g.Scope)
	it["requested"] = texts(g.Requested)
	it["audience"] = texts(g.Audience)
	it.setTime("auth_time", g.AuthTime)
	it.setText("sid", g.SessionID)
	it.setFlag("online", g.Online)
	if err := errors.Join(it.setClaims("claims", g.Claims), it.setClaims("access_claims", g.AccessClaims)); err != nil {
		return nil, fmt.Errorf("dynamo: grant %s: %w", g.ID, err)
	}
	it.setText("asked", g.Asked)
	it.setFlag("front", g.Front)
	it.setText("code_key", g.CodeKey)
	it.setText("refresh_key", g.RefreshKey)
	it.setTime("created", g.Created)
	it.setTime("code_expires", g.CodeExpires)
	it.setTime("end", g.End)
	it.setTime("kept", g.Kept)
	it["kept_ttl"] = seconds(g.Kept)
	it["ttl"] = seconds(until)
	it.setTime("spent", g.Spent)
	it.setTime("revoked", g.Revoked)
	it.setText("by", g.By)
	it.setText("undone", g.Undone[0])
	it.setText("undone_earlier", g.Undone[1])
	it.setText("undone_earliest", g.Undone[2])
	it.setText("family", string(g.Family))
	it.setText("current", string(g.Current))
	it.setText("previous", string(g.Previous))
	it.setText("salt", g.Salt)
	it["generation"] = number(g.Generation)
	it.setTime("rotated", g.Rotated)
	it.setTime("idle_expires", g.IdleExpires)
	it.setFlag("reopened", g.Reopened)
	return it, nil
}

func readGrant(it item) (store.Grant, error) {
	claims, err := it.claims("claims")
	accessClaims, accessErr := it.claims("access_claims")
	if err := errors.Join(err, accessErr); err != nil {
		return store.Grant{}, fmt.Errorf("dynamo: item %s: %w", it.text("pk"), err)
	}
	return store.Grant{
		ID:           strings.TrimPrefix(it.text("pk"), grantKey("")),
		ClientID:     it.text("client_id"),
		Subject:      it.text("sub"),
		Parent:       it.text("parent"),
		RedirectURI:  it.text("redirect_uri"),
		RedirectSent: it.flag("redirect_sent"),
		Challenge:    oauth.Challenge(it.text("challenge")),
		Nonce:        it.text("nonce"),
		Scope:        it.texts("scope"),
		Requested:    it.texts("requested"),
		Audience:     it.texts("audience"),
		AuthTime:     it.time("auth_time"),
		SessionID:    it.text("sid"),
		Online:       it.flag("online"),
		Claims:       claims,
		AccessClaims: accessClaims,
		Asked:        it.text("asked"),
		Front:        it.flag("front"),
		CodeKey:      it.text("code_key"),
		RefreshKey:   it.text("refresh_key"),
		Created:      it.time("created"),
		CodeExpires:  it.time("code_expires"),
		End:          it.time("end"),
		Kept:         it.time("kept"),
		Spent:        it.time("spent"),
		Revoked:      it.time("revoked"),
		By:           it.text("by"),
		Undone:       [3]string{it.text("undone"), it.text("undone_earlier"), it.text("undone_earliest")},
		Family:       oauth.Digest(it.text("family")),
		Current:      oauth.Digest(it.text("current")),
		Previous:     oauth.Digest(it.text("previous")),
		Salt:         it.text("salt"),
		Generation:   it.number("generation"),
		Rotated:      it.time("rotated"),
		IdleExpires:  it.time("idle_expires"),
		Reopened:     it.flag("reopened"),
	}, nil
}
