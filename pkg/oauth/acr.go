// Authentication context classes (OpenID Connect Core 1.0 §2, acr).

package oauth

// PasswordClass is the acr of a login here: by a password, over a protected session.
// "An absolute URI or an RFC 6711 registered name SHOULD be used as the acr value", and
// no registered name says this much and no more; SAML has given it a URI that other
// servers use too (Authentication Context for SAML 2.0 §3.4.5). "0" would say that there
// is no confidence in who it is.
const PasswordClass = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport" //nolint:gosec // it is no password

// ACRValues lists the classes that there are, which discovery announces.
func ACRValues() []string { return []string{PasswordClass} }
