// Package words answers: in which language does a person read this, and what does it
// say there?
//
// A page is written in English, and its phrases are the keys of the catalogues: what
// is not in one is shown in English, and words_test.go holds that nothing is missing.
// A catalogue is read when the first page needs it, so that the functions start no
// later for it. What the owner has written (the names of clients and APIs, the words
// for an API's scope values) stands as it is written, and error descriptions, which are
// for developers, stay English.
package words

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// A Language is a tag (RFC 5646) that pages are written in.
type Language string

// The languages.
const (
	English  Language = "en"
	German   Language = "de"
	Spanish  Language = "es"
	French   Language = "fr"
	Japanese Language = "ja"
)

// Languages lists them, English first.
func Languages() []Language { return []Language{English, German, Spanish, French, Japanese} }

// A Phrase is a sentence in English, in which %1 to %9 stand for what differs, and what
// stands between asterisks is emphasised.
type Phrase string

// A Text is a phrase and what stands in it.
type Text struct {
	Phrase Phrase
	Args   []string
}

// String is the text in English.
func (t Text) String() string { return English.Say(t.Phrase, t.Args...) }

// A Piece is a part of a text, emphasised or not.
type Piece struct {
	Text   string
	Strong bool
}

// Pieces say the phrase in the language. No argument is read as part of the phrase.
func (l Language) Pieces(p Phrase, args ...string) []Piece {
	var pieces []Piece
	for i, part := range strings.Split(string(l.translate(p)), "*") {
		if part != "" {
			pieces = append(pieces, Piece{filled(part, args), i%2 == 1})
		}
	}
	return pieces
}

// Say says the phrase in the language, without emphasis.
func (l Language) Say(p Phrase, args ...string) string {
	var b strings.Builder
	for _, piece := range l.Pieces(p, args...) {
		b.WriteString(piece.Text)
	}
	return b.String()
}

// Knows reports whether the phrase is one of ours.
func Knows(p Phrase) bool {
	_, ok := catalogues[German]()[p]
	return ok
}

// filled puts the arguments in one pass.
func filled(text string, args []string) string {
	var pairs []string
	for i, arg := range args {
		pairs = append(pairs, fmt.Sprintf("%%%d", i+1), arg)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func (l Language) translate(p Phrase) Phrase {
	if catalogue, ok := catalogues[l]; ok {
		if translated, ok := catalogue()[p]; ok {
			return translated
		}
	}
	return p
}

// How a moment is written; each catalogue has its own way.
const (
	dayLayout    Phrase = "2 January 2006"
	minuteLayout Phrase = "2 January 2006, 15:04 UTC"
)

// months are those of time.Month.
var months = [...]Phrase{
	"January", "February", "March", "April", "May", "June",
	"July", "August", "September", "October", "November", "December",
}

// A Day is a moment of which the date is told, a Minute one of which the time is told
// too.
type (
	Day    time.Time
	Minute time.Time
)

// Day is the date, in UTC.
func (l Language) Day(t time.Time) string { return l.format(t, dayLayout) }

// Minute is the date and the time, in UTC.
func (l Language) Minute(t time.Time) string { return l.format(t, minuteLayout) }

func (l Language) format(t time.Time, layout Phrase) string {
	t = t.UTC()
	month := t.Month()
	return strings.Replace(t.Format(string(l.translate(layout))), month.String(), l.Say(months[month-1]), 1)
}

//go:embed *.json
var files embed.FS

var catalogues = map[Language]func() map[Phrase]Phrase{
	German: catalogue(German), Spanish: catalogue(Spanish), French: catalogue(French), Japanese: catalogue(Japanese),
}

// catalogue reads the file of the language when it is first called.
func catalogue(l Language) func() map[Phrase]Phrase {
	return sync.OnceValue(func() map[Phrase]Phrase {
		var phrases map[Phrase]Phrase
		text, err := files.ReadFile(string(l) + ".json")
		if err == nil {
			err = json.Unmarshal(text, &phrases)
		}
		if err != nil {
			panic(fmt.Errorf("words: %s: %w", l, err))
		}
		return phrases
	})
}
