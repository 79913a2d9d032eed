package lambda

// A Cost is what a request asks of AWS.
type Cost struct {
	// Trips is how many calls wait for one another: the longest chain of calls of
	// which each began after the one before had ended.
	Trips int
	// Reads and Writes of DynamoDB; Signs, MACs and Decrypts of KMS.
	Reads, Writes, Signs, MACs, Decrypts int
	// Sends are calls that put something into the queue.
	Sends int
}

// Budgets are the costs of every step in warm functions: configuration, key
// registry and the hour's key are in memory. They are exact. What is refused signs
// nothing; all that can be refused without a call is.
func Budgets() map[string]Cost {
	return map[string]Cost{
		"discovery/openid_configuration":       {},
		"discovery/oauth_authorization_server": {},
		"discovery/jwks":                       {},
		"discovery/jwks_not_modified":          {},
		"discovery/jwks_post":                  {},
		"discovery/preflight":                  {},
		"discovery/check_session":              {},

		"token/client_credentials":      {Trips: 1, Signs: 1},
		"token/client_credentials_json": {Trips: 1, Signs: 1},
		"token/own_path":                {Trips: 1, Signs: 1},
		"token/unknown_path":            {},
		"token/wrong_secret":            {},
		"token/repeated_parameter":      {},
		"token/oversized_body":          {},
		"token/get":                     {},
		"token/preflight":               {},

		// Spend, then both signatures side by side.
		"token/authorization_code":      {Trips: 2, Writes: 1, Signs: 2},
		"token/authorization_code_pkce": {Trips: 2, Writes: 1, Signs: 2},
		"token/other_client":            {Trips: 1, Writes: 1},
		"token/wrong_verifier":          {Trips: 1, Writes: 1},
		// The refused write says why it was; the second one revokes.
		"token/replayed_code": {Trips: 2, Writes: 2},
		// Rotate, then sign the access token and read the person side by side, then
		// sign the ID token.
		"token/refresh_token": {Trips: 3, Reads: 1, Writes: 1, Signs: 2},
		// Without openid too: the claims map shows something of the person in access tokens.
		"token/refresh_token_narrowed": {Trips: 3, Reads: 1, Writes: 1, Signs: 1},
		"token/replayed_refresh_token": {Trips: 2, Writes: 2},
		"token/revoked_refresh_token":  {Trips: 1, Writes: 1},

		// Grant, person and the token's own revocation, side by side.
		"userinfo/get":           {Trips: 1, Reads: 3},
		"userinfo/post":          {Trips: 1, Reads: 3},
		"userinfo/revoked_grant": {Trips: 1, Reads: 3},
		"userinfo/token_in_url":  {},
		"userinfo/no_token":      {},
		"userinfo/garbage_token": {},
		"userinfo/expired_token": {},
		"userinfo/client_token":  {},
		"userinfo/preflight":     {},

		"authorize/no_session":     {},
		"authorize/initiate_login": {},
		"authorize/login_page":     {},
		"authorize/foreign_form":   {},
		// An attempt is counted before the password is looked at, then the name is
		// found, then the person.
		"authorize/wrong_password": {Trips: 3, Reads: 2, Writes: 1},
		// The same, but that the first write is refused, as there was a failure before,
		// and brings the count along; then the failures are forgotten, and then code and
		// session are written side by side.
		"authorize/login":                {Trips: 6, Reads: 2, Writes: 5},
		"authorize/foreign_redirect_uri": {},
		"authorize/repeated_parameter":   {},
		// Session and person side by side, then the code.
		"authorize/web_message":            {Trips: 2, Reads: 2, Writes: 1},
		"authorize/web_message_no_session": {},
		// Then the access token, then the ID token, which holds the hash of that one.
		"authorize/hybrid":            {Trips: 4, Reads: 2, Writes: 2, Signs: 2},
		"authorize/implicit":          {Trips: 3, Reads: 2, Writes: 1, Signs: 1},
		"authorize/implicit_no_nonce": {},
		"authorize/form_post":         {Trips: 2, Reads: 2, Writes: 1},

		// The consent is read beside session and person.
		"authorize/consent_page":       {Trips: 1, Reads: 3},
		"authorize/consent_denied":     {},
		"authorize/consent_allowed":    {Trips: 3, Reads: 3, Writes: 3},
		"authorize/consent_remembered": {Trips: 2, Reads: 3, Writes: 1},
		"authorize/consent_required":   {Trips: 1, Reads: 3},

		// Beside it the session learns of a client that it had not logged in before.
		"authorize/session": {Trips: 2, Reads: 2, Writes: 2},

		// The jti is used up beside the signature, which a replay throws away.
		"token/private_key_jwt":                {Trips: 1, Writes: 1, Signs: 1},
		"token/private_key_jwt_replayed":       {Trips: 1, Writes: 1, Signs: 1},
		"token/private_key_jwt_wrong_audience": {},
		"token/private_key_jwt_wrong_key":      {},
		"token/private_key_jwt_expired":        {},
		"token/es256":                          {Trips: 1, Writes: 1, Signs: 1},
		"token/ps256":                          {Trips: 1, Writes: 1, Signs: 1},
		"token/audience_not_granted":           {},
		// An opaque token is written where another is signed. The secrets are in memory.
		"token/client_secret_jwt":               {Trips: 1, Writes: 2},
		"token/client_secret_jwt_old_secret":    {Trips: 1, Writes: 2},
		"token/client_secret_jwt_wrong_secret":  {},
		"token/workload_identity":               {Trips: 1, Signs: 1},
		"token/workload_identity_wrong_subject": {},

		"token/dpop_client_credentials":          {Trips: 1, Writes: 1, Signs: 1},
		"token/dpop_client_credentials_replayed": {Trips: 1, Writes: 1, Signs: 1},
		"token/dpop_expired_proof":               {},
		"authorize/dpop":                         {Trips: 2, Reads: 2, Writes: 2}, // a client that the session does not know
		"token/dpop_no_proof":                    {},
		"token/dpop_without_nonce":               {},
		// The jti is used up before anything is spent.
		"token/dpop_other_key":          {Trips: 2, Writes: 2},
		"token/dpop_authorization_code": {Trips: 3, Writes: 2, Signs: 2},
		"token/dpop_refresh_no_proof":   {},
		"token/dpop_refresh_other_key":  {Trips: 2, Writes: 2},
		"token/dpop_refresh_token":      {Trips: 4, Reads: 1, Writes: 2, Signs: 2},
		"token/dpop_replayed_proof":     {Trips: 1, Writes: 1},
		"userinfo/dpop_without_nonce":   {},
		"userinfo/dpop":                 {Trips: 2, Reads: 3, Writes: 1},
		"userinfo/dpop_replayed":        {Trips: 1, Writes: 1},
		"userinfo/dpop_as_bearer":       {},
		"userinfo/dpop_other_key":       {},

		"token/password_wrong": {Trips: 3, Reads: 2, Writes: 1},
		// As at the login page: one more for the failure before. Then the grant is written,
		// and then both signatures are made side by side.
		"token/password":                     {Trips: 7, Reads: 2, Writes: 4, Signs: 2},
		"token/password_realm":               {Trips: 6, Reads: 2, Writes: 3, Signs: 2},
		"token/password_realm_unknown":       {},
		"token/password_blocked":             {Trips: 4, Reads: 2, Writes: 2},
		"token/password_not_allowed":         {},
		"token/password_refresh_token_wrong": {},
		"token/password_refresh_token":       {Trips: 3, Reads: 1, Writes: 1, Signs: 2},

		"authorize/online_access":         {Trips: 2, Reads: 2, Writes: 1},
		"token/online_authorization_code": {Trips: 2, Writes: 1, Signs: 2},
		// The session is read beside the person.
		"token/online_refresh_token":          {Trips: 3, Reads: 2, Writes: 1, Signs: 2},
		"authorize/online_and_offline_access": {},

		"authorize/resources":            {Trips: 2, Reads: 2, Writes: 1},
		"token/resources_beyond":         {Trips: 1, Writes: 1},
		"token/resources":                {Trips: 2, Writes: 1, Signs: 2},
		"token/resources_narrowed":       {Trips: 3, Reads: 1, Writes: 1, Signs: 2},
		"token/resources_refresh_beyond": {Trips: 1, Writes: 1},
		"authorize/dialects":             {Trips: 2, Reads: 2, Writes: 1},
		// That the two do not fit into one token is found once the code is spent, which is
		// undone.
		"token/dialects_at_once":          {Trips: 2, Writes: 2},
		"token/dialects":                  {Trips: 2, Writes: 1, Signs: 2},
		"token/dialects_refresh":          {Trips: 3, Reads: 1, Writes: 1, Signs: 2},
		"authorize/opaque":                {Trips: 2, Reads: 2, Writes: 1},
		"token/opaque_authorization_code": {Trips: 2, Writes: 2, Signs: 1},
		// What the token says is read first.
		"userinfo/opaque":         {Trips: 2, Reads: 4},
		"userinfo/opaque_unknown": {Trips: 1, Reads: 1},

		// All that the token hangs on side by side, then the signature.
		"token/exchange":                           {Trips: 2, Reads: 4, Signs: 1},
		"token/exchange_old_secret":                {Trips: 2, Reads: 4, Signs: 1},
		"token/exchange_wrong_secret":              {},
		"token/exchange_beyond":                    {},
		"token/exchange_other_audience":            {},
		"token/exchange_not_allowed":               {},
		"token/exchange_delegation":                {Trips: 2, Reads: 5, Signs: 1},
		"token/exchange_nested":                    {Trips: 2, Reads: 5, Signs: 1},
		"token/exchange_for_id_token":              {Trips: 2, Reads: 4, Signs: 1},
		"token/exchange_for_refresh_token":         {},
		"token/exchange_actor_of_others":           {},
		"token/exchange_person":                    {Trips: 2, Reads: 1, Signs: 1},
		"token/exchange_person_replayed_elsewhere": {},
		"token/exchange_bound":                     {Trips: 3, Reads: 3, Writes: 1, Signs: 1},
		"token/exchange_bound_no_proof":            {},

		"token/introspect":               {Trips: 1, Reads: 4},
		"token/introspect_bound":         {Trips: 1, Reads: 3},
		"token/introspect_other_api":     {},
		"token/introspect_unknown_token": {Trips: 1, Reads: 1},
		"token/introspect_wrong_secret":  {},
		"token/introspect_public_client": {},
		"token/introspect_opaque":        {Trips: 2, Reads: 4},
		// The jti of the assertion, the token, its revocation.
		"token/introspect_with_assertion":     {Trips: 3, Reads: 2, Writes: 1},
		"token/introspect_assertion_replayed": {Trips: 1, Writes: 1},
		// The grant, then person and session.
		"token/introspect_refresh_token":           {Trips: 2, Reads: 3},
		"token/introspect_old_refresh_token":       {Trips: 1, Reads: 1},
		"token/introspect_refresh_token_of_others": {Trips: 1, Reads: 1},

		"token/revoke_wrong_secret":      {},
		"token/revoke_token_of_others":   {},
		"token/revoke_unknown_token":     {},
		"token/introspect_unharmed":      {Trips: 1, Reads: 4},
		"token/revoke_access_token":      {Trips: 1, Writes: 1},
		"token/introspect_revoked_token": {Trips: 1, Reads: 4},
		"userinfo/revoked_token":         {Trips: 1, Reads: 4},
		// The jti of the assertion, the token, its revocation.
		"token/revoke_opaque":              {Trips: 3, Reads: 1, Writes: 2},
		"token/introspect_revoked_opaque":  {Trips: 3, Reads: 2, Writes: 1},
		"token/revoke_old_refresh_token":   {Trips: 1, Writes: 1},
		"token/revoke_refresh_token_ended": {Trips: 1, Writes: 1},
		"token/introspect_revoked_grant":   {Trips: 1, Reads: 3},
		"token/revoke_json":                {Trips: 1, Writes: 1},
		"token/introspect_revoked_bound":   {Trips: 1, Reads: 3},
		"token/revoke_preflight":           {},

		// As for a code: what leaves from here is signed once the grant is written, and an ID
		// token that holds the hash of an access token after that one.
		"authorize/type_none":                               {Trips: 1, Reads: 2}, // nothing leaves
		"authorize/type_token":                              {Trips: 3, Reads: 2, Writes: 1, Signs: 1},
		"authorize/type_id_token_token":                     {Trips: 4, Reads: 2, Writes: 1, Signs: 2},
		"authorize/type_code_token":                         {Trips: 3, Reads: 2, Writes: 1, Signs: 1},
		"authorize/type_code_id_token":                      {Trips: 3, Reads: 2, Writes: 1, Signs: 1},
		"authorize/type_none_not_registered":                {},
		"authorize/type_token_not_registered":               {},
		"authorize/type_id_token_not_registered":            {},
		"authorize/type_id_token_token_not_registered":      {},
		"authorize/type_code_token_not_registered":          {},
		"authorize/type_code_id_token_not_registered":       {},
		"authorize/type_code_id_token_token_not_registered": {},
		"authorize/type_unknown":                            {},
		"authorize/mode_query":                              {Trips: 2, Reads: 2, Writes: 1},
		"authorize/mode_query_for_token":                    {},
		"authorize/mode_fragment":                           {Trips: 2, Reads: 2, Writes: 1},
		"authorize/mode_form_post_hybrid":                   {Trips: 3, Reads: 2, Writes: 1, Signs: 1},
		"authorize/mode_form_post_error":                    {},
		"authorize/mode_web_message_no_origin":              {},
		"authorize/mode_unknown":                            {},

		"authorize/prompt_none":             {Trips: 2, Reads: 2, Writes: 1},
		"authorize/prompt_none_login":       {},
		"authorize/prompt_login":            {},
		"authorize/prompt_select_account":   {},
		"authorize/prompt_unknown":          {},
		"authorize/max_age":                 {Trips: 3, Reads: 2, Writes: 1, Signs: 1},
		"authorize/max_age_over":            {Trips: 1, Reads: 2},
		"authorize/max_age_over_silent":     {Trips: 1, Reads: 2},
		"authorize/max_age_no_number":       {},
		"authorize/claims":                  {Trips: 4, Reads: 2, Writes: 1, Signs: 2},
		"userinfo/claims":                   {Trips: 1, Reads: 3},
		"authorize/claims_somebody_else":    {Trips: 1, Reads: 2},
		"authorize/claims_no_object":        {},
		"authorize/acr_values":              {Trips: 3, Reads: 2, Writes: 1, Signs: 1},
		"authorize/acr_of_nobody":           {},
		"authorize/login_hint":              {},
		"authorize/id_token_hint":           {Trips: 2, Reads: 2, Writes: 1},
		"authorize/id_token_hint_of_others": {},
		"authorize/id_token_hint_forged":    {},
		// A client that the session does not know.
		"authorize/request_object":                  {Trips: 2, Reads: 2, Writes: 2},
		"authorize/request_object_forged":           {},
		"authorize/request_object_unsigned":         {Trips: 2, Reads: 2, Writes: 1},
		"authorize/request_object_unsigned_refused": {},
		"authorize/request_uri":                     {},
		"authorize/resource_unknown":                {},
		"authorize/dpop_jkt_token":                  {},
		"authorize/silent_cookie":                   {Trips: 2, Reads: 2, Writes: 1},
		"authorize/silent_cookie_page":              {},
		"authorize/silent_cookie_other_client":      {},

		"authorize/consent_grows":       {Trips: 1, Reads: 3},
		"authorize/consent_forged":      {},
		"authorize/consents_no_session": {},

		// Session and person are read to say who leaves.
		"authorize/logout_wrong_address":           {Trips: 1, Reads: 2},
		"authorize/logout_hint_of_another_session": {Trips: 1, Reads: 2},
		"authorize/logout_forged_hint":             {Trips: 1, Reads: 2},
		"authorize/logout_forged":                  {Trips: 1, Reads: 2},
		"authorize/logged_out":                     {Trips: 1, Reads: 2},
		"authorize/login_to_leave":                 {Trips: 5, Reads: 2, Writes: 4},
		"authorize/consent_asked_again":            {Trips: 1, Reads: 3},
		"authorize/leaving":                        {Trips: 3, Reads: 2, Writes: 2, Signs: 1},
		"authorize/logout_post_from_elsewhere":     {},
		// The queue has it before the session is deleted.
		"authorize/logout_hint":                 {Trips: 3, Reads: 2, Writes: 1, Sends: 1},
		"authorize/login_to_leave_again":        {Trips: 5, Reads: 2, Writes: 4},
		"authorize/auth0_logout_wrong_address":  {Trips: 1, Reads: 2},
		"authorize/auth0_logout_from_elsewhere": {Trips: 1, Reads: 2},
		"authorize/auth0_logout":                {Trips: 2, Reads: 2, Writes: 1},

		"deliver/no_address": {},
		"deliver/gone":       {},
		"deliver/garbage":    {},
		"deliver/not_https":  {Trips: 1, Signs: 1},
		"deliver/batch":      {Trips: 1, Signs: 1},

		// The session that was is deleted beside the new one.
		"authorize/login_again":            {Trips: 5, Reads: 2, Writes: 5},
		"token/online_refresh_token_ended": {Trips: 2, Reads: 2, Writes: 1},
		"token/introspect_ended_session":   {Trips: 1, Reads: 4},

		"authorize/login_elsewhere": {Trips: 5, Reads: 2, Writes: 4},
		// Session and person, then the index, then both sessions, of which the index may be
		// wrong, side by side.
		"authorize/sessions":              {Trips: 3, Reads: 5},
		"authorize/sessions_foreign_form": {Trips: 1, Reads: 2},
		// The other session is read before it is ended.
		"authorize/sessions_ended":        {Trips: 3, Reads: 3, Writes: 1},
		"authorize/consents":              {Trips: 1, Reads: 3},
		"authorize/consents_foreign_form": {Trips: 1, Reads: 3},
		// The index, then both grants that the client holds, then the record, then the index
		// once more.
		"authorize/consents_withdrawn": {Trips: 5, Reads: 5, Writes: 3},
		"authorize/logout_page":        {Trips: 1, Reads: 2},
		"authorize/logout":             {Trips: 2, Reads: 2, Writes: 1},
	}
}

// A Size is what the calls of a request weigh, and what it logs.
type Size struct {
	// Reads and Writes are request units of DynamoDB, indexes included.
	Reads, Writes float64
	// Logged is how many bytes the function logs, to the nearest hundred or so.
	Logged int
}

// Sizes are those of the steps that infra/cost prices.
func Sizes() map[string]Size {
	return map[string]Size{
		"token/client_credentials":      {Logged: 800},
		"token/private_key_jwt":         {Writes: 1, Logged: 900},
		"token/dpop_client_credentials": {Writes: 1, Logged: 900},
		"token/authorization_code_pkce": {Writes: 1, Logged: 1000},
		"token/refresh_token":           {Reads: 1, Writes: 1, Logged: 1000},
		"token/refresh_token_narrowed":  {Reads: 1, Writes: 1, Logged: 1000},
		"token/exchange":                {Reads: 4, Logged: 1000},
		"token/introspect":              {Reads: 4, Logged: 500},
		"token/revoke_access_token":     {Writes: 1, Logged: 800},
		"userinfo/get":                  {Reads: 3, Logged: 500},
		"discovery/jwks":                {Logged: 200},
		"authorize/no_session":          {Logged: 700},
		"authorize/session":             {Reads: 2, Writes: 3, Logged: 800},
		"authorize/web_message":         {Reads: 2, Writes: 2, Logged: 800},
		"authorize/login_elsewhere":     {Reads: 2, Writes: 6, Logged: 1400},
	}
}
