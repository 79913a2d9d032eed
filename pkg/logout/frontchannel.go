// Front-channel logout (OpenID Connect Front-Channel Logout 1.0).

package logout

import (
	"net/url"
	"strings"
)

// frames are the addresses that the page which says that it is done has to load, each
// in a frame. §2: "iss and sid [...] the OP MAY add these query parameters when
// rendering the logout URI", and must where the client asks for them. Browsers keep
// cookies from frames of other sites, so by these alone most clients know whom to log
// out.
func (p parties) frames(issuer, sid string) []string {
	var frames []string
	for _, client := range p {
		if client.FrontchannelLogoutURI == "" {
			continue
		}
		separator := "?"
		if strings.Contains(client.FrontchannelLogoutURI, "?") {
			separator = "&"
		}
		frames = append(frames, client.FrontchannelLogoutURI+separator+url.Values{"iss": {issuer}, "sid": {sid}}.Encode())
	}
	return frames
}
