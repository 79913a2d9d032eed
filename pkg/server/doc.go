// Package server answers: which parts make up each function?
//
// One struct for each Lambda function. Its fields are everything the function
// may touch, and exactly what its IAM role allows (infra/policy_test.go compares
// the two). main fills the struct and starts; `make run` and the tests fill the
// same structs with other stores and keys.
//
// # How a request moves
//
// Arrows go down, and no package imports a sibling; floors_test.go is the
// picture. A token request walks one way:
//
//	web.Edge            body cap, no-store, one log line, and one for each audit event; writes the error that a handler returns
//	grant.Endpoint      reads the request once; after that nobody sees net/http
//	clientauth          which client is this
//	policy.MayUseGrant  may it
//	dpop                which key signed this; then the jti of assertion and proof are used up
//	grant.Grant         find, check, spend: one conditional write; yields an Authorization
//	token.Issuer        what the authorization becomes: the only mint
//	jwt.Sign            header and payload; keys.Ring names the key
//	kms.Signer          the signature, made inside AWS KMS
//
// An authorization request:
//
//	target    client and redirect URI valid? Until then an error is a page
//	validate  the rest; errors are sent to the target
//	decide    session, prompt, max_age, id_token_hint, claims; a login returns here with proof bound to it
//	PutGrant  one write, of the code's digest, or of a grant that is born spent
//	Issue     the tokens that leave from here, if any
//	respond   by response mode
//
// # Where kmint differs, or an RFC is silent
//
//   - RFC 6749 §3.1, §3.2: a repeated parameter is refused at both endpoints, before
//     anything else is looked at; at the authorization endpoint on a page.
//   - RFC 6749 §2.3.1: client credentials in the URL are not read at all.
//   - RFC 6749 §4.1.2: a second use of a code revokes the grant and with it all
//     tokens, even once the code has expired. A use by another client, or with
//     another verifier or redirect URI, changes nothing.
//   - RFC 6749 §4.3: password needs the server's leave and the client's
//     registration, locks names as the login page does, and begins a grant, so that
//     its tokens can be revoked.
//   - RFC 6749 §6: a refresh token rotates at every use, unless the client keeps
//     its own; the scope asked for may be all that was asked for at first, and is
//     narrowed to what was granted. Of the scope of a token for fewer APIs, the
//     values of the others are left out, and whatever the configuration has ceased
//     to allow.
//   - RFC 6750 §2.3: an access token in the URL is refused.
//   - RFC 7009 §2.1: a refresh token of any generation ends its grant, without a
//     proof of the key that it is bound to. §2.2: what is not the client's own is
//     answered like what is no token.
//   - RFC 7523 §3: the aud of an assertion is the issuer and nothing else; the token
//     endpoint's address is accepted where the client's registration says so. A jti
//     is required, and good once. The JWT of a workload is that of another issuer, has
//     an aud of its own, and may be presented until it expires.
//   - RFC 7636 §4.3: plain is refused; a request with a challenge and no method
//     therefore too.
//   - RFC 7591 §2: client_secret shorter than 32 characters is refused.
//   - RFC 7662 §2.2: an API sees of a token's aud and scope what is its own; a
//     client sees its own tokens whole; everything else is inactive.
//   - RFC 8693 §2.1: an exchange only narrows. An API that the subject_token is not
//     for must have been written down for the client, and gives no scope value that
//     the subject_token has not; of a token that says only who (an ID token, the JWT
//     of another issuer) the configuration alone decides. With an actor_token there
//     is no refresh token, and nobody acts for themselves. A refresh token that was
//     made by exchange ends with the grant that it was made of, and yields no other by
//     exchange. The act of a foreign actor has our name for it as sub.
//   - RFC 8707 §2: a resource names an API by its identifier, which need not be a URI;
//     what names none is an invalid_target, whatever its form. Several APIs in one
//     token must want the same kind of token.
//   - RFC 9068 §2.2.3: access tokens carry grant_id, by which they can be revoked.
//   - RFC 9449 §5: a grant whose code or refresh token came with a proof gives bound
//     tokens alone from then on, to confidential clients too. §8: a nonce that was not asked for is not looked
//     at. §11.1: a proof is good once for a method and an address.
//   - OpenID Connect Core 1.0 §3.1.2.1: redirect_uri may be left out if exactly one
//     is registered, with openid too. Of prompt, none and login are obeyed,
//     select_account is a login, consent asks again unless the client is
//     first-party, and any other value is an invalid_request. An id_token_hint, expired
//     or not, must be an ID token of ours for this client, and nobody but the
//     person whom it names gets an answer. display is not looked at.
//   - OpenID Connect Core 1.0 §3.1.2.1: acr_values asks for the acr, whatever its values
//     are, for there is one: people log in by a password. Who does not ask for the acr, by
//     acr_values, claims or default_acr_values, is not told it. There is no amr.
//   - OpenID Connect Core 1.0 §3.1.2.1, RFC 9110 §12.5.4: pages are in the first language
//     of ui_locales that there is, whatever its region, then of Accept-Language, then in
//     English. What is written for developers stays English, and what the owner has
//     written (claims_locales, client_name#ja, the words of an API's scope) is of one
//     language.
//   - OpenID Connect Core 1.0 §3.1.2.1: prompt=none is answered from the session to
//     another site too, where the redirect URI is on one of the client's web_origins
//     there, and the browser lets the cookie through: many block third-party cookies,
//     and a domain of the owner's own is the way round that.
//   - OpenID Connect Core 1.0 §3.1.2.3: the pending request travels in the login
//     form, sealed, and is not stored: see package authorize.
//   - OpenID Connect Core 1.0 §3.1.2.4: consent is asked for every client that is not
//     first-party, openid alone and no scope at all included. Claims that are asked for
//     one by one need the consent that their scope value needs. A withdrawal ends the
//     grants that the client holds for the person, before the record goes.
//   - OpenID Connect Core 1.0 §4: /login sends people on to the client's
//     initiate_login_uri, and to no other address; a target_link_uri must have the scheme,
//     host and port of one that the client has registered. The address is https on
//     localhost too.
//   - OpenID Connect Core 1.0 §5.4: claims of profile and email stand in the ID
//     token too, as many clients expect.
//   - OpenID Connect Core 1.0 §3.1.3.6: at_hash, optional in the code flow, is left
//     out, so that both tokens are signed side by side.
//   - OpenID Connect Core 1.0 §3.1.3.6: of an ID token by ML-DSA, at_hash and c_hash
//     are by SHAKE256 with 64 bytes, the hash of FIPS 204; by EdDSA, by SHA-512.
//   - OpenID Connect Core 1.0 §3.2, §3.3: what leaves the authorization endpoint hangs
//     on a grant, born with the code, or spent where there is none: its client can
//     revoke it, and a code that is used twice ends it. A client whose tokens are
//     bound to a key, and a request with dpop_jkt, get no token there.
//   - OpenID Connect Core 1.0 §5.5: a claim with another value than was asked for is
//     left out, but for the acr, which says how the person has logged in. An acr that is
//     essential and has values of which ours is none is an
//     unmet_authentication_requirements. The request holds for the grant, at userinfo
//     and refresh too, but not for a token that another client gets in exchange.
//   - OpenID Connect Core 1.0 §6.1: an unsigned request object is taken only from a
//     client that is registered for alg none. iss and aud, exp and nbf may be left
//     out, and are right where they are there; one with a sub is an assertion and
//     refused. The login form carries what the object says, and not the object.
//   - OpenID Connect RP-Initiated Logout 1.0 §2: only the browser's own session ends,
//     whatever ID token is shown. A logout_hint is a sid; without the ID token it
//     does not spare the question. Of a request with an error the person may log out
//     all the same, and nothing of it is followed. Where nobody is logged in, a
//     registered address needs no ID token. A POST without our cookie is sent on as a
//     GET. At Auth0's /v2/logout the Referer, or a
//     navigation that comes from no page, stands for the ID token, and returnTo is
//     compared whole.
//   - OpenID Connect Back-Channel Logout 1.0 §2.5: clients are told when a person logs
//     out, and not when a session expires, or a new login takes its place. Of a session
//     that is ended from another browser the back channel alone tells. What is
//     tried five times in vain is kept for the owner, and tried no more.
//   - OpenID Connect Session Management 1.0 §3.2: the state changes with the session: by
//     every login, the same person's too, and by logout. What a client gets or loses does
//     not change it, nor does a session that expires or is ended elsewhere. Where the
//     browser keeps the cookie from the frame, the answer is error, not changed, after
//     which the client would ask again and again.
//   - OAuth 2.0 Web Message Response Mode: the origin that gets the message is the
//     redirect_uri's, which must be one of the client's web_origins, and no other of
//     them: the draft's window posts to the redirect_uri, which is what the request and
//     its code are bound to, and no request says which page has asked. An application
//     on several origins has a redirect URI on each, and that need not be a page. There
//     is no relay: it is to keep a token of the implicit flow out of the client's page,
//     and no SDK that we know asks for it.
//   - OpenID Connect Dynamic Client Registration 1.0 §2: a client of the implicit flow
//     may have redirect URIs on localhost, as others may.
package server
