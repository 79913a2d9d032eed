// Command cost answers: what does a million requests cost, and a month without any?
//
//	go run ./infra/cost
//
// prints two tables, from what tests count and from listed prices; with `write` it puts
// them into infra/README.md.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"kmint/infra/figures"
	"kmint/pkg/meter"
)

func main() {
	log.SetFlags(0)
	text, err := tables()
	if err == nil {
		err = figures.Main(os.Args[1:], "cost", text)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// tables are both, in Markdown.
func tables() (string, error) {
	b, err := figures.Read()
	if err != nil {
		return "", err
	}
	memory, err := figures.Setting("Memory")
	if err != nil {
		return "", err
	}
	const million = 1e6
	rows := [][]string{{"a million times", "API", "Lambda", "DynamoDB", "KMS", "logs", "all", "all by another key"}}
	for _, r := range figures.Requests() {
		s, err := b.Sum(r, memory)
		if err != nil {
			return "", err
		}
		api := float64(s.Requests) * b.Value("api request") * million
		lambda := (float64(s.Requests)*b.Value("lambda request") + s.MS/1000*memory/1024*b.Value("lambda GB-second")) * million
		tables := (s.Size.Reads*b.Value("dynamodb read unit") + s.Size.Writes*b.Value("dynamodb write unit")) * million
		keys := float64(s.Signs) * b.Value("rsa_2048 signature") * million
		others := float64(s.Signs) * b.Value("other signature") * million
		logs := s.LogBytes / 1e9 * b.Value("logged GB") * million
		row := []string{r.Name}
		for _, cost := range []float64{api, lambda, tables, keys, logs, api + lambda + tables + keys + logs, api + lambda + tables + others + logs} {
			row = append(row, dollars(cost))
		}
		rows = append(rows, row)
	}
	monthly, err := month(b)
	if err != nil {
		return "", err
	}
	return figures.Table(rows) + "\n" + monthly, nil
}

// month is what is paid whether or not anybody asks.
func month(b *figures.Book) (string, error) {
	alarms, err := os.ReadFile(filepath.Join(filepath.Dir(figures.Readme()), "alarms.yaml"))
	if err != nil {
		return "", err
	}
	read := watched(string(alarms))
	rows := [][]string{{"a month, whether or not anybody asks", "how many", "all"}}
	for _, row := range []struct {
		name, price string
		count       int
	}{
		{"keys: the one that signs, the next, that for seals", "kms key", 3},
		{"another algorithm: the one that signs, the next", "kms key", 2},
		{"`ClientSecretJwt=yes`", "kms key", 1},
		{"`Deployment=canary`: the key of the preflight function", "kms key", 1},
		{"metrics of kmint's own, those at most that were written in the month", "metric", len(meter.Metrics())},
		{"alarms, by the metrics that they read", "alarm metric", read},
		{"the queue of logouts, which Lambda asks all the time", "sqs request", int(b.Value("queue polls"))},
		{"the dashboard that comes with them", "dashboard", 1},
	} {
		rows = append(rows, []string{row.name, figures.Count(float64(row.count)), dollars(float64(row.count) * b.Value(row.price))})
	}
	return figures.Table(rows), nil
}

// watched counts the metrics that the alarms of a template read: those of an alarm's own,
// and those that its expressions are made of.
func watched(template string) int {
	resources, _, _ := strings.Cut(template, "\n  Dashboard:\n")
	return strings.Count(resources, "MetricName: ")
}

func dollars(x float64) string {
	if x == 0 {
		return "–"
	}
	return fmt.Sprintf("$%.2f", x)
}
