// How pages look (Web Content Accessibility Guidelines 2.2, success criterion 1.4.3).

package seed

import (
	"fmt"
	"math"
	"regexp"
	"strconv"

	"kmint/pkg/store"
)

// The card that people read on, light and dark: links stand on it in the accent, and its
// colour is that of the words on a button.
const (
	LightCard = "#ffffff"
	DarkCard  = "#171b21"
)

// leastContrast is that of level AA for text.
const leastContrast = 4.5

// maxBrand is the longest name of a brand, in bytes: it stands above every page.
const maxBrand = 100

func (o *object) brand() store.Brand {
	value, there := o.get("brand")
	if !there {
		return store.Brand{}
	}
	b := o.asObject(o.at("brand"), value)
	brand := store.Brand{
		Name: b.needed("name"), Logo: b.picture("logo_uri"), LogoDark: b.picture("logo_dark_uri"),
		Accent: b.colour("accent_color", LightCard), AccentDark: b.colour("accent_dark_color", DarkCard),
	}
	if len(brand.Name) > maxBrand {
		b.add(b.at("name"), "it is longer than %d bytes", maxBrand)
	}
	if brand.LogoDark != "" && brand.Logo == "" {
		b.add(b.at("logo_dark_uri"), "it needs a logo_uri beside it")
	}
	b.rest()
	return brand
}

// picture is an https URL. Its origin goes into the policy of the pages, where a
// semicolon or a comma would end it.
func (o *object) picture(name string) string {
	text := o.text(name)
	if text == "" {
		return ""
	}
	if err := checkHTTPS(text); err != nil {
		o.add(o.at(name), "%v", err)
	} else if !regexp.MustCompile(`^https://[a-zA-Z0-9.-]+(:[0-9]+)?(/|$)`).MatchString(text) {
		o.add(o.at(name), "its host cannot stand in a Content-Security-Policy")
	}
	return text
}

// colour is one that can be read on the card, and the card's on it.
func (o *object) colour(name, card string) string {
	text := o.text(name)
	if text == "" {
		return ""
	}
	if !regexp.MustCompile(`^#[0-9a-fA-F]{6}$`).MatchString(text) {
		o.add(o.at(name), "%q is not a colour as #rrggbb", text)
	} else if c := contrast(text, card); c < leastContrast {
		o.add(o.at(name), "its contrast to %s, on which it is read, is %s, and less than %.1f: some people could not read it (WCAG 2.2, 1.4.3)", card, rounded(c), leastContrast)
	}
	return text
}

// rounded cuts, so that no contrast that does not do looks like one that does.
func rounded(c float64) string { return fmt.Sprintf("%.2f", math.Floor(c*100)/100) }

// contrast is the contrast ratio of two colours.
func contrast(a, b string) float64 {
	lighter, darker := luminance(a), luminance(b)
	if lighter < darker {
		lighter, darker = darker, lighter
	}
	return (lighter + 0.05) / (darker + 0.05)
}

// luminance is the relative luminance of #rrggbb.
func luminance(colour string) float64 {
	weights := []float64{0.2126, 0.7152, 0.0722}
	sum := 0.0
	for i, weight := range weights {
		value, _ := strconv.ParseUint(colour[1+2*i:3+2*i], 16, 8)
		c := float64(value) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
